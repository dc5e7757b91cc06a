//! How an exchange ended: a closed list.

use crate::words::words;

words! {
    /// How an exchange ended.
    pub enum Outcome is "outcome" {
        /// The answer went through whole, whatever its status.
        Completed = "completed",
        /// The proxy did not forward the request.
        Refused = "refused",
        /// The upstream gave no answer that could be relayed.
        UpstreamFailed = "upstream_failed",
        /// The client left before the answer had ended.
        ClientLeft = "client_left",
        /// The upstream, or the proxy's end, ended it before the answer had ended.
        Cut = "cut",
    }
}
