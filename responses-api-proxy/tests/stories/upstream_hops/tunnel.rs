//! A proxy between us and the upstream, as companies have them: it tunnels what it can't read.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use codex_mock_upstream::{Certificate, Scenario, ServerTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{Upstream, ask, fails, tls_mock};
use crate::support::*;

/// What a proxy does when it is asked for a tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    Tunnels,
    /// Tunnels for those who send this user and password, in base64.
    WantsLogin(&'static str),
    Says(&'static str),
    Closes,
    IsSilent,
}

const WHO_ARE_YOU: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n";

/// `me:s3cret`, as it is sent (RFC 7617).
pub(super) const LOGIN: Manner = Manner::WantsLogin("bWU6czNjcmV0");

/// A proxy as companies have them (RFC 9110 section 9.3.6). It keeps all that it can read.
pub(super) struct ConnectProxy {
    address: SocketAddr,
    scheme: &'static str,
    saw: Arc<Mutex<Saw>>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Saw {
    /// The requests for a tunnel.
    heads: Vec<String>,
    /// What went through the tunnels, both ways.
    bytes: Vec<u8>,
}

impl ConnectProxy {
    pub(super) async fn start(manner: Manner) -> Self {
        Self::listen(manner, None).await
    }

    async fn over_tls(manner: Manner, tls: &ServerTls) -> Self {
        Self::listen(manner, Some(TlsAcceptor::from(Arc::clone(&tls.config)))).await
    }

    async fn listen(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let saw: Arc<Mutex<Saw>> = Arc::default();
        let keeps = Arc::clone(&saw);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // Dropped with this task, it ends them all.
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, tls.clone(), manner, Arc::clone(&keeps)));
            }
        });
        Self { address, scheme, saw, accepting }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(super) fn url_with(&self, login: &str) -> String {
        format!("{}://{login}@{}", self.scheme, self.address)
    }

    /// The name of this hop in messages.
    pub(super) fn hop(&self) -> String {
        format!("the proxy {}", self.address)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.saw.lock().unwrap().heads.clone()
    }

    /// Checks that requests went through it, and what it could read of them.
    pub(super) fn assert_saw_no_key(&self) {
        let saw = self.saw.lock().unwrap();
        assert!(contains(&saw.bytes, &[0x16, 0x03]), "no TLS handshake went through");
        for run in KEY.as_bytes().windows(8) {
            assert!(!contains(&saw.bytes, run), "the key passed the proxy in the clear");
            assert!(
                saw.heads.iter().all(|head| !contains(head.as_bytes(), run)),
                "{:?}",
                saw.heads
            );
        }
        for line in saw.heads.iter().flat_map(|head| head.lines()) {
            assert!(!line.to_lowercase().starts_with("authorization"), "{line}");
        }
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection of a [`ConnectProxy`].
async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    manner: Manner,
    saw: Arc<Mutex<Saw>>,
) -> io::Result<()> {
    match tls {
        None => tunnel(stream, manner, &saw).await,
        Some(tls) => tunnel(tls.accept(stream).await?, manner, &saw).await,
    }
}

async fn tunnel(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    manner: Manner,
    saw: &Mutex<Saw>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?); // One at a time: what comes after it is the tunnel's.
    }
    let head = text(&head);
    saw.lock().unwrap().heads.push(head.clone());
    let refusal = match manner {
        Manner::Closes => return Ok(()),
        Manner::IsSilent => return std::future::pending().await,
        Manner::Says(words) => Some(words),
        Manner::WantsLogin(login) if !has_login(&head, login) => Some(WHO_ARE_YOU),
        Manner::Tunnels | Manner::WantsLogin(_) => None,
    };
    if let Some(words) = refusal {
        client.write_all(words.as_bytes()).await?;
        client.flush().await?;
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await?; // Until it leaves.
        return Ok(());
    }
    let target = head.split(' ').nth(1).unwrap();
    let upstream = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    client.flush().await?;
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let (_, _) =
        tokio::join!(carry(from_client, to_upstream, saw), carry(from_upstream, to_client, saw));
    Ok(())
}

