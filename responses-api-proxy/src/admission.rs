//! Which requests are forwarded: a pure decision over the operator's policy, who asks, and a request's head.
//!
//! The rules stand in the order in which they are checked. A new rule is one variant of [`Refusal`],
//! one `if` here, and one row in the table of tests.

use codex_peer_identity::Peer;
use http::header::{CONTENT_LENGTH, HOST, ORIGIN, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Uri};

use crate::headers::{has_foreign_transfer_coding, lists};
use crate::users::Users;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What the operator allows.
#[derive(Debug)]
pub(crate) struct Policy {
    /// The port that we listen on: only requests that name our own address are for us.
    pub(crate) port: u16,
    pub(crate) http_shutdown: bool,
    pub(crate) users: Users,
    pub(crate) max_body_bytes: u64,
}

/// What the decision is about: the head of a request, and nothing of its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'request> {
    pub(crate) method: &'request Method,
    pub(crate) target: &'request Uri,
    pub(crate) fields: &'request HeaderMap,
}

impl<'request> Head<'request> {
    pub(crate) fn of(head: &'request Parts) -> Self {
        Self { method: &head.method, target: &head.uri, fields: &head.headers }
    }

    /// Whether this is exactly `method path`: origin-form, no query, no escapes.
    fn is(&self, method: &Method, path: &str) -> bool {
        self.method == method
            && self.target.authority().is_none()
            && self.target.path_and_query().is_some_and(|target| target.as_str() == path)
    }
}

/// What becomes of a request that was not refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It goes to the upstream.
    Forward(Permit),
    /// It stops the proxy.
    Shutdown,
}

/// Evidence of admission. Only [`admit`] makes one, and only the forwarder takes one.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Permit(());

/// Why a request is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its body is in a transfer coding that is not undone here.
    ForeignCoding,
    /// The `Host` is another than the address we listen on, is missing or is repeated.
    ForeignHost,
    /// A browser sent it for a web page.
    ForeignOrigin,
    /// Its account is not among those allowed, or is unknown.
    ClientNotAllowed { peer: Peer },
    /// It asks for a WebSocket.
    UpgradeRefused,
    /// It is not the one request that is forwarded.
    RouteNotAllowed,
    /// It announces a body over the limit.
    BodyTooLarge,
}

/// Decides about one request.
pub(crate) fn admit(policy: &Policy, peer: Peer, head: Head<'_>) -> Result<Admission, Refusal> {
    if has_foreign_transfer_coding(head.fields) {
        Err(Refusal::ForeignCoding) // Sent on without that coding it would be another body.
    } else if !names_our_address(head.fields, policy.port) {
        // DNS rebinding: a web page's own name has come to mean 127.0.0.1.
        Err(Refusal::ForeignHost)
    } else if head.fields.contains_key(ORIGIN) || comes_from_a_page(head.fields) {
        Err(Refusal::ForeignOrigin)
    } else if !policy.users.allow(peer) {
        Err(Refusal::ClientNotAllowed { peer })
    } else if lists(head.fields, &UPGRADE, "websocket") {
        Err(Refusal::UpgradeRefused)
    } else if policy.http_shutdown && head.is(&Method::GET, "/shutdown") {
        Ok(Admission::Shutdown)
    } else if !head.is(&Method::POST, "/v1/responses") {
        Err(Refusal::RouteNotAllowed)
    } else if announced_body_bytes(head.fields).is_some_and(|bytes| bytes > policy.max_body_bytes) {
        Err(Refusal::BodyTooLarge)
    } else {
        Ok(Admission::Forward(Permit(())))
    }
}

/// Whether there is one `Host`, and it is `127.0.0.1:PORT`. Not `localhost`: that name may lead to
/// `[::1]`, where another program can listen.
fn names_our_address(fields: &HeaderMap, port: u16) -> bool {
    let mut hosts = fields.get_all(HOST).iter();
    match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => match host.strip_prefix("127.0.0.1") {
            Some("") => port == 80, // The default port of http is left out.
            Some(rest) => rest.strip_prefix(':').is_some_and(|found| found == port.to_string()),
            None => false,
        },
        _ => false,
    }
}

/// Browsers alone say where a request comes from. `none` is a person who typed the address, or a link that
/// another program opened, wherever its redirects have led since: that must not stop us by navigating.
fn comes_from_a_page(fields: &HeaderMap) -> bool {
    fields.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none")
        || fields.get_all(SEC_FETCH_MODE).iter().any(|mode| mode == "navigate")
}

