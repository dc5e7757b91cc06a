//! A client asks and gets the upstream's answer: the same bytes, at once, whatever their form.

use std::io::Write;

use codex_mock_upstream::{MockUpstream, Scenario};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::*;

/// The answer to the same request without a proxy between.
async fn direct(upstream: &MockUpstream, body: &str) -> (u16, Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client
        .post(upstream.responses_url())
        .header("authorization", format!("Bearer {KEY}"))
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

async fn through(proxy: &Proxy, body: &str) -> (u16, Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.post(proxy.url()).body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_relayed_byte_for_byte() {
    for scenario in [
        Scenario::Turn,
        Scenario::Json,
        Scenario::Gzip,
        Scenario::Unfinished,
        Scenario::Quota,
        Scenario::Status { status: 400, retry_after: None },
        Scenario::Status { status: 401, retry_after: None },
        Scenario::Status { status: 429, retry_after: Some(1) },
        Scenario::Status { status: 500, retry_after: None },
        Scenario::Status { status: 503, retry_after: None },
        Scenario::Status { status: 204, retry_after: None },
    ] {
        let upstream = upstream(scenario.clone()).await;
        let proxy = Proxy::start(&upstream, &[]);
        let body = r#"{"model":"gpt","stream":true}"#;
        assert_eq!(through(&proxy, body).await, direct(&upstream, body).await, "{scenario}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_key_and_the_clients_own_fields_over_tls() {
    let upstream = tls_upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let answer = proxy.ask(
        "POST /v1/responses",
        &[
            "Authorization: Bearer the-clients",
            "X-Codex-Turn: 7",
            "Accept: text/event-stream",
            "Cookie: a=b",
        ],
        b"{}",
    );
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(answer.head.contains("content-type: text/event-stream\r\n"), "{}", answer.head);
    assert!(answer.head.contains("x-request-id: req_mock_1\r\n"), "{}", answer.head);
    let seen = upstream.seen();
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/responses"));
    assert_eq!(request.headers["authorization"], format!("Bearer {KEY}").as_str());
    assert_eq!(request.headers["host"], upstream.address().to_string().as_str());
    assert_eq!(request.headers["x-codex-turn"], "7");
    assert_eq!(request.headers["accept"], "text/event-stream");
    assert_eq!(request.headers["content-length"], "2");
    assert!(!request.headers.contains_key("cookie"));
    assert_eq!(request.body, "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_url_may_have_another_path_and_a_query() {
    let upstream = upstream(Scenario::Json).await;
    let url = format!("http://{}/openai/responses?api-version=preview", upstream.address());
    let proxy = Proxy::start_for(&url, &[]);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    assert_eq!(upstream.seen()[0].target, "/openai/responses?api-version=preview");
}

/// Defect 1: events held back until 8,192 bytes or the end, and the head with them.
#[tokio::test(flavor = "multi_thread")]
async fn defect_1_each_event_arrives_before_the_next_is_sent() {
    let upstream = upstream(Scenario::Gated).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.post();
    client.until("content-type: text/event-stream"); // The head, before there is any event.
    for number in 0..10 {
        upstream.release(1);
        client.until(&format!(r#""sequence_number":{number},"#)); // Nothing more was sent so far.
    }
    client.until("\r\n0\r\n\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_goes_up_untouched() {
    let upstream = upstream(Scenario::Echo).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(br#"{"model":"gpt"}"#).unwrap();
    // The frame of a zstd body: magic number, then what only the upstream has to understand.
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0, 1, 2, 255, 254, 13, 10]].concat();
    for (encoding, body) in [("gzip", encoder.finish().unwrap()), ("zstd", zstd)] {
        let field = format!("Content-Encoding: {encoding}");
        let answer = proxy.ask("POST /v1/responses", &[&field], &body);
        let expected =
            format!(r#"{{"content_encoding":"{encoding}","received_bytes":{}}}"#, body.len());
        assert_eq!(text(&answer.body), expected);
        assert_eq!(upstream.seen().last().unwrap().body, body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_passed_on_while_it_is_still_being_sent() {
    let upstream = upstream(Scenario::Echo).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Transfer-Encoding: chunked"], b"");
    for piece in 1..=5 {
        client.send("400\r\n");
        client.send([b'x'; 0x400]);
        client.send("\r\n");
        until(&upstream, |counts| counts.body_bytes == piece * 0x400).await;
    }
    client.send("0\r\n\r\n");
    assert!(text(&client.answer().body).contains(r#""received_bytes":5120"#));
    assert_eq!(upstream.seen()[0].headers["transfer-encoding"], "chunked");
}

/// Trailers would be fields that nobody has filtered.
#[tokio::test(flavor = "multi_thread")]
async fn a_clients_trailers_stay_here() {
    let upstream = upstream(Scenario::Echo).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    let fields = ["Transfer-Encoding: chunked", "Trailer: X-Late, Authorization"];
    client.send_request("POST /v1/responses", &fields, b"");
    client.send("2\r\n{}\r\n0\r\nX-Late: 1\r\nAuthorization: Bearer mine\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let seen = &upstream.seen()[0];
    assert_eq!(seen.trailers, http::HeaderMap::new());
    assert!(!seen.headers.contains_key("trailer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_arrives_whole() {
    let upstream = tls_upstream(Scenario::Echo).await;
    let proxy = Proxy::start(&upstream, &[]);
    let body = vec![b'x'; 20 << 20];
    let answer = proxy.ask("POST /v1/responses", &[], &body);
    assert!(text(&answer.body).contains(&format!(r#""received_bytes":{}"#, body.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_by_its_announcement_or_where_it_passes_the_limit() {
    let upstream = upstream(Scenario::Echo).await;
    let proxy = Proxy::start(&upstream, &["--max-body", "100KiB"]);

    // Announced: not a byte of it is asked for, and the client that sends it all reads the answer.
    let answer = proxy.ask("POST /v1/responses", &["Expect: 100-continue"], &vec![b'x'; 200 << 10]);
    assert_eq!(answer.status, 413);
    assert!(!answer.head.contains("100 Continue"), "{}", answer.head);
    let (code, message) = answer.error();
    assert_eq!(code, "body_too_large");
    assert!(message.contains("102400 bytes") && message.contains("--max-body"), "{message}");
    assert!(answer.head.contains("connection: close\r\n"), "{}", answer.head);
    assert_eq!(upstream.counts().requests, 0);

    // A client that first sends everything and only then reads gets to read.
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &[], &vec![b'x'; 8 << 20]);
    assert_eq!(client.answer().status, 413);
    client.read_to_end().unwrap();

    // Not announced.
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Transfer-Encoding: chunked"], b"");
    for _ in 0..101 {
        client.send("400\r\n");
        client.send([b'x'; 0x400]);
        client.send("\r\n");
    }
    assert_eq!(client.answer().error().0, "body_too_large");
    client.half_close();
    client.read_to_end().unwrap();
    let counts = until(&upstream, |counts| counts.cancelled == 1).await;
    assert_eq!(counts.answered, 0);

    assert_eq!(proxy.ask("POST /v1/responses", &[], &vec![b'x'; 100 << 10]).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_continue_gets_it_once_it_is_admitted() {
    let upstream = upstream(Scenario::Echo).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Expect: 100-continue", "Content-Length: 2"], b"");
    client.until("HTTP/1.1 100 Continue\r\n\r\n");
    client.got.clear();
    client.send("{}");
    assert_eq!(client.answer().status, 200);
    assert!(!upstream.seen()[0].headers.contains_key("expect"));

    let mut client = proxy.connect();
    client.send_request("GET /v1/models", &["Expect: 100-continue", "Content-Length: 2"], b"");
    assert_eq!(client.answer().status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_a_plain_body_that_ends_with_the_connection() {
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    let host = format!("Host: 127.0.0.1:{}", proxy.port);
    client.send(format!("POST /v1/responses HTTP/1.0\r\n{host}\r\nContent-Length: 2\r\n\r\n{{}}"));
    client.read_to_end().unwrap();
    let (head, body) = text(&client.got)
        .split_once("\r\n\r\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK") && !head.contains("chunked"), "{head}");
    let (_, expected) = direct(&upstream, "{}").await;
    assert_eq!(body.as_bytes(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_requests_and_so_does_the_upstreams() {
    let upstream = tls_upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    for _ in 0..20 {
        client.send_request("POST /v1/responses", &[], b"{}");
        let answer = client.answer();
        assert!(contains(&answer.body, b"event: response.completed"));
        // A refusal in between does not cost the connection.
        client.send_request("GET /v1/models", &[], b"");
        assert_eq!(client.answer().status, 403);
    }
    // A request that comes before the last answer's connection is back in the pool opens another.
    let counts = upstream.counts();
    assert_eq!(counts.requests, 20);
    assert!(counts.connections < 10, "{counts:?}");
}

/// Defect 12: keys with `=`, `.`, `/`, `+`, `~` are refused. [`KEY`] has them all.
#[tokio::test(flavor = "multi_thread")]
async fn defect_12_a_key_may_have_every_character_of_a_token() {
    assert!("=./+~_-".chars().all(|character| KEY.contains(character)));
    let upstream = upstream(Scenario::Json).await;
    let proxy = Proxy::start(&upstream, &[]);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
}

/// Defect 13: each answer on a kept connection takes 44 ms, a delayed ACK's time. The bound is the
/// kernel's 40 ms, which no machine beats and a working proxy is far below.
#[tokio::test(flavor = "multi_thread")]
async fn defect_13_no_answer_waits_for_a_delayed_ack() {
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    let mut times: Vec<_> = (0..31)
        .map(|_| {
            let began = std::time::Instant::now();
            client.send_request("POST /v1/responses", &[], b"{}");
            client.answer();
            began.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[15].as_millis() < 40, "half of the answers took more than {:?}", times[15]);
}
