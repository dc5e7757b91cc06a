//! What an account may have prepared before it gives sudo up, and what it may do while root is at it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Child;

use super::machine::*;

/// A process of the account's, a shell that becomes this. Dropped, it is killed.
struct Prepared(Child);

impl Prepared {
    fn start(machine: &Machine, groups: &[u32], line: &str) -> Self {
        Self(machine.as_person(groups, "sh").args(["-c", line]).spawn().unwrap())
    }

    /// What it runs, once it does.
    fn becomes(&self, name: &str) {
        let comm = format!("/proc/{}/comm", self.0.id());
        wait_until(name, || fs::read_to_string(&comm).is_ok_and(|comm| comm.trim_end() == name));
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

/// Whether anybody's process has this command line.
fn runs(line: &[u8]) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|it| it == line)
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It has read the rules before they were changed: the right password would still make it root.
#[test]
fn a_sudo_that_waits_for_the_password_is_found_and_ended() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(
        "join sudo; echo tst_u:pw | chpasswd; mkfifo /home/tst_u/in; chown tst_u /home/tst_u/in",
    );
    let line = "exec 2>/home/tst_u/said; exec sudo -S id <>/home/tst_u/in >/home/tst_u/became";
    let mut waiting = Prepared::start(&machine, &[SUDO], line);
    waiting.becomes("sudo");
    let said = machine.path("/home/tst_u/said");
    wait_until("it asks", || fs::read_to_string(&said).is_ok_and(|said| said.contains("assword")));
    assert_found(&machine.plan(), "waiting_sudo", &waiting.0.id().to_string());
    machine.give_up().assert_gone();
    assert!(waiting.has_ended(), "it still waits");
    assert_eq!(machine.read("/home/tst_u/became"), "");
}

#[test]
fn a_sudo_that_waits_and_may_not_be_ended_is_an_open_way() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(
        "join sudo; echo tst_u:pw | chpasswd; mkfifo /home/tst_u/in; chown tst_u /home/tst_u/in",
    );
    let line = "exec 2>/home/tst_u/said; exec sudo -S id <>/home/tst_u/in";
    let waiting = Prepared::start(&machine, &[SUDO], line);
    waiting.becomes("sudo");
    let said = machine.path("/home/tst_u/said");
    wait_until("it asks", || fs::read_to_string(&said).is_ok_and(|said| said.contains("assword")));
    let ended = machine.relinquish(&["--user", PERSON, "--yes-relinquish", PERSON, "--json"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_found(&ended.json()["open"], "waiting_sudo", &waiting.0.id().to_string());
}

/// A child that is older than what its parent is now says nothing of it.
#[test]
fn a_waiting_sudo_can_not_hide_behind_an_older_one() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; rule '%sudo ALL=(ALL:ALL) NOPASSWD: /bin/sleep'");
    machine.lay(
        "echo tst_u:pw | chpasswd; mkfifo /home/tst_u/in /home/tst_u/go; chown tst_u /home/tst_u/*",
    );
    let line = "sudo -n /bin/sleep 77 >/dev/null 2>&1 & read go </home/tst_u/go; \
        exec 2>/home/tst_u/said; exec sudo -k -S id <>/home/tst_u/in";
    let mut waiting = Prepared::start(&machine, &[SUDO], line);
    wait_until("the older one runs", || runs(b"/bin/sleep\x0077\0"));
    fs::write(machine.path("/home/tst_u/go"), "\n").unwrap();
    waiting.becomes("sudo");
    let said = machine.path("/home/tst_u/said");
    wait_until("it asks", || fs::read_to_string(&said).is_ok_and(|said| said.contains("assword")));
    assert_found(&machine.plan(), "waiting_sudo", &waiting.0.id().to_string());
    machine.give_up();
    assert!(waiting.has_ended(), "it still waits");
}

/// It is nobody's child any more, and reads what the account writes.
#[test]
fn a_root_shell_that_reads_a_named_pipe_is_an_open_way() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; rule '%sudo ALL=(ALL:ALL) NOPASSWD: ALL'");
    machine.lay("mkfifo /home/tst_u/in; chown tst_u /home/tst_u/in");
    let line =
        "exec sudo -n sh -c 'echo $$ >/home/tst_u/pid; exec sh' <>/home/tst_u/in >/dev/null 2>&1";
    let _shell = Prepared::start(&machine, &[SUDO], line);
    let pid = machine.path("/home/tst_u/pid");
    wait_until("a root shell", || fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
    let ended = machine.give_up();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let pid = fs::read_to_string(&pid).unwrap();
    let mut pipe = fs::OpenOptions::new();
    let pipe = pipe.read(true).write(true).open(machine.path("/home/tst_u/in")); // So that it never waits.
    pipe.unwrap().write_all(b"exit\n").unwrap();
    assert_found(&ended.json()["open"], "root_process", pid.trim());
}

/// No search finds it, and whoever has it open can run it and hand it on.
#[test]
fn a_planted_file_without_a_name_loses_its_bit() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; install -o tst_u -g sudo -m 2755 /usr/bin/id /home/tst_u/id");
    let line = "exec 3</home/tst_u/id; rm /home/tst_u/id; exec sleep 600";
    let mut fresh = Prepared::start(&machine, &[], line);
    fresh.becomes("sleep");
    let file = format!("/proc/{}/fd/3", fresh.0.id());
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o2755);
    assert_found(&machine.plan(), "kept", &fresh.0.id().to_string());
    machine.give_up().assert_gone();
    assert_eq!(mode(), 0o755);
    assert!(!fresh.has_ended(), "it has nothing that was given up");
}

/// `sudo -s` starts the shell of whoever calls it, as root.
#[test]
fn nothing_of_the_accounts_own_is_run_by_root() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(
        "join sudo; mkdir /home/tst_u/bin; printf '#!/bin/sh\\nid -u >>/home/tst_u/ran\\n' >/home/tst_u/bin/fish; \
         chmod 755 /home/tst_u/bin/fish; chown -R tst_u /home/tst_u; usermod --shell /home/tst_u/bin/fish tst_u",
    );
    machine.plan();
    machine.give_up().assert_gone();
    machine.give_up().assert_gone(); // And when it is only verified.
    assert!(!machine.path("/home/tst_u/ran").exists(), "{}", machine.read("/home/tst_u/ran"));
}
