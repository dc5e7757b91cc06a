//! An operator finds exactly one record of everything that was asked, with the right figures in it: in the file and on
//! the control socket, however it ended.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use codex_mock_upstream::Scenario;
use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};
use serde_json::{Value, json};

use crate::control_client::*;
use crate::support::*;

mod compressed;
mod floods;
mod odd_streams;
mod totals;

const STREAMED: &str = r#"{"model":"gpt-of-the-request","stream":true}"#;
const WHOLE: &str = r#"{"model":"gpt-of-the-request","stream":false}"#;

/// What the mock says that a turn has cost.
fn usage() -> Value {
    json!({
        "input_tokens": 1_200, "cached_tokens": 1_024, "output_tokens": 42, "reasoning_tokens": 7,
        "total_tokens": 1_242,
    })
}

/// These fields of a record.
fn facts<const N: usize>(record: &Value, names: [&str; N]) -> Value {
    names.iter().map(|name| record[name].clone()).collect()
}

/// How it ended.
fn ending(record: &Value) -> Value {
    facts(record, ["outcome", "reason", "status"])
}

/// What holds for every record of this test's own requests.
fn is_plausible(record: &Value, since: SystemTime) {
    let names: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(names.len() == KEYS.len() && KEYS.iter().all(|key| names.contains(key)), "{record}");
    let started_at = record["started_at"].as_str().unwrap();
    assert_eq!((started_at.len(), &started_at[23..]), (24, "Z"), "{record}");
    let started_at = humantime::parse_rfc3339(started_at).unwrap();
    let millisecond = Duration::from_millis(1); // It was rounded.
    assert!(started_at + millisecond >= since && started_at <= SystemTime::now(), "{record}");
    let uid = geteuid();
    let peer = &record["peer"];
    if !peer["uid"].is_null() {
        let user = User::from_uid(uid).unwrap().map(|user| user.name);
        assert_eq!(*peer, json!({ "uid": uid.as_raw(), "user": user }), "{record}");
    }
    let duration = record["duration_ms"].as_u64().unwrap();
    assert!(u128::from(duration) < LIMIT.as_millis(), "{record}");
    if let Some(first_byte) = record["first_byte_ms"].as_u64() {
        assert!(first_byte <= duration, "{record}");
    }
}

/// The keys in a line of the file stand in their order: people read it too.
fn is_in_order(line: &str) {
    let at = |key: &&str| line.find(&format!("\"{key}\":"));
    let places: Vec<_> = KEYS.iter().map(at).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{line}");
}

/// Sends a request as a program would; returns the status and the length of the answer's body.
async fn send(proxy: &Proxy, body: &'static str) -> (u16, usize) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.post(proxy.url()).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_leaves_one_record_with_every_figure() {
    let upstream = tls_upstream(Scenario::Turn).await;
    upstream.script([Scenario::Turn, Scenario::Gzip, Scenario::Json]);
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    let mut followed = Lines::get(&traces.socket, "/v1/records?follow=1");
    assert_eq!(followed.status, 200);
    let since = SystemTime::now();
    let mut expected = Vec::new();
    for (body, stream) in [(STREAMED, true), (STREAMED, true), (WHOLE, false)] {
        let (status, length) = send(&proxy, body).await;
        assert_eq!(status, 200);
        expected.push(json!({
            "method": "POST", "path": "/v1/responses",
            "outcome": "completed", "reason": null, "detail": null, "status": 200,
            "model": "gpt-of-the-request", "stream": stream,
            "bytes_in": body.len(), "bytes_out": length,
            "usage": usage(), "upstream_request_id": "req_mock_1", "upstream_error": null,
        }));
    }
    let records = traces.records(3);
    for (number, (record, expected)) in records.iter().zip(expected).enumerate() {
        is_plausible(record, since);
        assert_eq!(record["id"], number + 1);
        assert!(record["first_byte_ms"].is_u64(), "{record}");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(record[name], *value, "{name} in {record}");
        }
        assert_eq!(followed.next_record(), *record);
    }
    drop(followed);
    proxy.stop();
    let written = std::fs::read_to_string(&traces.log).unwrap();
    assert_eq!((written.lines().count(), written.ends_with('\n')), (3, true), "{written}");
    written.lines().for_each(is_in_order);
}

