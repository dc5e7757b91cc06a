//! The real Codex CLI through our `codex`: its standard input, its exit code and ^C, as if it had been called itself.

use std::process::ExitStatus;

use codex_mock_upstream::MockUpstream;

use super::*;
use crate::codex_process::NOWHERE;
use crate::real_codex::{SAID, installed, missing};

/// A pointed home, and a proxy there.
async fn pointed(scenario: Scenario) -> (MockUpstream, Proxy, Place) {
    let upstream = upstream(scenario).await;
    let proxy = Proxy::start(&upstream, &[]);
    let place = Place::empty();
    place.point(proxy.port);
    (upstream, proxy, place)
}

/// `codex exec` of this program, which is ours or theirs. It finds node on PATH.
fn exec(place: &Place, program: &Path, prompt: &str) -> Command {
    let mut command = Command::new("env");
    command
        .args(["--default-signal=INT"]) // Whoever runs the tests may ignore it.
        .arg(program)
        .args(["exec", "--skip-git-repo-check", prompt])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("CODEX_REAL_BIN", installed())
        .env("HOME", place.at("home"))
        .env("HTTPS_PROXY", NOWHERE)
        .current_dir(place.at("home"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_on_standard_input_goes_through_the_proxy() {
    if !can_run(missing()) {
        return;
    }
    let (upstream, _proxy, place) = pointed(Scenario::Turn).await;
    let codex = exec(&place, &place.at("ours/codex"), "-").spawn().unwrap();
    let output = end(codex, b"words from a pipe");
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && shown.contains(SAID), "{shown}{said}");
    let seen = upstream.seen();
    let [request] = seen.as_slice() else { panic!("{} requests", seen.len()) };
    assert!(contains(&request.body, b"words from a pipe"));
    assert_eq!(upstream.counts().wrong_bearer, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_ends_with_the_code_that_codex_gives_it() {
    if !can_run(missing()) {
        return;
    }
    let (_upstream, _proxy, place) =
        pointed(Scenario::Status { status: 400, retry_after: None }).await;
    let codes = [place.at("ours/codex"), installed()].map(|program| {
        let codex = exec(&place, &program, "say hi").env("NO_PROXY", "127.0.0.1").spawn().unwrap();
        end(codex, b"").status
    });
    assert!(!codes[0].success());
    assert_eq!(codes[0], codes[1]);
}

/// How Codex ends when ^C comes in the middle of its turn.
async fn interrupted(place: &Place, program: &Path, upstream: &MockUpstream) -> ExitStatus {
    let before = upstream.counts().requests;
    let mut command = exec(place, program, "say hi");
    // It would read a pipe to its end before it begins.
    let codex = command.env("NO_PROXY", "127.0.0.1").stdin(Stdio::null()).spawn().unwrap();
    let group = Pid::from_raw(codex.id().try_into().unwrap());
    until(upstream, |counts| counts.requests > before).await;
    killpg(group, Signal::SIGINT).unwrap();
    end(codex, b"").status
}

/// As the terminal does it: SIGINT for all of the foreground's processes.
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_it_as_it_ends_codex() {
    if !can_run(missing()) {
        return;
    }
    let (upstream, _proxy, place) = pointed(Scenario::Gated).await;
    let through_us = interrupted(&place, &place.at("ours/codex"), &upstream).await;
    let directly = interrupted(&place, &installed(), &upstream).await;
    assert!(!through_us.success());
    assert_eq!(through_us, directly);
}
