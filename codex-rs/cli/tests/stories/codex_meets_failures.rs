//! What the user of the real Codex CLI reads when something fails, and how often Codex tries.
//!
//! The texts stand in docs/guides/troubleshooting.md as well, and a test holds that page to what is read here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use codex_mock_upstream::{MockUpstream, Options, Scenario};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use socket2::{Domain, Socket, Type};

use crate::codex_process::*;
use crate::codex_texts::*;
use crate::real_codex::{SAID, missing, pointing};
use crate::support::*;

/// Ends the proxy; each of its records must have this reason.
fn recorded(proxy: Proxy, told: Told, records: usize) {
    let said = proxy.stop();
    let after = failures(&said);
    let word = format!(" {} ", told.record);
    let count = after.iter().filter(|line| line.contains(&word)).count();
    let expected = if told.record == NONE { 0 } else { records };
    assert_eq!((count, after.len()), (expected, expected), "{}: {said}", told.says);
}

/// One turn with an upstream that answers like this.
async fn answered(scenario: Scenario, more: &str, told: Told, requests: u64) {
    let upstream = upstream(scenario.clone()).await;
    let proxy = Proxy::start(&upstream, &[]);
    Codex::start(pointing(proxy.port, more), &[]).end().failed(told);
    assert_eq!(upstream.counts().requests, requests, "{scenario}");
    recorded(proxy, told, requests.try_into().unwrap());
}

