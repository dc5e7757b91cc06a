//! Why the upstream gave no answer: what happened, at which hop, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use anyhow::Chain;
use codex_request_log::Reason;
use http::StatusCode;
use nix::libc::{EMFILE, ENFILE};
use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

use crate::upstream_stream::NotTaken;

/// A request that the upstream did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamFailure {
    pub(crate) hop: Hop,
    pub(crate) cause: Cause,
}

/// The hop at which it happened, as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    Upstream(String),
    Proxy(String),
}

/// What happened at the hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Dns(String),
    Refused,
    Unreachable(String),
    ConnectTimeout(Duration),
    TlsTimeout(Duration),
    HeaderTimeout(Duration),
    WriteTimeout(Duration),
    /// It is we who lack something.
    NoFiles,
    Certificate(String),
    /// A certificate that is made to sign others, in place of a server's.
    AuthorityAsServer,
    UnknownAuthority,
    Tls(String),
    Closed,
    NotHttp(String),
    HeadTooLarge,
    /// The proxy did not make a tunnel to this upstream.
    NoTunnel(String),
    TunnelTimeout(String, Duration),
    /// The proxy wants to know who asks.
    ProxyLogin,
    Other(String),
}

/// A name that could not be resolved. Made by the connector's resolver, found again in what is wrapped around it.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct DnsError(pub(crate) io::Error);

impl Error for UpstreamFailure {}

impl Cause {
    /// Finds the cause in what a library reports: it stands somewhere down its chain of sources.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        Chain::new(error).find_map(known).unwrap_or_else(|| Self::Other(last_words(error)))
    }

    /// Why there is no tunnel to this upstream. hyper-util's error has no public type, only words: a test over real
    /// proxies holds each of them.
    pub(crate) fn of_tunnel(error: &(dyn Error + 'static), upstream: &str) -> Self {
        match error.to_string().strip_prefix("tunnel error: ") {
            Some("proxy authorization required") => Self::ProxyLogin,
            Some("unexpected end of file") => Self::Closed,
            Some("unsuccessful" | "proxy response headers too long") => {
                Self::NoTunnel(upstream.to_owned())
            }
            _ => Self::of(error),
        }
    }
}

