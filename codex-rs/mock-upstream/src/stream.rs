//! A streamed answer: the task that feeds its events, and the body that hyper reads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use crate::answer::{Break, Link, Progress};

/// The events of an answer and what comes after the last.
pub(crate) struct Plan {
    pub(crate) events: Vec<Bytes>,
    pub(crate) gap: Duration,
    pub(crate) gated: bool,
    pub(crate) ending: Ending,
}

/// What comes after the last event.
pub(crate) enum Ending {
    Clean,
    Cut,
    Reset,
    Never,
}

impl Plan {
    pub(crate) fn of(events: Vec<Bytes>) -> Self {
        Self { events, gap: Duration::ZERO, gated: false, ending: Ending::Clean }
    }

    /// Starts the task that sends the events; it ends early when the client leaves.
    pub(crate) fn start(self, link: Arc<Link>, progress: Progress) -> Response<MockBody> {
        let (sender, frames) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => drop(progress),
                sent = self.send(&link, &sender) => if sent { progress.ended() },
            }
        });
        let mut response = Response::new(MockBody::Fed { frames, flushing: None });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert("x-request-id", HeaderValue::from_static("req_mock_1"));
        response
    }

    /// Whether the client took it all.
    async fn send(self, link: &Link, frames: &mpsc::Sender<Result<Bytes, Break>>) -> bool {
        for event in self.events {
            if self.gated {
                match link.shared.gate.acquire().await {
                    Ok(permit) => permit.forget(),
                    Err(_) => return false,
                }
            }
            if !self.gap.is_zero() {
                tokio::time::sleep(self.gap).await;
            }
            link.shared.sent_event();
            if frames.send(Ok(event)).await.is_err() {
                return false;
            }
        }
        match self.ending {
            Ending::Clean => true,
            Ending::Cut => frames.send(Err(Break)).await.is_ok(),
            Ending::Reset => {
                link.reset.store(true, Ordering::Relaxed);
                frames.send(Err(Break)).await.is_ok()
            }
            Ending::Never => std::future::pending().await,
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum MockBody {
    /// Known from the start, so that it gets a `Content-Length`.
    Whole(Option<Bytes>),
    /// Fed by a task, so that it is sent in chunks.
    Fed {
        frames: mpsc::Receiver<Result<Bytes, Break>>,
        /// A break that waits until what came before it is on the wire.
        flushing: Option<Break>,
    },
}

impl Body for MockBody {
    type Data = Bytes;
    type Error = Break;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Break>>> {
        match &mut *self {
            Self::Whole(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Fed { flushing: pause @ Some(_), .. } => Poll::Ready(pause.take().map(Err)),
            Self::Fed { frames, flushing } => match frames.poll_recv(context) {
                Poll::Ready(Some(Err(broken))) => {
                    // hyper drops what it has buffered when a body fails; pending, it flushes first.
                    *flushing = Some(broken);
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                other => other.map(|frame| frame.map(|frame| frame.map(Frame::data))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(text) => {
                http_body::SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Fed { .. } => http_body::SizeHint::default(),
        }
    }
}
