//! However exchanges end, nothing that is kept or shown of them has a word of a prompt or an answer, a header's value or
//! eight bytes of the key in it.
//!
//! Everything secret here is marked, so that looking for the marks is enough; and what is meant to be kept is marked
//! too, so that a search that finds nothing at all is noticed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::control_client::*;
use crate::support::*;

mod left_running;

/// Stands in every secret, upper and lower case.
const MARK: &str = "MARKED-";
const PROMPT: &str = "MARKED-PROMPT: the plan for Tuesday";
const ANSWER: &str = "MARKED-ANSWER: buy early";

/// What is meant to be kept.
const KEPT_MODEL: &str = "gpt-5-kept";
const KEPT_ID: &str = "req_kept_1";
const KEPT_CODE: &str = "kept_code";

/// Ways in which the upstream answers; the request's body names one.
const CASES: [&str; 14] = [
    "turn",
    "gzip",
    "json",
    "error",
    "error-is-key",
    "error-is-prose",
    "failed",
    "failed-is-key",
    "model-is-key",
    "id-is-key",
    "cut",
    "close",
    "not-http",
    "redirect",
];

/// Records that [`refusals`] and [`broken_bodies`] leave.
const REFUSALS: usize = 9 + 2;
const BROKEN_BODIES: usize = 2;

/// A part of the key, as a careless upstream might repeat it.
fn part_of_key() -> &'static str {
    &KEY[5..20]
}

/// The events of a turn whose model is this.
fn turn(model: &str) -> String {
    let usage = json!({ "input_tokens": 3, "output_tokens": 4, "total_tokens": 7 });
    let output = json!([{ "type": "message", "content": [{ "text": ANSWER }] }]);
    let response = json!({
        "model": model, "status": "completed", "usage": usage, "output": output, "instructions": PROMPT,
        "metadata": { "note": KEY, "model": ANSWER, "code": ANSWER },
    });
    [
        json!({ "type": "response.created", "response": { "model": model, "instructions": PROMPT } }),
        json!({ "type": "response.output_text.delta", "delta": ANSWER }),
        json!({ "type": "response.output_text.delta", "delta": "\n\nevent: error\ndata: {\"code\":\"MARKED-DELTA\"}\n\n" }),
        json!({ "type": "response.completed", "response": response }),
    ]
    .iter()
    .map(event)
    .collect()
}

fn failed(code: &str) -> String {
    let error = json!({ "code": code, "message": format!("{PROMPT} {KEY} is not allowed") });
    event(
        &json!({ "type": "response.failed", "response": { "model": KEPT_MODEL, "error": error } }),
    )
}

fn error(code: &str) -> String {
    let message = format!("Incorrect API key provided: {KEY}. You said: {PROMPT}");
    json!({ "error": { "message": message, "type": "MARKED-TYPE", "code": code, "param": PROMPT } })
        .to_string()
}

/// The upstream's answer: its status, type, further fields and body.
fn answer_to(case: &str) -> (&'static str, &'static str, String, Vec<u8>) {
    let (events, document) = ("text/event-stream", "application/json");
    let id = format!("x-request-id: {KEPT_ID}\r\n");
    let bytes = String::into_bytes;
    match case {
        "gzip" => {
            let fields = format!("{id}Content-Encoding: gzip\r\n");
            ("200 OK", events, fields, gzip(turn(KEPT_MODEL).as_bytes()))
        }
        "json" => {
            let output = json!([{ "content": [{ "text": ANSWER }] }]);
            let body = json!({ "model": KEPT_MODEL, "output": output, "instructions": PROMPT });
            ("200 OK", document, id, bytes(body.to_string()))
        }
        "error" => ("429 Too Many Requests", document, id, bytes(error(KEPT_CODE))),
        "error-is-key" => ("401 Unauthorized", document, id, bytes(error(KEY))),
        "error-is-prose" => ("400 Bad Request", document, id, bytes(error(PROMPT))),
        "failed" => ("200 OK", events, id, bytes(failed(KEPT_CODE))),
        "failed-is-key" => ("200 OK", events, id, bytes(failed(part_of_key()))),
        "model-is-key" => ("200 OK", events, id, bytes(turn(part_of_key()))),
        "id-is-key" => {
            let id = format!("x-request-id: req_{}_{KEY}\r\n", part_of_key());
            ("200 OK", events, id, bytes(turn(KEPT_MODEL)))
        }
        "redirect" => {
            let location = format!("{id}Location: http://127.0.0.1:9/MARKED-LOCATION?{KEY}\r\n");
            ("307 Temporary Redirect", document, location, Vec::new())
        }
        _ => ("200 OK", events, id, bytes(turn(KEPT_MODEL))),
    }
}

