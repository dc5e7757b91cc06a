//! From a scenario to an answer: the head, and the task that feeds the body.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::events;
use crate::observe::{Seen, Shared};
use crate::scenario::Scenario;

/// How much of a request's body is kept, in bytes.
const KEPT_BODY_BYTES: usize = 1 << 20;

/// The scenario ends the connection here.
#[derive(Debug, Error)]
#[error("the scenario ends the connection")]
pub(crate) struct Break;

/// What a connection's tasks share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    /// Which connection this is, counted from 1.
    pub(crate) number: u64,
    /// The connection is to end with a reset.
    pub(crate) reset: AtomicBool,
}

/// Counts an exchange as cancelled unless it got to its end.
struct Progress {
    shared: Arc<Shared>,
    ended: bool,
}

impl Progress {
    fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.shared.count(|counts| {
            if self.ended {
                counts.answered += 1;
            } else {
                counts.cancelled += 1;
            }
        });
    }
}

/// One request from its head to the head of its answer.
pub(crate) async fn answer(
    link: Arc<Link>,
    request: Request<Incoming>,
) -> Result<Response<MockBody>, Break> {
    let shared = Arc::clone(&link.shared);
    shared.count(|counts| counts.requests += 1);
    let progress = Progress { shared: Arc::clone(&shared), ended: false };
    let scenario = shared.next_scenario();

    let (head, body) = request.into_parts();
    let (body, body_bytes) = read_body(&shared, body).await?;
    let encoding = head.headers.get(CONTENT_ENCODING).cloned();
    let bearer = head.headers.get(AUTHORIZATION).cloned();
    let model = model_of(&body);
    shared.saw(Seen {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body,
        connection: link.number,
    });

    if let Some(key) = &shared.options.expected_key
        && bearer.is_none_or(|bearer| bearer.as_bytes() != format!("Bearer {key}").as_bytes())
    {
        shared.count(|counts| counts.wrong_bearer += 1);
        progress.ended();
        return Ok(error(StatusCode::UNAUTHORIZED, "invalid_api_key"));
    }

    let turn = || events::turn(&model, events::ORDINARY_WORDS);
    let plan = match scenario {
        Scenario::Turn => Plan::of(turn()),
        Scenario::Slow { events, gap } => {
            Plan { gap, ..Plan::of(events::turn(&model, events as usize)) }
        }
        Scenario::Gated => Plan { gated: true, ..Plan::of(turn()) },
        Scenario::Silent => {
            Plan { ending: Ending::Never, ..Plan::of(turn().into_iter().take(1).collect()) }
        }
        Scenario::Cut { events } => {
            Plan { ending: Ending::Cut, ..Plan::of(turn().into_iter().take(events).collect()) }
        }
        Scenario::Reset { events } => {
            Plan { ending: Ending::Reset, ..Plan::of(turn().into_iter().take(events).collect()) }
        }
        Scenario::Unfinished => {
            let mut events = turn();
            events.pop();
            Plan::of(events)
        }
        Scenario::Gzip => {
            let mut response = Plan::of(vec![gzip(&turn().concat())]).start(link, progress);
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            return Ok(response);
        }
        Scenario::Json => {
            progress.ended();
            return Ok(document(StatusCode::OK, events::document(&model)));
        }
        Scenario::Echo => {
            progress.ended();
            let encoding = encoding.as_ref().and_then(|value| value.to_str().ok());
            let echo = json!({ "received_bytes": body_bytes, "content_encoding": encoding });
            return Ok(document(StatusCode::OK, echo.to_string().into()));
        }
        Scenario::Status { status, retry_after } => {
            progress.ended();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = error(status, "mock_status");
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            return Ok(response);
        }
        Scenario::Quota => {
            progress.ended();
            return Ok(error(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota"));
        }
        Scenario::Redirect { status, location } => {
            progress.ended();
            let status = StatusCode::from_u16(status).map_err(|_| Break)?;
            let mut response = document(status, Bytes::new());
            let location = HeaderValue::try_from(location).map_err(|_| Break)?;
            response.headers_mut().insert(LOCATION, location);
            return Ok(response);
        }
        Scenario::Close => {
            progress.ended();
            return Err(Break);
        }
        Scenario::ResetAtOnce => {
            progress.ended();
            link.reset.store(true, Ordering::Relaxed);
            return Err(Break);
        }
        Scenario::Hang => {
            std::future::pending::<()>().await;
            return Err(Break);
        }
    };
    Ok(plan.start(link, progress))
}

async fn read_body(shared: &Shared, mut body: Incoming) -> Result<(Bytes, u64), Break> {
    let mut kept = BytesMut::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|_| Break)?.into_data() {
            total += data.len() as u64;
            kept.extend_from_slice(&data[..data.len().min(KEPT_BODY_BYTES - kept.len())]);
            shared.count(|counts| counts.body_bytes += data.len() as u64);
        }
    }
    Ok((kept.freeze(), total))
}

fn model_of(body: &[u8]) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    document["model"].as_str().unwrap_or("mock-model").to_owned()
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // A Vec takes every byte, so neither call can fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

fn document(status: StatusCode, text: Bytes) -> Response<MockBody> {
    let mut response = Response::new(MockBody::Whole(Some(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("x-request-id", HeaderValue::from_static("req_mock_1"));
    response
}

fn error(status: StatusCode, code: &str) -> Response<MockBody> {
    let message = format!("the mock upstream answers {}", status.as_u16());
    let body =
        json!({ "error": { "message": message, "type": code, "code": code, "param": null } });
    document(status, body.to_string().into())
}

/// The events of an answer and what comes after the last.
struct Plan {
    events: Vec<Bytes>,
    gap: Duration,
    gated: bool,
    ending: Ending,
}

enum Ending {
    Clean,
    Cut,
    Reset,
    Never,
}

impl Plan {
    fn of(events: Vec<Bytes>) -> Self {
        Self { events, gap: Duration::ZERO, gated: false, ending: Ending::Clean }
    }

    /// Starts the task that sends the events; it ends early when the client leaves.
    fn start(self, link: Arc<Link>, progress: Progress) -> Response<MockBody> {
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
