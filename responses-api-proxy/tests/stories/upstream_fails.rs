//! The upstream misbehaves: the client reads which hop it was, what happened and what to do, or, once
//! the answer has begun, sees a cut as a cut.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use codex_mock_upstream::{MockUpstream, Options, Scenario};

use crate::support::*;

/// An upstream that answers one request with these bytes and closes the connection.
fn raw_upstream(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        let mut chunk = [0; 1_024];
        while !contains(&got, b"\r\n\r\n{}") {
            let count = stream.read(&mut chunk).unwrap();
            got.extend_from_slice(&chunk[..count]);
        }
        stream.write_all(answer).unwrap();
    });
    address
}

/// Asks a proxy for this upstream; checks status, code, the log's line, and that the message names
/// the hop.
fn fails(url: &str, flags: &[&str], status: u16, code: &str, words: &[&str]) {
    let mut proxy = Proxy::start_for(url, flags);
    let answer = proxy.ask("POST /v1/responses", &[], b"{}");
    let (found, message) = answer.error();
    assert_eq!((answer.status, found.as_str()), (status, code), "{message}");
    let hop = reqwest::Url::parse(url).unwrap();
    let hop = format!("{}:{}", hop.host_str().unwrap(), hop.port_or_known_default().unwrap());
    for word in words.iter().chain(&[hop.as_str()]) {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
    let line = proxy.line_with(code);
    assert!(
        line.contains(&format!("upstream_failed {status} {code} POST")) && line.contains(&message),
        "{line}"
    );
}

/// Defect 6: an upstream that is down gives an empty 500, which Codex shows as "high demand".
#[test]
fn defect_6_an_upstream_that_is_down_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/v1/responses");
    fails(&url, &[], 502, "upstream_unreachable", &["refused the connection", "--upstream-url"]);
}

