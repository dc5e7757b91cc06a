//! What survives the rules being closed: credentials that run already, tickets, planted files, group administrators, and
//! ways to root that are not sudo's. Each is found before anything is changed, and closed or listed after.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Child;

use serde_json::Value;

use super::machine::*;
use crate::support::*;

/// A process of the account's. Dropped, it is killed.
struct Running(Child);

impl Running {
    /// With these groups, which a login may no longer give.
    fn start(machine: &Machine, groups: &[u32]) -> Self {
        let child = machine.as_person(groups, "sleep").arg("600").spawn().unwrap();
        let running = Self(child);
        let name = format!("/proc/{}/comm", running.0.id());
        wait_until("it sleeps", || fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n"));
        running
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It did all it could, and says that this is a way to root still.
fn assert_listed(machine: &Machine, check: &str, part: &str) {
    assert_found(&machine.plan(), check, part);
    let ended = machine.give_up();
    let report = ended.json();
    assert_eq!((ended.code, &report["result"]), (Some(3), &Value::from("open")), "{ended:?}");
    assert!(open(&report).contains(&check), "{check} is not among what is open: {ended:?}");
    assert_found(&report["open"], check, part);
    assert_eq!(machine.judge(&[SUDO, DOCKER]), [""; 0], "sudo itself: {ended:?}");
}

#[test]
fn a_shell_that_kept_the_group_is_found_and_ended() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo");
    let mut stale = Running::start(&machine, &[SUDO]);
    let pid = stale.0.id().to_string();
    assert!(machine.judge_first(&[SUDO]).is_some(), "no way in the first place");
    assert_found(&machine.plan(), "stale_process", &pid);
    machine.give_up().assert_gone();
    assert!(!stale.is_running(), "the stale process runs still");
    assert_eq!(machine.judge(&[SUDO]), [""; 0]);
}

#[test]
fn a_shell_that_kept_a_group_which_was_left_long_ago_is_found_and_ended() {
    let Some(machine) = Machine::here() else { return };
    let mut stale = Running::start(&machine, &[SUDO]);
    assert_found(&machine.plan(), "stale_process", &stale.0.id().to_string());
    let ended = machine.give_up();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!stale.is_running(), "the stale process runs still: {ended:?}");
    assert_eq!(machine.judge(&[SUDO]), [""; 0], "{ended:?}");
}

#[test]
fn without_agreement_no_process_is_ended_and_it_is_told_of() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo");
    let mut stale = Running::start(&machine, &[SUDO]);
    let ended = machine.relinquish(&["--user", PERSON, "--yes-relinquish", PERSON, "--json"]);
    // Gone where both locks hold even for those that kept the group; but they are named.
    assert!([Some(0), Some(3)].contains(&ended.code), "{ended:?}");
    assert_found(&ended.json(), "stale_process", &stale.0.id().to_string());
    assert!(stale.is_running(), "it was ended, and nobody agreed to that: {ended:?}");
    assert_eq!(machine.judge(&[SUDO]), [""; 0], "{ended:?}");
}

#[test]
fn a_process_of_somebody_elses_is_left_alone() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo");
    let mut command = machine.as_root("setpriv");
    command.args(["--reuid", OTHER, "--regid", OTHER, "--groups", "27", "sleep", "600"]);
    let mut others = Running(command.spawn().unwrap());
    let mut without = Running::start(&machine, &[]);
    machine.give_up().assert_gone();
    assert!(others.is_running(), "another administrator's process was ended");
    assert!(without.is_running(), "a process without any such group was ended");
}

#[test]
fn a_terminal_multiplexer_of_before_is_found_and_ended() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo");
    let Some(server) = multiplexer(&machine) else { return };
    assert_found(&machine.plan(), "stale_process", &server.to_string());
    machine.give_up().assert_gone();
    let folder = format!("/proc/{server}");
    // Nobody's child here: it may be a zombie for a while (proc(5): state Z).
    wait_until("the server has gone", || !Path::new(&folder).join("exe").exists());
}