/// An answer that arrives whole may say that it is none.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_tells_of_a_failure_is_complete_and_says_so() {
    let upstream = upstream(Scenario::Unfinished).await;
    let location = "http://127.0.0.1:9/x".to_owned();
    upstream.script([
        Scenario::Unfinished,
        Scenario::Status { status: 500, retry_after: None },
        Scenario::Quota,
        Scenario::Redirect { status: 307, location },
    ]);
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    for status in [200, 500, 429, 307] {
        assert_eq!(send_raw(&proxy).0, status);
    }
    let names = ["outcome", "reason", "status", "model", "usage", "upstream_error"];
    let found: Vec<Value> = traces.records(4).iter().map(|record| facts(record, names)).collect();
    let model = "gpt-of-the-request";
    assert_eq!(
        found,
        [
            json!(["completed", "response_unfinished", 200, model, null, null]),
            json!(["completed", null, 500, model, null, "mock_status"]),
            json!(["completed", null, 429, model, null, "insufficient_quota"]),
            json!(["completed", null, 307, model, null, null]),
        ]
    );
}

/// The same without following redirects.
fn send_raw(proxy: &Proxy) -> (u16, usize) {
    let answer = proxy.ask("POST /v1/responses", &[], STREAMED.as_bytes());
    (answer.status, answer.body.len())
}

