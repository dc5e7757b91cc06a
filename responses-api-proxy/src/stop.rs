//! Stopping, in two steps: drain (take no more), then abort (end what still runs).

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::StartError;

/// Whether, and how far, the proxy is being stopped. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    draining: CancellationToken,
    aborting: CancellationToken,
}

impl Stop {
    /// Accept nothing more; let what runs go on.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// End what still runs.
    pub(crate) fn abort(&self) {
        self.draining.cancel();
        self.aborting.cancel();
    }

    /// Ready once draining has begun. Cancel safe.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Ready once aborting has begun. Cancel safe.
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