/// A tmux server's process, with a shell in it, where there is tmux.
fn multiplexer(machine: &Machine) -> Option<u32> {
    let missing = "it needs tmux: `apt-get install tmux`";
    let is_there = machine.path("/usr/bin/tmux").exists();
    if !can_run((!is_there).then_some(missing)) {
        return None;
    }
    let tmux = |words: &[&str]| {
        let mut command = machine.as_person(&[SUDO], "tmux");
        command.args(["-S", "/home/tst_u/tmux"]).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "tmux {words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    tmux(&["new-session", "-d"]);
    Some(tmux(&["display-message", "-p", "#{pid}"]).trim().parse().unwrap())
}

#[test]
fn the_shell_that_calls_it_lives_and_is_told_to_log_out() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; rule '%sudo ALL=(ALL:ALL) NOPASSWD: ALL'");
    let line = format!(
        "codex proxy relinquish-sudo --yes-relinquish {PERSON} --end-processes --json; echo $$ $?"
    );
    let mut command = machine.as_person(&[SUDO], "setsid");
    let output = command.args(["--wait", "sh", "-c", &line]).output().unwrap();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    let (json, last) = shown.trim_end().rsplit_once('\n').unwrap_or_else(|| panic!("{said}"));
    let (shell, code) = last.split_once(' ').unwrap_or_else(|| panic!("{shown}\n{said}"));
    // Nothing honours what it still has.
    assert_eq!(code, "0", "{shown}\n{said}");
    let report: Value = serde_json::from_str(json).unwrap();
    let stale: Vec<String> =
        report["stale"].as_array().unwrap().iter().map(|it| it["pid"].to_string()).collect();
    assert!(stale.iter().any(|pid| pid == shell), "{report:#}");
    assert_eq!(machine.judge(&[SUDO]), [""; 0], "{shown}\n{said}");
}

#[test]
fn a_live_ticket_is_found_and_taken_away() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo");
    machine.ask(&["ticket"]);
    let folder = machine.path("/run/sudo/ts");
    let tickets = || fs::read_dir(&folder).unwrap().count();
    assert_eq!(tickets(), 1, "no ticket in the first place");
    assert_found(&machine.plan(), "ticket", "/run/sudo/ts");
    machine.give_up().assert_gone();
    assert_eq!(tickets(), 0);
}

#[test]
fn planted_copies_that_lend_the_group_lose_that() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; mkdir -m 755 /var/tmp/.x && chown tst_u /var/tmp/.x");
    let plants = ["/home/tst_u/id", "/var/tmp/.x/id"];
    for plant in plants {
        machine.lay(&format!("install -o tst_u -g sudo -m 2755 /usr/bin/id {plant}"));
    }
    let lent = |plant: &str| {
        let output = machine.as_person(&[], plant).arg("-g").output().unwrap();
        text(&output.stdout).trim().parse::<u32>().unwrap()
    };
    assert_eq!(plants.map(lent), [SUDO; 2], "nothing is lent in the first place");
    let plan = machine.plan();
    for plant in plants {
        assert_found(&plan, "plant", plant);
    }
    machine.give_up().assert_gone();
    assert_eq!(plants.map(lent), [machine.account; 2]);
    for plant in plants {
        let file = fs::metadata(machine.path(plant)).unwrap();
        assert_eq!((file.uid(), file.mode() & 0o7777), (machine.account, 0o755), "{plant}");
    }
}

#[test]
fn a_planted_name_that_leads_elsewhere_is_not_followed() {
    let Some(machine) = Machine::here() else { return };
    // What another administrator has is left as it is, by whatever name it is reached.
    machine.lay(
        "join sudo; install -o root -g sudo -m 2750 /usr/bin/id /opt/id; \
         ln -s /opt/id /home/tst_u/id; mkfifo /home/tst_u/fifo; \
         chown tst_u:sudo /home/tst_u/fifo; chmod 2755 /home/tst_u/fifo",
    );
    machine.give_up();
    let file = fs::metadata(machine.path("/opt/id")).unwrap();
    assert_eq!((file.uid(), file.mode() & 0o7777), (0, 0o2750));
}

