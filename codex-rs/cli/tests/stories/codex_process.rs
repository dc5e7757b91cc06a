//! A real Codex at work on one turn, and what its user sees of it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::codex_texts::{Told, fits};
use crate::real_codex::{SAID, installed};
use crate::support::*;

/// Codex's own retries: 4 of a request and 5 of a stream, some of them seconds apart.
pub(crate) const AS_EVER: &str = "";
/// One of each: enough to see what is tried again.
pub(crate) const TWICE: &str = ",request_max_retries=1,stream_max_retries=1";
pub(crate) const ONCE: &str = ",request_max_retries=0,stream_max_retries=0";

/// The events of a turn but its last: by then Codex shows what was said, and waits.
pub(crate) const ALL_BUT_THE_LAST: usize = 9;

/// Where nobody listens (the port of RFC 863): Codex's errands of its own end here and not on the Internet.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:9";

/// A Codex at work on one turn, in a process group of its own. Dropped, it is killed.
pub(crate) struct Codex {
    child: Child,
    lines: Receiver<String>,
    pub(crate) said: Vec<String>,
    /// Empty before, deleted after.
    _home: tempfile::TempDir,
}

/// How a turn ended.
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    /// Standard error, without the word that Codex puts before errors.
    pub(crate) said: Vec<String>,
    /// Standard output.
    pub(crate) shown: String,
}

impl Codex {
    pub(crate) fn start(flags: [String; 4], variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new(installed())
            .args(["exec", "--skip-git-repo-check"])
            .args(flags)
            .arg("say hi")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", home.path())
            .env("CODEX_HOME", home.path())
            .env("HTTPS_PROXY", NOWHERE)
            .envs(variables.iter().copied())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let pipe = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line.strip_prefix("ERROR: ").unwrap_or(&line).to_owned()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, said: Vec::new(), _home: home }
    }

    /// Waits for a line that its user reads.
    pub(crate) fn line(&mut self, says: &str) {
        loop {
            let Ok(line) = self.lines.recv_timeout(LIMIT) else {
                panic!("Codex did not say {says:?}, but {:#?}", self.said);
            };
            let found = fits(&line, says);
            self.said.push(line);
            if found {
                return;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().try_into().unwrap());
        killpg(group, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> End {
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("Codex hangs; it said {:#?}", self.said),
            }
        }
        let mut shown = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
        let code = self.child.wait().unwrap().code();
        End { code, said: std::mem::take(&mut self.said), shown }
    }
}

impl Drop for Codex {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

impl End {
    /// The turn failed, and this is the last that its user reads.
    pub(crate) fn failed(&self, told: Told) {
        let last = self.said.last().unwrap();
        assert!(fits(last, told.says), "{:?} is not what was said: {:#?}", told.says, self.said);
        assert_eq!(self.code, Some(1));
        assert!(self.shown.is_empty(), "{}", self.shown);
    }

    /// The turn completed.
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, Some(0), "{:#?}", self.said);
        assert_eq!(self.shown.trim_end(), SAID);
    }
}
