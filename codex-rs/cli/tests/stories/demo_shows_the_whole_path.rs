//! A newcomer runs the demo and sees the whole path.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::geteuid;
use serde_json::Value;

use crate::support::*;

const STEPS: [&str; 8] =
    ["upstream", "proxy", "hardening", "client", "stream", "upstream saw", "refusal", "stop"];

fn demo() -> Command {
    let mut command = clean(Command::new(crate::PROXY.0));
    command.args(["proxy", "demo"]);
    command
}

#[test]
fn every_step_is_printed_and_shows_what_it_should() {
    let output = demo().output().unwrap();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{shown}{said}");
    for (number, name) in STEPS.iter().enumerate() {
        let step = format!("\n{:>2}  {name:<13} ", number + 1);
        assert!(shown.contains(&step), "no {step:?} in {shown}");
    }
    assert!(shown.contains("All 8 steps showed what they should"), "{shown}");
}

#[test]
fn machines_get_one_object_a_line() {
    let output = demo().arg("--json").output().unwrap();
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line["step"].as_str().unwrap()).collect();
    assert_eq!(names[..8], STEPS);
    assert_eq!(names[8..], ["end"]);
    assert!(lines.iter().all(|line| line["ok"] == true));
    assert_eq!(lines[4]["facts"]["events"], 10);
}

/// As an ordinary account with no home: no root, no file of its own, and its proxy's memory closed.
#[test]
fn an_ordinary_account_sees_that_the_proxys_memory_is_closed_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("codex");
    copy_program(&program);
    for path in [folder.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = clean(Command::new(program));
    command.args(["proxy", "demo", "--json"]);
    if geteuid().is_root() {
        command.uid(61_236).gid(61_236).env("HOME", "/nonexistent");
    }
    let output = command.output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    let hardening: Value = serde_json::from_str(shown.lines().nth(2).unwrap()).unwrap();
    assert_eq!(hardening["facts"]["memory_readable_by_this_account"], false);
    assert_eq!(hardening["facts"]["core_limit"], 0);
}

/// A demo that can't show a step says which one and why, and does not claim success.
#[test]
fn a_demo_that_fails_says_why_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo().env("TMPDIR", folder.path().join("missing")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("error: while making a folder"),
        "{}",
        text(&output.stderr)
    );
    assert!(!text(&output.stdout).contains("All 8 steps"));

    let output =
        demo().arg("--json").env("TMPDIR", folder.path().join("missing")).output().unwrap();
    let shown = text(&output.stdout);
    let last: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    assert_eq!((&last["step"], &last["ok"]), (&Value::from("end"), &Value::from(false)), "{last}");
}

/// Whoever pipes the demo into `head` gets what they asked for and no panic.
#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let program = crate::PROXY.0;
    let output = Command::new("sh")
        .args(["-c", &format!("'{program}' proxy demo | head -n 1")])
        .output()
        .unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
}
