//! A person types the key at a terminal: it is not shown, and the terminal is as it was afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};

use codex_mock_upstream::Scenario;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;

use crate::support::*;

/// A pseudo-terminal with a proxy at it.
struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    before: Termios,
    /// Dropped, it calls the watchdog off.
    _in_time: Sender<()>,
}

impl Terminal {
    /// What the proxy says goes to a pipe of ours.
    fn with_proxy(flags: &[&str]) -> Self {
        Self::start(flags, |_| Stdio::piped())
    }

    fn start(flags: &[&str], stderr: impl FnOnce(&OwnedFd) -> Stdio) -> Self {
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let child = program()
            .args(flags)
            .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
            .stderr(stderr(&pty.slave))
            .spawn()
            .unwrap();
        // What waits for a word of the child's is freed by its end.
        let (in_time, late) = channel();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        std::thread::spawn(move || {
            if late.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        let master = File::from(pty.master);
        Self { master, slave: pty.slave, child, before, _in_time: in_time }
    }

    /// Reads what the terminal shows until this is there.
    fn shows(&mut self, part: &str) -> String {
        let mut shown = Vec::new();
        let mut chunk = [0; 512];
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

    fn is_as_before(&self) -> bool {
        let now = tcgetattr(self.slave.as_fd()).unwrap();
        now.local_flags == self.before.local_flags && now.control_chars == self.before.control_chars
    }

    fn echoes(&self) -> bool {
        tcgetattr(self.slave.as_fd()).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    fn stderr_until(&mut self, part: &str) -> String {
        let mut said = Vec::new();
        let mut chunk = [0; 512];
        let pipe = self.child.stderr.as_mut().unwrap();
        while !contains(&said, part.as_bytes()) {
            let count = pipe.read(&mut chunk).unwrap();
            assert!(count > 0, "no {part:?} in {:?}", text(&said));
            said.extend_from_slice(&chunk[..count]);
        }
        text(&said)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_not_echoed_and_the_terminal_is_given_back() {
    let upstream = upstream(Scenario::Turn).await;
    let url = upstream.responses_url();
    let mut terminal = Terminal::with_proxy(&["--upstream-url", &url]);
    assert!(terminal.shows("shown): ").contains("API key"));
    assert!(!terminal.echoes());
    terminal.types("a typing mistake\u{15}"); // ^U takes the line back: the kernel edits.
    terminal.types(&format!("{KEY}\n"));
    let ready = terminal.stderr_until("for any account");
    let shown = terminal.shows("\n");
    assert_eq!(shown.trim(), "", "the terminal showed something");
    assert!(terminal.is_as_before());
    let port =
        ready.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    let mut client = Client::connect(port);
    client.post();
    client.until("response.completed"); // So the key is the one that was typed.
    assert_eq!(upstream.counts().wrong_bearer, 0);
}

/// A signal at the prompt ends it as it would end anything, but the terminal echoes again.
#[test]
fn a_signal_at_the_prompt_ends_it_and_gives_the_terminal_back() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let mut terminal = Terminal::with_proxy(&[]);
        terminal.shows("shown): ");
        kill(Pid::from_raw(terminal.child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(terminal.child.wait().unwrap().signal(), Some(signal as i32));
        assert!(terminal.is_as_before() && terminal.echoes());
    }
}

/// The kernel drops what goes beyond its line buffer: half a key must not be taken for a whole one.
#[test]
fn a_key_that_is_too_long_to_type_is_refused() {
    for length in [4_095, 6_000] {
        let mut terminal = Terminal::with_proxy(&[]);
        terminal.shows("shown): ");
        terminal.types(&"k".repeat(length));
        terminal.types("\n");
        let said = terminal.stderr_until("hint: ");
        assert!(said.contains("longer than the 4094 bytes that can be typed"), "{length}: {said}");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(1));
    }
    let mut terminal = Terminal::with_proxy(&[]);
    terminal.shows("shown): ");
    terminal.types(&format!("{}\n", "k".repeat(4_094)));
    terminal.stderr_until("ready: ");
}

#[test]
fn ctrl_c_at_the_prompt_ends_it_and_gives_the_terminal_back() {
    let mut terminal = Terminal::with_proxy(&[]);
    terminal.shows("shown): ");
    terminal.types("sk-half\u{3}");
    let said = terminal.stderr_until("hint: ");
    assert!(said.contains("error: interrupted"), "{said}");
    terminal.shows("\n"); // What is said next begins on a line of its own.
    assert_eq!(terminal.child.wait().unwrap().code(), Some(1));
    assert!(terminal.is_as_before() && terminal.echoes());
}

#[test]
fn what_is_said_after_the_prompt_stands_on_a_line_of_its_own() {
    for (typed, error) in [
        ("\u{4}", "no API key arrived"), // ^D
        ("sk-half\u{3}", "interrupted while asking for the API key"),
    ] {
        let mut terminal = Terminal::start(&[], |slave| slave.try_clone().unwrap().into());
        terminal.shows("shown): ");
        terminal.types(typed);
        let shown = terminal.shows("hint: ");
        assert!(shown.starts_with(&format!("\r\nerror: {error}\r\n")), "{shown:?}");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(1));
        assert!(terminal.is_as_before() && terminal.echoes());
    }
}
