//! `codex` as a command line: what is ours, and what is said about the rest.

use std::process::{Command, Output};

use codex_mock_upstream::Scenario;

use crate::support::*;

fn codex(arguments: &[&str]) -> Output {
    Command::new(crate::PROXY.0).args(arguments).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_has_its_name_and_a_short_one() {
    let upstream = tls_upstream(Scenario::Turn).await;
    let mut proxy = Proxy::start(&upstream, &["--http-shutdown"]);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    assert_eq!(proxy.ask("GET /shutdown", &[], b"").status, 200);
    assert_eq!(proxy.ended().0.code(), Some(0));

    let long = codex(&["responses-api-proxy", "--help"]);
    let short = codex(&["proxy", "--help"]);
    assert!(long.status.success() && long.stdout == short.stdout);
    assert!(text(&long.stdout).contains("--upstream-url") && text(&long.stdout).contains("demo"));
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    for arguments in [&["proxy", "no-such-verb"][..], &["proxy", "demo", "--port", "1"]] {
        let output = codex(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains("Usage: codex"), "{arguments:?}");
    }
}