#[test]
fn a_name_without_an_address_is_told() {
    // RFC 6761 section 6.4: no such name exists, and resolvers may say so without asking anybody.
    let url = "https://no-such-host.invalid/v1/responses";
    fails(url, &[], 502, "upstream_dns", &["has no address", "--upstream-url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_trusted_is_told() {
    let upstream = tls_upstream(Scenario::Turn).await;
    let url = upstream.responses_url();
    fails(&url, &[], 502, "upstream_tls", &["authority that is not trusted", "--upstream-ca"]);
    assert_eq!(upstream.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_speak_tls_is_told() {
    let upstream = upstream(Scenario::Turn).await;
    let url = upstream.responses_url().replace("http:", "https:");
    fails(&url, &[], 502, "upstream_tls", &["does not speak TLS", "--upstream-url"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_closes_without_an_answer_is_told() {
    for scenario in [Scenario::Close, Scenario::ResetAtOnce] {
        let upstream = upstream(scenario).await;
        fails(
            &upstream.responses_url(),
            &[],
            502,
            "upstream_closed",
            &["closed the connection", "try again"],
        );
    }
}

#[test]
fn an_upstream_that_does_not_speak_http_is_told() {
    let url = format!("http://{}/v1/responses", raw_upstream(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"));
    fails(&url, &[], 502, "upstream_protocol", &["not HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_never_answers_is_given_up() {
    let upstream = upstream(Scenario::Hang).await;
    let url = upstream.responses_url();
    fails(
        &url,
        &["--header-timeout", "200ms"],
        504,
        "upstream_timeout",
        &["200ms", "--header-timeout"],
    );
    until(&upstream, |counts| counts.cancelled == 1).await;
}

#[test]
fn an_upstream_that_never_takes_the_connection_is_given_up() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // Once the queue is full the kernel drops further attempts.
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
    }
    let url = format!("http://{address}/v1/responses");
    fails(
        &url,
        &["--connect-timeout", "200ms"],
        504,
        "upstream_timeout",
        &["200ms", "--connect-timeout"],
    );
}

/// The head timeout counts from the last movement: a slow upload is no slow upstream.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_sending_is_told_so_and_one_that_is_slow_is_not() {
    let upstream = upstream(Scenario::Echo).await;
    let mut proxy = Proxy::start(&upstream, &["--header-timeout", "400ms"]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Content-Length: 10"], b"");
    for sent in 1..=10 {
        client.send("x");
        until(&upstream, |counts| counts.body_bytes == sent).await;
        std::thread::sleep(Duration::from_millis(100)); // The slowness under test: 1 s in all.
    }
    assert_eq!(client.answer().status, 200);

    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Content-Length: 10"], b"xxx");
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().0.as_str()), (408, "body_timeout"));
    proxy.line_with("refused 408 body_timeout");
}

/// Defect 2: an upstream that dies in the middle of a stream hangs the client.
#[tokio::test(flavor = "multi_thread")]
async fn defect_2_a_cut_stream_ends_the_clients_connection_without_an_end() {
    for tls in [false, true] {
        for scenario in [Scenario::Cut { events: 3 }, Scenario::Reset { events: 3 }] {
            let expected_key = Some(KEY.to_owned());
            let scenario = scenario.clone();
            let options =
                Options { tls, expected_key, scenario: scenario.clone(), ..Options::default() };
            let upstream = MockUpstream::start(options).await.unwrap();
            let mut proxy = Proxy::start(&upstream, &[]);

            let mut client = proxy.connect();
            client.post();
            let _ = client.read_to_end(); // Ends: that it does is the point.
            let got = text(&client.got);
            if matches!(scenario, Scenario::Cut { .. }) {
                assert!(
                    got.contains(r#""sequence_number":2"#),
                    "what came before the cut is lost: {got}"
                );
            }
            assert!(!got.contains("\r\n0\r\n"), "{scenario}: a cut stream ended cleanly: {got}");
            proxy.line_with("cut 200 upstream_cut POST");

            // HTTP/1.0 has no chunks: there only a reset tells a cut from the end.
            let mut client = proxy.connect();
            client.send(format!(
                "POST /v1/responses HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n\r\n",
                proxy.port
            ));
            let error = client.read_to_end().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{scenario}");
        }
    }
}

#[test]
fn an_answer_shorter_than_its_length_is_a_cut() {
    let url = format!(
        "http://{}/v1/responses",
        raw_upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    );
    let mut proxy = Proxy::start_for(&url, &[]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &[], b"{}");
    let _ = client.read_to_end();
    let got = text(&client.got);
    assert!(got.contains("content-length: 100\r\n") && got.ends_with("only this"), "{got}");
    proxy.line_with("cut 200 upstream_cut");
}

/// Two framings: the chunks count, and the stale length must not end the answer early (RFC 9112 section 6.3).
#[test]
fn an_answer_with_a_length_and_chunks_is_as_long_as_its_chunks() {
    for length in ["5", "50"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        );
        let address = raw_upstream(answer.leak().as_bytes());
        let proxy = Proxy::start_for(&format!("http://{address}/v1/responses"), &[]);
        let answer = proxy.ask("POST /v1/responses", &[], b"{}");
        assert!(!answer.head.contains("content-length"), "{}", answer.head);
        assert!(contains(&answer.body, b"hello") && contains(&answer.body, b" world"));
        let said = proxy.stop();
        assert!(failures(&said).is_empty(), "{said}");
    }
}

#[test]
fn an_answer_in_another_transfer_coding_is_not_taken_for_plain() {
    for coding in ["gzip, chunked", "gzip"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        let url = format!("http://{}/v1/responses", raw_upstream(answer.leak().as_bytes()));
        fails(&url, &[], 502, "upstream_protocol", &["a transfer coding other than chunked"]);
    }
}

#[test]
fn an_http_1_0_answer_reaches_an_http_1_1_client_as_such() {
    let address = raw_upstream(b"HTTP/1.0 200 OK\r\nX-Old: yes\r\n\r\nhello");
    let proxy = Proxy::start_for(&format!("http://{address}/v1/responses"), &[]);
    let answer = proxy.ask("POST /v1/responses", &[], b"{}");
    assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\nx-old: yes\r\n"), "{}", answer.head);
    assert!(text(&answer.body).ends_with("hello\r\n0\r\n\r\n"), "{}", text(&answer.body));
}

#[test]
fn an_answer_with_trailers_is_complete_without_them() {
    let url = format!(
        "http://{}/v1/responses",
        raw_upstream(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n")
    );
    let proxy = Proxy::start_for(&url, &[]);
    let answer = proxy.ask("POST /v1/responses", &["TE: trailers"], b"{}");
    assert!(contains(&answer.body, b"hello") && !contains(&answer.body, b"X-Late"));
    let said = proxy.stop();
    assert!(failures(&said).is_empty(), "it was recorded as a failure: {said}");
}

/// Defect 3: redirects are followed, and the new host receives the key.
#[tokio::test(flavor = "multi_thread")]
async fn defect_3_a_redirect_is_relayed_and_never_followed() {
    let elsewhere = upstream(Scenario::Turn).await;
    let location = elsewhere.responses_url();
    // 302 and 303 turn a POST into a GET, which needs no body to be sent again.
    for status in [301, 302, 303, 307, 308] {
        let upstream = upstream(Scenario::Redirect { status, location: location.clone() }).await;
        let proxy = Proxy::start(&upstream, &[]);
        let answer = proxy.ask("POST /v1/responses", &[], b"{}");
        assert_eq!(answer.status, status);
        assert!(answer.head.contains(&format!("location: {location}\r\n")), "{}", answer.head);
        assert_eq!(elsewhere.counts().connections, 0);
        assert_eq!(upstream.counts().requests, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_proxy_is_not_used_for_a_loopback_upstream() {
    let elsewhere = upstream(Scenario::Turn).await;
    let upstream = upstream(Scenario::Json).await;
    let trap = format!("http://{}", elsewhere.address());
    let mut command = program();
    command.args(["--upstream-url", &upstream.responses_url()]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    {
        command.env(name, &trap);
    }
    let proxy = Proxy::spawn(&mut command);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    assert_eq!(elsewhere.counts().connections, 0);
}

/// An upstream has the key; what it says is none of ours to repeat.
#[test]
fn an_upstream_that_speaks_the_key_does_not_bring_it_into_our_own_words() {
    for answer in [
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: {KEY}\r\n\r\n"),
        format!("HTTP/1.1 200 {KEY}\r\n{KEY}\r\n\r\n"),
        format!("{KEY} 200 OK\r\n\r\n"),
    ] {
        let url = format!("http://{}/v1/responses", raw_upstream(answer.leak().as_bytes()));
        let proxy = Proxy::start_for(&url, &[]);
        let answer = proxy.ask("POST /v1/responses", &[], b"{}");
        assert_eq!(answer.error().0, "upstream_protocol");
        let said = proxy.stop();
        for part in KEY.as_bytes().windows(8) {
            assert!(!contains(&answer.body, part) && !contains(said.as_bytes(), part), "{said}");
        }
    }
}

/// Of 127/8 only the broadcast address has no way to it.
#[test]
fn an_upstream_without_a_way_to_it_is_told() {
    let url = "http://127.255.255.255:9/v1/responses";
    fails(url, &[], 502, "upstream_unreachable", &["can't be reached", "network"]);
}

/// A silent stream whose other end has died is found by the kernel (SO_KEEPALIVE): its timer runs
/// (proc_pid_net(5), `tr` is 2).
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_is_kept_alive() {
    let upstream = upstream(Scenario::Silent).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.post();
    client.until("\r\n\r\n");
    let to_upstream = format!(" 0100007F:{:04X} 01 00000000:00000000 ", upstream.address().port());
    let began = std::time::Instant::now();
    loop {
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let timer = connections.lines().find_map(|line| line.split_once(&to_upstream));
        if timer.is_some_and(|(_, timer)| timer.starts_with("02:")) {
            break;
        }
        assert!(began.elapsed() < LIMIT, "no keepalive: {timer:?}");
        std::thread::yield_now();
    }
}
