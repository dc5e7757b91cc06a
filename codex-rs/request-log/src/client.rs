//! Whose exchange it was.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The account that made the client's socket. `Display` gives `alice (uid 1000)`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Its number; `None` if it could not be told.
    pub uid: Option<u32>,
    /// Its name; `None` if it has none.
    pub user: Option<String>,
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, &self.user) {
            (Some(uid), Some(user)) => write!(formatter, "{} (uid {uid})", user.escape_debug()),
            (Some(uid), None) => write!(formatter, "uid {uid}"),
            (None, _) => formatter.write_str("an unknown account"),
        }
    }
}
