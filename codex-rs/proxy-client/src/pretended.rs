//! For tests: a proxy that has no more than a listener, a file and a control socket, all of them real.

use std::convert::Infallible;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::unistd::geteuid;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use socket2::{Domain, Type};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::status::{CoreLimit, Counters, Files, Hardening, Key, Policy, State, Upstream};
use crate::{ControlSocket, ServerInfo, Status};

/// What is answered.
pub(crate) enum Say {
    Status(Box<Status>),
    /// 200, each part sent by itself.
    Lines(Vec<&'static str>),
    /// 200, and then no word, ever.
    Nothing,
    /// 200, and this.
    Json(Value),
    /// An error with these words.
    No(u16, &'static str),
    /// The same with a code of its own.
    Refusal(u16, &'static str, &'static str),
}

impl Say {
    fn response(self) -> Response<Either<Full<Bytes>, Channel<Bytes>>> {
        let whole = |text: String| Response::new(Either::Left(Full::from(text)));
        match self {
            Self::Status(status) => whole(serde_json::to_string(&status).unwrap()),
            Self::Json(document) => whole(document.to_string()),
            Self::No(status, message) => Self::Refusal(status, "c", message).response(),
            Self::Refusal(status, code, message) => {
                let error = json!({
                    "error": {"message": message, "type": "t", "code": code, "param": null}
                });
                let mut response = whole(error.to_string());
                *response.status_mut() = status.try_into().unwrap();
                response
            }
            Self::Nothing => {
                let (sender, body) = Channel::<Bytes>::new(1);
                tokio::spawn(async move {
                    std::future::pending::<()>().await;
                    drop(sender);
                });
                Response::new(Either::Right(body))
            }
            Self::Lines(parts) => {
                let (mut sender, body) = Channel::new(1);
                tokio::spawn(async move {
                    for part in parts {
                        if sender.send_data(Bytes::from_static(part.as_bytes())).await.is_err() {
                            return;
                        }
                    }
                });
                Response::new(Either::Right(body))
            }
        }
    }
}

/// A control socket in a folder of its own.
pub(crate) struct Socket {
    folder: TempDir,
    /// Dropped, it stops answering.
    _server: JoinSet<()>,
}

impl Socket {
    fn path(&self) -> PathBuf {
        self.folder.path().join("it.sock")
    }

    pub(crate) fn control(&self) -> ControlSocket {
        ControlSocket::new(self.path(), process::id(), geteuid().as_raw())
    }
}

/// A control socket of this process's, behind which hyper answers.
pub(crate) fn listening(
    answer: impl Fn(&Request<Incoming>) -> Say + Clone + Send + Sync + 'static,
) -> Socket {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("it.sock")).unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let said = answer(&request).response();
                async move { Ok::<_, Infallible>(said) }
            });
            connections.spawn(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Socket { folder, _server: server }
}

/// A control socket that answers the first request with these bytes, whatever they are, and then closes.
pub(crate) fn saying(answer: &'static str) -> Socket {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.sock");
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    // It ends with its one connection, which every test makes.
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.extend(byte);
        }
        let _ = stream.write_all(answer.as_bytes());
    });
    Socket { folder, _server: JoinSet::new() }
}

/// A control socket that answers the first request with what is made of its first line and of what its descriptor leads
/// to, and then closes.
pub(crate) fn receiving(
    answer: impl FnOnce(&str, Option<File>) -> String + Send + 'static,
) -> Socket {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.sock");
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (head, mut descriptors) = received(&stream);
        assert!(descriptors.len() <= 1, "{descriptors:?}");
        let key = descriptors.pop().map(File::from);
        let said = answer(head.lines().next().unwrap(), key);
        let _ = stream.write_all(said.as_bytes());
    });
    Socket { folder, _server: JoinSet::new() }
}

