//! What the user of the real Codex CLI reads when something fails. It stands in docs/guides/troubleshooting.md as
//! well: a test here holds the two together, and `codex_meets_failures` makes Codex say it.

use std::collections::BTreeMap;
use std::fs;

/// A line that Codex's user reads, in which `…` stands for anything, and the word for it in the proxy's records.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) says: &'static str,
    pub(crate) record: &'static str,
}

pub(crate) const fn told(says: &'static str, record: &'static str) -> Told {
    Told { says, record }
}

/// The record has no reason: the proxy did its duty, or was never asked.
pub(crate) const NONE: &str = "–";

// What the upstream answers.
pub(crate) const BAD_REQUEST: Told = told(r#"{"error":{…}}"#, NONE);
pub(crate) const BAD_KEY: Told = told(
    "unexpected status 401 Unauthorized: …, url: http://127.0.0.1:…/v1/responses, request id: …",
    NONE,
);
pub(crate) const RATE_LIMIT: Told =
    told("exceeded retry limit, last status: 429 Too Many Requests, request id: …", NONE);
pub(crate) const QUOTA: Told = told("Quota exceeded. Check your plan and billing details.", NONE);
pub(crate) const HIGH_DEMAND: Told =
    told("We’re currently experiencing high demand, which may cause temporary errors.", NONE);
pub(crate) const BAD_GATEWAY: Told = told(
    "unexpected status 502 Bad Gateway: …, url: http://127.0.0.1:…/v1/responses, request id: …",
    NONE,
);
pub(crate) const UNFINISHED: Told = told(
    "stream disconnected before completion: stream closed before response.completed",
    "response_unfinished",
);
pub(crate) const CUT: Told = told(
    "stream disconnected before completion: Transport error: network error: error decoding response body",
    "upstream_cut",
);
pub(crate) const IDLE: Told =
    told("stream disconnected before completion: idle timeout waiting for SSE", "client_left");

// What the proxy refuses.
pub(crate) const NOT_ALLOWED: Told = told(
    "unexpected status 403 Forbidden: this proxy does not serve the account with uid …; its operator can add --allow-user …",
    "client_not_allowed",
);
pub(crate) const WRONG_ROUTE: Told = told(
    "unexpected status 403 Forbidden: this proxy forwards exactly POST /v1/responses, without a query, and nothing else, url: …",
    "route_not_allowed",
);
pub(crate) const FOREIGN_HOST: Told = told(
    "unexpected status 403 Forbidden: this proxy answers to its address alone: use http://127.0.0.1:…/v1 as the base URL, not a name, url: …",
    "foreign_host",
);
pub(crate) const TOO_LARGE: Told = told(
    "unexpected status 413 Payload Too Large: the request's body is larger than the … bytes that this proxy forwards; …",
    "body_too_large",
);
pub(crate) const TOO_MANY: Told =
    told("exceeded retry limit, last status: 429 Too Many Requests", "too_many_requests");

// What stands between the proxy and the upstream.
pub(crate) const NO_ADDRESS: Told =
    told("unexpected status 502 Bad Gateway: the upstream … has no address: …", "upstream_dns");
pub(crate) const REFUSED: Told = told(
    "unexpected status 502 Bad Gateway: the upstream … refused the connection; …",
    "upstream_unreachable",
);
pub(crate) const UNKNOWN_AUTHORITY: Told = told(
    "unexpected status 502 Bad Gateway: the upstream … shows a certificate of an authority that is not trusted; …",
    "upstream_tls",
);
pub(crate) const BAD_CERTIFICATE: Told = told(
    "unexpected status 502 Bad Gateway: the upstream … shows a certificate that is not valid: …",
    "upstream_tls",
);
pub(crate) const NOT_TLS: Told =
    told("unexpected status 502 Bad Gateway: TLS with the upstream … failed: …", "upstream_tls");
pub(crate) const CLOSED: Told = told(
    "unexpected status 502 Bad Gateway: the upstream … closed the connection without an answer; …",
    "upstream_closed",
);
pub(crate) const NO_ANSWER: Told = told(
    "unexpected status 504 Gateway Timeout: the upstream … did not begin its answer within …; …",
    "upstream_timeout",
);
pub(crate) const NO_TUNNEL: Told = told(
    "unexpected status 502 Bad Gateway: the proxy … refused the tunnel to …; …",
    "upstream_proxy",
);
pub(crate) const PROXY_LOGIN: Told = told(
    "unexpected status 502 Bad Gateway: the proxy … wants a user name and password; …",
    "upstream_proxy",
);

// What stands between Codex and the proxy.
pub(crate) const RECONNECTING: Told = told("Reconnecting... …/…", NONE);
pub(crate) const WAITING: Told = told("Reconnecting... waiting for network", NONE);
pub(crate) const CAPTURED: Told =
    told("unexpected status 407 Proxy Authentication Required: …, url: http://127.0.0.1:…", NONE);
pub(crate) const NOT_THE_PROXY: Told =
    told("stream disconnected before completion: error sending request", NONE);
pub(crate) const NO_VARIABLE: Told = told("Missing environment variable: …", NONE);
pub(crate) const INTERRUPTED: Told = told("turn interrupted", "client_left");

/// All that the guide quotes of Codex.
pub(crate) const CODEX_SAYS: [Told; 29] = [
    BAD_REQUEST,
    BAD_KEY,
    RATE_LIMIT,
    QUOTA,
    HIGH_DEMAND,
    BAD_GATEWAY,
    UNFINISHED,
    CUT,
    IDLE,
    NOT_ALLOWED,
    WRONG_ROUTE,
    FOREIGN_HOST,
    TOO_LARGE,
    TOO_MANY,
    NO_ADDRESS,
    REFUSED,
    UNKNOWN_AUTHORITY,
    BAD_CERTIFICATE,
    NOT_TLS,
    CLOSED,
    NO_ANSWER,
    NO_TUNNEL,
    PROXY_LOGIN,
    RECONNECTING,
    WAITING,
    CAPTURED,
    NOT_THE_PROXY,
    NO_VARIABLE,
    INTERRUPTED,
];

// What the proxy says on its standard error.
pub(crate) const READY: &str =
    "ready: http://127.0.0.1:…/v1 forwards POST /v1/responses to …, pid …, for …";
pub(crate) const PRELOADED: &str = "warning: taken out of the environment: …";
pub(crate) const NOT_USED: &str = "warning: not used…: …";
pub(crate) const NO_KEY: &str = "error: no API key arrived";
pub(crate) const BAD_BYTE: &str = "error: the API key has an unexpected byte at offset …";
pub(crate) const LONG_KEY: &str = "error: the API key is longer than 4096 bytes";
pub(crate) const TWO_LINES: &str = "error: more than one line arrived in place of an API key";
pub(crate) const BAD_KEY_FILE: &str = "error: the key file … can't be used";
pub(crate) const BAD_KEY_IN_FILE: &str = "error: the API key in … can't be used";
pub(crate) const NOT_LOCKED: &str =
    "error: the memory that is to hold the API key could not be locked";
pub(crate) const PORT_TAKEN: &str = "error: 127.0.0.1:… can't be listened on";
pub(crate) const BAD_UPSTREAM: &str = "error: --upstream-url … can't be used";
pub(crate) const BAD_PROXY: &str = "error: the proxy that … names can't be used";
pub(crate) const BAD_FIELD: &str = "error: --set-header … can't be used";
pub(crate) const BAD_AUTHORITIES: &str = "error: the certificate authorities in … can't be used";
pub(crate) const NO_SUCH_USER: &str = "error: --allow-user …: there is no such account";
pub(crate) const OPEN_DUMPS: &str = "error: the dump folder … is open to other accounts (mode …)";
pub(crate) const BAD_SERVER_INFO: &str = "error: the server-info file … can't be written";
pub(crate) const WORKLOAD_IDENTITY: &str = "error: … is not supported: this proxy takes an API key on standard input, not a workload identity";

/// All that the guide quotes of the proxy.
pub(crate) const PROXY_SAYS: [&str; 19] = [
    READY,
    PRELOADED,
    NOT_USED,
    NO_KEY,
    BAD_BYTE,
    LONG_KEY,
    TWO_LINES,
    BAD_KEY_FILE,
    BAD_KEY_IN_FILE,
    NOT_LOCKED,
    PORT_TAKEN,
    BAD_UPSTREAM,
    BAD_PROXY,
    BAD_FIELD,
    BAD_AUTHORITIES,
    NO_SUCH_USER,
    OPEN_DUMPS,
    BAD_SERVER_INFO,
    WORKLOAD_IDENTITY,
];

/// Whether this line is that text, in which `…` stands for anything.
pub(crate) fn fits(line: &str, says: &str) -> bool {
    let mut parts: Vec<&str> = says.split('…').collect();
    let last = parts.pop().unwrap_or_default();
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { return line == last };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// The tables whose rows begin with a quote have these quotes, the records that belong to them, and no others.
#[test]
fn the_guide_quotes_what_is_read_and_nothing_else() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guides/troubleshooting.md");
    let guide = fs::read_to_string(guide).unwrap();
    let mut rows = BTreeMap::new();
    for row in guide.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (quote, rest) = row.split_once("` | ").unwrap();
        assert!(rows.insert(quote, rest).is_none(), "twice in the guide: {quote}");
    }
    for told in CODEX_SAYS {
        let rest = rows.remove(told.says);
        let rest = rest.unwrap_or_else(|| panic!("not in the guide: {}", told.says));
        let word = if told.record == NONE { NONE.to_owned() } else { format!("`{}`", told.record) };
        assert!(
            rest.starts_with(&format!("{word} | ")),
            "another record in the guide: {}",
            told.says
        );
    }
    for says in PROXY_SAYS {
        assert!(rows.remove(says).is_some(), "not in the guide: {says}");
    }
    assert!(rows.is_empty(), "in the guide, and read nowhere: {rows:#?}");
}

#[test]
fn a_text_fits_where_only_its_gaps_differ() {
    for (line, says, fit) in [
        ("a b", "a b", true),
        ("a b c", "a b", false),
        ("x a b", "a b", false),
        ("a 1 b 2", "a … b …", true),
        ("a 1 c 2", "a … b …", false),
        ("a 1, url: u", "a …, url: …", true),
        ("a 1, url: u, request id: r", "a …, url: u", false),
        ("Reconnecting... 1/5", "Reconnecting... …/…", true),
        ("Reconnecting... waiting for network", "Reconnecting... …/…", false),
        (r#"{"error":{"code":"x"}}"#, r#"{"error":{…}}"#, true),
    ] {
        assert_eq!(fits(line, says), fit, "{line:?} {says:?}");
    }
}
