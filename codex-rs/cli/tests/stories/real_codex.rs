//! The real public Codex CLI completes a turn through the proxy, and never has the key.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use codex_mock_upstream::Scenario;

use crate::codex_process::NOWHERE;
use crate::support::*;

/// What the mock's turn says.
pub(crate) const SAID: &str = "The key stayed with the proxy.";

/// Where `npm ci` puts it, in this crate's `tests/real-codex`.
pub(crate) fn installed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real-codex/node_modules/.bin/codex")
}

pub(crate) fn missing() -> Option<&'static str> {
    (!installed().exists()).then_some(
        "the Codex CLI is not installed: run `npm ci --prefix codex-rs/cli/tests/real-codex`",
    )
}

/// The flags that point one run of Codex at the proxy.
pub(crate) fn pointing(port: u16, more: &str) -> [String; 4] {
    let table = format!(
        r#"model_providers.openai-proxy={{name="Key guard",base_url="http://127.0.0.1:{port}/v1",wire_api="responses"{more}}}"#
    );
    ["-c", r#"model_provider="openai-proxy""#, "-c", &table].map(str::to_owned)
}

/// A turn in a fresh home, with nothing of ours in its environment.
fn turn(home: &Path, port: u16, more: &str) -> Output {
    Command::new(installed())
        .args(["exec", "--skip-git-repo-check"])
        .args(pointing(port, more))
        .arg("say hi")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home)
        .env("CODEX_HOME", home)
        .env("HTTPS_PROXY", NOWHERE)
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// All files below a folder, one after the other.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            bytes.append(&mut all_bytes(&entry.path()));
        } else if kind.is_file() {
            bytes.append(&mut fs::read(entry.path()).unwrap());
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_completes_and_only_the_upstream_saw_the_key() {
    if !can_run(missing()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let home = tempfile::tempdir().unwrap();
    let output = turn(home.path(), proxy.port, "");
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && shown.contains(SAID), "{shown}{said}");

    let seen = upstream.seen();
    let [request] = seen.as_slice() else { panic!("{} requests", seen.len()) };
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}").as_str());
    assert_eq!(upstream.counts().wrong_bearer, 0);
    assert!(contains(&request.body, b"say hi"));

    let kept = all_bytes(home.path());
    assert!(contains(&kept, b"say hi"), "Codex kept no session to search");
    let proxy_said = proxy.stop();
    for part in KEY.as_bytes().windows(8) {
        for place in [&kept, &output.stdout, &output.stderr, &proxy_said.clone().into_bytes()] {
            assert!(!contains(place, part), "the key has left the proxy");
        }
    }
    // Also when Codex leaves between the last event and the end of its answer.
    assert!(failures(&proxy_said).is_empty(), "an exchange failed: {proxy_said}");
}

/// A Codex that tries a WebSocket first falls back at once, after one refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_codex_that_prefers_websockets_falls_back_at_once() {
    if !can_run(missing()) {
        return;
    }
    let upstream = tls_upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let home = tempfile::tempdir().unwrap();
    let output = turn(home.path(), proxy.port, ",supports_websockets=true");
    assert!(text(&output.stdout).contains(SAID), "{}", text(&output.stderr));
    assert_eq!(upstream.counts().requests, 1);
    let said = proxy.stop();
    assert_eq!(said.matches("refused 426 upgrade_refused GET /v1/responses").count(), 1, "{said}");
}
