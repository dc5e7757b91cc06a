//! Why the upstream gave no answer: what happened, at which hop, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use anyhow::Chain;
use codex_request_log::Reason;
use http::StatusCode;
use rustls::{AlertDescription, CertificateError};
use thiserror::Error;

/// A request that the upstream did not answer.
#[derive(Debug)]
pub(crate) struct UpstreamFailure {
    /// `host:port`.
    pub(crate) hop: String,
    pub(crate) cause: Cause,
}

/// What happened at the hop.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Dns(String),
    Refused,
    Unreachable(String),
    ConnectTimeout(Duration),
    HeaderTimeout(Duration),
    Certificate(String),
    UnknownAuthority,
    Tls(String),
    Closed,
    NotHttp(String),
    Other(String),
}

/// A name that could not be resolved. Made by the forwarder's resolver, found again in what reqwest
/// wraps around it.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct DnsError(pub(crate) io::Error);

impl UpstreamFailure {
    /// Finds the cause in what reqwest reports: it stands somewhere down its chain of sources.
    pub(crate) fn of(error: &reqwest::Error, hop: &str, connect_timeout: Duration) -> Self {
        let cause = if error.is_connect() && error.is_timeout() {
            Cause::ConnectTimeout(connect_timeout)
        } else {
            Chain::new(error).find_map(known).unwrap_or_else(|| Cause::Other(last_words(error)))
        };
        Self { hop: hop.to_owned(), cause }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self.cause {
            Cause::ConnectTimeout(_) | Cause::HeaderTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self.cause {
            Cause::Dns(_) => Reason::UpstreamDns,
            Cause::Refused | Cause::Unreachable(_) => Reason::UpstreamUnreachable,
            Cause::ConnectTimeout(_) | Cause::HeaderTimeout(_) => Reason::UpstreamTimeout,
            Cause::Certificate(_) | Cause::UnknownAuthority | Cause::Tls(_) => Reason::UpstreamTls,
            Cause::Closed | Cause::Other(_) => Reason::UpstreamClosed,
            Cause::NotHttp(_) => Reason::UpstreamProtocol,
        }
    }

    fn remedy(&self) -> &'static str {
        match self.cause {
            Cause::Dns(_) => "check the network and the host in the proxy's --upstream-url",
            Cause::Refused => "check that it runs, and the port in the proxy's --upstream-url",
            Cause::Unreachable(_) => "check the network between this machine and it",
            Cause::ConnectTimeout(_) => {
                "check the network, or give the proxy a longer --connect-timeout"
            }
            Cause::HeaderTimeout(_) => "try again, or give the proxy a longer --header-timeout",
            Cause::UnknownAuthority => {
                "if a company's gateway stands between, name its authority with the proxy's --upstream-ca"
            }
            Cause::Certificate(_) => {
                "check the host in the proxy's --upstream-url and this machine's clock"
            }
            Cause::Tls(_) | Cause::NotHttp(_) => {
                "check the scheme, host and port in the proxy's --upstream-url"
            }
            Cause::Closed | Cause::Other(_) => "try again; if it stays so, ask whoever runs it",
        }
    }
}

/// One sentence: hop, cause, remedy.
impl fmt::Display for UpstreamFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hop = &self.hop;
        match &self.cause {
            Cause::Dns(cause) => write!(formatter, "the upstream {hop} has no address: {cause}"),
            Cause::Refused => write!(formatter, "the upstream {hop} refused the connection"),
            Cause::Unreachable(cause) => {
                write!(formatter, "the upstream {hop} can't be reached: {cause}")
            }
            Cause::ConnectTimeout(time) => {
                let time = humantime::format_duration(*time);
                write!(formatter, "the upstream {hop} did not take the connection within {time}")
            }
            Cause::HeaderTimeout(time) => {
                let time = humantime::format_duration(*time);
                write!(formatter, "the upstream {hop} did not begin its answer within {time}")
            }
            Cause::UnknownAuthority => {
                write!(
                    formatter,
                    "the upstream {hop} shows a certificate of an authority that is not trusted"
                )
            }
            Cause::Certificate(cause) => {
                write!(
                    formatter,
                    "the upstream {hop} shows a certificate that is not valid: {cause}"
                )
            }
            Cause::Tls(cause) => write!(formatter, "TLS with the upstream {hop} failed: {cause}"),
            Cause::Closed => {
                write!(formatter, "the upstream {hop} closed the connection without an answer")
            }
            Cause::NotHttp(cause) => {
                write!(formatter, "what the upstream {hop} answered is not HTTP/1.1: {cause}")
            }
            Cause::Other(cause) => write!(formatter, "the upstream {hop} gave no answer: {cause}"),
        }?;
        write!(formatter, "; {}", self.remedy())
    }
}

/// What one error of the chain says, if it is of a kind that we know.
fn known(error: &(dyn Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<DnsError>() {
        return Some(Cause::Dns(error.to_string()));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return if error.is_parse() {
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
        _ if error.raw_os_error().is_some() => Some(Cause::Unreachable(error.to_string())),
        _ => None,
    }
}

fn tls(error: &rustls::Error) -> Cause {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Cause::UnknownAuthority
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
fn last_words(error: &reqwest::Error) -> String {
    Chain::new(error).last().map(ToString::to_string).unwrap_or_default()
}
