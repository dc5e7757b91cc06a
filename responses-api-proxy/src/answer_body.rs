//! An answer's body on its way down: every piece at once, unchanged, and a cut stays a cut.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use codex_request_log::{Outcome, Reason};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

use crate::connection::Link;
use crate::ledger::Ledger;

/// The upstream's body, as the client's. Dropped early, it ends the upstream's exchange.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    upstream: reqwest::Body,
    ledger: Ledger,
    link: Arc<Link>,
    _slot: OwnedSemaphorePermit,
}

/// The upstream's answer ended before its end: hyper ends the client's connection for it.
#[derive(Debug, Error)]
#[error("the upstream cut its answer")]
pub(crate) struct UpstreamCut;

impl AnswerBody {
    pub(crate) fn new(
        upstream: reqwest::Body,
        mut ledger: Ledger,
        link: Arc<Link>,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        if upstream.is_end_stream() {
            ledger.record.completed(); // hyper won't ask for a body that is empty.
        }
        Self { upstream, ledger, link, _slot: slot }
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
                if let Some(data) = frame.data_ref() {
                    self.ledger.record.relayed(data.len() as u64);
                }
                if self.upstream.is_end_stream() {
                    self.ledger.record.completed(); // hyper does not ask again.
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => {
                self.ledger.record.failed(Outcome::Cut, Reason::UpstreamCut, None);
                self.link.cut();
                Poll::Ready(Some(Err(UpstreamCut)))
            }
            None => {
                self.ledger.record.completed();
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