/// An upstream that repeats what it should not, in all the ways that there are.
fn careless_upstream() -> String {
    answering(|request, stream| {
        let case = request.split("\"case\":\"").nth(1).unwrap_or("").split('"').next().unwrap();
        let (status, content_type, fields, body) = answer_to(case);
        let marked = format!("{fields}X-Marked: MARKED-UPSTREAM-VALUE\r\nX-Key: {KEY}\r\n");
        let head = chunked_head(status, content_type, &marked);
        match case {
            "close" => {}
            "not-http" => {
                drop(stream.write_all(format!("MARKED-GARBAGE {KEY}\r\n\r\n").as_bytes()))
            }
            "silent" => {
                let _ = stream.write_all(head.as_bytes());
                let _ = stream.write_all(&chunk(&body[..body.len() / 2]));
                let _ = stream.read(&mut [0; 16]); // Until it is left.
            }
            _ => {
                let _ = stream.write_all(head.as_bytes());
                for piece in body.chunks(11) {
                    let _ = stream.write_all(&chunk(piece));
                }
                if case != "cut" {
                    let _ = stream.write_all(&chunk(b""));
                }
            }
        }
    })
}

/// A client's fields, each with a mark in it.
fn marked_fields() -> Vec<String> {
    let mut fields = vec![format!("X-Odd: MARKED-CLIENT-KEY {KEY}")];
    for name in [
        "Authorization",
        "Cookie",
        "User-Agent",
        "Referer",
        "X-Request-Id",
        "X-Client-Request-Id",
        "Session_Id",
        "OpenAI-Organization",
        "Api-Key",
        "Baggage",
        "Traceparent",
    ] {
        fields.push(format!("{name}: MARKED-CLIENT-{name}"));
    }
    fields
}

/// A request with marks in its body and its fields.
fn send(client: &mut Client, line: &str, case: &str, more: &[&str]) {
    let body = json!({
        "case": case, "input": [{ "role": "user", "content": PROMPT }], "instructions": format!("{PROMPT} {KEY}"),
        "metadata": { "model": PROMPT, "key": KEY }, "model": KEPT_MODEL, "stream": true,
    });
    let fields = marked_fields();
    let mut fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    fields.extend_from_slice(more);
    // Whoever is refused may be cut off before all is sent.
    let _ = client.try_send_request(line, &fields, body.to_string().as_bytes());
}

/// Requests that are forwarded, and answered in all those ways.
fn answers(port: u16) {
    for case in CASES {
        let mut client = Client::connect(port);
        send(&mut client, "POST /v1/responses", case, &["Connection: close"]);
        let _ = client.read_to_end();
        let got = text(&client.got);
        assert!(got.starts_with("HTTP/1.1 "), "{case}: {got}");
        if case == "turn" {
            assert!(got.contains("MARKED-UPSTREAM-VALUE") && got.contains(KEY), "{got}");
        }
    }
}

/// Requests that the proxy refuses by itself.
fn refusals(port: u16) {
    let connections: [(&str, &[&str]); 9] = [
        ("POST /v1/responses?MARKED-QUERY=1", &[]),
        ("GET http://MARKED-USER:MARKED-PASSWORD@127.0.0.1/v1/models", &[]),
        ("POST /v1/responses", &["Host: MARKED-HOST.example"]),
        ("POST /v1/responses", &["Origin: https://MARKED-ORIGIN.example"]),
        ("POST /v1/responses", &["Connection: MARKED-OPTION", "Sec-Fetch-Site: MARKED-SITE"]),
        ("GET /v1/responses", &["Connection: Upgrade", "Upgrade: websocket, MARKED-PROTOCOL"]),
        ("POST /v1/responses", &["Transfer-Encoding: MARKED-CODING, chunked"]),
        ("POST /v1/responses", &["Content-Length: 9999999"]),
        ("POST /v1/responses MARKED-HEAD", &["MARKED head: x"]),
    ];
    for (line, more) in connections {
        let mut client = Client::connect(port);
        send(&mut client, line, "turn", more);
        client.half_close();
        let _ = client.read_to_end();
    }
    for line in [format!("GET /{KEY}"), format!("GET /v1/{}/x", part_of_key())] {
        let mut client = Client::connect(port);
        client.send_request(&line, &[], b"");
        assert_eq!(client.answer().status, 403);
    }
}

/// Requests whose bodies are broken off, or are none.
fn broken_bodies(port: u16) {
    for (framing, body) in [
        ("Content-Length: 100000", PROMPT.to_owned()),
        ("Transfer-Encoding: chunked", format!("5\r\n{PROMPT}")),
    ] {
        let mut client = Client::connect(port);
        client.send_request("POST /v1/responses", &[framing], b"");
        client.send(body);
        client.half_close();
        let _ = client.read_to_end();
    }
}

