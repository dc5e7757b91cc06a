//! The real turn: only if somebody agrees, and only the proxy's own record counts.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::pty::openpty;
use serde_json::{Value, json};

use super::{Desk, Ended, ended};
use crate::codex_process::NOWHERE;
use crate::real_codex;
use crate::support::*;

/// Agreed to, with the real Codex.
fn with_real_codex(desk: &Desk, flags: &[&str]) -> Command {
    let mut command = desk.point(&[&["--verify"], flags].concat());
    command.env("CODEX_REAL_BIN", real_codex::installed()).env("HTTPS_PROXY", NOWHERE);
    command
}

/// A program in Codex's place. Another process writes it: what is open for writing, be it in a child of a test beside
/// this one, can't be run (ETXTBSY, execve(2)).
fn pretended(desk: &Desk, script: &str) -> PathBuf {
    let program = desk.folder.path().join("pretended-codex");
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$0" && chmod 755 "$0""#;
    let written = Command::new("sh").args(["-c", write]).arg(&program).arg(script).status();
    assert!(written.unwrap().success());
    program
}

/// Agreed to, with such a program.
fn with_program(desk: &Desk, script: &str) -> Ended {
    let program = pretended(desk, script);
    let mut command = desk.point(&["--verify", "--yes"]);
    ended(command.env("CODEX_REAL_BIN", &program).output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_real_turn_is_proved_by_the_proxys_record() {
    if !can_run(real_codex::missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    // Also behind a company's proxy, where nobody has exempted 127.0.0.1.
    let mut command = with_real_codex(&desk, &["--yes"]);
    let (code, shown, said) = ended(command.env("HTTP_PROXY", NOWHERE).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let last = shown.lines().last().unwrap();
    let verified = "verified: a turn of Codex went through the proxy, its record #1: ";
    assert!(last.starts_with(verified), "{shown}");
    assert_eq!(upstream.counts().requests, 1);

    let (code, shown, said) =
        ended(with_real_codex(&desk, &["--yes", "--json", "--profile"]).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&seen["verified"], &seen["profile"]), (&json!(true), &json!(true)));
    assert_eq!(upstream.counts().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_fails_is_told_with_the_record_and_codexs_last_words() {
    if !can_run(real_codex::missing()) {
        return;
    }
    let upstream = upstream(Scenario::Status { status: 400, retry_after: None }).await;
    let desk = Desk::start(&upstream);
    let (code, shown, said) = ended(with_real_codex(&desk, &["--yes"]).output().unwrap());
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.starts_with("pointed: "), "{shown}");
    let error = "error: not verified: Codex ended with exit code 1; the proxy's record: ";
    assert!(said.starts_with(error) && said.contains("\n  what Codex said last:\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_only_says_so_proves_nothing() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    let (code, _, said) = with_program(&desk, r"printf 'all \033[2Jis well\n' >&2");
    assert_eq!(code, Some(1));
    let error = "error: not verified: Codex ended well, and the proxy has seen no request of this account\n  what Codex said last:\n  all \\u{1b}[2Jis well\n";
    assert!(said.starts_with(error), "{said}");
    // What it gets: an empty folder, no input, and no HTTP proxy for 127.0.0.1.
    let script = r#"echo "$* in $(ls -A | wc -l) files, home ${CODEX_HOME##*/}, for $NO_PROXY $no_proxy, input $(wc -c)" >&2; exit 3"#;
    let (code, _, said) = with_program(&desk, script);
    assert_eq!(code, Some(1));
    let arguments = "exec --skip-git-repo-check --sandbox read-only Answer with the one word: ok";
    let no_proxy = codex_config::exempting_loopback(None);
    let facts = format!(" in 0 files, home .codex, for {no_proxy} {no_proxy}, input 0");
    assert!(said.contains(&format!("  {arguments}{facts}\n")), "{said}");
    assert!(said.contains("Codex ended with exit code 3"), "{said}");
    assert_eq!(upstream.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_to_ask_and_no_codex_are_said_before_anything_is_spent() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    let (code, shown, said) = desk.pointed(&["--verify"]);
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(said.starts_with("error: --verify runs one small turn"), "{said}");
    assert!(said.ends_with("hint: say --yes as well\n"), "{said}");
    assert!(!desk.codex_home().exists());

    let mut command = desk.point(&["--verify", "--yes"]);
    let (code, shown, said) = ended(command.env("PATH", desk.folder.path()).output().unwrap());
    assert_eq!(code, Some(1), "{shown}");
    assert!(said.starts_with("error: the public Codex CLI is not installed"), "{said}");
    assert!(said.contains("npm install -g @openai/codex"), "{said}");
    // No turn was run: whether one would go through is not known.
    let mut command = desk.point(&["--verify", "--yes", "--json"]);
    let (code, shown, _) = ended(command.env("PATH", desk.folder.path()).output().unwrap());
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &seen["verified"]), (Some(1), &Value::Null));
    assert_eq!(upstream.counts().requests, 0);
}

/// Somebody at a terminal who answers this.
fn answered(desk: &Desk, upstream: &MockUpstream, typed: &str) -> Ended {
    let pty = openpty(None, None).unwrap();
    let program = pretended(desk, "echo it ran >&2; exit 1");
    let mut command = desk.point(&["--verify"]);
    command.env("CODEX_REAL_BIN", &program).stdin(Stdio::from(pty.slave));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    File::from(pty.master.try_clone().unwrap()).write_all(typed.as_bytes()).unwrap();
    let (mut shown, mut said) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let code = child.wait().unwrap().code();
    drop((pty.master, command));
    assert_eq!(upstream.counts().requests, 0);
    (code, shown, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_and_enter_means_no() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    for typed in ["\n", "n\n", "what\n"] {
        let (code, shown, said) = answered(&desk, &upstream, typed);
        assert_eq!(code, Some(0), "{said}");
        assert!(shown.contains("next: codex\n"), "{shown}");
        assert!(
            said.contains("[y/N] ") && said.contains("not verified: nothing was asked"),
            "{said}"
        );
        assert!(!said.contains("it ran"), "{said}");
    }
    let (code, _, said) = answered(&desk, &upstream, "y\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("\n  it ran\n"), "{said}");
}
