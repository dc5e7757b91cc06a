//! Which header fields cross the proxy, and in which direction.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

/// RFC 9110 section 7.6.1, with those that RFC 2616 section 13.5.1 named. `Proxy-*` is apart.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, HeaderName::from_static("keep-alive"), TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What the proxy alone decides: who asks, who pays, how the body is framed, and where from.
const PROXY_DECIDES: [HeaderName; 10] = [
    AUTHORIZATION,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    CONTENT_LENGTH,
    COOKIE,
    EXPECT, // The client gets its 100 from us.
    FORWARDED,
    HOST,
];

const PROXY_DECIDES_PREFIX: &str = "x-forwarded-";
const PROXY_PREFIX: &str = "proxy-";

/// The fields of the upstream's request: the key first, then the client's that may pass.
pub(crate) fn for_upstream(authorization: HeaderValue, client: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(client.len() + 1);
    fields.insert(AUTHORIZATION, authorization);
    pass_on(client, &mut fields, |name| {
        !PROXY_DECIDES.contains(name) && !name.as_str().starts_with(PROXY_DECIDES_PREFIX)
    });
    fields
}

/// The fields of the client's answer: the upstream's but those of its connection.
pub(crate) fn for_client(upstream: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(upstream.len());
    // RFC 9112 section 6.3: of two framings Transfer-Encoding counts, and ours is made anew.
    let is_chunked = upstream.contains_key(TRANSFER_ENCODING);
    pass_on(upstream, &mut fields, |name| !(is_chunked && name == CONTENT_LENGTH));
    fields
}

/// The transfer codings of an answer if they are any but `chunked` alone, which is all that is undone here.
pub(crate) fn foreign_transfer_coding(upstream: &HeaderMap) -> Option<&HeaderValue> {
    let mut codings = upstream.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(only), None) if only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => None,
        (first, _) => first,
    }
}

/// Copies, in order, what is not hop-by-hop and may pass. (Removing would disturb the order.)
fn pass_on(from: &HeaderMap, to: &mut HeaderMap, may_pass: impl Fn(&HeaderName) -> bool) {
    for (name, value) in from {
        if may_pass(name) && !is_hop_by_hop(name, from) {
            to.append(name, value.clone());
        }
    }
}

/// Whether a field concerns one connection alone: by its name, or because `Connection` lists it.
fn is_hop_by_hop(name: &HeaderName, fields: &HeaderMap) -> bool {
    HOP_BY_HOP.contains(name)
        || name.as_str().starts_with(PROXY_PREFIX)
        || lists(fields, &CONNECTION, name.as_str())
}

/// Whether a comma-separated field has this element; case does not matter.
pub(crate) fn lists(fields: &HeaderMap, list: &HeaderName, element: &str) -> bool {
    fields.get_all(list).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|found| found.trim_ascii().eq_ignore_ascii_case(element.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn the_upstream_gets_the_key_first_and_nothing_that_only_we_decide() {
        let client = fields(&[
            ("authorization", "Bearer the client's own"),
            ("host", "127.0.0.1:1"),
            ("cookie", "a=b"),
            ("api-key", "x"),
            ("x-api-key", "x"),
            ("openai-organization", "org"),
            ("openai-project", "proj"),
            ("proxy-authorization", "Basic x"),
            ("proxy-anything", "x"),
            ("forwarded", "for=x"),
            ("x-forwarded-for", "x"),
            ("x-forwarded-anything", "x"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, X-Named, Authorization"),
            ("x-named", "x"),
            ("keep-alive", "x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("content-type", "application/json"),
            ("content-encoding", "zstd"),
            ("x-codex-turn", "1"),
            ("originator", "codex"),
            ("accept", "text/event-stream"),
        ]);
        let upstream = for_upstream(HeaderValue::from_static("Bearer K"), &client);
        let names: Vec<&str> = upstream.keys().map(HeaderName::as_str).collect();
        assert_eq!(
            names,
            [
                "authorization",
                "content-type",
                "content-encoding",
                "x-codex-turn",
                "originator",
                "accept"
            ]
        );
        assert_eq!(upstream[AUTHORIZATION], "Bearer K");
    }

    #[test]
    fn a_repeated_field_stays_repeated() {
        let client = fields(&[("x-a", "1"), ("x-a", "2")]);
        let upstream = for_upstream(HeaderValue::from_static("Bearer K"), &client);
        assert_eq!(upstream.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn the_answer_loses_its_hop_by_hop_fields_only() {
        let answer = fields(&[
            ("connection", "keep-alive"),
            ("connection", "x-gone"),
            ("x-gone", "x"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("content-length", "2"),
            ("set-cookie", "a=b"),
            ("retry-after", "1"),
        ]);
        let passed = for_client(&answer);
        let names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-length", "set-cookie", "retry-after"]);
    }

    #[test]
    fn an_answer_with_two_framings_keeps_neither() {
        let answer =
            fields(&[("transfer-encoding", "chunked"), ("content-length", "2"), ("x", "y")]);
        let passed = for_client(&answer);
        assert_eq!(passed.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn chunked_is_the_only_transfer_coding_that_we_undo() {
        for (codings, foreign) in [
            (&[][..], false),
            (&["chunked"], false),
            (&["Chunked"], false),
            (&["gzip, chunked"], true),
            (&["gzip"], true),
            (&["gzip", "chunked"], true),
            (&["chunked", "chunked"], true),
        ] {
            let lines: Vec<_> =
                codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            assert_eq!(foreign_transfer_coding(&fields(&lines)).is_some(), foreign, "{codings:?}");
        }
    }
}
