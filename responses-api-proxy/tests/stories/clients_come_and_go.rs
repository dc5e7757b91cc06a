//! Clients that leave, and more of them than there is room for.

use std::time::Duration;

use codex_mock_upstream::Scenario;

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

/// A refusal is our own to say: it reaches also a client that has closed its sending side.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_sending_side_is_a_client_that_left_and_a_refusal_still_reaches_it() {
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("GET /v1/models", &[], b"");
    client.half_close();
    assert_eq!(client.answer().status, 403);
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
