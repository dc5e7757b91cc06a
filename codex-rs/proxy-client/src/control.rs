//! The control socket, as its callers use it: HTTP over a Unix socket.
//!
//! The kernel says who listens (SO_PEERCRED, unix(7)), and nothing is sent to anybody else. Each call connects anew,
//! so nothing is kept between calls, and everything has a limit in time and size: a proxy may be stopped or broken.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::lines::LineReader;
use crate::rotation::Carrier;
use crate::{ControlError, Draining, Lines, Process, RecordsQuery, Status};

/// Until the answer's head is there; and so long again for an answer that comes at once and ends.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// No status is larger, in bytes.
const STATUS_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// No error is larger, in bytes.
pub(crate) const ERROR_LIMIT_BYTES: usize = 64 * 1024;
/// How long a stream of records may be silent. A proxy sends heartbeats more often.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// How often to call where a proxy speaks before it has been asked.
const TRIES: u32 = 3;
/// How long to wait while more callers wait than the kernel keeps.
const CROWDED_PAUSE: Duration = Duration::from_millis(10);

/// A proxy's control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSocket {
    path: PathBuf,
    pid: u32,
    uid: u32,
}

impl ControlSocket {
    /// The socket at `path`, which is believed only while the process `pid` of the account `uid` listens on it.
    pub fn new(path: PathBuf, pid: u32, uid: u32) -> Self {
        Self { path, pid, uid }
    }

    /// What the proxy says about itself.
    ///
    /// # Errors
    ///
    /// [`ControlError`], as with every call: within some seconds there is an answer or an error.
    pub async fn status(&self) -> Result<Status, ControlError> {
        let answer = self.ask(Method::GET, "/v1/status").await?;
        let answer = self.collect(answer, STATUS_LIMIT_BYTES).await?;
        serde_json::from_slice(&answer).map_err(|error| self.broken(error))
    }

