//! Clients that leave, and more of them than there is room for.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use codex_mock_upstream::Scenario;
use nix::sys::signal::Signal;

use crate::support::*;

/// Defect 7: a client that leaves a quiet stream does not cancel the upstream's request.
#[tokio::test(flavor = "multi_thread")]
async fn defect_7_a_client_that_leaves_a_silent_stream_cancels_it() {
    let upstream = tls_upstream(Scenario::Silent).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.post();
    client.until("event: response.created");
    drop(client);
    let counts =
        until(&upstream, |counts| counts.cancelled == 1 && counts.disconnections == 1).await;
    assert_eq!(counts.answered, 0);
    let line = proxy.line_with("client_left");
    assert!(line.contains(" 200 POST /v1/responses "), "{line}");
}

/// hyper does not read on while it holds what it has not parsed: a line end after the request, as some
/// clients send it, or the next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_unread_bytes_behind_is_missed_too() {
    for surplus in ["\r\n", "\n", "GET / HTTP/1.1\r\n"] {
        for scenario in [Scenario::Silent, Scenario::Hang] {
            let upstream = upstream(scenario.clone()).await;
            let mut proxy = Proxy::start(&upstream, &["--max-concurrent", "1"]);
            let mut client = proxy.connect();
            client.post();
            client.send(surplus);
            until(&upstream, |counts| counts.requests == 1 && counts.body_bytes > 0).await;
            if scenario == Scenario::Silent {
                client.until("event: response.created");
            }
            drop(client);
            until(&upstream, |counts| counts.cancelled == 1 && counts.disconnections == 1).await;
            proxy.line_with("client_left");
            upstream.script([Scenario::Turn]);
            assert_eq!(
                proxy.ask("POST /v1/responses", &[], b"{}").status,
                200,
                "its place is taken"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_answer_began_cancels_it() {
    let upstream = upstream(Scenario::Hang).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.post();
    until(&upstream, |counts| counts.requests == 1 && counts.body_bytes > 0).await;
    drop(client);
    until(&upstream, |counts| counts.cancelled == 1 && counts.disconnections == 1).await;
    proxy.line_with("client_left");
}

/// A closed sending side counts as leaving. What is ours to say still reaches such a client, and a cut is
/// a cut for it too.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_sending_side_has_left_and_is_told_so() {
    let upstream = upstream(Scenario::Silent).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("GET /v1/models", &[], b"");
    client.half_close();
    assert_eq!(client.answer().status, 403);

    for version in ["1.0", "1.1"] {
        let mut client = proxy.connect();
        let host = format!("Host: 127.0.0.1:{}", proxy.port);
        client.send(format!(
            "POST /v1/responses HTTP/{version}\r\n{host}\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        client.until("event: response.created");
        client.half_close();
        let ended = client.read_to_end();
        if version == "1.0" {
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
        } else {
            assert!(!client.got.ends_with(b"0\r\n\r\n"), "a cut stream ended cleanly");
        }
        proxy.line_with("client_left 200 POST");
    }
    assert_eq!(upstream.counts().requests, 2);

    // Who has closed it before the request is forwarded is told. Both come in one segment here, but the kernel
    // may say so in two events; then it is forwarded, and cut as above.
    for _ in 0..50 {
        let asked = upstream.counts().requests;
        let mut client = proxy.connect();
        client.cork();
        client.post();
        client.half_close();
        let _ = client.read_to_end();
        if !client.got.is_empty() && !contains(&client.got, b" 200 OK") {
            assert_eq!(client.answer().error().0, "sending_side_closed");
            assert_eq!(upstream.counts().requests, asked);
            return;
        }
    }
    panic!("nobody was told");
}

/// The upstream has answered without wanting the body: then nobody reads the rest, and everybody is free.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_the_body_ends_the_exchange() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/responses", upstream.local_addr().unwrap());
    // Answers at once, reads nothing more, and keeps its connections open.
    let (accepted, connections) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = upstream.accept() {
            let mut head = [0; 64];
            let _ = stream.read(&mut head);
            let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";
            let _ = stream.write_all(answer);
            if accepted.send(stream).is_err() {
                break;
            }
        }
    });
    let mut proxy = Proxy::start_for(&url, &["--drain-timeout", "1h"]);
    let mut still_open = Vec::new();
    // Also with so much of a body under way that the upstream's connection takes no more.
    for bytes in [10, 20 << 20] {
        let mut client = proxy.connect();
        client.send_request("POST /v1/responses", &["Content-Length: 50000000"], b"");
        client.send_meanwhile(vec![b'x'; bytes]);
        client.until("\r\n\r\nno");
        let _ = client.read_to_end(); // The client's connection ends, though its body has not.
        let mut upstreams: TcpStream = connections.recv_timeout(LIMIT).unwrap();
        if bytes == 10 {
            upstreams.set_read_timeout(Some(LIMIT)).unwrap();
            let ended = upstreams.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
            assert!(
                !matches!(ended, Err(ErrorKind::WouldBlock)),
                "the upstream's connection stays"
            );
        }
        still_open.push(upstreams);
    }
    proxy.signal(Signal::SIGTERM);
    let (status, said) = proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}

/// An upstream's connection that is stuck in an upload keeps its place after the answer, or there could be
/// any number of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_kept_until_the_upstreams_connection_lets_go_of_the_body() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/responses", upstream.local_addr().unwrap());
    // Reads nothing but the head, and answers when it is told to.
    let (answer_now, told) = std::sync::mpsc::channel();
    let (answered, connections) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = upstream.accept() {
            let _ = stream.read(&mut [0; 64]);
            let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno";
            if told.recv().is_err() || stream.write_all(answer).is_err() {
                break;
            }
            let _ = answered.send(stream);
        }
    });
    let proxy = Proxy::start_for(&url, &["--max-concurrent", "1"]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Content-Length: 50000000"], b"");
    client.send_until_stuck();
    answer_now.send(()).unwrap();
    client.until("\r\n\r\nno");
    let _ = client.read_to_end();
    let stuck: TcpStream = connections.recv_timeout(LIMIT).unwrap();
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 429);

    drop(stuck);
    answer_now.send(()).unwrap();
    while proxy.ask("POST /v1/responses", &[], b"{}").status == 429 {} // It waits half a second itself.
}

