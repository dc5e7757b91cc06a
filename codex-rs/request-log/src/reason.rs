//! Why an exchange did not complete: a closed list, the same words in the log and on the wire.

use std::fmt;

/// Why an exchange was refused, failed or was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The `Host` is not the address that the proxy listens on.
    ForeignHost,
    /// A web page sent it: there is an `Origin`, or `Sec-Fetch-Site` is not `none`.
    ForeignOrigin,
    /// The client's account is none of those that the operator allows, or could not be told.
    ClientNotAllowed,
    /// The client asked for a WebSocket.
    UpgradeRefused,
    /// Any request but the one that is forwarded.
    RouteNotAllowed,
    /// More exchanges of one account at once than the operator allows.
    TooManyRequests,
    /// More connections at once than are kept; this one was closed unread.
    TooManyConnections,
    /// What came first on a connection, or next, is no request's head, or did not come in time.
    BadHead,
    /// The request's body is larger than the operator allows.
    BodyTooLarge,
    /// The client closed its sending side before its request was forwarded.
    SendingSideClosed,
    /// The client's connection ended before its body did.
    BodyIncomplete,
    /// The request's body can't be parsed.
    BodyMalformed,
    /// The client stopped sending the body that it had announced.
    BodyTimeout,
    /// The upstream's name could not be resolved.
    UpstreamDns,
    /// Nothing listens at the upstream's address, or it can't be reached.
    UpstreamUnreachable,
    /// TLS with the upstream failed.
    UpstreamTls,
    /// The proxy on the way to the upstream did not let us through.
    UpstreamProxy,
    /// The upstream did not accept the connection, or did not answer, in time.
    UpstreamTimeout,
    /// The upstream closed the connection before it had answered.
    UpstreamClosed,
    /// What the upstream sent is not HTTP.
    UpstreamProtocol,
    /// The upstream's answer ended before its end.
    UpstreamCut,
    /// The proxy was stopped before the answer had ended.
    ProxyStopped,
}

impl Reason {
    /// The word for it in records, in the answer's `error.code` and in `x-codex-proxy-error`.
    pub fn code(self) -> &'static str {
        match self {
            Self::ForeignHost => "foreign_host",
            Self::ForeignOrigin => "foreign_origin",
            Self::ClientNotAllowed => "client_not_allowed",
            Self::UpgradeRefused => "upgrade_refused",
            Self::RouteNotAllowed => "route_not_allowed",
            Self::TooManyRequests => "too_many_requests",
            Self::TooManyConnections => "too_many_connections",
            Self::BadHead => "bad_head",
            Self::BodyTooLarge => "body_too_large",
            Self::SendingSideClosed => "sending_side_closed",
            Self::BodyIncomplete => "body_incomplete",
            Self::BodyMalformed => "body_malformed",
            Self::BodyTimeout => "body_timeout",
            Self::UpstreamDns => "upstream_dns",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamProxy => "upstream_proxy",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::UpstreamCut => "upstream_cut",
            Self::ProxyStopped => "proxy_stopped",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}