/// What the upstream says last in its stream is what counts, as is the model that it names.
#[test]
fn the_last_event_of_a_stream_says_how_it_ended() {
    let url = answering(|request, stream| {
        let response = |status: &str, more: Value| {
            let mut response = json!({ "model": "gpt-of-the-answer", "status": status });
            response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event(&json!({ "type": format!("response.{status}"), "response": response }))
        };
        let usage = json!({ "input_tokens": 5, "output_tokens": 6, "total_tokens": 11 });
        let error = json!({ "code": "server_error", "message": "no" });
        let events = [
            response("created", json!({})),
            if request.contains("/failed/") {
                response("failed", json!({ "error": error, "usage": null }))
            } else if request.contains("/incomplete/") {
                let details = json!({ "reason": "max_output_tokens" });
                response("incomplete", json!({ "incomplete_details": details, "usage": usage }))
            } else {
                event(&json!({ "type": "error", "code": "rate_limit_exceeded", "message": "no" }))
            },
        ];
        let head = chunked_head("200 OK", "text/event-stream; charset=utf-8", "");
        let _ = stream.write_all(head.as_bytes());
        // In pieces that say nothing by themselves.
        for piece in events.concat().as_bytes().chunks(7) {
            let _ = stream.write_all(&chunk(piece));
        }
        let _ = stream.write_all(&chunk(b""));
    });
    let traces = Traces::new();
    let proxy = Proxy::start_for(&url, &traces.flags(&[]));
    for case in ["/failed/", "/incomplete/", "/error/"] {
        let body = format!(r#"{{"input":"{case}","model":"gpt-of-the-request","stream":true}}"#);
        assert_eq!(proxy.ask("POST /v1/responses", &[], body.as_bytes()).status, 200);
    }
    let names = ["outcome", "reason", "status", "model", "usage", "upstream_error"];
    let found: Vec<Value> = traces.records(3).iter().map(|record| facts(record, names)).collect();
    let model = "gpt-of-the-answer";
    let usage = json!({
        "input_tokens": 5, "cached_tokens": null, "output_tokens": 6, "reasoning_tokens": null,
        "total_tokens": 11,
    });
    assert_eq!(
        found,
        [
            json!(["completed", "response_failed", 200, model, null, "server_error"]),
            json!(["completed", "response_incomplete", 200, model, usage, null]),
            json!(["completed", "response_failed", 200, model, null, "rate_limit_exceeded"]),
        ]
    );
}

/// Request line, fields and body; the status that it gets, and its reason.
type Asked<'asked> = (&'asked str, &'asked [&'asked str], &'asked [u8], u16, &'asked str);

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_one_record_whatever_was_wrong() {
    let upstream = upstream(Scenario::Turn).await;
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&["--max-body", "1KiB"]));
    let since = SystemTime::now();
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let large = [b'x'; 2_048];
    let asked: [Asked<'_>; 6] = [
        ("GET /v1/models?limit=1", &[], b"", 403, "route_not_allowed"),
        ("POST /v1/responses", &["Host: localhost"], b"{}", 403, "foreign_host"),
        ("POST /v1/responses", &["Origin: http://x"], b"{}", 403, "foreign_origin"),
        ("POST /v1/responses", &[], &large, 413, "body_too_large"),
        ("GET /v1/responses", &upgrade, b"", 426, "upgrade_refused"),
        ("POST /v1/responses", &["Transfer-Encoding: gzip, chunked"], b"", 400, "body_malformed"),
    ];
    for (number, (line, fields, body, status, reason)) in asked.into_iter().enumerate() {
        let answer = proxy.ask(line, fields, body);
        assert_eq!((answer.status, answer.error().0.as_str()), (status, reason));
        let record = traces.records(number + 1).pop().unwrap();
        is_plausible(&record, since);
        assert_eq!(ending(&record), json!(["refused", reason, status]));
        let (method, target) = line.split_once(' ').unwrap();
        let path = target.split('?').next().unwrap();
        assert_eq!(facts(&record, ["method", "path"]), json!([method, path]));
        assert_eq!(record["bytes_out"], answer.body.len(), "{record}");
        let names = ["usage", "first_byte_ms", "upstream_request_id", "upstream_error"];
        assert_eq!(facts(&record, names), json!([null, null, null, null]), "{record}");
    }

    let mut client = proxy.connect();
    client.send("this is not HTTP\r\n\r\n");
    let _ = client.read_to_end();
    let record = traces.records(7).pop().unwrap();
    is_plausible(&record, since);
    let names = ["outcome", "reason", "method", "path", "bytes_in", "bytes_out"];
    assert_eq!(facts(&record, names), json!(["refused", "bad_head", "-", "-", 0, 0]));
    assert_eq!(upstream.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_leaves_one_record_that_names_the_cause() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/v1/responses");
    let closing = upstream(Scenario::Close).await;
    let hanging = upstream(Scenario::Hang).await;
    let (closing, hanging) = (closing.responses_url(), hanging.responses_url());
    for (url, status, reason) in [
        (&url, 502, "upstream_unreachable"),
        (&closing, 502, "upstream_closed"),
        (&hanging, 504, "upstream_timeout"),
    ] {
        let traces = Traces::new();
        let proxy = Proxy::start_for(url, &traces.flags(&["--header-timeout", "200ms"]));
        let since = SystemTime::now();
        let answer = proxy.ask("POST /v1/responses", &[], STREAMED.as_bytes());
        assert_eq!(answer.status, status);
        let record = traces.records(1).pop().unwrap();
        is_plausible(&record, since);
        assert_eq!(ending(&record), json!(["upstream_failed", reason, status]));
        let detail = record["detail"].as_str().unwrap();
        let hop = url.split('/').nth(2).unwrap();
        assert!(detail.contains(hop), "{record}");
        assert_eq!(record["bytes_out"], answer.body.len());
        let names = ["usage", "first_byte_ms", "upstream_request_id", "upstream_error"];
        assert_eq!(facts(&record, names), json!([null, null, null, null]), "{record}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_its_end_leaves_one_record_that_says_who_ended_it() {
    let upstream = upstream(Scenario::Silent).await;
    upstream.script([
        Scenario::Cut { events: 2 },
        Scenario::Cut { events: 4 },
        Scenario::Silent,
        Scenario::Hang,
    ]);
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    let since = SystemTime::now();
    for _ in 0..2 {
        let mut client = proxy.connect();
        client.send_request("POST /v1/responses", &[], STREAMED.as_bytes());
        let _ = client.read_to_end();
    }
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &[], STREAMED.as_bytes());
    client.until("event: response.created");
    drop(client);
    until(&upstream, |counts| counts.cancelled >= 1).await;
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &[], STREAMED.as_bytes());
    let sent = 4 * STREAMED.len() as u64;
    until(&upstream, |counts| counts.body_bytes == sent).await;
    traces.records(3);
    drop(client);

    let records = traces.records(4);
    let endings: Vec<Value> = records.iter().map(ending).collect();
    assert_eq!(endings[0], json!(["cut", "upstream_cut", 200]));
    assert_eq!(endings[1], json!(["cut", "upstream_cut", 200]));
    assert_eq!(endings[2], json!(["client_left", null, 200]));
    assert_eq!(facts(&records[3], ["outcome", "status"]), json!(["client_left", null]));
    for (number, record) in records.iter().enumerate() {
        is_plausible(record, since);
        let names = ["model", "stream", "bytes_in", "usage", "upstream_error"];
        let expected = json!(["gpt-of-the-request", true, STREAMED.len(), null, null]);
        assert_eq!(facts(record, names), expected, "{record}");
        let began = number < 3;
        assert_eq!(record["first_byte_ms"].is_u64(), began, "{record}");
        assert_eq!(record["bytes_out"].as_u64() > Some(0), began, "{record}");
        let id = if began { json!("req_mock_1") } else { Value::Null };
        assert_eq!(record["upstream_request_id"], id);
    }
}

