//! Processes for tests.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, geteuid};

use crate::subject::{Subject, testing};

/// An account that nobody is, and its own group.
pub(crate) const UID: u32 = 61_510;
/// A group that nobody is in.
pub(crate) const GID: u32 = 61_511;

/// Somebody who is that account.
pub(crate) fn subject() -> Subject {
    testing::subject(UID, &[UID])
}

/// Whether this test can run here. In CI it must.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn is_root() -> bool {
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(geteuid().is_root() || !in_ci, "CI must run this test as root");
    if !geteuid().is_root() {
        eprintln!("not run: it takes root (`sudo cargo test`)");
    }
    geteuid().is_root()
}

/// A process that says what it hears. It ends with this value.
pub(crate) struct Holder {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Holder {
    /// As [`UID`] with the group [`GID`]; it runs when this returns. Nothing where only root could.
    pub(crate) fn start(words: &[&str]) -> Option<Self> {
        let ids = [format!("--reuid={UID}"), format!("--regid={UID}"), format!("--groups={GID}")];
        is_root().then(|| Self::spawn(Command::new("setpriv").args(ids).args(words)))
    }

    /// As whoever runs the test.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Self { child, said };
        holder.answer();
        holder
    }

    /// Says something and hears it.
    pub(crate) fn answer(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "hello").unwrap();
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn number(&self) -> Pid {
        Pid::from_raw(self.pid().try_into().unwrap())
    }

    /// Stops it, and waits until it is stopped.
    pub(crate) fn stop(&mut self) {
        kill(self.number(), Signal::SIGSTOP).unwrap();
        waitid(Id::Pid(self.number()), WaitPidFlag::WSTOPPED).unwrap();
    }

    /// Ends it, and waits until it has ended, but asks for no exit code.
    pub(crate) fn become_zombie(&mut self) {
        kill(self.number(), Signal::SIGKILL).unwrap();
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.number()), flags).unwrap();
    }

    /// Waits for its end; the signal that was its end.
    pub(crate) fn ended_by(&mut self) -> Option<i32> {
        self.child.wait().unwrap().signal()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
