//! A request's body on its way up: passed on piece by piece, counted, and cut off at the limit.
//!
//! Nothing is kept: the next piece is read once the upstream's connection has taken the last.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

/// The client's body, as the upstream's request body.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Incoming,
    limit_bytes: u64,
    progress: Progress,
}

/// Why the upstream's request is broken off. What the client is told comes from [`Progress`].
#[derive(Debug, Error)]
#[error("the client's body broke off")]
pub(crate) struct BrokenOff;

/// How far a body has come. Clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bytes: u64,
    moved_at: Instant,
    phase: Phase,
}

/// Who has to do something next, or how the body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The upstream's connection has not asked for more.
    UpstreamsTurn,
    /// The client has not sent more.
    ClientsTurn,
    /// All of it has gone.
    Ended,
    /// There is more than the limit.
    TooLarge,
    /// The client broke off.
    Broken,
    /// The client's chunks are no chunks.
    Malformed,
}

impl Progress {
    /// The progress of a body of which nothing has been read.
    pub(crate) fn of(incoming: &Incoming) -> Self {
        let phase = if incoming.is_end_stream() { Phase::Ended } else { Phase::UpstreamsTurn };
        Self(Arc::new(Mutex::new(State { bytes: 0, moved_at: Instant::now(), phase })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes read from the client so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().bytes
    }

    pub(crate) fn phase(&self) -> Phase {
        self.state().phase
    }

    fn moved(&self, bytes: u64, phase: Phase) {
        let mut state = self.state();
        state.bytes += bytes;
        state.moved_at = Instant::now();
        state.phase = phase;
    }

    /// Ready once nothing has moved for so long. Cancel safe.
    pub(crate) async fn stalled(&self, patience: Duration) {
        loop {
            let deadline = self.state().moved_at + patience;
            if deadline <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit_bytes: u64, progress: Progress) -> Self {
        Self { incoming, limit_bytes, progress }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            self.progress.state().phase = Phase::ClientsTurn;
            let Some(frame) = ready!(Pin::new(&mut self.incoming).poll_frame(context)) else {
                self.progress.moved(0, Phase::Ended);
                return Poll::Ready(None);
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    self.progress.moved(0, how_it_broke(&error));
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
            };
            // Trailers are the client's words too, and no field of its choosing goes unfiltered.
            let Ok(data) = frame.into_data() else { continue };
            let ended = self.incoming.is_end_stream();
            let phase = if ended { Phase::Ended } else { Phase::UpstreamsTurn };
            self.progress.moved(data.len() as u64, phase);
            if self.progress.bytes() > self.limit_bytes {
                self.progress.moved(0, Phase::TooLarge);
                return Poll::Ready(Some(Err(BrokenOff)));
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// hyper reports a chunk that it can't parse as invalid input or data, anything else as what ended the
/// connection.
fn how_it_broke(error: &hyper::Error) -> Phase {
    use io::ErrorKind::{InvalidData, InvalidInput};
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(InvalidInput | InvalidData) => Phase::Malformed,
        _ => Phase::Broken,
    }
}
