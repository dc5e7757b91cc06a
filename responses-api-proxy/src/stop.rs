//! Stopping, in three steps: told to stop, closed (nobody new comes in), aborting (what still runs
//! is ended).

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::StartError;

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

    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.is_cancelled()
    }

    /// From now on the first SIGTERM or SIGINT drains and the second aborts.
    pub(crate) fn obey_signals(&self) -> Result<(), StartError> {
        let failed = |source: std::io::Error| StartError::Resources {
            what: "signal handling",
            source: source.into(),
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let stop = self.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            };
            next().await;
            stop.drain();
            next().await;
            stop.abort();
        });
        Ok(())
    }
}
