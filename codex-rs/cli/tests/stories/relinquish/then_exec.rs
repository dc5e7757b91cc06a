//! `--then-exec`: a program started with what the account has now, and with no way to get more.

use super::machine::*;
use crate::support::*;

/// A line of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':').map(str::trim);
    status.lines().rev().find_map(value).unwrap_or_else(|| panic!("no {name} in {status}"))
}

fn agreed<'a>(then: &[&'a str]) -> Vec<&'a str> {
    let flags = ["--user", PERSON, "--yes-relinquish", PERSON, "--end-processes", "--then-exec"];
    [&flags, then].concat()
}

#[test]
fn what_is_started_has_clean_groups_and_no_way_to_more() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; join docker");
    let ended = machine.relinquish(&agreed(&["/bin/cat", "/proc/self/status"]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let own = machine.account.to_string();
    let same = [own.as_str(); 4].join("\t");
    for (name, expected) in [
        ("Uid", same.as_str()),
        ("Gid", same.as_str()),
        ("Groups", own.as_str()),
        ("NoNewPrivs", "1"),
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
    ] {
        assert_eq!(field(&ended.shown, name), expected, "{name} in {ended:?}");
    }
}

#[test]
fn sudo_is_inert_there_and_the_programs_exit_code_counts() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("rule 'tst_u ALL=(ALL:ALL) NOPASSWD: ALL'");
    let ended = machine.relinquish(&agreed(&["/bin/sh", "-c", "sudo -n true; exit 42"]));
    assert_eq!(ended.code, Some(42), "{ended:?}");
    assert!(ended.said.contains("no new privileges"), "sudo says why it can't: {ended:?}");
}

#[test]
fn nothing_is_started_when_it_was_refused() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("late 'tst_u ALL=(ALL:ALL) ALL'");
    let marker = format!("/home/{PERSON}/started");
    let ended = machine.relinquish(&agreed(&["/usr/bin/touch", &marker]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!machine.path(&marker).exists(), "it was started: {ended:?}");
}

#[test]
fn it_starts_with_the_accounts_home_and_without_roots_variables() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo");
    let mut command = machine.as_root("/usr/local/bin/codex");
    command.args(["proxy", "relinquish-sudo"]).args(agreed(&["/usr/bin/env"]));
    command.env("HOME", "/root").env("LD_PRELOAD_OF_ROOT", "no").env("SUDO_COMMAND", "no");
    let output = command.output().unwrap();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}\n{said}");
    let has = |line: &str| shown.lines().any(|shown| shown == line);
    assert!(has(&format!("HOME=/home/{PERSON}")), "{shown}\n{said}");
    assert!(has(&format!("USER={PERSON}")), "{shown}\n{said}");
    assert!(!shown.contains("LD_PRELOAD_OF_ROOT") && !shown.contains("SUDO_"), "{shown}\n{said}");
}

/// What runs on a terminal can type into it (TIOCSTI): from root's own it would be root.
#[test]
fn no_program_gets_the_terminal_of_somebody_else() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo");
    let before = machine.etc();
    let line = format!(
        "codex proxy relinquish-sudo --user {PERSON} --yes-relinquish {PERSON} --then-exec /bin/true; echo ended $?"
    );
    let mut command = machine.as_root("setsid");
    command.args(["--wait", "script", "--quiet", "--return", "--command", &line, "/dev/null"]);
    let output = command.output().unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains("would have a terminal that is not tst_u's"), "{shown}");
    assert!(shown.contains("ended 1"), "{shown}");
    assert_eq!(machine.etc(), before);
}
