//! The way to the upstream, hop by hop. Whatever fails on it, the client reads which hop it was, what happened and
//! what to do; and where nothing was sent yet, nothing has failed.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use codex_mock_upstream::{Certificate, MockUpstream, Options, Scenario};
use socket2::SockRef;

use crate::support::*;

mod answers;
mod check;
mod environment;
mod old_version;
mod stale;
mod tunnel;

/// An answer that leaves the connection open.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn ask(proxy: &Proxy) -> Answer {
    proxy.ask("POST /v1/responses", &[], b"{}")
}

/// Asks; checks status and code, that the message has these words in it, and that the log says the same.
fn fails(proxy: &mut Proxy, status: u16, code: &str, words: &[&str]) {
    let answer = ask(proxy);
    let (found, message) = answer.error();
    assert_eq!((answer.status, found.as_str()), (status, code), "{message}");
    assert!(contains(&answer.body, br#""type":"proxy_upstream_error""#), "{}", text(&answer.body));
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
    let line = proxy.line_with(&format!("upstream_failed {status} {code} POST"));
    assert!(line.contains(&message), "{line}");
}

/// An upstream made by hand, with a thread for each connection.
struct Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Upstream {
    /// `serve` gets each connection, and counts the requests.
    fn serving(serve: impl Fn(TcpStream, &AtomicUsize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Self { address, connections: Arc::default(), requests: Arc::default() };
        let connections = Arc::clone(&upstream.connections);
        let requests = Arc::clone(&upstream.requests);
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (serve, requests) = (Arc::clone(&serve), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream, &requests));
            }
        });
        upstream
    }

    /// The nth request gets the nth of these answers, and connections stay open.
    fn answering(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let answers = Mutex::new(VecDeque::from_iter(answers));
        Self::serving(move |mut stream, requests| {
            while read_request(&mut stream) {
                requests.fetch_add(1, Ordering::SeqCst);
                let Some(answer) = answers.lock().unwrap().pop_front() else { return };
                if stream.write_all(&answer).is_err() {
                    return; // The proxy has seen enough.
                }
            }
        })
    }

    fn url(&self) -> String {
        format!("http://{}/v1/responses", self.address)
    }

    fn https_url(&self) -> String {
        format!("https://{}/v1/responses", self.address)
    }

    /// The name of this hop in messages.
    fn hop(&self) -> String {
        format!("the upstream {}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Reads one request; false if the connection ends before that.
fn read_request(stream: &mut impl Read) -> bool {
    let mut got = Vec::new();
    let mut chunk = [0; 1_024];
    while !contains(&got, b"\r\n\r\n{}") {
        match stream.read(&mut chunk) {
            Ok(count @ 1..) => got.extend_from_slice(&chunk[..count]),
            _ => return false,
        }
    }
    true
}

fn answer_one(stream: &mut (impl Read + Write)) -> io::Result<()> {
    if !read_request(stream) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.write_all(OK)?;
    stream.flush()
}

/// Closing this stream resets the connection.
fn reset_when_closed(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A mock over TLS that expects the key.
async fn tls_mock(certificate: Certificate) -> MockUpstream {
    let expected_key = Some(KEY.to_owned());
    let scenario = Scenario::Json;
    let options = Options { port: 0, tls: true, certificate, expected_key, scenario };
    MockUpstream::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_good_is_told_and_no_request_is_sent() {
    for (certificate, cause, remedy) in [
        (Certificate::WrongHost, "elsewhere.example", "the host in the proxy's --upstream-url"),
        (Certificate::Expired, "expired", "this machine's clock"),
        (Certificate::NotYetValid, "not valid yet", "this machine's clock"),
        (Certificate::SelfSigned, "not trusted", "--upstream-ca"),
        (Certificate::Authority, "an authority's, not a server's", "CA:FALSE"),
    ] {
        let upstream = tls_mock(certificate).await;
        let mut proxy = Proxy::start(&upstream, &[]);
        let hop = format!("the upstream {} shows a certificate", upstream.address());
        fails(&mut proxy, 502, "upstream_tls", &[&hop, cause, remedy]);
        assert_eq!(upstream.counts().requests, 0);
    }
}

#[test]
fn a_tls_handshake_that_never_ends_is_given_up() {
    let (left, has_left) = channel();
    let upstream = Upstream::serving(move |mut stream, _| {
        let _ = io::copy(&mut stream, &mut io::sink());
        let _ = left.send(());
    });
    let mut proxy = Proxy::start_for(&upstream.https_url(), &["--connect-timeout", "300ms"]);
    fails(&mut proxy, 504, "upstream_timeout", &[&upstream.hop(), "300ms", "--connect-timeout"]);
    has_left.recv_timeout(LIMIT).unwrap();
}

#[test]
fn an_upstream_that_closes_within_the_tls_handshake_is_told() {
    for resets in [false, true] {
        let upstream = Upstream::serving(move |mut stream, _| {
            assert!(stream.read(&mut [0; 16 * 1_024]).unwrap() > 0);
            if resets {
                reset_when_closed(&stream);
            }
        });
        let mut proxy = Proxy::start_for(&upstream.https_url(), &[]);
        let closed = format!("{} closed the connection", upstream.hop());
        fails(&mut proxy, 502, "upstream_closed", &[&closed, "try again"]);
    }
}
