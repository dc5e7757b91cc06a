//! A new key for a proxy that runs: from a pipe, a file or a person at a terminal.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

use codex_mock_upstream::{MockUpstream, Options, Scenario};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::{Pid, geteuid};
use serde_json::{Value, json};

#[cfg(target_os = "linux")]
use super::Working;
use super::{ALL_EVENTS, Watched, ended, run_verb};
use crate::keys::random_key;
use crate::support::*;

/// An account that no machine has.
const STRANGER: u32 = 61_237;

/// A mock that takes this key and no other.
async fn upstream_for(key: &str) -> MockUpstream {
    let expected_key = Some(key.to_owned());
    MockUpstream::start(Options { expected_key, ..Options::default() }).await.unwrap()
}

/// How it ended for a key that came through a pipe.
fn piped(mut command: Command, key: &[u8]) -> (Option<i32>, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(key); // Nobody may want it.
    ended(child.wait_with_output().unwrap())
}

/// What the proxy answers to a request now.
fn status_of_a_turn(watched: &Watched) -> u16 {
    let body = json!({ "model": "gpt-5", "stream": true }).to_string();
    watched.proxy.ask("POST /v1/responses", &[], body.as_bytes()).status
}

/// What the proxy says of its key.
fn key_of(watched: &Watched) -> Value {
    watched.status_when(|_| true)["proxies"][0]["status"]["key"].clone()
}

