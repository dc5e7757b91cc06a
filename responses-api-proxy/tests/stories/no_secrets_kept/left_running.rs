//! The same of a proxy that was left running, whose own words go into the log file, between the records.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::*;

/// A process that is not our child. Dropped, it is killed.
struct Daemon {
    pid: u32,
    port: u16,
}

impl Daemon {
    /// Starts one; returns also what was said until it was ready.
    fn start(flags: &[&str], traces: &Traces) -> (Self, String) {
        let info = traces.folder().join("server-info.json");
        let mut starter = program()
            .args(["--daemon", "--server-info", str(&info)])
            .args(traces.flags(flags))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(starter.stdin.take().unwrap(), "{KEY}").unwrap();
        let output = starter.wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let info: Value = serde_json::from_str(&fs::read_to_string(&info).unwrap()).unwrap();
        let number = |name: &str| info[name].as_u64().unwrap();
        let (pid, port) = (number("pid").try_into().unwrap(), number("port").try_into().unwrap());
        (Self { pid, port }, said)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid.try_into().unwrap()), signal).unwrap();
    }

    /// Whoever collects dead processes here may be slow: one that is dead has no command line.
    fn runs(&self) -> bool {
        fs::read(format!("/proc/{}/cmdline", self.pid)).is_ok_and(|line| !line.is_empty())
    }

    fn stop(self) {
        self.signal(Signal::SIGTERM);
        look_for("its end", || if self.runs() { Err(self.pid) } else { Ok(()) });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.runs() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// What stands between the records.
fn words(log: &str) -> Vec<&str> {
    log.lines().filter(|line| !line.starts_with('{')).collect()
}

/// Each round ends with a log file that is rotated away, and something in its place that makes the proxy say so.
#[test]
fn the_words_of_a_proxy_that_was_left_running_have_no_mark_either() {
    const ROUNDS: usize = 2;
    let traces = Traces::new();
    let at = |name: &str| traces.folder().join(name);
    let url = careless_upstream();
    let (daemon, said) = Daemon::start(&["--upstream-url", &url, "--max-body", "1MiB"], &traces);
    has_no_secret("standard error", &said);
    let ended = |count: usize| {
        look_for("the last record", || {
            let found = traces.on_socket().len();
            if found >= count { Ok(()) } else { Err(found) }
        });
    };
    let each = CASES.len() + REFUSALS + BROKEN_BODIES;
    for round in 0..ROUNDS {
        answers(daemon.port);
        ended(2 * round * each + CASES.len());
        // Without a moment in which nothing is there, or the proxy would begin a new file.
        let rotated = at(&format!("requests.jsonl.{round}"));
        fs::hard_link(&traces.log, &rotated).unwrap();
        symlink(at("elsewhere"), at("link")).unwrap();
        fs::rename(at("link"), &traces.log).unwrap();
        daemon.signal(Signal::SIGHUP);
        look_for("a word about the link", || {
            let log = fs::read_to_string(&rotated).unwrap();
            if words(&log).is_empty() { Err(log) } else { Ok(()) }
        });
        refusals(daemon.port);
        broken_bodies(daemon.port);
        answers(daemon.port);
        refusals(daemon.port);
        broken_bodies(daemon.port);
        ended(2 * (round + 1) * each);
        fs::remove_file(&traces.log).unwrap();
        daemon.signal(Signal::SIGHUP);
        look_for("a new file", || if traces.log.exists() { Ok(()) } else { Err(round) });
    }
    answers(daemon.port);
    ended(2 * ROUNDS * each + CASES.len());
    daemon.stop();

    for round in 0..ROUNDS {
        let log = fs::read_to_string(at(&format!("requests.jsonl.{round}"))).unwrap();
        let words = words(&log);
        assert!(words.iter().all(|line| line.starts_with("warning: ")), "{words:#?}");
        assert!(words.iter().any(|line| line.contains(str(&traces.log))), "{words:#?}");
    }
    for entry in fs::read_dir(traces.folder()).unwrap() {
        let path = entry.unwrap().path();
        let kept = text(&fs::read(&path).unwrap());
        has_no_secret(str(&path), &kept);
        assert!(
            [KEPT_MODEL, KEPT_ID, KEPT_CODE].iter().all(|words| kept.contains(words)),
            "{path:?}"
        );
    }
}
