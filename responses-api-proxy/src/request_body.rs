//! A request's body on its way up: passed on piece by piece, counted, and cut off at the limit.
//!
//! Nothing is kept: the next piece is read once the upstream's connection has taken the last.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

use crate::dump::Dump;
use crate::lease::Lease;
use crate::meter::{Facts, RequestMeter};

/// The client's body, as the upstream's request body.
#[derive(Debug)]
pub(crate) struct RequestBody {
    limit_bytes: u64,
    progress: Progress,
    /// Kept until the upstream's connection lets go of the body, which may be after the answer's end.
    _lease: Arc<Lease>,
}

/// Why the upstream's request is broken off. What the client is told comes from [`Progress`].
#[derive(Debug, Error)]
#[error("the client's body broke off")]
pub(crate) struct BrokenOff;

/// A body and how far it has come. Clones share one state.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// `None` once nobody wants it any more.
    incoming: Option<Incoming>,
    /// Who waits for the client's next piece.
    waiting: Option<Waker>,
    bytes: u64,
    moved_at: Instant,
    phase: Phase,
    dump: Dump,
    meter: RequestMeter,
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
    /// The progress of a body of which nothing has been read, under these fields.
    pub(crate) fn of(incoming: Incoming, fields: &HeaderMap) -> Self {
        let phase = if incoming.is_end_stream() { Phase::Ended } else { Phase::UpstreamsTurn };
        Self(Arc::new(Mutex::new(State {
            incoming: Some(incoming),
            waiting: None,
            bytes: 0,
            moved_at: Instant::now(),
            phase,
            dump: Dump::default(),
            meter: RequestMeter::of(fields),
        })))
    }

    /// What the body has said so far.
    pub(crate) fn facts(&self) -> Facts {
        self.state().meter.facts()
    }

    /// From here on what goes up is told to this dump.
    pub(crate) fn dump_to(&self, dump: Dump) {
        let mut state = self.state();
        if state.phase == Phase::Ended {
            dump.request_ended();
        }
        state.dump = dump;
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

    /// Lets go of the body: the exchange is over, and the rest of it is of no use to anybody.
    ///
    /// That ends the client's connection, unless it is the body's end, and the upstream's as soon as that
    /// asks for more.
    pub(crate) fn abandon(&self) {
        let (incoming, waiting) = {
            let mut state = self.state();
            state.dump = Dump::default(); // An upload that is stuck must not keep it open.
            (state.incoming.take(), state.waiting.take())
        };
        drop(incoming);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Ready once nothing has moved for so long: `upstream`, or `client` while it is the client's turn. Cancel
    /// safe.
    pub(crate) async fn stalled(&self, upstream: Duration, client: Duration) {
        loop {
            let (moved_at, phase) = {
                let state = self.state();
                (state.moved_at, state.phase)
            };
            let patience = if phase == Phase::ClientsTurn { client } else { upstream };
            let now = Instant::now();
            let deadline = moved_at + patience;
            if deadline <= now {
                return;
            }
            // Whose turn it is may change meanwhile.
            tokio::time::sleep_until(deadline.min(now + client)).await;
        }
    }
}

impl State {
    fn moved(&mut self, bytes: u64, phase: Phase) {
        self.bytes += bytes;
        self.moved_at = Instant::now();
        self.phase = phase;
    }

    /// The next piece of data, if the body has not been let go.
    fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        limit_bytes: u64,
    ) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        loop {
            let Some(incoming) = &mut self.incoming else {
                return Poll::Ready(Some(Err(BrokenOff)));
            };
            let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(context) else {
                self.phase = Phase::ClientsTurn;
                self.waiting = Some(context.waker().clone());
                return Poll::Pending;
            };
            let ended = incoming.is_end_stream();
            match frame {
                None => {
                    self.moved(0, Phase::Ended);
                    self.dump.request_ended();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    self.moved(0, how_it_broke(&error));
                    return Poll::Ready(Some(Err(BrokenOff)));
                }
                Some(Ok(frame)) => {
                    // Trailers are the client's words too, and no field of its choosing goes unfiltered.
                    let Ok(data) = frame.into_data() else { continue };
                    let phase = if ended { Phase::Ended } else { Phase::UpstreamsTurn };
                    self.moved(data.len() as u64, phase);
                    if self.bytes > limit_bytes {
                        self.phase = Phase::TooLarge;
                        return Poll::Ready(Some(Err(BrokenOff)));
                    }
                    self.meter.observe(&data);
                    self.dump.request_data(&data);
                    if ended {
                        self.dump.request_ended();
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }
}

impl RequestBody {
    pub(crate) fn new(progress: Progress, limit_bytes: u64, lease: Arc<Lease>) -> Self {
        Self { limit_bytes, progress, _lease: lease }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let data = ready!(self.progress.state().poll_data(context, self.limit_bytes));
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.progress.state().incoming.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.progress.state().incoming.as_ref().map(Body::size_hint).unwrap_or_default()
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
