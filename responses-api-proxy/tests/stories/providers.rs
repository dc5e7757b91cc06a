//! Other providers: another URL, another field for the key, fields that the operator decides about.

use codex_mock_upstream::{MockUpstream, Options, Scenario};

use crate::support::*;

/// A mock that does not care which key it gets, or where.
async fn any_upstream() -> MockUpstream {
    MockUpstream::start(Options { scenario: Scenario::Json, ..Options::default() }).await.unwrap()
}

/// A provider in the manner of Azure: a URL with a query, and the bare key in `api-key`.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_gets_its_query_and_the_bare_key_in_its_own_field() {
    let upstream = any_upstream().await;
    let base = upstream.responses_url();
    let url =
        base.replace("/v1/responses", "/openai/responses?api-version=2025-04-01-preview&x=%2F");
    let proxy = Proxy::start_for(&url, &["--auth-header", "api-key"]);
    let fields = ["Authorization: Bearer the-clients-own", "Api-Key: the-clients-own"];
    assert_eq!(proxy.ask("POST /v1/responses", &fields, b"{}").status, 200);

    let seen = upstream.seen().remove(0);
    assert_eq!(seen.target, "/openai/responses?api-version=2025-04-01-preview&x=%2F");
    assert_eq!(seen.headers.get_all("api-key").iter().collect::<Vec<_>>(), [KEY]);
    assert!(!seen.headers.contains_key("authorization"), "{:?}", seen.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sets_fields_and_lets_fields_through() {
    let upstream = any_upstream().await;
    let flags = [
        ["--set-header", "OpenAI-Project: proj_ours"],
        ["--set-header", "X-Gateway: a: b"],
        ["--set-header", "User-Agent: ours"],
        ["--forward-header", "openai-organization"],
        ["--forward-header", "Cookie"],
    ];
    let proxy = Proxy::start(&upstream, flags.as_flattened());
    let fields = [
        "OpenAI-Project: proj_theirs",
        "OpenAI-Organization: org_theirs",
        "Cookie: theirs",
        "User-Agent: theirs",
        "X-Api-Key: theirs",
        "Connection: x-gateway, authorization",
    ];
    assert_eq!(proxy.ask("POST /v1/responses", &fields, b"{}").status, 200);

    let seen = upstream.seen().remove(0);
    let all = |name: &str| {
        let values = seen.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(all("openai-project"), ["proj_ours"]);
    assert_eq!(all("x-gateway"), ["a: b"]);
    assert_eq!(all("user-agent"), ["ours"]);
    assert_eq!(all("openai-organization"), ["org_theirs"]);
    assert_eq!(all("cookie"), ["theirs"]);
    assert!(all("x-api-key").is_empty());
    assert_eq!(all("authorization"), [format!("Bearer {KEY}")]);
}

#[test]
fn a_field_that_would_move_the_key_or_the_frame_is_refused_at_start() {
    for (flags, words) in [
        (["--auth-header", "Host"], "--auth-header \"Host\" can't be used"),
        (["--set-header", "Content-Length: 1"], "--set-header \"Content-Length\" can't be used"),
        (["--set-header", "no-colon"], "no colon"),
        (["--set-header", "Authorization: Bearer s3cret-value"], "the key stands in this field"),
        (["--forward-header", "Authorization"], "the key stands in this field"),
        (["--forward-header", "Transfer-Encoding"], "the proxy alone decides"),
        (["--upstream-proxy", "socks5://127.0.0.1:1"], "its scheme is socks5"),
        (["--upstream-proxy", "http://me:s3cret@127.0.0.1:1/path"], "it has a path"),
    ] {
        let output = run(&flags, KEY.as_bytes());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && said.contains("hint: "), "no {words:?} in {said}");
        assert!(!said.contains("s3cret"), "a value that may be a secret is repeated: {said}");
    }
    let local = ["--upstream-url", "http://127.0.0.1:1/", "--upstream-proxy", "http://127.0.0.1:1"];
    let said = text(&run(&local, KEY.as_bytes()).stderr);
    assert!(said.contains("which a proxy would read"), "{said}");
}
