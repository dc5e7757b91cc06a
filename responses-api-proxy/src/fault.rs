//! What a client reads when its request is not answered by the upstream.
//!
//! One shape for all, the API's own: `{"error":{"message":…,"type":…,"code":…,"param":null}}`, with
//! the code again in `x-codex-proxy-error`.

use std::time::Duration;

use bytes::Bytes;
use codex_key_custody::KeyRing;
use codex_peer_identity::Peer;
use codex_request_log::{Outcome, Reason};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::admission::{Policy, Refusal};
use crate::headers::ERROR_CODE;
use crate::upstream_failure::UpstreamFailure;

/// What a client that came too early is told to wait, in seconds.
const RETRY_AFTER_SECONDS: u16 = 1;

/// Why a request got no answer from the upstream.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The proxy's rules do not allow it.
    Refused(Refusal),
    /// As many requests as the operator allows are under way.
    TooManyRequests {
        limit: usize,
    },
    /// The client has hung up before its request was forwarded.
    ClientLeft,
    /// The client broke its request off.
    BodyIncomplete,
    /// The request's body can't be parsed.
    BodyMalformed,
    /// The client stopped sending.
    BodyTimeout(Duration),
    Upstream(UpstreamFailure),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Fault {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(Refusal::UpgradeRefused) => StatusCode::UPGRADE_REQUIRED,
            Self::Refused(Refusal::BodyTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused(Refusal::ForeignCoding) => StatusCode::BAD_REQUEST,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::ClientLeft | Self::BodyIncomplete | Self::BodyMalformed => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Upstream(failure) => failure.status(),
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Refused(Refusal::ForeignHost) => Reason::ForeignHost,
            Self::Refused(Refusal::ForeignOrigin) => Reason::ForeignOrigin,
            Self::Refused(Refusal::ClientNotAllowed { .. }) => Reason::ClientNotAllowed,
            Self::Refused(Refusal::UpgradeRefused) => Reason::UpgradeRefused,
            Self::Refused(Refusal::RouteNotAllowed) => Reason::RouteNotAllowed,
            Self::Refused(Refusal::BodyTooLarge) => Reason::BodyTooLarge,
            Self::TooManyRequests { .. } => Reason::TooManyRequests,
            Self::ClientLeft => Reason::SendingSideClosed,
            Self::BodyIncomplete => Reason::BodyIncomplete,
            Self::BodyMalformed | Self::Refused(Refusal::ForeignCoding) => Reason::BodyMalformed,
            Self::BodyTimeout(_) => Reason::BodyTimeout,
            Self::Upstream(failure) => failure.reason(),
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Upstream(_) => Outcome::UpstreamFailed,
            Self::ClientLeft | Self::BodyIncomplete => Outcome::ClientLeft,
            _ => Outcome::Refused,
        }
    }

    /// The cause in words for the operator, where the reason alone does not say it.
    pub(crate) fn detail(&self) -> Option<String> {
        match self {
            Self::Upstream(failure) => Some(failure.to_string()),
            _ => None,
        }
    }

    /// What its user reads. The words of the request are not repeated in it.
    fn message(&self, policy: &Policy) -> String {
        match self {
            Self::Refused(Refusal::ForeignHost) => format!(
                "this proxy answers to its address alone: use http://127.0.0.1:{}/v1 as the base URL, not a name",
                policy.port
            ),
            Self::Refused(Refusal::ForeignOrigin) => {
                "this proxy serves programs, not web pages: what a browser sends for a page or by navigating is refused"
                    .to_owned()
            }
            Self::Refused(Refusal::ClientNotAllowed { peer: Peer::User(uid) }) => format!(
                "this proxy does not serve the account with uid {uid}; its operator can add --allow-user {uid}"
            ),
            Self::Refused(Refusal::ClientNotAllowed { peer: Peer::Unknown }) => {
                "this proxy serves certain accounts alone, and whose connection this is could not be told; connect anew and keep it open until the answer has come".to_owned()
            }
            Self::Refused(Refusal::UpgradeRefused) => {
                "this proxy does not forward WebSockets: send POST /v1/responses over HTTP/1.1".to_owned()
            }
            Self::Refused(Refusal::RouteNotAllowed) => {
                "this proxy forwards exactly POST /v1/responses, without a query, and nothing else".to_owned()
            }
            Self::Refused(Refusal::BodyTooLarge) => format!(
                "the request's body is larger than the {} bytes that this proxy forwards; its operator can raise --max-body",
                policy.max_body_bytes
            ),
            Self::TooManyRequests { limit } => format!(
                "{limit} requests of this account are under way, as many as this proxy forwards at once; try again, or ask its operator to raise --max-concurrent"
            ),
            Self::ClientLeft => {
                "the client closed its sending side, which this proxy takes for leaving; keep it open until the answer has come".to_owned()
            }
            Self::BodyIncomplete => "the connection ended before the request's body did".to_owned(),
            Self::BodyMalformed | Self::Refused(Refusal::ForeignCoding) => {
                "the request's body has no Content-Length and is not plainly chunked, as RFC 9112 section 7.1 says".to_owned()
            }
            Self::BodyTimeout(time) => format!(
                "nothing more of the request's body arrived within {}",
                humantime::format_duration(*time)
            ),
            Self::Upstream(failure) => failure.to_string(),
        }
    }

    fn error_type(&self) -> &'static str {
        match self {
            Self::Upstream(_) => "proxy_upstream_error",
            _ => "proxy_refusal",
        }
    }

    /// The answer.
    pub(crate) fn into_response(self, policy: &Policy, keys: &KeyRing) -> Response<Bytes> {
        let code = self.reason().code();
        let message = self.message(policy); // An upstream's words may be in it.
        let body = json!({
            "error": {
                "message": keys.mask(&message), "type": self.error_type(), "code": code, "param": null,
            }
        });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(ERROR_CODE, HeaderValue::from_static(code));
        match self {
            // RFC 9110 section 15.5.22: a 426 names the protocol to upgrade to.
            Self::Refused(Refusal::UpgradeRefused) => {
                fields.insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
                fields.insert(CONNECTION, HeaderValue::from_static("upgrade, close"));
            }
            Self::TooManyRequests { .. } => {
                fields.insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}
