//! Somebody asks whether the upstream can be reached: it is tried on the way that requests take, and it hears nothing.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use codex_mock_upstream::{Certificate, Scenario, ServerTls};
use codex_proxy_client::{UpstreamCheck, UpstreamProblem};
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::tunnel::{ConnectProxy, LOGIN, Manner};
use super::{Upstream, ask, tls_mock};
use crate::control_client::{
    Lines, Traces, answer, asking, connect, get, head, look_for, post, try_send,
};
use crate::support::*;

const CHECK: &str = "/v1/upstream";
/// How long the proxy says the same again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the proxy finds.
fn check(traces: &Traces) -> UpstreamCheck {
    let (status, said) = get(&traces.socket, CHECK);
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// What it finds where it does not get through.
fn problem(traces: &Traces) -> UpstreamProblem {
    let found = check(traces);
    assert_eq!((found.reached, &found.tls), (false, &None), "{found:?}");
    found.problem.unwrap()
}

/// Checks the code, and that the message has these words in it and ends with the remedy.
fn assert_problem(problem: &UpstreamProblem, code: &str, words: &[&str]) {
    assert_eq!(problem.code, code, "{problem:?}");
    for word in words {
        assert!(problem.message.contains(word), "no {word:?} in {problem:?}");
    }
    assert!(problem.message.ends_with(&format!("; {}", problem.remedy)), "{problem:?}");
    assert_eq!(format!("{}; {}", problem.cause(), problem.remedy), problem.message);
}

/// The code of an error of the control socket's.
fn code((status, said): (u16, String)) -> (u16, String) {
    let error: Value = serde_json::from_str(&said).unwrap();
    (status, error["error"]["code"].as_str().unwrap().to_owned())
}

/// An upstream that takes connections and says nothing; and each connection's end.
fn silent() -> (Upstream, Receiver<()>) {
    let (left, has_left) = channel();
    let upstream = Upstream::serving(move |mut stream, _| {
        let _ = io::copy(&mut stream, &mut io::sink());
        let _ = left.send(());
    });
    (upstream, has_left)
}

/// A caller of a proxy whose upstream is trying its patience.
fn waiting(traces: &Traces, upstream: &Upstream) -> UnixStream {
    let before = upstream.connections();
    let caller = asking(&traces.socket, &format!("GET {CHECK}"), &[]);
    look_for("a connection", || {
        let connections = upstream.connections();
        if connections > before { Ok(()) } else { Err(connections) }
    });
    caller
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_there_is_told_with_its_tls_and_counts_no_request() {
    let upstream = tls_mock(Certificate::Valid).await;
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    let before = traces.status()["counters"].take();
    let (status, said) = get(&traces.socket, CHECK);
    assert_eq!(status, 200, "{said}");
    let document: Value = serde_json::from_str(&said).unwrap();
    let keys: Vec<_> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["problem", "reached", "tls", "took_ms", "url"]);
    let found: UpstreamCheck = serde_json::from_str(&said).unwrap();
    assert_eq!((found.url, found.reached), (upstream.responses_url(), true));
    assert_eq!((found.tls.as_deref(), found.problem), (Some("TLSv1.3"), None));
    assert!(Duration::from_millis(found.took_ms) < LIMIT);

    let counts = until(&upstream, |counts| counts.disconnections == 1).await;
    assert_eq!((counts.connections, counts.requests), (1, 0));
    assert_eq!(traces.status()["counters"], before);
    assert!(traces.records(0).is_empty());
    // Nor does it leave a connection that a request would go on.
    assert_eq!(ask(&proxy).status, 200);
    assert_eq!(upstream.counts().connections, 2);
    assert_eq!(traces.records(1)[0]["id"], 1);
    assert_not_shown(KEY, said.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_a_byte_is_sent_within_tls_and_its_end_is_a_polite_one() {
    let tls = ServerTls::make(Certificate::Valid).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1/responses", listener.local_addr().unwrap());
    let traces = Traces::new();
    let authority = traces.folder().join("authority.pem");
    std::fs::write(&authority, &tls.authority_pem).unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream).await.unwrap();
        let mut got = Vec::new();
        let ended = stream.read_to_end(&mut got).await; // Without close_notify it fails.
        (got, ended.map_err(|error| error.to_string()))
    });
    let _proxy = Proxy::start_for(&url, &traces.flags(&["--upstream-ca", str(&authority)]));
    assert!(check(&traces).reached);
    let served = tokio::time::timeout(LIMIT, serving).await.unwrap().unwrap();
    assert_eq!(served, (Vec::new(), Ok(0)));
}

