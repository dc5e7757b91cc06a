//! Machines on which there is nothing to give up, or on which it can't be done: it says so, nothing is broken, and nobody
//! else loses a right.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::Value;

use super::machine::*;
use crate::support::*;

/// A way to sudo that is there unless a test says otherwise.
const RULE: &str = "rule 'tst_u ALL=(ALL:ALL) ALL'";

/// Flags that agree to all, for this account.
fn agreed(account: &str) -> [&str; 6] {
    ["--user", account, "--yes-relinquish", account, "--end-processes", "--json"]
}

/// On this machine nothing is done, and this is said.
fn assert_refuses(machine: &Machine, flags: &[&str], words: &[&str]) {
    let before = machine.etc();
    let ended = machine.relinquish(flags);
    let report = ended.assert_refused();
    let error = report["error"].to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
    assert_eq!(before, machine.etc(), "refused, and /etc is another: {ended:?}");
}

/// On this machine there is no way through sudo: it says so, and changes nothing.
fn assert_has_none(machine: &Machine) {
    let before = machine.etc();
    let ended = machine.give_up();
    let report = ended.json();
    assert_eq!((ended.code, &report["result"]), (Some(0), &Value::from("no_sudo")), "{ended:?}");
    assert_eq!(before, machine.etc(), "nothing to give up, and /etc is another: {ended:?}");
}

#[test]
fn without_sudo_on_the_machine_there_is_nothing_to_give_up() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(
        "without sudo sudoedit sudoreplay visudo cvtsudoers; rm -r /etc/sudoers /etc/sudoers.d",
    );
    assert_has_none(&machine);
}

#[test]
fn an_account_without_sudo_has_nothing_to_give_up() {
    let Some(machine) = Machine::here() else { return };
    assert_has_none(&machine);
}

#[test]
fn an_account_that_is_not_there_is_named() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(RULE);
    assert_refuses(&machine, &agreed("tst_nobody"), &["tst_nobody"]);
    assert_refuses(&machine, &agreed("61799"), &["61799"]);
}

#[test]
fn root_itself_can_not_give_it_up() {
    let Some(machine) = Machine::here() else { return };
    assert_refuses(&machine, &agreed("root"), &["root"]);
    assert_refuses(&machine, &agreed("0"), &["root"]);
}

#[test]
fn a_read_only_etc_is_left_as_it_is() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(&format!("{RULE}; join sudo; read_only"));
    assert_refuses(&machine, &agreed(PERSON), &["/etc"]);
    assert!(machine.judge_first(&[]).is_some(), "it works on as before");
}

#[test]
fn without_visudo_nothing_is_written() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(&format!("{RULE}; without visudo"));
    assert_refuses(&machine, &agreed(PERSON), &["visudo"]);
}

#[test]
fn rules_that_were_invalid_before_are_not_ours_to_mend() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(&format!("{RULE}; main 'this is no rule'"));
    assert_refuses(&machine, &agreed(PERSON), &["/etc/sudoers"]);
}

#[test]
fn a_folder_of_somebody_elses_is_no_place_for_our_rule() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("main 'tst_u ALL=(ALL:ALL) ALL'; chown tst_other /etc/sudoers.d");
    assert_refuses(&machine, &agreed(PERSON), &["/etc/sudoers.d"]);
}

#[test]
fn the_second_lock_is_there_where_rules_come_from_elsewhere_too() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(&format!("{RULE}; echo 'sudoers: files sss' >>/etc/nsswitch.conf"));
    let ended = machine.give_up();
    // What the other source holds can't be asked for here: it may be said to be undecided, never to be gone unseen.
    assert!([Some(0), Some(3)].contains(&ended.code), "{ended:?}");
    let own = format!("uid ne {}", machine.account);
    for service in ["/etc/pam.d/sudo", "/etc/pam.d/sudo-i"] {
        assert!(machine.read(service).contains(&own), "no lock in {service}: {ended:?}");
    }
    assert_eq!(machine.judge(&[SUDO]), [""; 0], "{ended:?}");
    assert_eq!(machine.judge_pam_alone(&[SUDO]), [""; 0], "{ended:?}");
}

#[test]
fn another_name_is_not_an_agreement() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(RULE);
    let flags = ["--user", PERSON, "--yes-relinquish", OTHER, "--json"];
    assert_refuses(&machine, &flags, &[PERSON, OTHER]);
}

#[test]
fn without_a_terminal_somebody_has_to_agree_by_a_flag() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(RULE);
    assert_refuses(&machine, &["--user", PERSON, "--json"], &["--yes-relinquish"]);
}

#[test]
fn at_a_terminal_the_name_has_to_be_typed() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(RULE);
    let before = machine.etc();
    let (code, shown) = typed(&machine, "yes\n");
    assert_eq!(code, Some(1), "{shown}");
    assert_eq!(before, machine.etc(), "the name was not typed, and /etc is another: {shown}");
    let (code, shown) = typed(&machine, &format!("{PERSON}\n"));
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(machine.judge(&[SUDO]), [""; 0], "{shown}");
}

