//! An answer's body on its way down: every piece at once, unchanged, and a cut stays a cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use crate::lease::Lease;
use crate::ledger::Ledger;
use crate::link::Forwarding;

/// The upstream's body, as the client's. Dropped early, it ends the upstream's exchange.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    upstream: Incoming,
    ledger: Ledger,
    forwarding: Forwarding,
    _lease: Arc<Lease>,
}

/// The upstream's answer ended before its end: hyper ends the client's connection for it.
#[derive(Debug, Error)]
#[error("the answer was cut")]
pub(crate) struct UpstreamCut;

impl AnswerBody {
    pub(crate) fn new(
        upstream: Incoming,
        mut ledger: Ledger,
        forwarding: Forwarding,
        lease: Arc<Lease>,
    ) -> Self {
        if upstream.is_end_stream() {
            ledger.completed(); // hyper won't ask for a body that is empty.
        }
        Self { upstream, ledger, forwarding, _lease: lease }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamCut>>> {
        match ready!(Pin::new(&mut self.upstream).poll_frame(context)) {
            Some(Ok(frame)) => {
                let Some(data) = frame.data_ref() else {
                    // Trailers. hyper would end the body with them, or rather without them.
                    self.ledger.completed();
                    return Poll::Ready(None);
                };
                self.ledger.relayed(data);
                if self.upstream.is_end_stream() {
                    self.ledger.completed(); // hyper does not ask again.
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                self.ledger.cut();
                self.forwarding.link.cut();
                Poll::Ready(Some(Err(UpstreamCut)))
            }
            None => {
                self.ledger.completed();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}
