//! Stopping, in three steps: told to stop, closed (nobody new comes in), aborting (what still runs
//! is ended).

use std::time::{Duration, Instant};

use codex_request_log::Reopener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::StartError;

/// A signal so soon after the first is its echo.
const ECHO: Duration = Duration::from_millis(300);

/// Whether, and how far, the proxy is being stopped. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    told: CancellationToken,
    closed: CancellationToken,
    aborting: CancellationToken,
}

impl Stop {
    /// Accept nothing more; let what runs go on.
    pub(crate) fn drain(&self) {
        self.told.cancel();
    }

    /// End what still runs.
    pub(crate) fn abort(&self) {
        self.told.cancel();
        self.aborting.cancel();
    }

    /// The listener is closed and server-info is gone.
    pub(crate) fn now_closed(&self) {
        self.closed.cancel();
    }

    /// Ready once the proxy has been told to stop. Cancel safe.
    pub(crate) async fn told(&self) {
        self.told.cancelled().await;
    }

    /// Ready once nobody new can come in or find the way. Cancel safe.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Ready once what still runs is to end. Cancel safe.
    pub(crate) async fn aborting(&self) {
        self.aborting.cancelled().await;
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told.is_cancelled()
    }

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.is_cancelled()
    }

    /// From now on SIGTERM and SIGINT drain, and once that is under way, abort. SIGHUP opens the log file anew, as
    /// logrotate wants it; without one it drains, unless it was ignored when we were started (`nohup`).
    pub(crate) fn obey_signals(&self, log_file: Option<Reopener>) -> Result<(), StartError> {
        let on = |kind| {
            signal(kind).map_err(|source| StartError::Resources {
                what: "signal handling",
                source: source.into(),
            })
        };
        // A file may have grown to its limit (RLIMIT_FSIZE): that is an error to whoever writes, and no end.
        let _ = on(SignalKind::from_raw(nix::libc::SIGXFSZ))?;
        let mut terminate = on(SignalKind::terminate())?;
        let mut interrupt = on(SignalKind::interrupt())?;
        if let Some(log_file) = log_file {
            let mut hangup = on(SignalKind::hangup())?;
            tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    log_file.reopen();
                }
            });
        } else if !hangup_is_ignored() {
            let mut hangup = on(SignalKind::hangup())?;
            let stop = self.clone();
            tokio::spawn(async move {
                hangup.recv().await;
                stop.drain();
            });
        }
        let stop = self.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            };
            next().await;
            if stop.told.is_cancelled() {
                return stop.abort();
            }
            stop.drain();
            // sudo hands on a signal that its whole group has had already: one wish, two signals.
            let told_at = Instant::now();
            while told_at.elapsed() < ECHO {
                next().await;
            }
            stop.abort();
        });
        Ok(())
    }
}

/// Whether this process was started with SIGHUP ignored: the lowest bit of `SigIgn` (proc(5)).
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.is_some_and(|mask| mask.trim().ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']))
}