    /// The records that are asked for, as they come.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn records(&self, query: &RecordsQuery) -> Result<Lines, ControlError> {
        let query = query.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        let answer = self.ask(Method::GET, &format!("/v1/records{mark}{query}")).await?;
        Ok(Lines::new(LineReader::new(self.path.clone(), answer, Some(SILENCE_LIMIT))))
    }

    /// Stops the proxy: it lets its exchanges come to their end, or cuts them `now`.
    ///
    /// # Errors
    ///
    /// [`ControlError`]. Once this has succeeded the proxy stops, whatever becomes of the caller.
    pub async fn shutdown(&self, now: bool) -> Result<Draining, ControlError> {
        let target = if now { "/v1/shutdown?now=1" } else { "/v1/shutdown" };
        let answer = self.ask(Method::POST, target).await?;
        Ok(Draining::new(LineReader::new(self.path.clone(), answer, /*patience*/ None)))
    }

    /// All of an answer that comes at once.
    pub(crate) async fn collect(
        &self,
        answer: Answer,
        limit_bytes: usize,
    ) -> Result<Bytes, ControlError> {
        let collected = timeout(ANSWER_LIMIT, Limited::new(answer, limit_bytes).collect()).await;
        let collected = collected.map_err(|_| self.silent())?;
        Ok(collected.map_err(|error| self.broken(error))?.to_bytes())
    }

    /// An answer that says 200.
    async fn ask(&self, method: Method, target: &str) -> Result<Answer, ControlError> {
        self.ask_within(ANSWER_LIMIT, method, target).await
    }

    /// The same for one that may take longer.
    pub(crate) async fn ask_within(
        &self,
        limit: Duration,
        method: Method,
        target: &str,
    ) -> Result<Answer, ControlError> {
        let asked = timeout(limit, self.send(&method, target, None)).await;
        let silent = |_| ControlError::Timeout { path: self.path.clone(), limit };
        self.accepted(asked.map_err(silent)??).await
    }

    /// The same, once it has come.
    pub(crate) async fn accepted(
        &self,
        response: Response<Answer>,
    ) -> Result<Answer, ControlError> {
        let (head, answer) = response.into_parts();
        if head.status == StatusCode::OK {
            return Ok(answer);
        }
        let error = self.collect(answer, ERROR_LIMIT_BYTES).await.unwrap_or_default();
        let (code, message) = code_and_message(&error);
        Err(match (head.status, code.as_str()) {
            (StatusCode::FORBIDDEN, _) => ControlError::NotAllowed(message),
            (StatusCode::SERVICE_UNAVAILABLE, "busy") => ControlError::Busy(message),
            (StatusCode::SERVICE_UNAVAILABLE, _) => ControlError::Crowded,
            (StatusCode::BAD_REQUEST, "bad_key") => ControlError::BadKey(message),
            (status, _) => ControlError::Refused { status: status.as_u16(), message },
        })
    }

    /// `key` goes with the request, as a descriptor.
    pub(crate) async fn send(
        &self,
        method: &Method,
        target: &str,
        key: Option<Arc<OwnedFd>>,
    ) -> Result<Response<Answer>, ControlError> {
        for _ in 1..TRIES {
            match self.send_once(method, target, key.clone()).await? {
                // Nothing was sent. A proxy with too many callers may say so before it is asked.
                Err(error) if error.is_canceled() => {}
                sent => return sent.map_err(|error| self.broken(error)),
            }
        }
        self.send_once(method, target, key).await?.map_err(|error| self.broken(error))
    }

    async fn send_once(
        &self,
        method: &Method,
        target: &str,
        key: Option<Arc<OwnedFd>>,
    ) -> Result<hyper::Result<Response<Answer>>, ControlError> {
        let connected = timeout(ANSWER_LIMIT, self.connect()).await;
        let stream = Carrier::new(connected.map_err(|_| self.silent())??, key);
        let handshake = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(error))?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _ = connection.await; // How it ends, the answer tells.
        });
        let request = Request::builder()
            .method(method.clone())
            .uri(target)
            .header(HOST, "localhost")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| self.broken(error))?;
        let sent = sender.send_request(request).await;
        Ok(sent.map(|response| response.map(|body| Answer { body, _connection: task })))
    }

    /// A connection to the process that it is to be, and to no other.
    async fn connect(&self) -> Result<UnixStream, ControlError> {
        let stream = loop {
            match UnixStream::connect(&self.path).await {
                Ok(stream) => break stream,
                // Too many wait to be accepted (EAGAIN, unix(7)).
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(CROWDED_PAUSE).await,
                Err(error) => return Err(self.unreachable(error)),
            }
        };
        let listener = stream.peer_cred().map_err(|error| self.broken(error))?;
        let is_pid = listener.pid().is_none_or(|pid| u32::try_from(pid) == Ok(self.pid));
        if is_pid && listener.uid() == self.uid {
            return Ok(stream);
        }
        let found_pid = listener.pid().and_then(|pid| u32::try_from(pid).ok());
        Err(ControlError::NotOurs {
            path: self.path.clone(),
            expected: Process { pid: Some(self.pid), uid: self.uid },
            found: Process { pid: found_pid, uid: listener.uid() },
        })
    }

    fn unreachable(&self, source: io::Error) -> ControlError {
        let path = self.path.clone();
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ControlError::NotThere { path, source }
            }
            ErrorKind::PermissionDenied => {
                ControlError::NotAllowed(format!("this account may not open {}", path.display()))
            }
            _ => self.broken(source),
        }
    }

    pub(crate) fn broken(
        &self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> ControlError {
        ControlError::Broken { path: self.path.clone(), source: source.into() }
    }

    fn silent(&self) -> ControlError {
        ControlError::Timeout { path: self.path.clone(), limit: ANSWER_LIMIT }
    }
}

/// The code of an error of the proxy's, and its words without what a terminal would act on.
fn code_and_message(error: &[u8]) -> (String, String) {
    let json: Value = serde_json::from_slice(error).unwrap_or_default();
    let code = json["error"]["code"].as_str().unwrap_or_default();
    let message = json["error"]["message"].as_str().unwrap_or("it did not say why");
    (code.to_owned(), message.replace(char::is_control, " "))
}