/// All that the proxy has said, now that it has ended.
fn said_to_its_end(mut watched: Watched) -> String {
    watched.proxy.signal(Signal::SIGTERM);
    let (how, said) = watched.proxy.ended();
    assert!(how.success(), "{how}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_a_pipe_is_the_one_that_the_upstream_sees_from_then_on() {
    let new = random_key(64);
    let upstream = upstream_for(&new).await;
    let watched = Watched::start(&upstream);
    assert_eq!(status_of_a_turn(&watched), 401);
    let first = key_of(&watched);
    assert_eq!((&first["source"], &first["rotations"]), (&json!("standard input"), &json!(0)));

    let (code, shown, said) = piped(watched.verb(&["rotate-key"]), format!("{new}\n").as_bytes());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let key = key_of(&watched);
    let (page, port, pid) =
        (key["page"].as_str().unwrap(), watched.proxy.port, watched.proxy.pid());
    let expected = format!("the key was replaced: {page}, pid {pid}, http://127.0.0.1:{port}/v1\n");
    assert_eq!(shown, expected);
    assert_eq!((&key["source"], &key["rotations"]), (&json!("rotate-key"), &json!(1)));
    assert_eq!(key["rotated_by_uid"], geteuid().as_raw());

    assert_eq!(status_of_a_turn(&watched), 200);
    assert_eq!(upstream.counts().wrong_bearer, 1);
    let (_, shown, _) = watched.run(&["status"]);
    assert!(shown.contains(&format!("\n  memory            {page}: ")), "{shown}");
    assert!(shown.contains("\n  replaced          once, last by "), "{shown}");
    assert_not_shown(&new, shown.as_bytes());
    assert_not_shown(&new, said_to_its_end(watched).as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_a_file_and_json_for_programs() {
    let new = random_key(64);
    let upstream = upstream_for(&new).await;
    let watched = Watched::start(&upstream);
    let file = watched.folder.path().join("new-key");
    fs::write(&file, format!("{new}\r\n")).unwrap();
    let mut command = watched.verb(&["rotate-key", "--json"]);
    let (code, shown, said) = ended(command.stdin(File::open(&file).unwrap()).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&seen["state"], &seen["running"]), (&json!("replaced"), &json!(0)));
    assert_eq!(
        (&seen["pid"], &seen["port"], &seen["file"]),
        (&json!(watched.proxy.pid()), &json!(watched.proxy.port), &json!(watched.info()))
    );
    assert_eq!(seen["key"], key_of(&watched));
    assert_eq!(status_of_a_turn(&watched), 200);
    assert_not_shown(&new, shown.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_answer_ends_with_the_key_that_it_began_with() {
    let upstream = upstream(Scenario::Gated).await;
    let watched = Watched::start(&upstream);
    let mut client = watched.proxy.connect();
    client.post();
    until(&upstream, |counts| counts.requests == 1).await;
    let (code, shown, said) = piped(watched.verb(&["rotate-key"]), random_key(64).as_bytes());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.ends_with("/v1; 1 running exchange ends with the old one\n"), "{shown}");
    assert_eq!(key_of(&watched)["retired"], 1);
    upstream.release(ALL_EVENTS);
    assert_eq!(client.answer().status, 200);
    watched.status_when(|status| status["key"]["retired"] == 0);
    assert_eq!(upstream.counts().wrong_bearer, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_can_not_be_used_changes_nothing() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    let (new, endless) = (random_key(64), "k".repeat(8_192));
    for (offered, why) in [
        ("", "no API key arrived; the old key stays in use"),
        ("\n", "no API key arrived; "),
        (format!("\"{new}\"").as_str(), "unexpected byte at offset 0; "),
        (format!("{new} \n").as_str(), "unexpected byte at offset 64; "),
        (format!("{new}\n{new}\n").as_str(), "more than one line arrived"),
        (endless.as_str(), "longer than 4096 bytes; the old key stays in use"),
    ] {
        let (code, shown, said) = piped(watched.verb(&["rotate-key"]), offered.as_bytes());
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
        assert!(said.starts_with("error: ") && said.contains(why), "{why}: {said}");
        assert!(said.contains("\nhint: offer the new key alone, "), "{said}");
        assert_not_shown(offered, said.as_bytes());
    }
    assert_eq!(key_of(&watched)["rotations"], 0);
    assert_eq!(status_of_a_turn(&watched), 200);
    assert_not_shown(&new, said_to_its_end(watched).as_bytes());
}

/// A pseudo-terminal with a verb at it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    before: Termios,
    child: Child,
    /// Dropped, it calls the watchdog off.
    in_time: Sender<()>,
}

impl Terminal {
    fn with(mut command: Command) -> Self {
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        command.stdin(Stdio::from(pty.slave.try_clone().unwrap()));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // What waits for a word of the child's is freed by its end.
        let (in_time, late) = channel();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        std::thread::spawn(move || {
            if late.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        Self { master: File::from(pty.master), slave: pty.slave, before, child, in_time }
    }

    /// Reads what the terminal shows until this is there.
    fn shows(&mut self, part: &str) -> String {
        let (mut shown, mut chunk) = (Vec::new(), [0; 512]);
        while !contains(&shown, part.as_bytes()) {
            let mut watched = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(LIMIT).unwrap();
            assert_eq!(poll(&mut watched, patience), Ok(1), "no {part:?} in {:?}", text(&shown));
            let count = self.master.read(&mut chunk).unwrap();
            shown.extend_from_slice(&chunk[..count]);
        }
        text(&shown)
    }

    fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Waits for the verb's end, after which the terminal is as it was.
    fn end(self) -> (Option<i32>, String, String) {
        let how = ended(self.child.wait_with_output().unwrap());
        drop(self.in_time);
        let now = tcgetattr(&self.slave).unwrap();
        assert!(now.local_flags.contains(LocalFlags::ECHO));
        assert_eq!(now.local_flags, self.before.local_flags);
        assert_eq!(now.control_chars, self.before.control_chars);
        how
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_is_asked_and_nothing_is_shown() {
    let new = random_key(64);
    let upstream = upstream_for(&new).await;
    let watched = Watched::start(&upstream);
    let mut terminal = Terminal::with(watched.verb(&["rotate-key"]));
    assert!(terminal.shows("shown): ").contains("New API key"));
    assert!(!terminal.echoes());
    terminal.types(&format!("{new}\n"));
    let shown = terminal.shows("\n");
    assert_eq!(shown.trim(), "", "the terminal showed something");
    let (code, shown, said) = terminal.end();
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.starts_with("the key was replaced: "), "{shown}");
    assert_not_shown(&new, shown.as_bytes());
    assert_eq!(status_of_a_turn(&watched), 200);
    assert_eq!(upstream.counts().wrong_bearer, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_or_mistypes_at_the_prompt_keeps_the_old_key_and_the_terminal() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    for (typed, expected_code, expected) in [
        ("sk-half-of-it\u{3}", 130, "interrupted: the old key stays in use\n"),
        ("sk-half of it\n", 1, "unexpected byte at offset 7; the old key stays in use\nhint: "),
        ("\n", 1, "no API key arrived; the old key stays in use\nhint: type or paste "),
    ] {
        let mut terminal = Terminal::with(watched.verb(&["rotate-key"]));
        terminal.shows("shown): ");
        terminal.types(typed);
        let (code, shown, said) = terminal.end();
        assert_eq!((code, shown.as_str()), (Some(expected_code), ""), "{said}");
        assert!(said.contains(expected) && !said.contains("sk-half"), "{typed:?}: {said}");
    }
    assert_eq!(key_of(&watched)["rotations"], 0);
    assert_eq!(status_of_a_turn(&watched), 200);
}

/// Whether this process does something of its own on SIGINT (proc(5)).
#[cfg(target_os = "linux")]
fn catches_interrupts(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let bit: u64 = 1 << (Signal::SIGINT as u32 - 1);
    u64::from_str_radix(caught.trim(), 16).unwrap() & bit != 0
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_on_a_pipe_keeps_the_old_key() {
    let upstream = upstream(Scenario::Turn).await;
    let watched = Watched::start(&upstream);
    let mut command = watched.verb(&["rotate-key"]);
    command.stdin(Stdio::piped());
    let mut rotating = Working::start(command, false);
    let mut pipe = rotating.child.stdin.take().unwrap();
    pipe.write_all(b"sk-half").unwrap();
    let began = std::time::Instant::now();
    while !catches_interrupts(rotating.child.id()) {
        assert!(began.elapsed() < LIMIT, "it never waited for the proxy");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    rotating.interrupt();
    let (how, said) = rotating.end();
    assert_eq!(how.code(), Some(130), "{said}");
    assert!(said.contains("interrupted before the proxy had answered"), "{said}");
    let _ = pipe.write_all(b"-and-the-rest\n"); // Its reader may have gone.
    drop(pipe);
    assert_eq!(key_of(&watched)["rotations"], 0);
    assert_eq!(status_of_a_turn(&watched), 200);
}

#[test]
fn where_no_proxy_is_nothing_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.json");
    let arguments = ["rotate-key", "--server-info", str(&file)];
    let (code, shown, said) = run_verb(&arguments);
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(said.starts_with(&format!("error: there is no file {}\n", str(&file))), "{said}");
    let terminal = Terminal::with(super::verb(&arguments));
    let master = terminal.master.try_clone().unwrap();
    let (code, shown, said) = terminal.end();
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    let mut watched = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).unwrap();
    let came = watched[0].revents().unwrap();
    assert!(!came.contains(PollFlags::POLLIN), "the terminal was shown something");
}

/// An account that may use the proxy, and see it, may not give it a key.
#[tokio::test(flavor = "multi_thread")]
async fn another_account_replaces_nothing() {
    let missing = "it asks as another account: run the tests as root";
    if !can_run((!geteuid().is_root()).then_some(missing)) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let folder = tempfile::tempdir().unwrap();
    let (info, socket) = (folder.path().join("info.json"), folder.path().join("control.sock"));
    let program = program_for_all(folder.path());
    let stranger = STRANGER.to_string();
    let flags = ["--server-info", str(&info), "--control-socket", str(&socket)];
    let users = ["--allow-user", "0", "--allow-user", stranger.as_str()];
    let proxy = Proxy::start(&upstream, &[flags, users].concat());
    fs::set_permissions(&info, Permissions::from_mode(0o644)).unwrap();
    let watched = Watched { proxy, folder };
    let as_stranger = |name: &str| {
        let mut command = clean(Command::new(&program));
        command.args(["proxy", name, "--server-info", &watched.info()]);
        command.uid(STRANGER).gid(STRANGER).current_dir("/");
        command
    };
    let (code, shown, said) = ended(as_stranger("status").output().unwrap());
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let new = random_key(64);
    let (code, shown, said) = piped(as_stranger("rotate-key"), new.as_bytes());
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    let hint = "\nhint: ask as the account that started the proxy, or as root with sudo\n";
    assert!(said.starts_with("error: ") && said.ends_with(hint), "{said}");
    assert_not_shown(&new, said.as_bytes());
    assert_eq!(key_of(&watched)["rotations"], 0);
    assert_eq!(status_of_a_turn(&watched), 200);
}