/// What comes of an answer typed at a terminal, and all that it shows.
fn typed(machine: &Machine, answer: &str) -> (Option<i32>, String) {
    let words = format!("/usr/local/bin/codex proxy relinquish-sudo --user {PERSON}");
    // It may ask more than is expected here, and would wait for that.
    let mut command = machine.as_root("timeout");
    command.args([
        "--foreground",
        "120",
        "script",
        "--quiet",
        "--return",
        "--command",
        &words,
        "/dev/null",
    ]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut shown = Vec::new();
    let mut screen = child.stdout.take().unwrap();
    let mut chunk = [0; 512];
    let mut is_answered = false;
    let mut keyboard = child.stdin.take().unwrap();
    while let Ok(count @ 1..) = screen.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..count]);
        if !is_answered && contains(&shown, b"to go on") {
            is_answered = true;
            keyboard.write_all(answer.as_bytes()).unwrap();
        }
    }
    drop(keyboard);
    assert!(is_answered, "it asked nothing: {}", text(&shown));
    (child.wait().unwrap().code(), text(&shown))
}

#[test]
fn whoever_can_not_become_root_sees_what_can_be_seen_and_changes_nothing() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(RULE);
    let before = machine.etc();
    for flags in [&["--yes-relinquish", PERSON][..], &["--user", OTHER, "--yes-relinquish", OTHER]]
    {
        // No terminal to ask for the password at; and somebody else's sudo is nobody's to give up.
        let mut command = machine.as_person(&[], "setsid");
        command.args(["--wait", "codex", "proxy", "relinquish-sudo"]).args(flags);
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        assert!(said.contains("error: "), "{flags:?}: {said}");
        assert_eq!(before, machine.etc(), "{flags:?}: {said}");
    }
}

#[test]
fn a_second_run_changes_nothing_and_verifies_again() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(&format!("{RULE}; join sudo"));
    machine.give_up().assert_gone();
    let (etc, journal) = (machine.etc(), machine.read(&journal_of(&machine)));
    // Nobody has to agree again.
    let again = machine.relinquish(&["--user", PERSON, "--json"]);
    again.assert_gone();
    assert_eq!(etc, machine.etc(), "a second run changed something: {again:?}");
    let steps = |journal: &str| serde_json::from_str::<Value>(journal).unwrap()["steps"].clone();
    let journal_now = machine.read(&journal_of(&machine));
    assert_eq!(steps(&journal), steps(&journal_now), "the second run has steps of its own");

    // To look changes nothing, and what was kept is tried again.
    let looked = machine.relinquish(&["--user", PERSON, "--plan", "--json"]).json();
    let (kept, tried) = (&again.json()["evidence"], &looked["evidence"]);
    assert_eq!((&kept["tries"], &kept["rule"]), (&tried["tries"], &tried["rule"]), "{looked:#}");
    assert!(kept["verified_at"].as_u64() <= tried["verified_at"].as_u64() && tried.is_object());
    assert_eq!(journal_now, machine.read(&journal_of(&machine)));

    // Something was undone meanwhile: it is found, and done again.
    fs::remove_file(machine.drop_in()).unwrap();
    let flags = ["--user", PERSON, "--yes-relinquish", PERSON, "--json"];
    machine.relinquish(&flags).assert_gone();
    assert_eq!(machine.judge(&[SUDO]), [""; 0]);
}

#[test]
fn what_was_done_is_kept_for_root_alone_with_how_to_reverse_it() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(&format!("{RULE}; join sudo"));
    machine.give_up().assert_gone();
    let journal: Value = serde_json::from_str(&machine.read(&journal_of(&machine))).unwrap();
    let named = (&journal["account"], &journal["uid"]);
    assert_eq!(named, (&Value::from(PERSON), &Value::from(machine.account)), "{journal:#}");
    let reverse = journal["steps"].as_array().unwrap().iter().flat_map(|step| {
        step["reverse"].as_array().unwrap_or_else(|| panic!("no way back in {step:#}"))
    });
    let reverse: Vec<&str> = reverse.map(|line| line.as_str().unwrap()).collect();
    assert!(!reverse.is_empty(), "{journal:#}");
    let closed = machine.as_person(&[], "cat").arg(journal_of(&machine)).output().unwrap();
    assert!(!closed.status.success(), "the account can read the journal");

    // An administrator types it, and all is as it was.
    let status = machine.as_root("sh").args(["-e", "-c", &reverse.join("\n")]).output().unwrap();
    assert!(status.status.success(), "{reverse:#?}: {}", text(&status.stderr));
    assert!(machine.judge_first(&[]).is_some(), "reversed, and sudo is still closed: {reverse:#?}");
}

fn journal_of(machine: &Machine) -> String {
    format!("/var/lib/codex-responses-api-proxy/relinquished/{}.json", machine.account)
}

/// Pages that are left on a disk that is full soon.
const ROOMS: [u32; 5] = [0, 1, 2, 4, 7];

#[test]
fn on_a_full_disk_nothing_is_broken_and_with_room_the_job_is_finished() {
    let Some(machine) = Machine::here() else { return };
    let mut failed = 0;
    for pages in ROOMS {
        machine.reset();
        machine.lay(&format!("{RULE}; join sudo; join docker"));
        let others = machine.ask(&["others"]);
        machine.ask(&["room", &pages.to_string()]);
        let ended = machine.give_up();
        machine.ask(&["enough_room"]);
        let why = format!("with {pages} pages left: {ended:?}");
        if ended.code == Some(0) {
            ended.assert_gone();
        } else {
            failed += 1;
            ended.assert_refused();
        }
        let valid = machine.as_root("visudo").arg("-c").output().unwrap();
        assert!(valid.status.success(), "sudo is broken {why}");
        assert_eq!(others, machine.ask(&["others"]), "others have other rights {why}");
        machine.give_up().assert_gone();
        assert_eq!(machine.judge(&[SUDO]), [""; 0], "{why}");
    }
    assert!(failed > 0, "the disk was never full");
}
