//! An upstream that echoes all that a client may choose, and looks for the key where it should not be.
//!
//! What it answers is the request's fields but the key's, an empty line, and the request's body. The field
//! `x-mirror` says when.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use codex_mock_upstream::{Certificate, ServerTls};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::wire::{Body, chunk, field, fields, read_head};
use crate::keys::random_key;
use crate::leaks::Leaks;
use crate::support::*;

/// What of a request that it has not read the kernel is to keep for it.
const WINDOW_BYTES: usize = 16 << 10;

/// The field that the key goes up in.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyField {
    pub(super) name: &'static str,
    pub(super) before: &'static str,
    flags: &'static [&'static str],
}

pub(super) const BEARER: KeyField =
    KeyField { name: "authorization", before: "Bearer ", flags: &[] };
pub(super) const API_KEY: KeyField =
    KeyField { name: "api-key", before: "", flags: &["--auth-header", "api-key"] };

/// How far the exchange may go that has the mode `stuck`.
pub(super) const NOTHING: u8 = 0;
pub(super) const THE_ANSWERS_HEAD: u8 = 1;
pub(super) const THE_BODY: u8 = 2;

pub(super) struct Mirror {
    address: SocketAddr,
    tls: Option<ServerTls>,
    pub(super) witness: Arc<Witness>,
    accepting: JoinHandle<()>,
}

/// What its connections share.
pub(super) struct Witness {
    pub(super) key: String,
    pub(super) key_field: KeyField,
    leaks: Leaks,
    pub(super) heads: AtomicU64,
    pub(super) connections: AtomicU64,
    /// What should not have come.
    faults: Mutex<Vec<String>>,
    /// How much of the bodies that are under way has arrived, by the request's number.
    arrived: watch::Sender<HashMap<u64, usize>>,
    pub(super) stage: watch::Sender<u8>,
}

impl Mirror {
    pub(super) async fn start(over_tls: bool, key_field: KeyField) -> Self {
        let key = random_key(48);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        SockRef::from(&listener).set_recv_buffer_size(WINDOW_BYTES).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = over_tls.then(|| ServerTls::make(Certificate::Valid).unwrap());
        let acceptor = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.config)));
        let witness = Arc::new(Witness {
            leaks: Leaks::of(&key),
            key,
            key_field,
            heads: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            faults: Mutex::default(),
            arrived: watch::Sender::default(),
            stage: watch::Sender::new(NOTHING),
        });
        let shared = Arc::clone(&witness);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // Dropped with this task, it ends them all.
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(Arc::clone(&shared), stream, acceptor.clone()));
            }
        });
        Self { address, tls, witness, accepting }
    }

    /// A proxy that has this upstream and its key.
    pub(super) fn proxy(&self, more: &[&str]) -> Proxy {
        let folder = tempfile::tempdir().unwrap();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/v1/responses", self.address);
        let mut command = program();
        command.args(["--upstream-url", &url]).args(self.witness.key_field.flags).args(more);
        if let Some(tls) = &self.tls {
            let file = folder.path().join("authority.pem");
            std::fs::write(&file, &tls.authority_pem).unwrap();
            command.arg("--upstream-ca").arg(file);
        }
        Proxy::spawn_with_key(&mut command, &self.witness.key)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Witness {
    /// Waits until so much of this request's body is here; its head always is.
    pub(super) async fn until_arrived(&self, id: u64, bytes: usize) {
        let mut arrived = self.arrived.subscribe();
        arrived.wait_for(|all| all.get(&id).is_some_and(|came| *came >= bytes)).await.unwrap();
    }

    pub(super) fn let_go(&self, stage: u8) {
        self.stage.send_replace(stage);
    }

    /// Fails if anything came that should not have come.
    pub(super) fn judge(&self) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{} faults, such as {:#?}", faults.len(), &faults[..1]);
    }

    /// Fails if a part of the key is in this.
    pub(super) fn assert_no_leak(&self, bytes: &[u8], what: &str) {
        if let Some(at) = self.leaks.find(bytes) {
            let shown = &bytes[at.saturating_sub(200)..bytes.len().min(at + 200)];
            panic!("the key is in {what}, at {at}: {:?}", text(shown));
        }
    }

    fn fault(&self, what: &str, bytes: &[u8]) {
        let shown = text(&bytes[..bytes.len().min(1_000)]);
        self.faults.lock().unwrap().push(format!("{what}: {shown:?}"));
    }

    /// Looks at a head: the key is in its field, the first, and nowhere else. Returns what is echoed.
    fn inspect(&self, head: &str) -> String {
        self.heads.fetch_add(1, Ordering::SeqCst);
        let KeyField { name, before, .. } = self.key_field;
        let expected = format!("POST /v1/responses HTTP/1.1\r\n{name}: {before}{}\r\n", self.key);
        let rest = head.strip_prefix(&expected).unwrap_or_else(|| {
            self.fault("a head with another beginning", head.as_bytes());
            head
        });
        let is_a_keys = |name: &str| {
            ["authorization", "api-key", "x-api-key"]
                .iter()
                .any(|key| name.eq_ignore_ascii_case(key))
        };
        if fields(&format!("\r\n{rest}")).any(|(name, _)| is_a_keys(name)) {
            self.fault("a second field for a key", head.as_bytes());
        }
        if self.leaks.find(rest.as_bytes()).is_some() {
            self.fault("the key in another place of a head", head.as_bytes());
        }
        rest.to_owned() // With the empty line.
    }

    fn arrived(&self, id: u64, bytes: usize) {
        self.arrived.send_modify(|all| *all.entry(id).or_default() += bytes);
    }
}

async fn serve(
    witness: Arc<Witness>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => converse(&witness, stream).await,
        Some(acceptor) => converse(&witness, acceptor.accept(stream).await?).await,
    }
}

