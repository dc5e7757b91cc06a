//! What passes by, read for the record: model, tokens, how it ended. Never a word of prompt or answer.
//!
//! A meter is shown each piece of a body and changes, holds back and keeps none of it: it takes constant memory,
//! and gives the same facts however the body was cut. What it can't read, it has no facts of; it never fails.
//!
//! [`sse`] finds the lines and events of a stream, [`json_scan`] the members of a JSON text, [`outline`] says which
//! of them are wanted and [`found`] what is kept of them, [`event`] what an event means. [`coding`] decodes what
//! is compressed, on the side and within bounds.

mod coding;
mod decoders;
mod event;
mod found;
mod json_scan;
mod outline;
mod short_text;
mod sse;
mod zstd_frames;

use std::fmt;

use codex_request_log::Usage;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use coding::Decoding;
use json_scan::Scanner;
use outline::Node;
use sse::EventReader;

/// What a body says of itself. Each is None where it said nothing, or nothing that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) model: Option<String>,
    /// Of a request: whether it asks for a stream. Of an answer: true if it is one.
    pub(crate) stream: Option<bool>,
    pub(crate) usage: Option<Usage>,
    /// The code of the upstream's error.
    pub(crate) error: Option<String>,
    pub(crate) end: Option<StreamEnd>,
}

/// How an answer ended in the upstream's own words: the last event of a stream, which has passed whole, or the
/// `status` of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    Completed,
    Failed,
    Incomplete,
}

/// Reads an answer's body as it passes.
pub(crate) struct AnswerMeter {
    body: Body,
    is_stream: bool,
}

impl AnswerMeter {
    /// For an answer with this status and these fields. Of what is neither an event stream nor JSON, no byte is
    /// looked at.
    pub(crate) fn of(status: StatusCode, fields: &HeaderMap) -> Self {
        let media_type = media_type(fields);
        let is_stream = status.is_success() && media_type.eq_ignore_ascii_case("text/event-stream");
        let reading = if is_stream {
            Reading::Events(Box::new(EventReader::new()))
        } else if is_json(media_type) {
            Reading::Document(Box::new(Scanner::new(Node::Response)))
        } else {
            Reading::Nothing
        };
        Self { body: Body::new(reading, fields), is_stream }
    }

    pub(crate) fn observe(&mut self, data: &[u8]) {
        self.body.observe(data);
    }

    /// Whether an event with a part of the output has passed. Of a zstd stream this is never known: its decoder
    /// shows the events too late for that.
    pub(crate) fn has_output(&self) -> bool {
        match &self.body.reading {
            Reading::Events(events) => events.has_output() && self.body.decoding.is_prompt(),
            Reading::Document(_) | Reading::Nothing => false,
        }
    }

    /// Whether it is an event stream of which everything was read and no last event was there. False for one
    /// that could not be read to its end: nobody knows then.
    pub(crate) fn lacks_end(&self) -> bool {
        match &self.body.reading {
            Reading::Events(events) => events.facts().end.is_none(),
            Reading::Document(_) | Reading::Nothing => false,
        }
    }

    /// How it ended, if it has said so by now.
    pub(crate) fn end(&self) -> Option<StreamEnd> {
        match &self.body.reading {
            Reading::Events(events) => events.facts().end,
            Reading::Document(_) | Reading::Nothing => self.body.facts().end,
        }
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts { stream: self.is_stream.then_some(true), ..self.body.facts() }
    }
}

/// Reads a request's body as it passes: model and `stream`, nothing else.
pub(crate) struct RequestMeter(Body);

impl RequestMeter {
    /// For a request with these fields. Only JSON is looked at, and only as it is: what any client of this machine
    /// has compressed is not given to a decoder.
    pub(crate) fn of(fields: &HeaderMap) -> Self {
        let is_plain = Decoding::of(fields).is_some_and(|decoding| decoding.is_plain());
        // Without a type it can be nothing else: that is what the API takes.
        let may_be_json = !fields.contains_key(CONTENT_TYPE) || is_json(media_type(fields));
        let reading = if is_plain && may_be_json {
            Reading::Document(Box::new(Scanner::new(Node::Request)))
        } else {
            Reading::Nothing
        };
        Self(Body::new(reading, fields))
    }

    pub(crate) fn observe(&mut self, data: &[u8]) {
        self.0.observe(data);
    }

    pub(crate) fn facts(&self) -> Facts {
        self.0.facts()
    }
}

/// A body, decoded and read.
struct Body {
    decoding: Decoding,
    reading: Reading,
}

enum Reading {
    Nothing,
    Events(Box<EventReader>),
    Document(Box<Scanner>),
}

impl Body {
    fn new(reading: Reading, fields: &HeaderMap) -> Self {
        match Decoding::of(fields) {
            Some(decoding) => Self { decoding, reading },
            None => Self { decoding: Decoding::plain(), reading: Reading::Nothing },
        }
    }

    fn observe(&mut self, data: &[u8]) {
        let Self { decoding, reading } = self;
        match reading {
            Reading::Nothing => return,
            Reading::Events(events) => decoding.decode(data, &mut |text| events.feed(text)),
            Reading::Document(scanner) => decoding.decode(data, &mut |text| scanner.feed(text)),
        }
        if decoding.has_given_up() {
            // How much of it came out before an error or a bound depends on how it was cut.
            *reading = Reading::Nothing;
        }
    }

    fn facts(&self) -> Facts {
        match &self.reading {
            Reading::Events(events) => events.facts().clone(),
            Reading::Document(scanner) if scanner.is_whole() => scanner.found().document(),
            Reading::Document(_) | Reading::Nothing => Facts::default(),
        }
    }
}

/// The media type without its parameters.
fn media_type(fields: &HeaderMap) -> &str {
    let value = fields.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

fn is_json(media_type: &str) -> bool {
    let (_, subtype) = media_type.split_once('/').unwrap_or_default();
    let suffix = subtype.rsplit_once('+').map(|(_, suffix)| suffix);
    media_type.eq_ignore_ascii_case("application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"))
}

// By hand: nothing of a body gets into a log by way of `{:?}`.
impl fmt::Debug for AnswerMeter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AnswerMeter").finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestMeter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RequestMeter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