impl UpstreamFailure {
    /// What the HTTP client reports about an exchange with this upstream: the connector's own words, or what has
    /// become of the connection since.
    pub(crate) fn of(error: &(dyn Error + 'static), upstream: &str) -> Self {
        let told = Chain::new(error).find_map(|error| error.downcast_ref::<Self>()).cloned();
        told.unwrap_or_else(|| Self {
            hop: Hop::Upstream(upstream.to_owned()),
            cause: Cause::of(error),
        })
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self.cause {
            Cause::ConnectTimeout(_)
            | Cause::TlsTimeout(_)
            | Cause::TunnelTimeout(..)
            | Cause::WriteTimeout(_)
            | Cause::HeaderTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self.cause {
            Cause::Dns(_) => Reason::UpstreamDns,
            Cause::Refused | Cause::Unreachable(_) | Cause::NoFiles => Reason::UpstreamUnreachable,
            Cause::ConnectTimeout(_)
            | Cause::TlsTimeout(_)
            | Cause::TunnelTimeout(..)
            | Cause::WriteTimeout(_)
            | Cause::HeaderTimeout(_) => Reason::UpstreamTimeout,
            Cause::Certificate(_)
            | Cause::AuthorityAsServer
            | Cause::UnknownAuthority
            | Cause::Tls(_) => Reason::UpstreamTls,
            Cause::Closed | Cause::Other(_) => Reason::UpstreamClosed,
            Cause::NotHttp(_) | Cause::HeadTooLarge => Reason::UpstreamProtocol,
            Cause::NoTunnel(_) | Cause::ProxyLogin => Reason::UpstreamProxy,
        }
    }

    /// What to do about it: how the sentence ends.
    pub(crate) fn remedy(&self) -> &'static str {
        match (&self.cause, &self.hop) {
            (Cause::ProxyLogin, _) => {
                "name it with them, http://USER:PASSWORD@HOST:PORT, in the key proxy's --upstream-proxy or HTTPS_PROXY"
            }
            (Cause::NoTunnel(_), _) => {
                "ask whoever runs it to allow that host and port, or leave it out (--upstream-proxy, HTTPS_PROXY, NO_PROXY)"
            }
            (Cause::UnknownAuthority, _) => {
                "if a company's gateway stands between, name its authority with the proxy's --upstream-ca"
            }
            (Cause::HeaderTimeout(_), _) => {
                "try again, or give the proxy a longer --header-timeout"
            }
            (Cause::NoFiles, _) => {
                "try again, or have this proxy started with a higher `ulimit -n`"
            }
            (Cause::WriteTimeout(_), _) => "try again; if it stays so, ask whoever runs it",
            (Cause::AuthorityAsServer, _) => {
                "give it a certificate for a server (basicConstraints CA:FALSE), and name that or its authority with the proxy's --upstream-ca"
            }
            (Cause::HeadTooLarge, _) => "ask whoever runs it: no answer's head should be so large",
            (Cause::ConnectTimeout(_) | Cause::TlsTimeout(_) | Cause::TunnelTimeout(..), _) => {
                "check the network, or give the proxy a longer --connect-timeout"
            }
            (Cause::Unreachable(_), _) => "check the network between this machine and it",
            (_, Hop::Proxy(_)) => {
                "check host and port in the key proxy's --upstream-proxy or HTTPS_PROXY, and that it runs"
            }
            (Cause::Dns(_), _) => "check the network and the host in the proxy's --upstream-url",
            (Cause::Refused, _) => "check that it runs, and the port in the proxy's --upstream-url",
            (Cause::Certificate(_), _) => {
                "check the host in the proxy's --upstream-url and this machine's clock"
            }
            (Cause::Tls(_) | Cause::NotHttp(_), _) => {
                "check the scheme, host and port in the proxy's --upstream-url"
            }
            (Cause::Closed | Cause::Other(_), _) => {
                "try again; if it stays so, ask whoever runs it"
            }
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(hop) => write!(formatter, "the upstream {hop}"),
            Self::Proxy(hop) => write!(formatter, "the proxy {hop}"),
        }
    }
}

/// One sentence: hop, cause, remedy.
impl fmt::Display for UpstreamFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hop = &self.hop;
        match &self.cause {
            Cause::Dns(cause) => write!(formatter, "{hop} has no address: {cause}"),
            Cause::Refused => write!(formatter, "{hop} refused the connection"),
            Cause::Unreachable(cause) => write!(formatter, "{hop} can't be reached: {cause}"),
            Cause::ConnectTimeout(time) => {
                let time = humantime::format_duration(*time);
                write!(formatter, "{hop} did not take the connection within {time}")
            }
            Cause::TlsTimeout(time) => {
                let time = humantime::format_duration(*time);
                write!(formatter, "{hop} did not come to an end with TLS within {time}")
            }
            Cause::TunnelTimeout(upstream, time) => {
                let time = humantime::format_duration(*time);
                write!(formatter, "{hop} did not make the tunnel to {upstream} within {time}")
            }
            Cause::HeaderTimeout(time) => {
                let time = humantime::format_duration(*time);
                write!(formatter, "{hop} did not begin its answer within {time}")
            }
            Cause::WriteTimeout(time) => {
                let time = humantime::format_duration(*time);
                write!(formatter, "{hop} took nothing more of the request within {time}")
            }
            Cause::NoFiles => {
                write!(
                    formatter,
                    "{hop} can't be reached: this proxy has as many files open as it may"
                )
            }
            Cause::UnknownAuthority => {
                write!(formatter, "{hop} shows a certificate of an authority that is not trusted")
            }
            Cause::Certificate(cause) => {
                write!(formatter, "{hop} shows a certificate that is not valid: {cause}")
            }
            Cause::AuthorityAsServer => {
                write!(
                    formatter,
                    "{hop} shows a certificate that is an authority's, not a server's"
                )
            }
            Cause::HeadTooLarge => {
                write!(formatter, "the head of what {hop} answered is too large for this proxy")
            }
            Cause::Tls(cause) => write!(formatter, "TLS with {hop} failed: {cause}"),
            Cause::Closed => write!(formatter, "{hop} closed the connection without an answer"),
            Cause::NotHttp(cause) => {
                write!(formatter, "what {hop} answered is not HTTP/1.1: {cause}")
            }
            Cause::NoTunnel(upstream) => {
                write!(formatter, "{hop} refused the tunnel to {upstream}")
            }
            Cause::ProxyLogin => write!(formatter, "{hop} wants a user name and password"),
            Cause::Other(cause) => write!(formatter, "{hop} gave no answer: {cause}"),
        }?;
        write!(formatter, "; {}", self.remedy())
    }
}

/// What one error of the chain says, if it is of a kind that we know.
fn known(error: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<DnsError>() {
        return Some(Cause::Dns(error.to_string()));
    }
    if let Some(error) = error.downcast_ref::<NotTaken>() {
        return Some(Cause::WriteTimeout(error.0));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return if error.is_parse_too_large() {
            Some(Cause::HeadTooLarge)
        } else if error.is_parse() {
            Some(Cause::NotHttp(error.to_string()))
        } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            Some(Cause::Closed)
        } else {
            None // An I/O error below it says more.
        };
    }
    let error = error.downcast_ref::<io::Error>()?;
    // An `io::Error` may be a wrapper, whose content is not its `source` but the thing itself.
    if let Some(cause) = error.get_ref().and_then(|inner| known(inner)) {
        return Some(cause);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some(Cause::Refused),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Cause::Closed),
        _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Some(Cause::NoFiles),
        _ if error.raw_os_error().is_some() => Some(Cause::Unreachable(error.to_string())),
        _ => None,
    }
}

fn tls(error: &rustls::Error) -> Cause {
    match error {
        // A signature that does not fit: another authority that has the name of one that is trusted.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Cause::UnknownAuthority,
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            Cause::AuthorityAsServer
        }
        rustls::Error::InvalidCertificate(error) => Cause::Certificate(error.to_string()),
        rustls::Error::InvalidMessage(_) => {
            Cause::Tls("it does not speak TLS on this port".to_owned())
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            Cause::Tls("no common version or cipher".to_owned())
        }
        error => Cause::Tls(error.to_string()),
    }
}

/// What the innermost error says: the outer ones name layers of the HTTP client.
fn last_words(error: &(dyn Error + 'static)) -> String {
    Chain::new(error).last().map(ToString::to_string).unwrap_or_default()
}