#[test]
fn the_administrator_of_a_group_is_found_and_is_none_after() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; gpasswd -A tst_other,tst_u sudo");
    assert_found(&machine.plan(), "group_admin", "sudo");
    machine.give_up().assert_gone();
    let groups = machine.read("/etc/gshadow");
    let line = groups.lines().find(|line| line.starts_with("sudo:"));
    assert_eq!(line, Some("sudo:*:tst_other:tst_other"));
}

/// A socket like docker's, at its usual path.
fn socket(machine: &Machine, mode: u32) -> UnixListener {
    let path = machine.path("/run/docker.sock");
    let listener = UnixListener::bind(&path).unwrap();
    chown(&path, Some(0), Some(DOCKER)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    listener
}

#[test]
fn a_socket_of_a_group_is_closed_by_leaving_the_group() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join docker; rule 'tst_u ALL=(ALL:ALL) ALL'");
    let _docker = socket(&machine, 0o660);
    let plan = machine.plan();
    assert_found(&plan, "group", "docker");
    assert_found(&plan, "socket", "docker.sock");
    machine.give_up().assert_gone();
    let groups = machine.as_root("id").args(["-nG", PERSON]).output().unwrap();
    assert_eq!(text(&groups.stdout).trim(), PERSON);
    // Nothing that others share is changed.
    let mode = fs::metadata(machine.path("/run/docker.sock")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn a_socket_that_everybody_may_write_to_is_listed_and_left_as_it_is() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("rule 'tst_u ALL=(ALL:ALL) ALL'");
    let _docker = socket(&machine, 0o666);
    assert_listed(&machine, "socket", "docker.sock");
    let mode = fs::metadata(machine.path("/run/docker.sock")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o666);
}

#[test]
fn a_unit_that_the_account_can_write_is_listed() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(
        "join sudo; install -d /etc/systemd/system; \
         printf '[Service]\\nExecStart=/usr/bin/id\\n' >/etc/systemd/system/tst.service; \
         chown tst_u /etc/systemd/system/tst.service",
    );
    assert_listed(&machine, "unit", "tst.service");
}

#[test]
fn a_script_that_a_unit_runs_is_listed() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(
        "join sudo; install -d /etc/systemd/system /opt/service; \
         install -o tst_u -m 755 /dev/null /opt/service/run.sh; \
         printf '[Service]\\nExecStart=/opt/service/run.sh\\n' >/etc/systemd/system/tst.service",
    );
    assert_listed(&machine, "unit", "/opt/service/run.sh");
}

#[test]
fn our_own_binary_in_the_accounts_home_is_listed() {
    let Some(machine) = Machine::here() else { return };
    machine.lay(
        "join sudo; install -d -o tst_u -g tst_u -m 755 /home/tst_u/bin; \
         install -o tst_u -g tst_u -m 755 /mnt/codex /home/tst_u/bin/codex",
    );
    let flags = ["--user", PERSON, "--yes-relinquish", PERSON, "--end-processes", "--json"];
    let ended = machine.relinquish_with("/home/tst_u/bin/codex", &flags);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_found(&ended.json()["open"], "own_program", "/home/tst_u/bin/codex");
}

#[test]
fn a_plan_changes_nothing() {
    let Some(machine) = Machine::here() else { return };
    machine.lay("join sudo; join docker; gpasswd -A tst_u sudo");
    machine.ask(&["ticket"]);
    let mut running = Running::start(&machine, &[SUDO]);
    let looked_at = |machine: &Machine| {
        let mut listed = machine.etc();
        let mut command = machine.as_root("find");
        command.args(["/run", "/home", "/var", "/tmp", "-printf", "%p %m %u %g %s\\n"]);
        let output = command.output().unwrap();
        listed.extend(text(&output.stdout).lines().map(str::to_owned));
        listed
    };
    let before = looked_at(&machine);
    let plan = machine.plan();
    assert_eq!(before, looked_at(&machine), "a plan changed something: {plan:#}");
    assert!(running.is_running());
    for check in ["rules", "group", "group_admin", "ticket"] {
        assert!(!found(&plan, check).is_empty(), "no {check} in {plan:#}");
    }
}
