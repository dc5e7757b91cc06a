//! The server-sent events of one turn, as the Responses API sends them.

use bytes::Bytes;
use serde_json::{Value, json};

/// What the model "says": one text event a word.
const WORDS: [&str; 6] = ["The ", "key ", "stayed ", "with ", "the ", "proxy."];
const RESPONSE_ID: &str = "resp_mock_1";
const ITEM_ID: &str = "msg_mock_1";

/// Figures that a test can recognise.
fn usage() -> Value {
    json!({
        "input_tokens": 1_200,
        "input_tokens_details": { "cached_tokens": 1_024 },
        "output_tokens": 42,
        "output_tokens_details": { "reasoning_tokens": 7 },
        "total_tokens": 1_242,
    })
}

fn item(status: &str, text: &str) -> Value {
    json!({
        "id": ITEM_ID, "type": "message", "role": "assistant", "status": status,
        "content": [{ "type": "output_text", "text": text, "annotations": [] }],
    })
}

fn response(model: &str, status: &str, text: Option<&str>) -> Value {
    json!({
        "id": RESPONSE_ID, "object": "response", "created_at": 1_800_000_000, "model": model, "status": status,
        "output": text.map(|text| item("completed", text)).into_iter().collect::<Vec<_>>(),
        "usage": text.map(|_| usage()),
    })
}

/// The whole turn as the one document that `stream: false` gives.
pub(crate) fn document(model: &str) -> Bytes {
    Bytes::from(response(model, "completed", Some(&WORDS.concat())).to_string())
}

/// The turn as events with `words` text events (the text begins anew when it runs out).
pub(crate) fn turn(model: &str, words: usize) -> Vec<Bytes> {
    let text: String = WORDS.iter().cycle().take(words).copied().collect();
    let mut events = vec![
        json!({ "type": "response.created", "response": response(model, "in_progress", None) }),
        json!({
            "type": "response.output_item.added", "output_index": 0,
            "item": { "id": ITEM_ID, "type": "message", "role": "assistant", "status": "in_progress", "content": [] },
        }),
    ];
    events.extend(WORDS.iter().cycle().take(words).map(|word| {
        json!({
            "type": "response.output_text.delta", "item_id": ITEM_ID, "output_index": 0, "content_index": 0,
            "delta": word,
        })
    }));
    events.push(json!({
        "type": "response.output_item.done", "output_index": 0, "item": item("completed", &text),
    }));
    events.push(json!({
        "type": "response.completed", "response": response(model, "completed", Some(&text)),
    }));
    events.into_iter().enumerate().map(|(number, event)| encode(number, event)).collect()
}

/// How many text events an ordinary turn has.
pub(crate) const ORDINARY_WORDS: usize = WORDS.len();

/// One event in the text/event-stream format (WHATWG HTML, section 9.2.5).
fn encode(number: usize, mut event: Value) -> Bytes {
    event["sequence_number"] = json!(number);
    let name = event["type"].as_str().unwrap_or_default().to_owned();
    Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
}
