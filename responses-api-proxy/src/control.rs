//! The control socket: what the proxy tells of itself, to whom, and who may stop it.
//!
//! HTTP over a Unix socket. Callers are known by SO_PEERCRED (unix(7)), which nobody can forge. Nothing here can
//! change what is forwarded, and nothing here is waited for by an exchange: a reader that is too slow loses its
//! connection.

mod access;
mod control_socket;
mod draining;
mod following;
mod run_entry;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use codex_peer_identity::{Peer, Uid};
use codex_proxy_client::{RecordsQuery, Status};
use codex_request_log::Hub;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exchange::Proxy;
use crate::shares::Shares;
use crate::status;

pub(crate) use access::{Access, Standing};
pub(crate) use control_socket::ControlSocket;
pub(crate) use control_socket::ControlSocketError;
pub(crate) use run_entry::RunEntry;

/// Connections of one account at once.
const CONNECTIONS: usize = 16;
/// How long a reader may take nothing, and how long it may be silent before it asks.
const STUCK: Duration = Duration::from_secs(30);
/// How long the last lines may take when the proxy ends.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long to wait when a connection can't be accepted.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// What a caller reads whose account has all its places taken.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\
    {\"error\":{\"message\":\"this account has 16 connections to the control socket already\",\
    \"type\":\"proxy_refusal\",\"code\":\"too_many_connections\",\"param\":null}}";

/// How long, and how much of a request, it may take to tell that.
const TURNED_AWAY: Duration = Duration::from_secs(1);
const TURNED_AWAY_BYTES: usize = 8 * 1_024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSONL: HeaderValue = HeaderValue::from_static("application/jsonl");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the control socket tells.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) access: Access,
    pub(crate) hub: Hub,
    pub(crate) proxy: Arc<Proxy>,
    /// What does not change while the proxy runs.
    pub(crate) standing_facts: Status,
    /// Cancelled once no exchange is left.
    pub(crate) ended: CancellationToken,
}

type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// A thread of its own for callers, so that they take no time from exchanges but their share of the machine's. It ends
/// when the proxy has ended.
pub(crate) fn start(
    listener: std::os::unix::net::UnixListener,
    control: Control,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        UnixListener::from_std(listener)?
    };
    let work = move || runtime.block_on(serve(listener, Arc::new(control)));
    thread::Builder::new().name("control".to_owned()).spawn(work)
}

/// Answers callers until the proxy has ended, then lets those who listen have their last lines.
async fn serve(listener: UnixListener, control: Arc<Control>) {
    let connections = TaskTracker::new();
    let places = Shares::new(CONNECTIONS);
    let turning_away = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = control.ended.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(EXHAUSTED_PAUSE).await; // Out of open files, most likely.
            continue;
        };
        let Ok(caller) = stream.peer_cred().map(|credentials| Uid::from_raw(credentials.uid()))
        else {
            continue;
        };
        let Ok(place) = places.of(Peer::User(caller)).try_acquire_owned() else {
            if let Ok(place) = Arc::clone(&turning_away).try_acquire_owned() {
                connections.spawn(async move {
                    let _ = turn_away(stream).await; // It may have left.
                    drop(place);
                });
            }
            continue;
        };
        let control = Arc::clone(&control);
        connections.spawn(async move {
            converse(&control, stream, caller).await;
            drop(place);
        });
    }
    connections.close();
    // Who has stopped reading is not waited for: the runtime's end ends it.
    let _ = timeout(LAST_LINES, connections.wait()).await;
}

/// Tells a caller that there are too many of its account. Its request is read first: else its end would see a broken
/// connection, and not what is said.
async fn turn_away(mut stream: UnixStream) -> io::Result<()> {
    let read = async {
        let (mut head, mut piece) = (Vec::new(), [0; 1_024]);
        while !head.ends_with(b"\r\n\r\n") && head.len() < TURNED_AWAY_BYTES {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(count) => head.extend_from_slice(&piece[..count]),
            }
        }
    };
    let _ = timeout(TURNED_AWAY, read).await; // It may have nothing to say.
    stream.try_write(BUSY)?; // Nothing has been written yet: there is room.
    stream.shutdown().await
}

async fn converse(control: &Arc<Control>, stream: UnixStream, caller: Uid) {
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(STUCK));
    let standing = control.access.of(caller);
    let service = service_fn(|request| {
        let answer = answer(control, standing, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(STUCK)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => return, // How a caller leaves is its own affair.
        () = control.ended.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn answer(
    control: &Arc<Control>,
    standing: Option<Standing>,
    request: &Request<Incoming>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let Some(standing) = standing else {
        return refusal(
            StatusCode::FORBIDDEN,
            "client_not_allowed",
            "this proxy talks about itself to root, to whoever started it and to accounts that --allow-user names",
        );
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/status") => {
            let status = status::now(control, standing);
            // Plain numbers and strings: nothing that JSON could refuse.
            said(JSON, serde_json::to_string(&status).unwrap_or_default())
        }
        (&Method::GET, "/v1/records") => match RecordsQuery::parse(query) {
            Ok(query) if query.follow => {
                streamed(following::follow(control.hub.clone(), standing, query))
            }
            Ok(query) => said(JSONL, following::recent(&control.hub, standing, &query)),
            Err(error) => refusal(StatusCode::BAD_REQUEST, "bad_query", &error),
        },
        (&Method::GET, "/metrics") => said(OPEN_METRICS, status::metrics(control)),
        (&Method::POST, "/v1/shutdown") if standing != Standing::Operator => refusal(
            StatusCode::FORBIDDEN,
            "client_not_allowed",
            "only root and whoever started this proxy may stop it",
        ),
        (&Method::POST, "/v1/shutdown") => match query {
            "" | "now=0" => streamed(draining::drain(control, /*now*/ false)),
            "now=1" => streamed(draining::drain(control, /*now*/ true)),
            _ => refusal(StatusCode::BAD_REQUEST, "bad_query", "the query is now=1, or none"),
        },
        _ => refusal(
            StatusCode::NOT_FOUND,
            "route_not_allowed",
            "there are GET /v1/status, GET /v1/records, GET /metrics and POST /v1/shutdown",
        ),
    }
}

fn said(media_type: HeaderValue, text: String) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

fn streamed(body: Channel<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().insert(CONTENT_TYPE, JSONL);
    response
}

/// In the shape that the proxy's own errors have.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = json!({
        "error": { "message": message, "type": "proxy_refusal", "code": code, "param": null }
    });
    let mut response = said(JSON, body.to_string());
    *response.status_mut() = status;
    response
}
