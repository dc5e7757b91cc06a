//! Which header fields cross the proxy, and in which direction.

use std::borrow::Cow;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use crate::field_rules::FieldRules;

/// RFC 9110 section 7.6.1, with those that RFC 2616 section 13.5.1 named. `Proxy-*` is apart.
const HOP_BY_HOP: [HeaderName; 6] =
    [CONNECTION, HeaderName::from_static("keep-alive"), TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// What the proxy alone decides: who asks, and how and where to.
const OF_THE_PROXY: [HeaderName; 4] = [
    AUTHORIZATION,
    CONTENT_LENGTH,
    EXPECT, // The client gets its 100 from us.
    HOST,
];

/// What is kept back unless the operator lets it through: other keys, who pays, where from.
const KEPT_BACK: [HeaderName; 6] = [
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    COOKIE,
    FORWARDED,
];

const KEPT_BACK_PREFIX: &str = "x-forwarded-";
/// Stands in answers of our own, and in no other.
pub(crate) const ERROR_CODE: HeaderName = HeaderName::from_static("x-codex-proxy-error");

const PROXY_PREFIX: &str = "proxy-";

/// Whose a field of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody's but ours: it frames or addresses the request, or says who asks.
    OfTheProxy,
    /// The client's, if the operator lets it through.
    KeptBack,
    /// The client's.
    PassesOn,
}

/// Whose fields of this name are. A name with `_` counts as the one with `-`: some servers can't tell them apart
/// (CGI, RFC 3875 section 4.1.18).
pub(crate) fn standing(name: &HeaderName) -> Standing {
    let name = &*with_hyphens(name);
    if OF_THE_PROXY.contains(name) || is_always_hop_by_hop(name) {
        Standing::OfTheProxy
    } else if KEPT_BACK.contains(name) || name.as_str().starts_with(KEPT_BACK_PREFIX) {
        Standing::KeptBack
    } else {
        Standing::PassesOn
    }
}

fn with_hyphens(name: &HeaderName) -> Cow<'_, HeaderName> {
    let spelt = name.as_str().contains('_').then(|| name.as_str().replace('_', "-"));
    match spelt.and_then(|name| HeaderName::try_from(name).ok()) {
        Some(name) => Cow::Owned(name),
        None => Cow::Borrowed(name),
    }
}

/// Whether some servers take a field of the one name for one of the other.
pub(crate) fn mean_the_same(one: &HeaderName, other: &HeaderName) -> bool {
    with_hyphens(one) == with_hyphens(other)
}

/// The fields of the upstream's request: the key first, then the operator's, then the client's that may pass.
pub(crate) fn for_upstream(key: HeaderValue, rules: &FieldRules, client: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(client.len() + rules.set.len() + 1);
    fields.insert(rules.key.name(), key);
    fields.extend(rules.set.iter().map(|(name, value)| (name.clone(), value.clone())));
    pass_on(client, &mut fields, |name| {
        let may_pass = match standing(name) {
            Standing::OfTheProxy => false,
            Standing::KeptBack => rules.forwarded.contains(name),
            Standing::PassesOn => true,
        };
        may_pass
            && !mean_the_same(name, rules.key.name())
            && !rules.set.keys().any(|set| mean_the_same(name, set))
    });
    fields
}

/// The fields of the client's answer: the upstream's but those of its connection.
pub(crate) fn for_client(upstream: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(upstream.len());
    // RFC 9112 section 6.3: of two framings Transfer-Encoding counts, and ours is made anew.
    // And a length that is said twice (`5, 5`) is to be said once (RFC 9110 section 8.6): hyper knows it.
    let mut lengths = upstream.get_all(CONTENT_LENGTH).iter();
    let is_one = |length: &HeaderValue| length.as_bytes().iter().all(u8::is_ascii_digit);
    let keeps_length = !upstream.contains_key(TRANSFER_ENCODING)
        && lengths.next().is_some_and(is_one)
        && lengths.next().is_none();
    pass_on(upstream, &mut fields, |name| {
        // Errors of ours are known by that field.
        name != ERROR_CODE && (keeps_length || name != CONTENT_LENGTH)
    });
    fields
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
    is_always_hop_by_hop(name) || lists(fields, &CONNECTION, name.as_str())
}

fn is_always_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name) || name.as_str().starts_with(PROXY_PREFIX)
}

/// Whether a request is framed in more than one way (RFC 9112 section 6.3). We frame it anew, but what
/// follows on its connection is not to be trusted.
pub(crate) fn is_framed_twice(client: &HeaderMap) -> bool {
    client.get_all(CONTENT_LENGTH).iter().count() + transfer_codings(client).count() > 1
}

