//! Requests that only a web page or a confused program sends: none reaches the upstream.

use codex_mock_upstream::Scenario;

use crate::support::*;

/// Defect 4: no check of Host and Origin, nor on `/shutdown`.
#[tokio::test(flavor = "multi_thread")]
async fn defect_4_a_web_page_can_neither_ask_nor_stop() {
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &["--http-shutdown"]);
    let local = format!("Host: localhost:{}", proxy.port);
    let rebound = format!("Host: evil.example:{}", proxy.port);
    for line in ["POST /v1/responses", "GET /shutdown"] {
        for (field, code) in [
            (rebound.as_str(), "foreign_host"),
            (local.as_str(), "foreign_host"),
            ("Host: 127.0.0.1", "foreign_host"),
            ("Origin: https://evil.example", "foreign_origin"),
            ("Origin: null", "foreign_origin"),
            ("Sec-Fetch-Site: cross-site", "foreign_origin"),
        ] {
            let answer = proxy.ask(line, &[field], b"");
            assert_eq!((answer.status, answer.error().0.as_str()), (403, code), "{line} {field}");
        }
    }
    let message = proxy.ask("POST /v1/responses", &[&local], b"{}").error().1;
    assert!(message.contains(&format!("http://127.0.0.1:{}/v1", proxy.port)), "{message}");
    assert_eq!(upstream.counts().connections, 0);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200, "it still serves");
}

/// Defect 5: a WebSocket upgrade gets 403, which costs Codex seven tries.
#[tokio::test(flavor = "multi_thread")]
async fn defect_5_a_websocket_is_answered_with_426() {
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let answer = proxy.ask(
        "GET /v1/responses",
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
        b"",
    );
    assert_eq!((answer.status, answer.error().0.as_str()), (426, "upgrade_refused"));
    assert!(answer.head.contains("upgrade: HTTP/1.1\r\n"), "{}", answer.head);
    assert_eq!(upstream.counts().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_route_is_refused_with_what_is_allowed() {
    let upstream = upstream(Scenario::Turn).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    for line in [
        "GET /v1/responses",
        "POST /v1/responses?stream=true",
        "POST //v1/responses",
        "POST /v1/response%73",
        "POST /v1/responses/",
        "GET /v1/models",
        "GET /shutdown",
        "DELETE /v1/responses/resp_1",
    ] {
        let answer = proxy.ask(line, &[], b"");
        let (code, message) = answer.error();
        assert_eq!((answer.status, code.as_str()), (403, "route_not_allowed"), "{line}");
        assert!(message.contains("POST /v1/responses"), "{message}");
    }
    let absolute = format!("POST http://127.0.0.1:{}/v1/responses", proxy.port);
    assert_eq!(proxy.ask(&absolute, &[], b"{}").status, 403);
    proxy.line_with("refused 403 route_not_allowed DELETE /v1/responses/resp_1 ");
    assert_eq!(upstream.counts().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_client_that_sends_its_whole_body_first() {
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/elsewhere", &[], &vec![b'x'; 8 << 20]);
    assert_eq!(client.answer().error().0, "route_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_gets_a_400_and_a_closed_connection() {
    let upstream = upstream(Scenario::Turn).await;
    let proxy = Proxy::start(&upstream, &[]);
    for bytes in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03",
        "GET / HTTP/9.9\r\n\r\n",
        "\r\n\r\n\0\0\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(bytes);
        client.half_close();
        let _ = client.read_to_end();
        let got = text(&client.got);
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 400 "), "{bytes:?}: {got:?}");
    }
    let mut client = proxy.connect();
    client.send("POST /v1/responses HTTP/1.1\r\n");
    for number in 0..150 {
        client.send(format!("X-{number}: 1\r\n"));
    }
    client.send("\r\n");
    client.until("HTTP/1.1 431 ");
    // A head that is too large is refused also when all of it is there at once.
    for size in [70_000, 90_000, 500_000] {
        let field = format!("X-Large: {}", "x".repeat(size));
        let mut client = proxy.connect();
        let _ = client.try_send_request("POST /v1/responses", &[&field], b"{}");
        client.until("HTTP/1.1 431 ");
    }
    assert_eq!(upstream.counts().connections, 0);
    let field = format!("X-Large: {}", "x".repeat(60_000));
    assert_eq!(proxy.ask("POST /v1/responses", &[&field], b"{}").status, 200);
}
