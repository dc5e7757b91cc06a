//! A proxy on the way to the upstream that speaks TLS itself, and keeps all that it can read.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use codex_mock_upstream::{Certificate, ServerTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::scanner::Scanner;
use crate::support::*;

/// A proxy that makes tunnels (CONNECT, RFC 9110 section 9.3.6).
pub(crate) struct Hop {
    address: SocketAddr,
    saw: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl Hop {
    /// Its authority is written to this file.
    pub(crate) async fn start(authority: &Path) -> Self {
        let tls = ServerTls::make(Certificate::Valid).unwrap();
        std::fs::write(authority, &tls.authority_pem).unwrap();
        let acceptor = TlsAcceptor::from(tls.config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let saw: Arc<Mutex<Vec<u8>>> = Arc::default();
        let keeps = Arc::clone(&saw);
        let accepting = tokio::spawn(async move {
            let mut tunnels = JoinSet::new(); // Dropped with this task, it ends them all.
            while let Ok((stream, _)) = listener.accept().await {
                tunnels.spawn(tunnel(stream, acceptor.clone(), Arc::clone(&keeps)));
            }
        });
        Self { address, saw, accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Checks that requests went through it, and that it could not read a byte of the key.
    pub(crate) fn assert_saw_no_key(&self, key: &str) {
        let saw = self.saw.lock().unwrap();
        assert!(saw.starts_with(b"CONNECT "), "no tunnel was asked for");
        assert!(contains(&saw, &[0x16, 0x03]), "no TLS handshake went through");
        let found = Scanner::of(&[key]).search(&saw);
        assert!(found.is_empty(), "the key passed the proxy in the clear: {found:?}");
        let words = text(&saw).to_lowercase();
        assert!(!words.contains("authorization") && !words.contains("bearer"), "it saw the field");
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection: a request for a tunnel, then whatever both ends send.
async fn tunnel(stream: TcpStream, tls: TlsAcceptor, saw: Arc<Mutex<Vec<u8>>>) -> io::Result<()> {
    let mut client = tls.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?); // One at a time: what comes after it is the tunnel's.
    }
    saw.lock().unwrap().extend_from_slice(&head);
    let head = text(&head);
    let target = head.split(' ').nth(1).ok_or(io::ErrorKind::InvalidData)?;
    let upstream = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    client.flush().await?;
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = upstream.into_split();
    let up = carry(from_client, to_upstream, &saw);
    let down = carry(from_upstream, to_client, &saw);
    tokio::try_join!(up, down).map(drop)
}

/// Hands one way's bytes on, and then its end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    saw: &Mutex<Vec<u8>>,
) -> io::Result<()> {
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        saw.lock().unwrap().extend_from_slice(&piece[..count]);
        to.write_all(&piece[..count]).await?;
        to.flush().await?;
    }
    to.shutdown().await
}
