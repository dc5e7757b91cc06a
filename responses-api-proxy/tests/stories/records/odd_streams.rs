//! Whatever a stream is made of and however it is cut, its bytes pass unchanged and its record is the same.

use std::io::Write;

use serde_json::{Value, json};

use super::facts;
use crate::control_client::*;
use crate::support::*;

const STREAMS: u64 = 30;

/// Numbers that look random and are the same each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn of(seed: u64) -> Self {
        // Small seeds are alike: spread their bits. Zero would stay zero.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below this.
    fn below(&mut self, limit: usize) -> usize {
        // The high bits are the better ones.
        usize::try_from((self.roll() >> 33) % limit as u64).unwrap()
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll().to_be_bytes()[0]).collect()
    }
}

/// An event's document, with or without facts in it.
fn document(dice: &mut Dice, number: usize) -> Value {
    let text =
        "a \"quoted\" text: \u{fc}\u{2028}\r\n\r\ndata: {\"usage\":{\"total_tokens\":9}}\n\n"
            .repeat(dice.below(20));
    match dice.below(5) {
        0 => {
            json!({ "type": "response.created", "response": { "model": format!("m-{number}"), "usage": null } })
        }
        1 => {
            json!({ "type": "response.output_item.done", "item": { "content": [text], "model": "no" } })
        }
        2 => {
            json!({ "type": "response.unheard_of", "response": { "model": "no", "usage": { "total_tokens": 1 } } })
        }
        _ => json!({ "type": "response.output_text.delta", "delta": text }),
    }
}

/// How most streams end: each of these kinds comes up.
fn last_document(dice: &mut Dice, kind: u64) -> Option<Value> {
    let usage = json!({
        "input_tokens": dice.below(1_000_000), "output_tokens": dice.below(1_000), "total_tokens": dice.below(1 << 30),
        "input_tokens_details": { "cached_tokens": dice.below(1_000) },
    });
    let response = |more: Value| {
        let mut response = json!({ "model": "gpt-of-the-last-event" });
        response.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        response
    };
    match kind % 8 {
        0 => None,
        1 => Some(json!({ "type": "error", "code": "server_error", "message": "no" })),
        2 => Some(
            json!({ "type": "response.failed", "response": response(json!({ "error": { "code": "server_error" } })) }),
        ),
        3 => Some(
            json!({ "type": "response.incomplete", "response": response(json!({ "usage": usage })) }),
        ),
        _ => Some(
            json!({ "type": "response.completed", "response": response(json!({ "usage": usage })) }),
        ),
    }
}

/// The lines of an event, in one of the ways that there are to write it.
fn write_event(dice: &mut Dice, into: &mut Vec<u8>, line_end: &str, document: &Value) {
    let mut line = |text: &str| {
        into.extend_from_slice(text.as_bytes());
        into.extend_from_slice(line_end.as_bytes());
    };
    let name = document["type"].as_str().unwrap();
    if dice.below(2) == 0 {
        line(&format!("event:{}{name}", dice.one_of(&["", " "])));
    }
    if dice.below(4) == 0 {
        line(dice.one_of(&["id: 7", "retry: 10", ": a comment", "data", "unheard: of", ":"]));
    }
    let is_pretty = dice.below(3) == 0;
    let data = if is_pretty {
        serde_json::to_string_pretty(document).unwrap() // A line of data each.
    } else {
        document.to_string()
    };
    for data in data.lines() {
        line(&format!("data:{}{data}", dice.one_of(&["", " "])));
        if dice.below(10) == 0 {
            line(": in between");
        }
    }
    line("");
}