#[test]
fn not_a_byte_is_sent_where_there_is_no_tls() {
    let (tell, told) = channel();
    let upstream = Upstream::serving(move |mut stream, _| {
        let mut got = Vec::new();
        let ended = stream.read_to_end(&mut got).map_err(|error| error.kind());
        tell.send((got, ended)).unwrap();
    });
    let traces = Traces::new();
    let _proxy = Proxy::start_for(&upstream.url(), &traces.flags(&[]));
    let found = check(&traces);
    assert_eq!((found.reached, found.tls, found.problem), (true, None, None));
    assert_eq!(told.recv_timeout(LIMIT).unwrap(), (Vec::new(), Ok(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_good_is_told_in_the_words_that_clients_get() {
    for (certificate, cause, remedy) in [
        (Certificate::WrongHost, "elsewhere.example", "the host in the proxy's --upstream-url"),
        (Certificate::Expired, "expired", "this machine's clock"),
        (Certificate::SelfSigned, "not trusted", "--upstream-ca"),
        (Certificate::Authority, "an authority's, not a server's", "CA:FALSE"),
    ] {
        let upstream = tls_mock(certificate).await;
        let traces = Traces::new();
        let proxy = Proxy::start(&upstream, &traces.flags(&[]));
        let problem = problem(&traces);
        let hop = format!("the upstream {} shows a certificate", upstream.address());
        assert_problem(&problem, "upstream_tls", &[&hop, cause, remedy]);
        let (code, message) = ask(&proxy).error();
        assert_eq!(code, problem.code);
        // How long it has been so is in it.
        if certificate != Certificate::Expired {
            assert_eq!(message, problem.message);
        }
        assert_eq!(upstream.counts().requests, 0);
    }
}

#[test]
fn nobody_there_is_told() {
    // Bound and deaf, and so nobody else's meanwhile.
    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    deaf.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let free = deaf.local_addr().unwrap().as_socket().unwrap();
    let url = format!("https://{free}/v1/responses");
    let traces = Traces::new();
    let proxy = Proxy::start_for(&url, &traces.flags(&[]));
    let problem = problem(&traces);
    let refused = format!("the upstream {free} refused the connection");
    assert_problem(&problem, "upstream_unreachable", &[&refused, "--upstream-url"]);
    assert_eq!(ask(&proxy).error(), (problem.code, problem.message));

    // RFC 6761 section 6.4: no such name exists, and resolvers may say so without asking anybody.
    let traces = Traces::new();
    let url = "https://no-such-host.invalid/v1/responses";
    let _proxy = Proxy::start_for(url, &traces.flags(&[]));
    let found = check(&traces);
    assert_eq!(found.url, url);
    let words = ["the upstream no-such-host.invalid:443 has no address", "check the network"];
    assert_problem(&found.problem.unwrap(), "upstream_dns", &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_between_is_asked_for_a_tunnel_and_sees_no_more_than_tls() {
    let upstream = tls_mock(Certificate::Valid).await;
    let between = ConnectProxy::start(LOGIN).await;
    let traces = Traces::new();
    let url = between.url_with("me:s3cret");
    let _proxy = Proxy::start(&upstream, &traces.flags(&["--upstream-proxy", &url]));
    let found = check(&traces);
    assert_eq!((found.reached, found.tls.as_deref()), (true, Some("TLSv1.3")));
    let counts = until(&upstream, |counts| counts.disconnections == 1).await;
    assert_eq!((counts.connections, counts.requests), (1, 0));
    let heads = between.heads();
    assert_eq!(heads.len(), 1, "{heads:?}");
    assert!(heads[0].starts_with(&format!("CONNECT {} HTTP/1.1\r\n", upstream.address())));
    between.assert_saw_no_key();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_between_that_makes_no_tunnel_is_told() {
    let upstream = tls_mock(Certificate::Valid).await;
    let forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    for (manner, words) in [
        (Manner::Says(forbidden), "refused the tunnel to"),
        (LOGIN, "wants a user name and password"),
    ] {
        let between = ConnectProxy::start(manner).await;
        let traces = Traces::new();
        let url = between.url_with("me:wr0ng-one");
        let proxy = Proxy::start(&upstream, &traces.flags(&["--upstream-proxy", &url]));
        let problem = problem(&traces);
        assert_problem(&problem, "upstream_proxy", &[&between.hop(), words, "--upstream-proxy"]);
        assert!(!problem.message.contains("wr0ng"), "{problem:?}");
        assert_eq!(ask(&proxy).error(), (problem.code, problem.message));
    }
    assert_eq!(upstream.counts().connections, 0, "it was gone around");
}

#[test]
fn an_upstream_that_says_nothing_is_given_up_when_a_request_would_give_it_up() {
    let (upstream, has_left) = silent();
    let traces = Traces::new();
    let flags = traces.flags(&["--connect-timeout", "300ms"]);
    let _proxy = Proxy::start_for(&upstream.https_url(), &flags);
    let found = check(&traces);
    assert!(found.took_ms >= 300, "{found:?}");
    let timeout = format!("{} did not come to an end with TLS within 300ms", upstream.hop());
    assert_problem(&found.problem.unwrap(), "upstream_timeout", &[&timeout]);
    has_left.recv_timeout(LIMIT).unwrap();
}

#[test]
fn there_is_one_at_a_time_and_it_ends_when_its_caller_leaves() {
    let (upstream, has_left) = silent();
    let traces = Traces::new();
    let flags = traces.flags(&["--connect-timeout", "1h"]);
    let _proxy = Proxy::start_for(&upstream.https_url(), &flags);
    let first = waiting(&traces, &upstream);
    assert_eq!(code(get(&traces.socket, CHECK)), (503, "busy".to_owned()));
    assert_eq!(traces.status()["state"], "serving", "others wait for it");
    assert_eq!(upstream.connections(), 1);
    drop(first);
    has_left.recv_timeout(LIMIT).unwrap();

    // The next one has its turn in a second.
    look_for("another check", || {
        let caller = asking(&traces.socket, &format!("GET {CHECK}"), &[]);
        caller.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let said = (&caller).read(&mut [0; 1]); // That it is busy; or there is no answer yet.
        if upstream.connections() >= 2 { Ok(()) } else { Err(said) }
    });
    has_left.recv_timeout(LIMIT).unwrap();
}

/// One byte too many keeps the HTTP library from reading on, and so from seeing that the caller has left.
#[test]
fn a_caller_who_has_said_too_much_and_leaves_ends_it_too() {
    let (upstream, has_left) = silent();
    let traces = Traces::new();
    let flags = traces.flags(&["--connect-timeout", "1h"]);
    let _proxy = Proxy::start_for(&upstream.https_url(), &flags);
    let mut caller = waiting(&traces, &upstream);
    caller.write_all(b"x").unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    assert_eq!(code(answer(caller)), (400, "caller_left".to_owned()));
    has_left.recv_timeout(LIMIT).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_again_and_again_costs_the_upstream_no_more_than_a_handshake_a_second() {
    let upstream = tls_mock(Certificate::Valid).await;
    let traces = Traces::new();
    let _proxy = Proxy::start(&upstream, &traces.flags(&[]));
    let began = Instant::now();
    let first = check(&traces);
    let second = check(&traces);
    if began.elapsed() < PAUSE {
        assert_eq!(first, second);
        assert_eq!(upstream.counts().connections, 1);
    }
    for _ in 0..100 {
        assert!(check(&traces).reached);
    }
    let connections = upstream.counts().connections;
    let most = began.elapsed().as_secs() + 1;
    assert!(connections <= most, "{connections} in {:?}", began.elapsed());
    look_for("a new check", || {
        check(&traces);
        let now = upstream.counts().connections;
        if now > connections { Ok(()) } else { Err(now) }
    });
}

#[test]
fn who_asks_and_leaves_again_and_again_costs_it_no_more_either() {
    let (upstream, _has_left) = silent();
    let traces = Traces::new();
    let _proxy = Proxy::start_for(&upstream.https_url(), &traces.flags(&[]));
    let began = Instant::now();
    for _ in 0..100 {
        let caller = connect(&traces.socket);
        let _ = try_send(&caller, &head(&format!("GET {CHECK}")), &[]); // There may be no place for it.
    }
    look_for("a place", || match Lines::try_get(&traces.socket, "/v1/status") {
        Ok(lines) if lines.status == 200 => Ok(()),
        other => Err(other.map(|lines| lines.status)),
    });
    let connections = upstream.connections() as u64;
    let most = began.elapsed().as_secs() + 1;
    assert!(connections <= most, "{connections} in {:?}", began.elapsed());
}

#[test]
fn the_end_of_the_proxy_ends_it() {
    let (upstream, has_left) = silent();
    let traces = Traces::new();
    let flags = traces.flags(&["--connect-timeout", "1h"]);
    let mut proxy = Proxy::start_for(&upstream.https_url(), &flags);
    let caller = waiting(&traces, &upstream);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(code(answer(caller)), (409, "draining".to_owned()));
    assert_eq!(proxy.ended().0.code(), Some(0));
    has_left.recv_timeout(LIMIT).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_choose_and_no_other_method() {
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let _proxy = Proxy::start(&upstream, &traces.flags(&[]));
    let other = get(&traces.socket, "/v1/upstream?url=http://127.0.0.1:1/");
    assert_eq!(code(other), (400, "bad_query".to_owned()));
    assert_eq!(code(post(&traces.socket, CHECK)), (404, "route_not_allowed".to_owned()));
    assert_eq!(upstream.counts().connections, 0);
}