/// A request's head, and the descriptors that came with it.
fn received(stream: &std::os::unix::net::UnixStream) -> (String, Vec<OwnedFd>) {
    let (mut head, mut descriptors) = (Vec::new(), Vec::new());
    while !head.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 4_096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let count = recvmsg(stream, &mut parts, &mut beside, RecvFlags::empty()).unwrap().bytes;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        assert!(count > 0, "the head ended early");
        head.extend_from_slice(&bytes[..count]);
    }
    (String::from_utf8(head).unwrap(), descriptors)
}

/// A whole proxy, as far as can be seen from outside.
pub(crate) struct Pretended {
    pub(crate) info: ServerInfo,
    listener: socket2::Socket,
    /// Bound, and does not listen: while it is there, nobody else is given the port.
    _kept: socket2::Socket,
    socket: Socket,
}

impl Pretended {
    pub(crate) fn new(
        answer: impl Fn(&ServerInfo, &Request<Incoming>) -> Say + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = bound(0);
        let port = listener.local_addr().unwrap().as_socket().unwrap().port();
        // Before the first one listens: afterwards the port can't be had twice.
        let kept = bound(port);
        listener.listen(/*backlog*/ 16).unwrap();
        let mut info = ServerInfo {
            port,
            pid: process::id(),
            base_url: format!("http://127.0.0.1:{port}/v1"),
            control_socket: None,
            uid: geteuid().as_raw(),
            listener_uid: geteuid().as_raw(),
            instance: "fedcba9876543210".to_owned(),
            started_at: 1_800_000_000,
            version: "0.1.0".to_owned(),
        };
        let told = info.clone();
        let socket = listening(move |request| answer(&told, request));
        info.control_socket = Some(socket.path());
        Self { info, listener, _kept: kept, socket }
    }

    /// Stops listening on the port, and keeps it: another test might be given it.
    pub(crate) fn close(&mut self) {
        // Not by closing it: a child that another test forks has it as well until it calls exec.
        self.listener.shutdown(Shutdown::Read).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.socket.folder.path()
    }

    /// Writes a server-info where this proxy's would be.
    pub(crate) fn write(&self, info: &ServerInfo) -> PathBuf {
        let file = self.folder().join(format!("{}.json", self.info.port));
        std::fs::write(&file, info.to_line()).unwrap();
        file
    }
}

/// A socket that has this port (0: any), which others that say `SO_REUSEADDR` may share.
pub(crate) fn bound(port: u16) -> socket2::Socket {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket
}

/// What a proxy on port 4321 could say.
pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 17,
        instance: "0123456789abcdef".to_owned(),
        started_at: 1_800_000_000,
        uptime_seconds: 60,
        port: 4_321,
        base_url: "http://127.0.0.1:4321/v1".to_owned(),
        state: State::Serving,
        uid: 0,
        listener_uid: 0,
        starter_uid: None,
        upstream: Upstream {
            url: "https://api.openai.com/v1/responses".to_owned(),
            proxy: None,
            authorities: Vec::new(),
            key_field: "Authorization: Bearer".to_owned(),
        },
        key: Key {
            page: "memfd_secret".to_owned(),
            source: "standard input".to_owned(),
            since: 1_800_000_000,
            ..Key::default()
        },
        hardening: Hardening {
            dumpable: Some(false),
            core_limit_bytes: Some(CoreLimit { soft: 0, hard: 4 }),
            ..Hardening::default()
        },
        policy: Policy {
            users: None,
            max_concurrent: 64,
            max_body_bytes: 64 * 1024 * 1024,
            connect_timeout_ms: 10_000,
            header_timeout_ms: 600_000,
            drain_timeout_ms: 10_000,
            http_shutdown: false,
            set_fields: Vec::new(),
            forwarded_fields: vec!["openai-project".to_owned()],
        },
        files: Files { control_socket: "/run/it/4321.sock".into(), ..Files::default() },
        counters: Counters { requests: 2, completed: 1, refused: 1, ..Counters::default() },
        in_flight: Vec::new(),
    }
}