fn stream(dice: &mut Dice, kind: u64) -> Vec<u8> {
    let line_ends = ["\n", "\r\n", "\r"];
    let mut stream = dice.one_of(&["", "", "\u{feff}"]).as_bytes().to_vec();
    for number in 0..dice.below(40) {
        let line_end = dice.one_of(&line_ends);
        match dice.below(6) {
            0 => {
                let count = 1 + dice.below(600);
                stream.extend(dice.bytes(count));
                // Of these nobody knows what they begin: the next event is one.
                stream.extend_from_slice(line_end.repeat(2).as_bytes());
            }
            1 => {
                let comment = format!(": {}{line_end}", "x".repeat(dice.below(100)));
                stream.extend_from_slice(comment.as_bytes());
            }
            _ => {
                let document = document(dice, number);
                write_event(dice, &mut stream, line_end, &document);
            }
        }
    }
    if let Some(last) = last_document(dice, kind) {
        let line_end = dice.one_of(&line_ends);
        stream.extend_from_slice(line_end.repeat(2).as_bytes());
        write_event(dice, &mut stream, line_end, &last);
    }
    stream
}

/// The fields and the body of an answer, before it is cut. The same for the same seed.
fn answer(seed: u64) -> (&'static str, Vec<u8>) {
    let mut dice = Dice::of(seed);
    let stream = stream(&mut dice, seed);
    match dice.below(4) {
        0 => ("Content-Encoding: gzip\r\n", gzip(&stream)),
        _ => ("", stream),
    }
}

/// The body in chunks of any size, many of them very small.
fn cut(seed: u64, body: &[u8]) -> Vec<Vec<u8>> {
    let mut dice = Dice::of(!seed);
    let (mut rest, mut chunks) = (body, Vec::new());
    while !rest.is_empty() {
        let most = dice.one_of(&[&1, &3, &40, &700, &9_000]);
        let count = (1 + dice.below(*most)).min(rest.len());
        chunks.push(rest[..count].to_vec());
        rest = &rest[count..];
    }
    chunks
}

/// The upstream finds the seed in the request, and whether to cut.
fn random_upstream() -> String {
    answering(|request, stream| {
        let body = request.split("\r\n\r\n").nth(1).unwrap();
        let asked: Value = serde_json::from_str(body).unwrap();
        let seed = asked["seed"].as_u64().unwrap();
        let (fields, body) = answer(seed);
        let chunks = if asked["cut"] == true { cut(seed, &body) } else { vec![body] };
        let _ = stream.set_nodelay(true);
        let _ = stream.write_all(chunked_head("200 OK", "text/event-stream", fields).as_bytes());
        for piece in chunks.iter().filter(|piece| !piece.is_empty()) {
            let _ = stream.write_all(&chunk(piece));
        }
        let _ = stream.write_all(&chunk(b""));
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn any_stream_in_any_pieces_passes_unchanged_and_is_recorded_the_same() {
    let traces = Traces::new();
    let proxy = Proxy::start_for(&random_upstream(), &traces.flags(&[]));
    for seed in 0..STREAMS {
        let (_, sent) = answer(seed);
        for is_cut in [false, true] {
            let body = json!({ "seed": seed, "cut": is_cut, "model": "gpt-of-the-request" });
            let got = fetch(proxy.url(), body.to_string()).await;
            assert!(got == sent, "seed {seed}, cut {is_cut}: {} of {}", got.len(), sent.len());
        }
    }
    let records = traces.records(2 * STREAMS as usize);
    let names =
        ["outcome", "reason", "status", "model", "stream", "bytes_out", "usage", "upstream_error"];
    let (mut with_usage, mut without_end) = (0, 0);
    for (seed, pair) in records.chunks(2).enumerate() {
        let [whole, pieces] = pair else { panic!("one is missing") };
        assert_eq!(facts(whole, names), facts(pieces, names), "seed {seed}");
        assert_eq!(whole["outcome"], "completed", "seed {seed}: {whole}");
        with_usage += usize::from(whole["usage"]["total_tokens"].is_u64());
        without_end += usize::from(whole["reason"] == "response_unfinished");
    }
    // Not all of these streams are beyond reading.
    assert!(with_usage >= 10 && without_end >= 1, "{with_usage} with usage, {without_end} without");
}
