//! Connections that the upstream has ended, or spoken on, while they were idle: no client is to notice, and no
//! request of which anything was sent is sent again.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use codex_mock_upstream::{Certificate, ServerTls};
use codex_peer_identity::{Peer, Peers};
use nix::sys::signal::Signal;
use rustls::{ServerConfig, ServerConnection};

use super::{Upstream, answer_one, read_request, reset_when_closed};
use crate::support::*;

/// An upstream's end of a connection on which it has answered and promised more.
struct Idle {
    tcp: TcpStream,
    tls: Option<ServerConnection>,
}

/// How it breaks the promise. Of a TLS connection, a close without a word is what a dying process leaves.
#[derive(Clone, Copy, Debug)]
enum End {
    Closes,
    Resets,
    /// Closes as TLS should be (RFC 8446 section 6.1).
    CloseNotify,
    /// Sends something that nobody has asked for, and closes.
    SaysAndCloses(&'static str),
    /// The same, and stays.
    Says(&'static str),
}

impl Idle {
    /// Ends it; gives back what is still open.
    fn end(mut self, how: End) -> Option<Self> {
        match how {
            End::Closes => None,
            End::Resets => {
                reset_when_closed(&self.tcp);
                None
            }
            End::CloseNotify => {
                let tls = self.tls.as_mut().unwrap();
                tls.send_close_notify();
                tls.write_tls(&mut self.tcp).unwrap();
                None
            }
            End::SaysAndCloses(words) => {
                self.tcp.write_all(words.as_bytes()).unwrap();
                None
            }
            End::Says(words) => {
                self.tcp.write_all(words.as_bytes()).unwrap();
                Some(self)
            }
        }
    }
}

/// An upstream that answers one request on each connection, says nothing of its end, and hands it to the test.
fn handing_over(tls: Option<Arc<ServerConfig>>) -> (Upstream, Receiver<Idle>) {
    let (hand_over, idle) = channel();
    let upstream = Upstream::serving(move |mut tcp, requests| {
        let mut tls = tls.clone().map(|config| ServerConnection::new(config).unwrap());
        let answered = match &mut tls {
            None => answer_one(&mut tcp),
            Some(tls) => answer_one(&mut rustls::Stream::new(tls, &mut tcp)),
        };
        if answered.is_ok() {
            requests.fetch_add(1, Ordering::SeqCst);
            let _ = hand_over.send(Idle { tcp, tls });
        }
    });
    (upstream, idle)
}

/// Waits until every thread of the proxy sleeps: the connection is idle then, for the proxy too. (One that
/// ends while the proxy is between its last look at it and its next write to it is lost to anybody.)
fn until_at_rest(proxy: &Proxy) {
    let tasks = format!("/proc/{}/task", proxy.pid());
    let sleeps = |task: fs::DirEntry| {
        // A thread may have ended meanwhile.
        let facts = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        facts.rsplit(") ").next().is_none_or(|state| state.starts_with('S'))
    };
    let began = Instant::now();
    while !fs::read_dir(&tasks).unwrap().map(Result::unwrap).all(sleeps) {
        assert!(began.elapsed() < LIMIT, "the proxy never rests");
        std::thread::yield_now();
    }
}

/// Waits until the proxy's end of a connection is not what it was: mostly the kernel has brought it the other's
/// end at once, but not on a machine that is busy.
fn until_it_has_heard(peers: &Peers, proxys: SocketAddr, upstreams: SocketAddr) {
    let began = Instant::now();
    while peers.identify(|| Ok((proxys, upstreams))) != Peer::Unknown {
        assert!(began.elapsed() < LIMIT, "the connection never ends");
        std::thread::yield_now();
    }
}

/// Again and again an upstream ends an idle connection, and only then the next request comes: each is answered.
///
/// Every other time the proxy is stopped meanwhile, and finds end and request together when it goes on. A race
/// that it loses now and then is lost often in this way.
fn no_client_notices(
    how: End,
    turns: usize,
    upstream: &Upstream,
    idle: &Receiver<Idle>,
    proxy: &Proxy,
) {
    let (peers, mut open) = (Peers::open().unwrap(), Vec::new());
    for always_anew in [false, true] {
        let mut client = proxy.connect();
        client.send_request("POST /v1/responses", &[], b"{}");
        for turn in 1..=turns {
            let answer = client.answer();
            let is_stopped = turn % 2 == 0;
            until_at_rest(proxy);
            if is_stopped {
                proxy.signal(Signal::SIGSTOP);
            }
            let found = (answer.status, text(&answer.body));
            assert_eq!(found, (200, "hi".to_owned()), "{how:?}, turn {turn}");
            let idle = idle.recv_timeout(LIMIT).unwrap();
            let (proxys, upstreams) =
                (idle.tcp.peer_addr().unwrap(), idle.tcp.local_addr().unwrap());
            open.extend(idle.end(how));
            if !(is_stopped && matches!(how, End::Says(_))) {
                until_it_has_heard(&peers, proxys, upstreams);
            }
            if always_anew {
                client = proxy.connect();
            }
            client.send_request("POST /v1/responses", &[], b"{}");
            if is_stopped {
                proxy.signal(Signal::SIGCONT);
            }
        }
        assert_eq!(client.answer().status, 200);
        idle.recv_timeout(LIMIT).unwrap().end(End::Closes);
    }
    assert_eq!(upstream.requests(), 2 * (turns + 1), "a request was repeated");
}

#[test]
fn a_pooled_connection_that_the_upstream_has_ended_costs_no_client_a_failure() {
    for how in [End::Closes, End::Resets] {
        let (upstream, idle) = handing_over(None);
        let proxy = Proxy::start_for(&upstream.url(), &[]);
        no_client_notices(how, 50, &upstream, &idle, &proxy);
    }
}

#[test]
fn the_same_over_tls() {
    let tls = ServerTls::make(Certificate::Valid).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, &tls.authority_pem).unwrap();
    for how in [End::CloseNotify, End::Closes, End::Resets] {
        let (upstream, idle) = handing_over(Some(Arc::clone(&tls.config)));
        let proxy = Proxy::start_for(&upstream.https_url(), &["--upstream-ca", str(&authority)]);
        no_client_notices(how, 20, &upstream, &idle, &proxy);
    }
}

/// Load balancers say 408 to a connection that was idle for too long, and there are worse things to say.
#[test]
fn what_an_upstream_says_unasked_is_nobodys_answer() {
    for how in [
        End::SaysAndCloses(
            "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        End::Says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        End::Says("x"),
    ] {
        let (upstream, idle) = handing_over(None);
        let proxy = Proxy::start_for(&upstream.url(), &[]);
        no_client_notices(how, 50, &upstream, &idle, &proxy);
    }
}

/// Whatever has gone up may have been worked on, and paid for.
#[test]
fn a_request_of_which_anything_was_sent_is_never_sent_again() {
    for (reads_all, resets) in [(true, false), (true, true), (false, true)] {
        let upstream = Upstream::serving(move |mut stream, requests| {
            if answer_one(&mut stream).is_err() {
                return;
            }
            requests.fetch_add(1, Ordering::SeqCst);
            let has_come = if reads_all {
                read_request(&mut stream)
            } else {
                stream.read(&mut [0]).is_ok_and(|count| count == 1)
            };
            if has_come {
                requests.fetch_add(1, Ordering::SeqCst);
            }
            if resets {
                reset_when_closed(&stream);
            }
        });
        let mut proxy = Proxy::start_for(&upstream.url(), &[]);
        let mut client = proxy.connect();
        let mut failed = 0;
        for _ in 0..20 {
            client.send_request("POST /v1/responses", &[], b"{}");
            let answer = client.answer();
            if answer.status != 200 {
                let (code, message) = answer.error();
                assert_eq!((answer.status, code.as_str()), (502, "upstream_closed"), "{message}");
                assert!(
                    message.contains(&upstream.hop()) && message.contains("try again"),
                    "{message}"
                );
                proxy.line_with("upstream_failed 502 upstream_closed POST");
                failed += 1;
            }
        }
        assert!(failed > 0, "no connection was used a second time");
        drop(proxy); // An answer may come before its request is counted, but nothing after this.
        assert_eq!(until_counted(&upstream, 20), 20, "a request was repeated or lost");
    }
}

/// Waits for so many requests; returns how many there are.
fn until_counted(upstream: &Upstream, requests: usize) -> usize {
    let deadline = Instant::now() + LIMIT;
    while upstream.requests() < requests && Instant::now() < deadline {
        std::thread::yield_now();
    }
    upstream.requests()
}