fn announced_body_bytes(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use codex_peer_identity::Uid;
    use http::Request;

    use super::*;

    const POLICY: Policy =
        Policy { port: 4_321, http_shutdown: true, users: Users::Anyone, max_body_bytes: 100 };

    fn decide(policy: &Policy, line: &str, fields: &[(&str, &str)]) -> Result<Admission, Refusal> {
        decide_for(policy, Peer::Unknown, line, fields)
    }

    fn decide_for(
        policy: &Policy,
        peer: Peer,
        line: &str,
        fields: &[(&str, &str)],
    ) -> Result<Admission, Refusal> {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        admit(policy, peer, Head::of(&request.body(()).unwrap().into_parts().0))
    }

    const OURS: (&str, &str) = ("host", "127.0.0.1:4321");
    const POST: &str = "POST /v1/responses";

    #[test]
    fn exactly_one_request_is_forwarded() {
        let forward = Ok(Admission::Forward(Permit(())));
        assert_eq!(decide(&POLICY, POST, &[OURS]), forward);
        assert_eq!(decide(&POLICY, POST, &[OURS, ("sec-fetch-site", "none")]), forward);
        assert_eq!(decide(&POLICY, POST, &[OURS, ("content-length", "100")]), forward);
        assert_eq!(decide(&POLICY, POST, &[OURS, ("upgrade", "h2c")]), forward);
        for line in [
            "GET /v1/responses",
            "PUT /v1/responses",
            "OPTIONS /v1/responses",
            "post /v1/responses",
            "POST /v1/responses/",
            "POST /v1/responses?",
            "POST /v1/responses?stream=true",
            "POST //v1/responses",
            "POST /v1//responses",
            "POST /v1/./responses",
            "POST /v1/../v1/responses",
            "POST /v1/response%73",
            "POST /v1%2fresponses",
            "POST /V1/responses",
            "POST /v1/responses/resp_1/cancel",
            "POST /v1/chat/completions",
            "GET /v1/models",
            "POST http://127.0.0.1:4321/v1/responses",
            "POST http://example.com/v1/responses",
            "POST /",
            "POST *",
            "POST /shutdown",
            "GET /shutdown?",
        ] {
            assert_eq!(decide(&POLICY, line, &[OURS]), Err(Refusal::RouteNotAllowed), "{line}");
        }
    }

    #[test]
    fn a_shutdown_is_one_only_where_the_operator_allows_it() {
        assert_eq!(decide(&POLICY, "GET /shutdown", &[OURS]), Ok(Admission::Shutdown));
        let closed = Policy { http_shutdown: false, ..POLICY };
        assert_eq!(decide(&closed, "GET /shutdown", &[OURS]), Err(Refusal::RouteNotAllowed));
    }

    #[test]
    fn a_foreign_host_is_refused_whatever_it_asks() {
        for line in [POST, "GET /shutdown", "GET /v1/models"] {
            for host in [
                "localhost:4321",
                "127.0.0.1",
                "127.0.0.1:4322",
                "127.0.0.1:04321",
                "127.0.0.1:4321.",
                "127.0.0.1.example.com:4321",
                "127.1:4321",
                "[::1]:4321",
                "example.com",
                "",
                "127.0.0.1:4321, example.com",
            ] {
                assert_eq!(
                    decide(&POLICY, line, &[("host", host)]),
                    Err(Refusal::ForeignHost),
                    "{host}"
                );
            }
            assert_eq!(decide(&POLICY, line, &[]), Err(Refusal::ForeignHost));
            assert_eq!(decide(&POLICY, line, &[OURS, OURS]), Err(Refusal::ForeignHost));
        }
        let default_port = Policy { port: 80, ..POLICY };
        assert!(decide(&default_port, POST, &[("host", "127.0.0.1")]).is_ok());
        assert!(decide(&default_port, POST, &[("host", "127.0.0.1:80")]).is_ok());
    }

    #[test]
    fn a_web_page_is_refused_whatever_it_asks() {
        for line in [POST, "GET /shutdown"] {
            for field in [
                ("origin", "http://127.0.0.1:4321"),
                ("origin", "null"),
                ("origin", ""),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", ""),
                ("sec-fetch-mode", "navigate"),
            ] {
                assert_eq!(
                    decide(&POLICY, line, &[OURS, field]),
                    Err(Refusal::ForeignOrigin),
                    "{field:?}"
                );
            }
        }
    }

    #[test]
    fn another_account_and_an_unknown_one_are_refused_whatever_they_ask() {
        let policy = Policy { users: Users::resolve(&["1000".to_owned()]).unwrap(), ..POLICY };
        let allowed = Peer::User(Uid::from_raw(1_000));
        assert!(decide_for(&policy, allowed, POST, &[OURS]).is_ok());
        for peer in [Peer::User(Uid::from_raw(1_001)), Peer::User(Uid::from_raw(0)), Peer::Unknown]
        {
            let refused = Err(Refusal::ClientNotAllowed { peer });
            for line in [POST, "GET /shutdown", "GET /v1/models"] {
                assert_eq!(decide_for(&policy, peer, line, &[OURS]), refused);
                assert_eq!(
                    decide_for(&policy, peer, line, &[OURS, ("upgrade", "websocket")]),
                    refused
                );
            }
            // A page's request is told apart first, whoever runs the browser.
            assert_eq!(decide_for(&policy, peer, POST, &[]), Err(Refusal::ForeignHost));
        }
    }

    #[test]
    fn a_websocket_is_told_to_upgrade_to_http_wherever_it_asks() {
        for line in ["GET /v1/responses", POST, "GET /elsewhere"] {
            for value in ["websocket", "WebSocket", "h2c, websocket"] {
                assert_eq!(
                    decide(&POLICY, line, &[OURS, ("upgrade", value)]),
                    Err(Refusal::UpgradeRefused)
                );
            }
        }
    }

    #[test]
    fn a_body_that_is_not_plain_or_chunked_is_refused_first_of_all() {
        for coding in ["gzip, chunked", "identity", "chunked, gzip"] {
            let field = ("transfer-encoding", coding);
            assert_eq!(decide(&POLICY, POST, &[field]), Err(Refusal::ForeignCoding));
        }
        assert!(decide(&POLICY, POST, &[OURS, ("transfer-encoding", "chunked")]).is_ok());
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_its_announcement() {
        for length in ["101", "18446744073709551615"] {
            assert_eq!(
                decide(&POLICY, POST, &[OURS, ("content-length", length)]),
                Err(Refusal::BodyTooLarge)
            );
        }
    }
}
