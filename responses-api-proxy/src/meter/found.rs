//! What is kept of a JSON text: numbers, and words that can't be anything but names.

use std::borrow::Cow;

use codex_request_log::Usage;

use super::event::Kind;
use super::outline::{Leaf, Node};
use super::{Facts, StreamEnd};

/// What was found so far. Of several members with one name, the last counts.
#[derive(Default)]
pub(super) struct Found {
    pub(super) kind: Option<Kind>,
    model: Option<String>,
    status: Option<StreamEnd>,
    stream: Option<bool>,
    usage: Usage,
    code: Option<String>,
    error_code: Option<String>,
    error_type: Option<String>,
}

impl Found {
    /// A value begins at this place: what an earlier one there said no longer counts.
    pub(super) fn forget(&mut self, node: Node) {
        match node {
            Node::Elsewhere | Node::Event | Node::Request => {}
            Node::Response => {
                self.model = None;
                self.status = None;
                self.forget(Node::Usage);
                self.forget(Node::Error);
            }
            Node::Usage => self.usage = Usage::default(),
            Node::InputDetails => self.usage.cached_tokens = None,
            Node::OutputDetails => self.usage.reasoning_tokens = None,
            Node::Error => {
                self.error_code = None;
                self.error_type = None;
            }
            Node::Leaf(leaf) => self.take(leaf, b"null"),
        }
    }

    /// Takes a scalar, as it stands in the text.
    pub(super) fn take(&mut self, leaf: Leaf, raw: &[u8]) {
        match leaf {
            Leaf::Type => self.kind = string(raw).map(|name| Kind::of(name.as_bytes())),
            Leaf::Model => self.model = word(raw, MODEL_LIMIT, "._:/@+-"),
            Leaf::Status => self.status = string(raw).and_then(|status| end(&status)),
            Leaf::Stream => self.stream = serde_json::from_slice(raw).ok(),
            Leaf::InputTokens => self.usage.input_tokens = number(raw),
            Leaf::CachedTokens => self.usage.cached_tokens = number(raw),
            Leaf::OutputTokens => self.usage.output_tokens = number(raw),
            Leaf::ReasoningTokens => self.usage.reasoning_tokens = number(raw),
            Leaf::TotalTokens => self.usage.total_tokens = number(raw),
            Leaf::Code => self.code = word(raw, CODE_LIMIT, "_."),
            Leaf::ErrorCode => self.error_code = word(raw, CODE_LIMIT, "_."),
            Leaf::ErrorType => self.error_type = word(raw, CODE_LIMIT, "_."),
        }
    }

    /// The facts of a text that is a document of its own.
    pub(super) fn document(&self) -> Facts {
        Facts {
            model: self.model.clone(),
            stream: self.stream,
            usage: (self.usage != Usage::default()).then_some(self.usage),
            error: self.error().cloned(),
            end: self.status,
        }
    }

    fn error(&self) -> Option<&String> {
        let (code, kind) = (self.error_code.as_ref(), self.error_type.as_ref());
        self.code.as_ref().or(code).or(kind)
    }
}

/// What a name of a model, and a code, may be long; both are kept, and shown to operators and in metrics.
const MODEL_LIMIT: usize = 100;
const CODE_LIMIT: usize = 64;

/// A string of letters, digits and these marks.
fn word(raw: &[u8], limit: usize, marks: &str) -> Option<String> {
    let text = string(raw)?;
    let fits = |letter: char| letter.is_ascii_alphanumeric() || marks.contains(letter);
    let is_word = (1..=limit).contains(&text.len()) && text.chars().all(fits);
    is_word.then(|| text.into_owned())
}

/// No more than a number of JSON can be in every language (RFC 8259, section 6): sums of them don't run over.
fn number(raw: &[u8]) -> Option<u64> {
    serde_json::from_slice(raw).ok().filter(|number| *number < 1 << 53)
}

fn end(status: &str) -> Option<StreamEnd> {
    match status {
        "completed" => Some(StreamEnd::Completed),
        "failed" => Some(StreamEnd::Failed),
        "incomplete" => Some(StreamEnd::Incomplete),
        _ => None,
    }
}

/// What a string says that stands in a JSON text, with its quotation marks.
pub(super) fn string(raw: &[u8]) -> Option<Cow<'_, str>> {
    if raw.contains(&b'\\') {
        return serde_json::from_slice(raw).ok().map(Cow::Owned);
    }
    let inside = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(inside).ok().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_fit_are_kept() {
        let (longest, longer) = ("m".repeat(100), "m".repeat(101));
        for (model, is_kept) in [
            ("gpt-5", true),
            ("ft:gpt-5:my/org_1@2.0+x", true),
            (longest.as_str(), true),
            (longer.as_str(), false),
            ("", false),
            ("gpt 5", false),
            ("gpt\u{e9}", false),
            ("gpt\u{1b}[31m", false),
        ] {
            let mut found = Found::default();
            found.take(Leaf::Model, serde_json::to_string(model).unwrap().as_bytes());
            assert_eq!(found.document().model, is_kept.then(|| model.to_owned()));
        }
        for (raw, code) in [
            (r#""rate_limit_exceeded""#, Some("rate_limit_exceeded")),
            (r#""a.b""#, Some("a.b")),
            (r#""a-b""#, None),
            (r#""rate\u005flimit""#, Some("rate_limit")),
            (r#""a/b""#, None),
            (r#""broken\""#, None),
            ("5", None),
            ("null", None),
        ] {
            let mut found = Found::default();
            found.take(Leaf::ErrorCode, raw.as_bytes());
            assert_eq!(found.document().error.as_deref(), code, "{raw}");
        }
    }

    #[test]
    fn a_number_is_whole_and_not_negative() {
        for (raw, number) in [
            ("0", Some(0)),
            ("9007199254740991", Some((1 << 53) - 1)),
            ("9007199254740992", None),
            ("18446744073709551616", None),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("007", None),
            (r#""5""#, None),
            ("true", None),
        ] {
            let mut found = Found::default();
            found.take(Leaf::TotalTokens, raw.as_bytes());
            let usage = found.document().usage;
            assert_eq!(usage.and_then(|usage| usage.total_tokens), number, "{raw}");
        }
    }

    #[test]
    fn the_code_of_an_error_goes_before_its_type() {
        let mut found = Found::default();
        found.take(Leaf::ErrorType, br#""invalid_request_error""#);
        assert_eq!(found.document().error.as_deref(), Some("invalid_request_error"));
        found.take(Leaf::ErrorCode, br#""model_not_found""#);
        assert_eq!(found.document().error.as_deref(), Some("model_not_found"));
        found.forget(Node::Response);
        assert_eq!(found.document(), Facts::default());
    }
}