/// One proxy, all outcomes; returns what there is to be seen of them, by where it is.
fn all_that_is_kept(log_format: &str) -> Vec<(&'static str, String)> {
    let traces = Traces::new();
    let server_info = traces.folder().join("server-info.json");
    let flags = ["--server-info", str(&server_info), "--max-body", "1MiB", "--drain-timeout", "0s"];
    let mut flags = traces.flags(&flags);
    flags.extend(["--log-format", log_format]);
    let proxy = Proxy::start_for(&careless_upstream(), &flags);
    let mut followed = Lines::get(&traces.socket, "/v1/records?follow=1");

    answers(proxy.port);
    refusals(proxy.port);
    broken_bodies(proxy.port);
    let mut leaving = proxy.connect();
    send(&mut leaving, "POST /v1/responses", "silent", &[]);
    leaving.until("response.created");
    drop(leaving);
    let ended = CASES.len() + REFUSALS + BROKEN_BODIES + 1;
    look_for("the last record", || {
        let found = traces.on_socket().len();
        if found >= ended { Ok(()) } else { Err(found) }
    });

    // And one that is under way while we look, and stopped afterwards.
    let mut running = proxy.connect();
    send(&mut running, "POST /v1/responses", "silent", &[]);
    running.until("response.created");
    let status = traces.status();
    assert_eq!(status["in_flight"].as_array().unwrap().len(), 1, "{status}");
    let (_, on_socket) = get(&traces.socket, "/v1/records?last=1000");
    let mut live = String::new();
    for _ in 0..ended {
        live += &format!("{}\n", followed.next_record());
    }
    let mut kept = vec![
        ("status", status.to_string()),
        ("metrics", traces.metrics()),
        ("records", on_socket),
        ("followed records", live),
        ("server-info", fs::read_to_string(&server_info).unwrap()),
    ];
    drop(followed);
    kept.push(("standard error", proxy.stop()));
    let log = fs::read_to_string(&traces.log).unwrap();
    let outcomes = ["completed", "refused", "upstream_failed", "client_left", "cut"];
    for outcome in outcomes {
        assert!(log.contains(&format!(r#""outcome":"{outcome}""#)), "no {outcome} in {log}");
    }
    kept.push(("log file", log));
    kept
}

/// No mark, no word and no part of the key is in what is kept there.
fn has_no_secret(place: &str, kept: &str) {
    let marked = |line: &&str| line.to_lowercase().contains(&MARK.to_lowercase());
    let found: Vec<&str> = kept.lines().filter(marked).collect();
    assert!(found.is_empty(), "{place} has {found:#?}");
    for words in [PROMPT, ANSWER].into_iter().flat_map(|words| words.split(": ").skip(1)) {
        assert!(!kept.contains(words), "{place} has {words:?}: {kept}");
    }
    for part in KEY.as_bytes().windows(8) {
        let part = text(part);
        let found: Vec<&str> = kept.lines().filter(|line| line.contains(&part)).collect();
        assert!(found.is_empty(), "{place} has {part:?} in {found:#?}");
    }
}

#[test]
fn no_mark_and_no_part_of_the_key_is_kept() {
    for log_format in ["pretty", "json"] {
        for (place, kept) in all_that_is_kept(log_format) {
            has_no_secret(&format!("{log_format}: {place}"), &kept);
            // The search does find what is meant to be there.
            let expected: &[&str] = match (place, log_format) {
                ("log file" | "records" | "followed records", _) | ("standard error", "json") => {
                    &[KEPT_MODEL, KEPT_ID, KEPT_CODE]
                }
                ("standard error" | "status" | "metrics", _) => &[KEPT_MODEL],
                _ => &["instance"],
            };
            for words in expected {
                assert!(kept.contains(words), "{log_format}: no {words} in {place}: {kept}");
            }
        }
    }
}

/// Our own words about a failure have nothing of the request in them.
#[test]
fn nor_is_anything_of_an_upstream_that_is_down() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let traces = Traces::new();
    let proxy = Proxy::start_for(&format!("http://{free}/v1/responses"), &traces.flags(&[]));
    let mut client = proxy.connect();
    send(&mut client, "POST /v1/responses", "turn", &["Connection: close"]);
    let _ = client.read_to_end();
    let record = traces.records(1).pop().unwrap();
    assert_eq!(record["outcome"], "upstream_failed");
    let (status, metrics) = (traces.status().to_string(), traces.metrics());
    for kept in [record.to_string(), status, metrics, proxy.stop()] {
        assert!(!kept.contains(MARK), "{kept}");
        for part in KEY.as_bytes().windows(8) {
            assert!(!contains(kept.as_bytes(), part), "{kept}");
        }
    }
}

/// A proxy that is killed has written down no more than one that was stopped.
#[test]
fn what_a_kill_leaves_has_no_mark_either() {
    let traces = Traces::new();
    let mut proxy = Proxy::start_for(&careless_upstream(), &traces.flags(&[]));
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        send(client, "POST /v1/responses", "silent", &[]);
        client.until("response.created");
    }
    let mut unfinished = proxy.connect();
    unfinished.send(format!("POST /v1/responses HTTP/1.1\r\nX: {PROMPT}"));
    proxy.signal(Signal::SIGKILL);
    proxy.wait();
    for entry in fs::read_dir(traces.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path == traces.socket {
            continue; // Nothing can be read from it.
        }
        let kept = fs::read(&path).unwrap();
        assert!(!contains(&kept, MARK.as_bytes()), "{path:?}: {}", text(&kept));
        for part in KEY.as_bytes().windows(8) {
            assert!(!contains(&kept, part), "{path:?}: {}", text(&kept));
        }
    }
}