/// Some clients take `response.completed` for the end and hang up before the last chunk.
#[test]
fn a_client_that_leaves_after_the_last_event_has_all_of_its_answer() {
    let url = answering(|_, stream| {
        let usage = json!({ "input_tokens": 3, "output_tokens": 4, "total_tokens": 7 });
        let response = json!({ "model": "m", "status": "completed", "usage": usage });
        let last = event(&json!({ "type": "response.completed", "response": response }));
        let head = chunked_head("200 OK", "text/event-stream", "x-request-id: req_7\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&chunk(last.as_bytes()));
        let _ = stream.read(&mut [0; 16]); // The last chunk is only sent to who waits for it.
    });
    let traces = Traces::new();
    let proxy = Proxy::start_for(&url, &traces.flags(&[]));
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &[], STREAMED.as_bytes());
    client.until("event: response.completed");
    client.until("\n\n\r\n"); // The event and its chunk are whole.
    drop(client);
    let record = traces.records(1).pop().unwrap();
    assert_eq!(ending(&record), json!(["completed", null, 200]));
    assert_eq!(record["usage"]["total_tokens"], 7);
    assert_eq!(record["upstream_request_id"], "req_7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_stopped_in_the_middle_still_writes_the_record() {
    for (how, timeout) in [("drain timeout", "100ms"), ("second signal", "1h")] {
        let upstream = upstream(Scenario::Silent).await;
        let traces = Traces::new();
        let mut proxy = Proxy::start(&upstream, &traces.flags(&["--drain-timeout", timeout]));
        let mut clients = [proxy.connect(), proxy.connect(), proxy.connect()];
        for client in &mut clients {
            client.send_request("POST /v1/responses", &[], STREAMED.as_bytes());
            client.until("event: response.created");
        }
        let mut idle = proxy.connect();
        proxy.signal(Signal::SIGTERM);
        let _ = idle.read_to_end(); // It drains.
        if how == "second signal" {
            std::thread::sleep(Duration::from_millis(400)); // What comes sooner is an echo.
            proxy.signal(Signal::SIGTERM);
        }
        let (status, said) = proxy.ended();
        assert_eq!(status.code(), Some(0), "{how}: {said}");
        let written = std::fs::read_to_string(&traces.log).unwrap();
        assert!(written.ends_with('\n'), "{how}: {written}");
        let records = records_of(&traces.log);
        assert_eq!(records.len(), 3, "{how}: {written}");
        for record in records {
            assert_eq!(ending(&record), json!(["cut", "proxy_stopped", 200]), "{how}");
            assert_eq!(record["model"], "gpt-of-the-request", "{how}");
        }
        assert!(!traces.socket.exists(), "{how}: the control socket is left");
    }
}
