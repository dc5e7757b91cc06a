//! Why an exchange did not go well: a closed list, the same words in the log and on the wire.

use crate::words::words;

words! {
    /// Why an exchange was refused, failed or was cut, or what a whole answer says of itself. The word for
    /// it stands in records, in the answer's `error.code` and in `x-codex-proxy-error`.
    pub enum Reason is "reason" {
        /// The `Host` is not the address that the proxy listens on.
        ForeignHost = "foreign_host",
        /// A web page sent it: there is an `Origin`, or `Sec-Fetch-Site` is not `none`.
        ForeignOrigin = "foreign_origin",
        /// The client's account is none of those that the operator allows, or could not be told.
        ClientNotAllowed = "client_not_allowed",
        /// The client asked for a WebSocket.
        UpgradeRefused = "upgrade_refused",
        /// Any request but the one that is forwarded.
        RouteNotAllowed = "route_not_allowed",
        /// More exchanges of one account at once than the operator allows.
        TooManyRequests = "too_many_requests",
        /// More connections at once than are kept; this one was closed unread.
        TooManyConnections = "too_many_connections",
        /// What came first on a connection, or next, is no request's head, or did not come in time.
        BadHead = "bad_head",
        /// The request's body is larger than the operator allows.
        BodyTooLarge = "body_too_large",
        /// The client closed its sending side before its request was forwarded.
        SendingSideClosed = "sending_side_closed",
        /// The client's connection ended before its body did.
        BodyIncomplete = "body_incomplete",
        /// The request's body can't be parsed.
        BodyMalformed = "body_malformed",
        /// The client stopped sending the body that it had announced.
        BodyTimeout = "body_timeout",
        /// The upstream's name could not be resolved.
        UpstreamDns = "upstream_dns",
        /// Nothing listens at the upstream's address, or it can't be reached.
        UpstreamUnreachable = "upstream_unreachable",
        /// TLS with the upstream failed.
        UpstreamTls = "upstream_tls",
        /// The proxy on the way to the upstream did not let us through.
        UpstreamProxy = "upstream_proxy",
        /// The upstream did not accept the connection, or did not answer, in time.
        UpstreamTimeout = "upstream_timeout",
        /// The upstream closed the connection before it had answered.
        UpstreamClosed = "upstream_closed",
        /// What the upstream sent is not HTTP.
        UpstreamProtocol = "upstream_protocol",
        /// The upstream's answer ended before its end.
        UpstreamCut = "upstream_cut",
        /// The proxy was stopped before the answer had ended.
        ProxyStopped = "proxy_stopped",
        /// The answer went through whole, and its last event says that the response failed.
        ResponseFailed = "response_failed",
        /// The answer went through whole, and its last event says that the response is incomplete.
        ResponseIncomplete = "response_incomplete",
        /// The event stream went through and ended cleanly, but without a last event.
        ResponseUnfinished = "response_unfinished",
    }
}