/// Answers what comes on a connection. How the proxy ends one is its own affair.
async fn converse(witness: &Witness, stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    while let Some(head) = read_head(&mut reader).await? {
        let echoed = witness.inspect(&head);
        let id = field(&head, "x-id").and_then(|id| id.parse().ok()).unwrap_or(0);
        witness.arrived(id, 0);
        let mut request = Body::of(&head);
        match field(&head, "x-mirror").unwrap_or_default() {
            "" => {
                let body = take(witness, id, &mut request, &mut reader).await?;
                writer.write_all(&whole(&echoed, &body)).await?;
            }
            "early" => {
                writer.write_all(&whole(&echoed, b"")).await?;
                take(witness, id, &mut request, &mut reader).await?;
            }
            mode => {
                // The answer begins before the body has ended, and ends after it.
                let is_stuck = mode == "stuck";
                let mut stage = witness.stage.subscribe();
                if is_stuck {
                    let _ = stage.wait_for(|stage| *stage >= THE_ANSWERS_HEAD).await;
                }
                writer.write_all(STREAM_HEAD).await?;
                writer.write_all(&chunk(echoed.as_bytes())).await?;
                writer.flush().await?;
                if is_stuck {
                    let _ = stage.wait_for(|stage| *stage >= THE_BODY).await;
                }
                while let Some(piece) = request.piece(&mut reader).await? {
                    writer.write_all(&chunk(&piece)).await?;
                    writer.flush().await?;
                }
                writer.write_all(&chunk(b"")).await?;
            }
        }
        writer.flush().await?;
        witness.arrived.send_modify(|all| {
            all.remove(&id);
        });
    }
    Ok(())
}

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn whole(echoed: &str, body: &[u8]) -> Vec<u8> {
    let length = echoed.len() + body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{echoed}");
    [head.as_bytes(), body].concat()
}

/// Takes a whole body, also one that breaks off: the key may be in no part of it.
async fn take(
    witness: &Witness,
    id: u64,
    request: &mut Body,
    reader: &mut BufReader<impl AsyncRead + Unpin>,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let ended = loop {
        match request.piece(reader).await {
            Ok(Some(piece)) => {
                body.extend_from_slice(&piece);
                witness.arrived(id, piece.len());
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if witness.leaks.find(&body).is_some() {
        witness.fault("the key in a body", &body);
    }
    ended.map(|()| body)
}