fn has_login(head: &str, login: &str) -> bool {
    head.lines().filter_map(|line| line.split_once(": ")).any(|(name, value)| {
        name.eq_ignore_ascii_case("proxy-authorization") && value == format!("Basic {login}")
    })
}

/// Hands one way's bytes on, and then its end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    saw: &Mutex<Saw>,
) -> io::Result<()> {
    let mut chunk = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        saw.lock().unwrap().bytes.extend_from_slice(&chunk[..count]);
        to.write_all(&chunk[..count]).await?;
        to.flush().await?;
    }
    to.shutdown().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_between_carries_what_it_can_not_read() {
    let upstream = tls_mock(Certificate::Valid).await;
    let between = ConnectProxy::start(Manner::Tunnels).await;
    let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &between.url()]);
    let way = format!(", through the proxy {}", between.url());
    assert!(proxy.ready.contains(&way), "{}", proxy.ready);

    let fields = ["Proxy-Authorization: Basic eDp5", "User-Agent: the-client"];
    assert_eq!(proxy.ask("POST /v1/responses", &fields, b"{}").status, 200);
    upstream.script([Scenario::Cut { events: 1 }]);
    let mut client = proxy.connect();
    client.post();
    let _ = client.read_to_end();
    assert!(!text(&client.got).ends_with("0\r\n\r\n"), "a cut behind a tunnel is none");
    proxy.line_with("cut 200 upstream_cut POST");

    between.assert_saw_no_key();
    for head in between.heads() {
        let target = upstream.address();
        assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains(&format!("\r\nHost: {target}\r\n")), "{head}");
        assert!(!head.contains("the-client") && !head.contains("eDp5"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_wants_a_login_gets_it_from_its_url_and_nobody_else_does() {
    let upstream = tls_mock(Certificate::Valid).await;
    let between = ConnectProxy::start(LOGIN).await;
    for url in [between.url(), between.url_with("me:wr0ng-one")] {
        let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &url]);
        let wants = format!("{} wants a user name and password", between.hop());
        fails(&mut proxy, 502, "upstream_proxy", &[&wants, "--upstream-proxy"]);
        let said = proxy.stop();
        assert!(!said.contains("wr0ng"), "{said}");
    }
    assert_eq!(upstream.counts().connections, 0);

    let proxy = Proxy::start(&upstream, &["--upstream-proxy", &between.url_with("me:s3cret")]);
    assert!(proxy.ready.contains(&format!("the proxy {}", between.url())), "{}", proxy.ready);
    assert_eq!(ask(&proxy).status, 200);
    between.assert_saw_no_key();
    let said = proxy.stop();
    assert!(!said.contains("s3cret") && !said.contains("bWU6"), "{said}");
    let seen = upstream.seen().remove(0);
    assert!(!seen.headers.contains_key("proxy-authorization"), "{:?}", seen.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_makes_no_tunnel_is_told() {
    let upstream = tls_mock(Certificate::Valid).await;
    for answer in [
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html>",
        "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n",
    ] {
        let between = ConnectProxy::start(Manner::Says(answer)).await;
        let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &between.url()]);
        let refused = format!("{} refused the tunnel to {}", between.hop(), upstream.address());
        fails(&mut proxy, 502, "upstream_proxy", &[&refused, "--upstream-proxy"]);
    }
    let between = ConnectProxy::start(Manner::Says("SSH-2.0-OpenSSH_9.2p1\r\n\r\n")).await;
    let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &between.url()]);
    fails(&mut proxy, 502, "upstream_proxy", &[&between.hop(), "--upstream-proxy"]);
    assert_eq!(upstream.counts().connections, 0, "it was gone around");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_gives_no_answer_is_told() {
    let upstream = tls_mock(Certificate::Valid).await;
    let between = ConnectProxy::start(Manner::Closes).await;
    let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &between.url()]);
    let closed = format!("{} closed the connection", between.hop());
    fails(&mut proxy, 502, "upstream_closed", &[&closed, "--upstream-proxy"]);

    let between = ConnectProxy::start(Manner::IsSilent).await;
    let flags = ["--upstream-proxy", &between.url(), "--connect-timeout", "300ms"];
    let mut proxy = Proxy::start(&upstream, &flags);
    fails(&mut proxy, 504, "upstream_timeout", &[&between.hop(), "300ms", "--connect-timeout"]);

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &format!("http://{free}")]);
    let refused = format!("the proxy {free} refused the connection");
    fails(&mut proxy, 502, "upstream_unreachable", &[&refused, "--upstream-proxy"]);

    // RFC 6761 section 6.4: no such name exists, and resolvers may say so without asking anybody.
    let url = "http://no-such-host.invalid:3128";
    let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", url]);
    let words = ["the proxy no-such-host.invalid:3128 has no address", "--upstream-proxy"];
    fails(&mut proxy, 502, "upstream_dns", &words);
    assert_eq!(upstream.counts().connections, 0, "it was gone around");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_behind_the_tunnel_is_the_upstreams() {
    let between = ConnectProxy::start(Manner::Tunnels).await;
    for (certificate, cause, remedy) in [
        (Certificate::WrongHost, "elsewhere.example", "--upstream-url"),
        (Certificate::SelfSigned, "not trusted", "--upstream-ca"),
    ] {
        let upstream = tls_mock(certificate).await;
        let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &between.url()]);
        let shows = format!("the upstream {} shows a certificate", upstream.address());
        fails(&mut proxy, 502, "upstream_tls", &[&shows, cause, remedy]);
        assert_eq!(upstream.counts().requests, 0);
    }

    let upstream = tls_mock(Certificate::Valid).await;
    upstream.script([Scenario::Close]);
    let mut proxy = Proxy::start(&upstream, &["--upstream-proxy", &between.url()]);
    let closed = format!("the upstream {} closed the connection", upstream.address());
    fails(&mut proxy, 502, "upstream_closed", &[&closed, "try again"]);

    // The proxy has done its part here; that it is named too can't be wrong.
    let silent = Upstream::serving(|mut stream, _| {
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let flags = ["--upstream-proxy", &between.url(), "--connect-timeout", "300ms"];
    let mut proxy = Proxy::start_for(&silent.https_url(), &flags);
    fails(&mut proxy, 504, "upstream_timeout", &[&silent.hop(), "300ms", "--connect-timeout"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_may_speak_tls_itself() {
    let upstream = tls_mock(Certificate::Valid).await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("proxys-authority.pem");
    for (certificate, failure) in [
        (Certificate::Valid, None),
        (Certificate::WrongHost, Some("elsewhere.example")),
        (Certificate::Expired, Some("expired")),
        (Certificate::SelfSigned, Some("not trusted")),
    ] {
        let tls = ServerTls::make(certificate).unwrap();
        fs::write(&authority, &tls.authority_pem).unwrap();
        let between = ConnectProxy::over_tls(LOGIN, &tls).await;
        let url = between.url_with("me:s3cret");
        let flags = ["--upstream-proxy", &url, "--upstream-ca", str(&authority)];
        let mut proxy = Proxy::start(&upstream, &flags);
        let way = format!(", through the proxy {}", between.url());
        assert!(proxy.ready.contains(&way), "{}", proxy.ready);
        match failure {
            None => {
                assert_eq!(ask(&proxy).status, 200);
                between.assert_saw_no_key();
            }
            Some(cause) => {
                let shows = format!("{} shows a certificate", between.hop());
                fails(&mut proxy, 502, "upstream_tls", &[&shows, cause]);
                assert!(between.heads().is_empty(), "it got a password");
            }
        }
    }
}
