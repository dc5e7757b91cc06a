//! The control socket: what the proxy tells of itself, to whom, and who may stop it or give it another key.
//!
//! HTTP over a Unix socket. Callers are known by SO_PEERCRED (unix(7)), which nobody can forge. Nothing here but a new
//! key can change what is forwarded, and nothing here is waited for by an exchange: a reader that is too slow loses its
//! connection.
//!
//! Each caller has a thread of its own. With a message may come descriptors, whether they are wanted or not, and letting
//! go of one may take as long as its sender likes: a socket with SO_LINGER whose data nobody reads, a file of a file
//! system that does not answer. So no other thread reads from a caller, or closes its connection.

mod access;
mod control_socket;
mod descriptors;
mod draining;
mod following;
mod letting_go;
mod rotating;
mod run_entry;
mod upstream_check;

use std::convert::Infallible;
use std::io;
use std::mem::ManuallyDrop;
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
use tokio::runtime::{self, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exchange::Proxy;
use crate::report::Words;
use crate::shares::Shares;
use crate::status;

use descriptors::{Brought, CallerStream};

pub(crate) use access::{Access, Standing};
pub(crate) use control_socket::ControlSocket;
pub(crate) use control_socket::ControlSocketError;
pub(crate) use run_entry::RunEntry;
pub(crate) use upstream_check::UpstreamChecks;

/// Connections of one account at once; and so many more that are told that there are too many.
const CONNECTIONS: usize = 16;
/// Connections of one account that are being let go of at once. More wait for that, unread.
const CLOSING: usize = 8;
/// Threads for each account that the socket knows, at most: all of those, and keys that are being read.
const THREADS: usize = 2 * CONNECTIONS + CLOSING + rotating::AT_ONCE;
/// Accounts besides those that are named: root, the serving one, the starter, and all others together.
const OTHER_ACCOUNTS: usize = 4;
/// What part of all open files callers may take.
const SHARE_OF_FILES: usize = 8;
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
    pub(crate) upstream_checks: UpstreamChecks,
    /// Cancelled once no exchange is left.
    pub(crate) ended: CancellationToken,
    /// What the operator should know.
    pub(crate) words: Words,
}

type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// Threads of their own for callers, so that they take no time from exchanges but their share of the machine's. This one
/// accepts them, and ends when the proxy has ended.
pub(crate) fn start(
    listener: std::os::unix::net::UnixListener,
    control: Control,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .max_blocking_threads(THREADS * (control.access.named_accounts() + OTHER_ACCOUNTS))
        .enable_all()
        .build()?;
    let listener = {
        let _entered = runtime.enter();
        UnixListener::from_std(listener)?
    };
    let work = move || {
        runtime.block_on(serve(listener, Arc::new(control)));
        runtime.shutdown_background(); // A system call that does not return is not waited for.
    };
    thread::Builder::new().name("control".to_owned()).spawn(work)
}

/// Who calls, and what goes with its connection.
struct Caller {
    uid: Uid,
    standing: Option<Standing>,
    stream: Arc<UnixStream>,
    brought: Brought,
    /// Keys that its account may have read at once.
    rotations: Arc<Semaphore>,
    /// What the proxy's end waits for, a moment.
    threads: TaskTracker,
}

/// Where callers go.
struct Callers {
    control: Arc<Control>,
    /// By account: connections that are served, such as are told that there are too many, such as are let go of, and keys
    /// that are being read. Who is not known here shares one account's with all who are not.
    places: Shares,
    turning_away: Shares,
    closing: Shares,
    rotations: Shares,
    threads: TaskTracker,
}

/// Answers callers until the proxy has ended, then lets those who listen have their last lines.
async fn serve(listener: UnixListener, control: Arc<Control>) {
    let callers = Callers {
        control: Arc::clone(&control),
        places: Shares::new(CONNECTIONS),
        turning_away: Shares::new(CONNECTIONS),
        closing: Shares::new(CLOSING),
        rotations: Shares::new(rotating::AT_ONCE),
        threads: TaskTracker::new(),
    };
    // tokio panics where not even one thread can be had, and waits where there is one: so one is there from the start.
    let ended = control.ended.clone();
    on_own_thread(&callers.threads, move || async move { ended.cancelled().await });
    // Who waits to be let go of is not to take all open files.
    let rooms =
        Arc::new(Semaphore::new((control.proxy.open_files / SHARE_OF_FILES).max(CONNECTIONS)));
    let accept = async || {
        let room = Arc::clone(&rooms).acquire_owned().await.ok();
        (listener.accept().await, room)
    };
    loop {
        let (accepted, room) = tokio::select! {
            biased;
            () = control.ended.cancelled() => break,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => callers.receive(stream, room),
            Err(_) => sleep(EXHAUSTED_PAUSE).await, // Out of open files, most likely.
        }
    }
    let threads = callers.threads;
    on_own_thread(&threads, move || async move { drop(listener) }); // And with it who has not been accepted.
    threads.close();
    // Who hangs in a system call is not waited for any longer.
    let _ = timeout(2 * LAST_LINES, threads.wait()).await;
}