fn status(status: u16) -> Scenario {
    Scenario::Status { status, retry_after: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_try_would_not_mend_is_shown_at_once() {
    if !can_run(missing()) {
        return;
    }
    answered(status(400), AS_EVER, BAD_REQUEST, 1).await;
    answered(status(429), AS_EVER, RATE_LIMIT, 1).await;
    answered(Scenario::Quota, AS_EVER, QUOTA, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_upstream_are_tried_again_and_shown() {
    if !can_run(missing()) {
        return;
    }
    let later = Scenario::Status { status: 429, retry_after: Some(1) };
    answered(later, TWICE, RATE_LIMIT, 2).await;
    // Each of the two streams is asked for twice.
    answered(status(500), TWICE, HIGH_DEMAND, 4).await;
    answered(status(502), TWICE, BAD_GATEWAY, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_end_early_are_tried_again_and_told_apart() {
    if !can_run(missing()) {
        return;
    }
    answered(Scenario::Cut { events: 2 }, TWICE, CUT, 2).await;
    answered(Scenario::Unfinished, TWICE, UNFINISHED, 2).await;
    let impatient = format!("{ONCE},stream_idle_timeout_ms=300");
    answered(Scenario::Silent, &impatient, IDLE, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_upstream_does_not_take_is_told_in_its_words() {
    if !can_run(missing()) {
        return;
    }
    let expected_key = Some("another-key".to_owned());
    let options = Options { expected_key, ..Options::default() };
    let upstream = MockUpstream::start(options).await.unwrap();
    let proxy = Proxy::start(&upstream, &[]);
    Codex::start(pointing(proxy.port, TWICE), &[]).end().failed(BAD_KEY);
    let counts = upstream.counts();
    assert_eq!((counts.requests, counts.wrong_bearer), (2, 2));
    recorded(proxy, BAD_KEY, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_codex_that_points_elsewhere_is_told_where_to_point() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    for (address, path, told) in
        [("127.0.0.1", "", WRONG_ROUTE), ("localhost", "/v1", FOREIGN_HOST)]
    {
        let proxy = Proxy::start(&upstream, &[]);
        let port = proxy.port;
        let (right, wrong) = (format!("127.0.0.1:{port}/v1"), format!("{address}:{port}{path}"));
        let flags = pointing(port, TWICE).map(|flag| flag.replace(&right, &wrong));
        Codex::start(flags, &[]).end().failed(told);
        recorded(proxy, told, 2);
    }
    assert_eq!(upstream.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_allowed_is_told_which_it_is() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let ours = geteuid().as_raw();
    let other = (ours + 1).to_string();
    let proxy = Proxy::start(&upstream, &["--allow-user", &other]);
    let end = Codex::start(pointing(proxy.port, ONCE), &[]).end();
    end.failed(NOT_ALLOWED);
    assert!(end.said.last().unwrap().contains(&format!("--allow-user {ours}, url: ")));
    assert_eq!(upstream.counts().connections, 0);
    recorded(proxy, NOT_ALLOWED, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_operators_are_told() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Silent).await;
    let proxy = Proxy::start(&upstream, &["--max-body", "1KiB"]);
    Codex::start(pointing(proxy.port, TWICE), &[]).end().failed(TOO_LARGE);
    assert_eq!(upstream.counts().requests, 0);
    recorded(proxy, TOO_LARGE, 2);

    // Codex shows nothing of a 429's sentence. That there is no request ID shows that it is ours.
    let mut proxy = Proxy::start(&upstream, &["--max-concurrent", "1"]);
    let mut other = proxy.connect();
    other.post();
    other.until("response.created");
    Codex::start(pointing(proxy.port, ONCE), &[]).end().failed(TOO_MANY);
    proxy.line_with(&format!(" {} ", TOO_MANY.record));
    drop(other);
    proxy.line_with(" client_left ");
    assert_eq!(upstream.counts().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_fails_is_named_to_codexs_user() {
    if !can_run(missing()) {
        return;
    }
    let (_placeholder, nobody) = reserved_port();
    let plain = upstream(Scenario::Turn).await;
    let tls = tls_upstream(Scenario::Turn).await;
    let closing = upstream(Scenario::Close).await;
    let silent = upstream(Scenario::Hang).await;
    let cases: [(String, &[&str], Told); 6] = [
        ("https://no-such-host.invalid/v1/responses".to_owned(), &[], NO_ADDRESS),
        (format!("http://127.0.0.1:{nobody}/v1/responses"), &[], REFUSED),
        (tls.responses_url(), &[], UNKNOWN_AUTHORITY),
        (plain.responses_url().replace("http:", "https:"), &[], NOT_TLS),
        (closing.responses_url(), &[], CLOSED),
        (silent.responses_url(), &["--header-timeout", "200ms"], NO_ANSWER),
    ];
    for (url, flags, told) in cases {
        let proxy = Proxy::start_for(&url, flags);
        Codex::start(pointing(proxy.port, ONCE), &[]).end().failed(told);
        recorded(proxy, told, 1);
    }
    assert_eq!(plain.counts().requests + tls.counts().requests, 0);
}

/// A proxy whose tunnel, wherever it is asked to lead, leads to this address; it makes one.
fn tunnel_to(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut sent = BufReader::new(client.try_clone().unwrap());
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            sent.read_line(&mut line).unwrap();
        }
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut upstream = TcpStream::connect(address).unwrap();
        let mut up = upstream.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut sent, &mut up));
        let _ = std::io::copy(&mut upstream, &mut client);
    });
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_company_puts_before_the_upstream_is_named_too() {
    if !can_run(missing()) {
        return;
    }
    let elsewhere = "https://no-such-host.invalid/v1/responses";
    for (code, told) in [(403, NO_TUNNEL), (407, PROXY_LOGIN)] {
        let options = Options { scenario: status(code), ..Options::default() };
        let company = MockUpstream::start(options).await.unwrap();
        let hop = format!("http://{}", company.address());
        let proxy = Proxy::start_for(elsewhere, &["--upstream-proxy", &hop]);
        Codex::start(pointing(proxy.port, ONCE), &[]).end().failed(told);
        assert_eq!(company.seen()[0].target, "no-such-host.invalid:443");
        recorded(proxy, told, 1);
    }

    // Not the host that was asked for, though under an authority that is trusted.
    let upstream = tls_upstream(Scenario::Turn).await;
    let hop = format!("http://{}", tunnel_to(upstream.address()));
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, upstream.authority_pem().unwrap()).unwrap();
    let flags = ["--upstream-proxy", hop.as_str(), "--upstream-ca", str(&authority)];
    let proxy = Proxy::start_for(elsewhere, &flags);
    Codex::start(pointing(proxy.port, ONCE), &[]).end().failed(BAD_CERTIFICATE);
    assert_eq!(upstream.counts().requests, 0);
    recorded(proxy, BAD_CERTIFICATE, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_is_tried_again_and_completes() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    upstream.script([Scenario::Cut { events: 2 }]);
    let proxy = Proxy::start(&upstream, &[]);
    let mut codex = Codex::start(pointing(proxy.port, AS_EVER), &[]);
    codex.line(RECONNECTING.says);
    codex.end().succeeded();
    assert_eq!(upstream.counts().requests, 2);
    recorded(proxy, CUT, 1);
}

/// A port at which nobody listens, and which nobody else is given while the socket is there.
fn reserved_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap(); // As the proxy does: it can listen here.
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_outlives_a_proxy_that_is_killed_and_comes_back_on_its_port() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    upstream.script([Scenario::Gated]);
    upstream.release(ALL_BUT_THE_LAST);
    let mut proxy = Proxy::start(&upstream, &[]);
    let port = proxy.port;
    let mut codex = Codex::start(pointing(port, AS_EVER), &[]);
    codex.line(SAID);
    proxy.signal(Signal::SIGKILL);
    proxy.wait();
    let again = Proxy::start(&upstream, &["--port", &port.to_string()]);
    codex.line(RECONNECTING.says);
    codex.end().succeeded();
    let counts = until(&upstream, |counts| counts.cancelled == 1).await;
    assert_eq!(counts.requests, 2);
    recorded(again, RECONNECTING, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_waits_for_a_proxy_that_is_not_there_yet() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let (_placeholder, port) = reserved_port();
    // Not even without retries does it give up. It looks again after 5 s.
    let mut codex = Codex::start(pointing(port, ONCE), &[]);
    codex.line(WAITING.says);
    let proxy = Proxy::start(&upstream, &["--port", &port.to_string()]);
    codex.end().succeeded();
    assert_eq!(upstream.counts().requests, 1);
    recorded(proxy, WAITING, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupting_codex_cancels_what_the_upstream_does_for_it() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Gated).await;
    upstream.release(ALL_BUT_THE_LAST);
    let mut proxy = Proxy::start(&upstream, &[]);
    let mut codex = Codex::start(pointing(proxy.port, AS_EVER), &[]);
    codex.line(SAID);
    codex.signal(Signal::SIGINT); // To its group, as a terminal does for ^C.
    codex.end().failed(INTERRUPTED);
    let counts = until(&upstream, |counts| counts.cancelled == 1).await;
    assert_eq!((counts.requests, counts.answered), (1, 0));
    proxy.line_with(" client_left 200 ");
}

/// Codex sends even requests to 127.0.0.1 through `HTTP_PROXY`, and `NO_PROXY` must name the address.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_proxy_takes_codexs_requests_unless_the_address_is_exempt() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let options = Options { scenario: status(407), ..Options::default() };
    let company = MockUpstream::start(options).await.unwrap();
    let company_url = format!("http://{}", company.address());
    let variables =
        |exempt: &'static str| [("HTTP_PROXY", company_url.as_str()), ("NO_PROXY", exempt)];
    for exempt in ["", "localhost", "*"] {
        Codex::start(pointing(proxy.port, ONCE), &variables(exempt)).end().failed(CAPTURED);
    }
    assert!(company.seen().iter().all(|request| request.target == proxy.url()));
    assert_eq!((company.counts().requests, upstream.counts().requests), (3, 0));

    Codex::start(pointing(proxy.port, ONCE), &variables("localhost,127.0.0.1")).end().succeeded();
    assert_eq!((company.counts().requests, upstream.counts().requests), (3, 1));
    recorded(proxy, CAPTURED, 0);
}

#[test]
fn a_provider_that_is_no_proxy_or_wants_a_key_is_told() {
    if !can_run(missing()) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    Codex::start(pointing(port, ONCE), &[]).end().failed(NOT_THE_PROXY);

    let wants_a_key = format!(r#"{ONCE},env_key="NO_SUCH_VARIABLE""#);
    Codex::start(pointing(port, &wants_a_key), &[]).end().failed(NO_VARIABLE);
}
