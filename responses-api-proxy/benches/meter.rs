//! What the meter costs: `cargo bench --package codex-responses-api-proxy --bench meter`.
//!
//! The meter is built in here as it stands in the proxy, which shows nothing of it to the outside.
#![allow(dead_code, unused_imports, reason = "the proxy uses the rest")]

#[path = "../src"]
mod proxy {
    pub(crate) mod meter;
}

use divan::counter::BytesCount;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use proxy::meter::AnswerMeter;

/// As the API sends them.
fn delta(number: usize, is_named: bool) -> String {
    let name = if is_named { "event: response.output_text.delta\n" } else { "" };
    format!(
        "{name}data: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\"item_id\":\"msg_68a0c8a4f5b48190a2a1\",\
         \"output_index\":0,\"content_index\":0,\"delta\":\" word\",\"logprobs\":[],\"obfuscation\":\"abcdefgh\"}}\n\n"
    )
}

fn stream(events: usize, is_named: bool) -> Vec<u8> {
    (0..events).map(|number| delta(number, is_named)).collect::<String>().into_bytes()
}

fn meter(bencher: divan::Bencher<'_, '_>, piece_bytes: usize, is_named: bool) {
    let stream = stream(/*events*/ 2_000, is_named);
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    bencher.counter(BytesCount::of_slice(&stream)).bench_local(|| {
        let mut meter = AnswerMeter::of(StatusCode::OK, &fields);
        stream.chunks(piece_bytes).for_each(|piece| meter.observe(piece));
        meter.facts()
    });
}

/// Pieces of about an event, of a packet, of a TLS record.
#[divan::bench(args = [240, 1_460, 16_384])]
fn events_with_names(bencher: divan::Bencher<'_, '_>, piece_bytes: usize) {
    meter(bencher, piece_bytes, true);
}

#[divan::bench(args = [240, 1_460, 16_384])]
fn events_without_names(bencher: divan::Bencher<'_, '_>, piece_bytes: usize) {
    meter(bencher, piece_bytes, false);
}

fn main() {
    divan::main();
}