impl Callers {
    /// Gives a caller its thread, on which it is served, turned away or let go.
    fn receive(&self, stream: UnixStream, room: Option<OwnedSemaphorePermit>) {
        let Ok(uid) = stream.peer_cred().map(|credentials| Uid::from_raw(credentials.uid())) else {
            return self.let_go(Peer::Unknown, stream, room);
        };
        let standing = self.control.access.of(uid);
        let account = if standing.is_some() { Peer::User(uid) } else { Peer::Unknown };
        let Ok(place) = self.places.of(account).try_acquire_owned() else {
            let Ok(place) = self.turning_away.of(account).try_acquire_owned() else {
                return self.let_go(account, stream, room);
            };
            return on_own_thread(&self.threads, move || async move {
                let _ = turn_away(stream).await; // It may have left.
                drop((place, room));
            });
        };
        let caller = Caller {
            uid,
            standing,
            stream: Arc::new(stream),
            brought: Brought::default(),
            rotations: self.rotations.of(account),
            threads: self.threads.clone(),
        };
        let control = Arc::clone(&self.control);
        on_own_thread(&self.threads, move || async move {
            converse(&control, caller).await;
            drop((place, room));
        });
    }

    /// Closes a connection once one of its account's threads for that is free. It does not close by itself before, be it that
    /// the runtime ends: the process's own end does not linger (socket(7)).
    fn let_go(&self, account: Peer, stream: UnixStream, room: Option<OwnedSemaphorePermit>) {
        let (closing, threads) = (self.closing.of(account), self.threads.clone());
        let stream = ManuallyDrop::new(stream);
        tokio::spawn(async move {
            let place = closing.acquire_owned().await;
            on_own_thread(&threads, move || async move {
                letting_go::let_go(ManuallyDrop::into_inner(stream));
                drop((place, room));
            });
        });
    }
}

/// Does this on a thread of its own.
fn on_own_thread<F: Future<Output = ()>>(
    threads: &TaskTracker,
    work: impl FnOnce() -> F + Send + 'static,
) {
    let runtime = Handle::current();
    threads.spawn_blocking(move || runtime.block_on(work()));
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

async fn converse(control: &Arc<Control>, caller: Caller) {
    let room = (caller.standing == Some(Standing::Operator)).then(|| caller.brought.clone());
    let stream = CallerStream::new(Arc::clone(&caller.stream), room);
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(STUCK));
    let caller = &caller;
    let service = service_fn(move |request| async move {
        Ok::<_, Infallible>(answer(control, caller, &request).await)
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
    let _ = timeout(LAST_LINES, connection).await;
}

async fn answer(
    control: &Arc<Control>,
    caller: &Caller,
    request: &Request<Incoming>,
) -> Response<Body> {
    let brought = caller.brought.take(); // With this request; it ends with it, unless it is wanted.
    let query = request.uri().query().unwrap_or_default();
    let Some(standing) = caller.standing else {
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
        (&Method::GET, "/v1/upstream") if query.is_empty() => {
            upstream_check::check(control, caller).await
        }
        (&Method::GET, "/v1/upstream") => {
            refusal(StatusCode::BAD_REQUEST, "bad_query", "there is no query")
        }
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
        (&Method::POST, "/v1/rotate-key") if standing != Standing::Operator => refusal(
            StatusCode::FORBIDDEN,
            "client_not_allowed",
            "only root, the account that serves and whoever started this proxy may give it another key",
        ),
        (&Method::POST, "/v1/rotate-key") if !query.is_empty() => {
            refusal(StatusCode::BAD_REQUEST, "bad_query", "there is no query")
        }
        (&Method::POST, "/v1/rotate-key") => rotating::rotate(control, caller, brought).await,
        _ => refusal(
            StatusCode::NOT_FOUND,
            "route_not_allowed",
            "there are GET /v1/status, GET /v1/records, GET /v1/upstream, GET /metrics, POST /v1/shutdown and POST /v1/rotate-key",
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