/// Urgent data is a thing of the past that anybody can send.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_after_urgent_data_is_missed_too() {
    let upstream = upstream(Scenario::Silent).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.post();
    client.until("event: response.created");
    client.send_urgent();
    drop(client);
    until(&upstream, |counts| counts.cancelled == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_the_middle_of_its_body_cancels_it() {
    let upstream = upstream(Scenario::Echo).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Content-Length: 1000"], b"only this");
    until(&upstream, |counts| counts.body_bytes == 9).await;
    drop(client);
    until(&upstream, |counts| counts.cancelled == 1).await;
    proxy.line_with("client_left");
    assert!(upstream.seen().is_empty(), "a part of a body was taken for the whole");
}

/// A client that reads late makes the upstream wait; the proxy does not take the difference into memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_an_endless_answer_costs_no_memory() {
    const MEBIBYTES: u32 = 300;
    let upstream = upstream(Scenario::Flood { mebibytes: MEBIBYTES }).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.post();
    client.until("data: x");
    std::thread::sleep(Duration::from_millis(500)); // The slowness under test.
    assert_eq!(upstream.counts().answered, 0, "somebody has taken it all");
    assert!(client.discard() > u64::from(MEBIBYTES) << 20);
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 64 << 10, "{peak_kib} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_chunked_as_it_says_is_refused() {
    let upstream = upstream(Scenario::Echo).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Transfer-Encoding: chunked"], b"");
    client.send("5\r\nhello\r\nZZ\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.error().0.as_str()), (400, "body_malformed"));
    proxy.line_with("refused 400 body_malformed POST /v1/responses");
    until(&upstream, |counts| counts.disconnections == 1).await;
    assert!(upstream.seen().is_empty(), "a part of a body was taken for the whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed_are_told_to_come_back_and_can() {
    let upstream = upstream(Scenario::Silent).await;
    let proxy = Proxy::start(&upstream, &["--max-concurrent", "2"]);
    let mut running: Vec<Client> = (0..2).map(|_| proxy.connect()).collect();
    for client in &mut running {
        client.post();
        client.until("event: response.created");
    }
    let answer = proxy.ask("POST /v1/responses", &[], b"{}");
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after: 1\r\n"), "{}", answer.head);
    let (code, message) = answer.error();
    assert_eq!(code, "too_many_requests");
    assert!(message.contains("2 requests") && message.contains("--max-concurrent"), "{message}");
    assert_eq!(upstream.counts().requests, 2);

    // A refusal takes no place, and a place is free again once its client has gone.
    assert_eq!(proxy.ask("GET /v1/models", &[], b"").status, 403);
    drop(running.pop());
    until(&upstream, |counts| counts.cancelled == 1).await;
    upstream.script([Scenario::Turn]);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_becomes_free_in_time_is_given_to_who_waits() {
    let upstream = upstream(Scenario::Gated).await;
    let proxy = Proxy::start(&upstream, &["--max-concurrent", "1"]);
    let mut first = proxy.connect();
    first.post();
    until(&upstream, |counts| counts.requests == 1).await;
    let mut second = proxy.connect();
    second.post();
    std::thread::sleep(Duration::from_millis(100)); // The waiting under test; 500 ms are allowed.
    upstream.release(20);
    first.until("\r\n0\r\n\r\n");
    second.until("\r\n0\r\n\r\n");
}
