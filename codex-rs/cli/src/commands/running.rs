//! A Codex that runs for one turn, all that it starts, and what the proxy records of it meanwhile.

use std::process::ExitStatus;
use std::time::{Duration, SystemTime};

use codex_proxy_client::Lines;
use codex_request_log::{Line, Outcome, Record};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::last_lines::LastLines;
use super::waiting::Waiting;

/// How long the proxy's record may take after Codex's end, if that was a good one, or only the reason for a bad one.
const RECORD: Duration = Duration::from_secs(5);
const REASON: Duration = Duration::from_millis(200);
/// How long Codex may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(2);
/// How often it is said that it takes its time.
const TELL: Duration = Duration::from_secs(1);
/// The times in records have milliseconds, and what is behind those is cut off.
const CUT_OFF: Duration = Duration::from_millis(1);

/// What the proxy has recorded since the turn was begun.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) completed: Option<Box<Record>>,
    pub(crate) last: Option<Box<Record>>,
}

impl Seen {
    /// A request that was under way before is not this turn's.
    pub(crate) fn take(&mut self, record: Box<Record>, began: SystemTime) {
        if record.started_at + CUT_OFF < began {
            return;
        }
        if record.outcome == Outcome::Completed {
            self.completed = Some(record.clone());
        }
        self.last = Some(record);
    }
}

/// A Codex that runs, and all that it starts.
pub(crate) struct Running {
    child: Child,
    /// Its number is its first process's; kept, because that process is forgotten once it has ended.
    group: Option<Pid>,
    began: SystemTime,
    said: LastLines<ChildStderr>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> std::io::Result<Self> {
        let began = SystemTime::now();
        let mut child = command.spawn()?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let said = LastLines::of(child.stderr.take());
        Ok(Self { child, group, began, said })
    }

    /// Waits for its end, and a little longer for a record that proves the turn.
    pub(crate) async fn watched(&mut self, mut lines: Lines) -> Result<(ExitStatus, Seen), String> {
        let mut waiting = Waiting::start("waiting for a turn of Codex");
        let mut tick = interval(TELL);
        let mut seen = Seen::default();
        let mut ended: Option<(ExitStatus, Instant)> = None;
        loop {
            if let Some((status, until)) = ended
                && (seen.completed.is_some() || Instant::now() >= until)
            {
                return Ok((status, seen));
            }
            let until = ended.map_or_else(Instant::now, |(_, until)| until);
            tokio::select! {
                line = lines.next() => match line {
                    Ok(Some(Line::Record(record))) => seen.take(record, self.began),
                    Ok(Some(_)) => {}
                    Ok(None) => return Err("the proxy has ended, or told no more".to_owned()),
                    Err(error) => return Err(format!("the proxy told no more: {error}")),
                },
                status = self.child.wait(), if ended.is_none() => match status {
                    Ok(status) => {
                        self.kill(); // What it has left behind.
                        let patience = if status.success() { RECORD } else { REASON };
                        ended = Some((status, Instant::now() + patience));
                    }
                    Err(error) => return Err(format!("Codex's end can't be awaited: {error}")),
                },
                () = self.said.read() => {}
                () = sleep_until(until), if ended.is_some() => {}
                _ = tick.tick() => waiting.tell(),
            }
        }
    }

    /// Ends what runs of it, and gives back what it said last.
    pub(crate) async fn end(mut self) -> Vec<String> {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if self.group.is_none() {
                break;
            }
            self.signal(signal);
            if timeout(ENDING, self.child.wait()).await.is_ok() {
                self.kill(); // What its first process has left behind.
            }
        }
        // Whoever has left the group may still hold the pipe.
        let _ = timeout(ENDING, self.said.read_all()).await;
        self.said.into_lines()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = killpg(group, signal); // It may have ended meanwhile.
        }
    }

    /// At once after its first process was waited for, and once: later the number may be another's.
    fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.group = None;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use serde_json::json;

    use super::*;

    pub(crate) fn record(outcome: &str, status: u16) -> Record {
        let line = json!({
            "id": 7, "started_at": "2027-01-15T08:00:00.000Z",
            "peer": { "uid": 1000, "user": "alice" },
            "method": "POST", "path": "/v1/responses",
            "outcome": outcome, "reason": null, "detail": null, "status": status,
            "model": "gpt-5", "stream": true, "bytes_in": 400, "bytes_out": 1200,
            "first_byte_ms": 80, "duration_ms": 1234, "usage": null,
            "upstream_request_id": null, "upstream_error": null
        });
        match Line::parse(&line.to_string()) {
            Some(Line::Record(record)) => *record,
            other => panic!("{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncReadExt;
    use tokio::process::ChildStdout;

    use super::testing::record;
    use super::*;

    /// How long anything may take that has to come.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Another Codex of this account may have asked before, and its answer end now.
    #[test]
    fn a_request_that_was_under_way_before_is_no_proof() {
        let of_before = record("completed", 200);
        for (later, counts) in [(0, true), (999, true), (1_001, false), (60_000_000, false)] {
            let mut seen = Seen::default();
            let began = of_before.started_at + Duration::from_micros(later);
            seen.take(Box::new(of_before.clone()), began);
            assert_eq!((seen.completed.is_some(), seen.last.is_some()), (counts, counts));
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
    }

    /// Whether nobody holds the other end of this any more.
    async fn nobody_writes(mut pipe: ChildStdout) -> bool {
        let mut rest = Vec::new();
        timeout(LIMIT, pipe.read_to_end(&mut rest)).await.is_ok()
    }

    #[tokio::test]
    async fn what_codex_said_last_is_kept_and_what_it_has_started_is_ended() {
        for script in [
            "echo one >&2; sleep 600 & echo two >&2", // It ends, and its child does not.
            "echo one >&2; echo two >&2; sleep 600; exit 1", // It does not end.
            "trap '' TERM; echo one >&2; echo two >&2; while :; do sleep 600; done",
        ] {
            let mut running = Running::start(shell(script)).unwrap();
            let stdout = running.child.stdout.take().unwrap();
            let all_said =
                async { while !running.said.has("two") && running.said.read_piece().await {} };
            timeout(LIMIT, all_said).await.unwrap();
            assert_eq!(running.end().await, ["one", "two"], "{script}");
            assert!(nobody_writes(stdout).await, "{script}");
        }
    }
}