/// The transfer codings of a message, outermost last (RFC 9112 section 6.1).
fn transfer_codings(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let elements = fields
        .get_all(TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    elements.filter(|coding| !coding.is_empty())
}

/// Whether a request's body is coded in a way that hyper does not undo: it looks at the last coding alone.
pub(crate) fn has_foreign_transfer_coding(client: &HeaderMap) -> bool {
    transfer_codings(client).any(|coding| !coding.eq_ignore_ascii_case(b"chunked"))
}

/// The same of an answer. One that is chunked twice would be undone once.
pub(crate) fn answer_has_foreign_transfer_coding(upstream: &HeaderMap) -> bool {
    has_foreign_transfer_coding(upstream) || transfer_codings(upstream).count() > 1
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

    fn rules() -> FieldRules {
        FieldRules::resolve(None, &[], &[]).unwrap()
    }

    fn names(fields: &HeaderMap) -> Vec<&str> {
        fields.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn what_the_operator_sets_takes_the_place_of_the_clients() {
        let client = fields(&[
            ("openai-project", "the client's"),
            ("x-set", "the client's"),
            ("api-key", "the client's"),
            ("openai-organization", "the client's"),
            ("authorization", "the client's"),
            ("x-forwarded-for", "the client's"),
            ("forwarded", "the client's"),
        ]);
        let set = ["OpenAI-Project: ours".to_owned(), "X-Set: ours".to_owned()];
        let forward = ["openai-organization".to_owned(), "x-forwarded-for".to_owned()];
        let rules = FieldRules::resolve(Some("api-key"), &set, &forward).unwrap();
        let upstream = for_upstream(HeaderValue::from_static("K"), &rules, &client);
        let lines: Vec<_> = upstream
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        assert_eq!(
            lines,
            [
                "api-key: K",
                "openai-project: ours",
                "x-set: ours",
                "openai-organization: the client's",
                "x-forwarded-for: the client's"
            ]
        );
    }

    /// A client that lists the key's own field in `Connection` does not have it taken away.
    #[test]
    fn connection_names_fields_of_the_client_alone() {
        let client = fields(&[("connection", "authorization, x-set"), ("x-set", "the client's")]);
        let rules = FieldRules::resolve(None, &["X-Set: ours".to_owned()], &[]).unwrap();
        let upstream = for_upstream(HeaderValue::from_static("Bearer K"), &rules, &client);
        assert_eq!(names(&upstream), ["authorization", "x-set"]);
    }

    #[test]
    fn an_underscore_hides_nothing() {
        let client = fields(&[
            ("openai_project", "x"),
            ("x_forwarded_for", "x"),
            ("api_key", "x"),
            ("content_length", "9"),
            ("transfer_encoding", "chunked"),
            ("x_set", "x"),
            ("session_id", "the client's"),
        ]);
        let rules = FieldRules::resolve(Some("x-key"), &["X-Set: ours".to_owned()], &[]).unwrap();
        let client_key = fields(&[("x_key", "x"), ("x-key", "x")]);
        let upstream = for_upstream(HeaderValue::from_static("K"), &rules, &client);
        assert_eq!(names(&upstream), ["x-key", "x-set", "session_id"]);
        let upstream = for_upstream(HeaderValue::from_static("K"), &rules, &client_key);
        assert_eq!(names(&upstream), ["x-key", "x-set"]);
        // Nor one of the operator's.
        let rules = FieldRules::resolve(Some("x_key"), &["X_Set: ours".to_owned()], &[]).unwrap();
        let client = fields(&[("x_key", "x"), ("x-key", "x"), ("x_set", "x"), ("x-set", "x")]);
        let upstream = for_upstream(HeaderValue::from_static("K"), &rules, &client);
        assert_eq!(names(&upstream), ["x_key", "x_set"]);
        assert_eq!(upstream.get_all("x_key").iter().collect::<Vec<_>>(), ["K"]);
    }

    #[test]
    fn a_coding_that_nobody_here_undoes_is_seen() {
        for (codings, foreign) in [
            (&[][..], false),
            (&["chunked"], false),
            (&["CHUNKED", "chunked"], false),
            (&[", chunked"], false),
            (&["gzip, chunked"], true),
            (&["identity", "chunked"], true),
            (&["xchunked"], true),
        ] {
            let lines: Vec<_> =
                codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
            assert_eq!(has_foreign_transfer_coding(&fields(&lines)), foreign, "{codings:?}");
        }
    }

    #[test]
    fn two_framings_are_seen() {
        for (lines, twice) in [
            (&[][..], false),
            (&[("content-length", "1")], false),
            (&[("transfer-encoding", "chunked")], false),
            (&[("content-length", "1"), ("transfer-encoding", "chunked")], true),
            (&[("content-length", "1"), ("content-length", "1")], true),
            (&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], true),
            (&[("transfer-encoding", "chunked, chunked")], true),
            (&[("transfer-encoding", ", Chunked,")], false),
        ] {
            assert_eq!(is_framed_twice(&fields(lines)), twice, "{lines:?}");
        }
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
        let upstream = for_upstream(HeaderValue::from_static("Bearer K"), &rules(), &client);
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
        let upstream = for_upstream(HeaderValue::from_static("Bearer K"), &rules(), &client);
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
            ("x-codex-proxy-error", "client_not_allowed"),
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
        for lengths in [&["2, 2"][..], &["2", "2"]] {
            let lines: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
            assert!(for_client(&fields(&lines)).is_empty(), "{lengths:?}");
        }
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
            assert_eq!(answer_has_foreign_transfer_coding(&fields(&lines)), foreign, "{codings:?}");
        }
    }
}