/// What comes after an answer's head. Dropped, it closes the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    /// Dropped, it ends its task.
    _connection: JoinSet<()>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::process;

    use codex_request_log::{Filter, Line};
    use nix::unistd::geteuid;

    use super::*;
    use crate::pretended::{Say, listening, saying, status};

    #[tokio::test]
    async fn a_proxy_is_asked_in_plain_http() {
        let socket = listening(|request| {
            assert_eq!(request.headers()[HOST], "localhost");
            assert_eq!(format!("{} {}", request.method(), request.uri()), "GET /v1/status");
            Say::Status(Box::new(status()))
        });
        assert_eq!(socket.control().status().await.unwrap(), status());
    }

    #[tokio::test]
    async fn records_come_as_lines_however_they_are_sent() {
        let heartbeat = "{\"heartbeat\":{\"at\":\"2027-01-15T08:00:00Z\"}}\n";
        let gap = "{\"gap\":{\"records\":3,\"because\":\"of it\"}}\n";
        let socket = listening(move |request| {
            assert_eq!(request.uri(), "/v1/records?follow=1&model=a+b%26c");
            Say::Lines(vec![&heartbeat[..5], &heartbeat[5..], "foreign\n", gap, "{\"gap\""])
        });
        let filter = Filter { model: Some("a b&c".to_owned()), ..Filter::default() };
        let query = RecordsQuery { follow: true, filter, ..RecordsQuery::default() };
        let mut lines = socket.control().records(&query).await.unwrap();
        assert!(matches!(lines.next().await.unwrap(), Some(Line::Heartbeat)));
        let Some(Line::Gap { records, because }) = lines.next().await.unwrap() else { panic!() };
        assert_eq!((records, because.as_str()), (3, "of it"));
        assert!(lines.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nothing_is_sent_to_another_process_or_account() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (pid, uid) = (process::id(), geteuid().as_raw());
        for (pid, uid) in [(pid + 1, uid), (pid, uid + 1), (0, uid)] {
            let error = ControlSocket::new(path.clone(), pid, uid).status().await.unwrap_err();
            let ControlError::NotOurs { expected, found, .. } = error else { panic!("{error:?}") };
            assert_eq!(expected, Process { pid: Some(pid), uid });
            let us = Process { pid: Some(process::id()), uid: geteuid().as_raw() };
            assert_eq!(found, us);
            let (mut accepted, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            io::Read::read_to_end(&mut accepted, &mut heard).unwrap();
            assert_eq!(heard, b"");
        }
    }

    #[tokio::test]
    async fn each_way_to_be_out_of_reach_has_its_own_error() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            ControlSocket::new(folder.path().join(name), process::id(), geteuid().as_raw())
        };
        let error = at("none").status().await.unwrap_err();
        assert!(matches!(error, ControlError::NotThere { .. }), "{error:?}");
        drop(UnixListener::bind(folder.path().join("dead")).unwrap());
        let error = at("dead").status().await.unwrap_err();
        assert!(matches!(error, ControlError::NotThere { .. }), "{error:?}");
        let error = at(&"long".repeat(50)).status().await.unwrap_err();
        assert!(matches!(error, ControlError::Broken { .. }), "{error:?}");
        // Root may open everything; anyone else has this proven here.
        if !geteuid().is_root() {
            let _closed = UnixListener::bind(folder.path().join("closed")).unwrap();
            let mode = std::fs::Permissions::from_mode(0o000);
            std::fs::set_permissions(folder.path().join("closed"), mode).unwrap();
            let error = at("closed").status().await.unwrap_err();
            assert!(matches!(error, ControlError::NotAllowed(_)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn what_the_proxy_refuses_is_said_in_its_words() {
        let crowded = listening(|_| Say::No(503, "16 of them"));
        let error = crowded.control().status().await.unwrap_err();
        assert!(matches!(error, ControlError::Crowded), "{error:?}");
        assert!(error.to_string().ends_with("already; try again"), "{error}");
        let socket = listening(|request| match request.uri().path() {
            "/v1/status" => Say::No(403, "not\nyou"),
            _ => Say::No(400, "the parameter \"moon\" is unknown"),
        });
        let error = socket.control().status().await.unwrap_err();
        assert!(
            matches!(&error, ControlError::NotAllowed(words) if words == "not you"),
            "{error:?}"
        );
        let error = socket.control().records(&RecordsQuery::default()).await.unwrap_err();
        let ControlError::Refused { status: 400, ref message } = error else { panic!("{error:?}") };
        assert_eq!(message, "the parameter \"moon\" is unknown");
        let all = error.to_string();
        assert_eq!(all, "the proxy answered 400: the parameter \"moon\" is unknown");
    }

    #[tokio::test]
    async fn what_is_no_answer_is_not_taken_for_one() {
        for answer in [
            "",
            "hello\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 16777217\r\n\r\n",
        ] {
            let error = saying(answer).control().status().await.unwrap_err();
            assert!(matches!(error, ControlError::Broken { .. }), "{answer:?}: {error:?}");
        }
        let refused = saying("HTTP/1.1 500 Oh\r\ncontent-length: 3\r\n\r\n<p>");
        let error = refused.control().status().await.unwrap_err();
        assert_eq!(error.to_string(), "the proxy answered 500: it did not say why");
    }

    /// Time does not pass but by waiting: nothing else is left to do than to wait for the end of patience.
    #[tokio::test(start_paused = true)]
    async fn who_never_answers_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let control = ControlSocket::new(path, process::id(), geteuid().as_raw());
        let error = control.status().await.unwrap_err();
        assert!(matches!(error, ControlError::Timeout { .. }), "{error:?}");
    }
}
