//! A JSON text, read for a few scalars in constant memory, cut anywhere (RFC 8259).
//!
//! Only the nesting is followed: what stands within strings that are not wanted is passed over, as are the
//! spellings of numbers. A text whose nesting is no JSON, or too deep, gives nothing.

use memchr::memchr2;

use super::found::{Found, string};
use super::outline::{Leaf, Node};
use super::short_text::ShortText;

/// Deeper texts give nothing: a bit is kept for each level.
const DEPTH_LIMIT: usize = u128::BITS as usize;

/// Depths at which something wanted can stand, from 0, outside of all:
/// `{"response":{"usage":{"input_tokens_details":{"cached_tokens":0}}}}`.
const PATH_LEVELS: usize = 5;

/// Of a name or scalar with its quotation marks; longer ones are not wanted.
const SCALAR_LIMIT: usize = 128;

/// Reads one JSON text.
pub(super) struct Scanner {
    root: Node,
    state: State,
    depth: usize,
    /// Which levels are objects; the others are arrays.
    objects: u128,
    /// What the object of each level is.
    path: [Node; PATH_LEVELS],
    /// What the value is that comes next, or is being read.
    node: Node,
    text: ShortText<SCALAR_LIMIT>,
    keeps_text: bool,
    found: Found,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value has to come.
    Value,
    /// A value, or the end of an empty array.
    FirstItem,
    /// A name, or the end of an empty object.
    FirstName,
    /// A name has to come.
    Name,
    Colon,
    /// A comma or an end.
    AfterValue,
    /// Within a string.
    Text(Role),
    /// After a backslash within a string.
    Escape(Role),
    /// Within a number, `true`, `false` or `null`.
    Bare,
    /// The text has come to its end; only white space may follow.
    Whole,
    /// The rest makes no difference.
    Settled,
    /// This is no JSON.
    Broken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Name,
    Value,
}

impl Scanner {
    /// For a text that is this.
    pub(super) fn new(root: Node) -> Self {
        Self {
            root,
            state: State::Value,
            depth: 0,
            objects: 0,
            path: [Node::Elsewhere; PATH_LEVELS],
            node: root,
            text: ShortText::new(),
            keeps_text: false,
            found: Found::default(),
        }
    }

    /// Another text comes.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.root);
    }

    /// Whether the text is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.state == State::Whole
    }

    /// What was found so far. To be believed when the text is complete.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = match self.state {
                State::Settled | State::Broken => return,
                State::Text(role) => self.read_text(role, bytes),
                State::Escape(role) => {
                    self.keep(&[byte]);
                    self.state = State::Text(role);
                    rest
                }
                State::Bare => self.read_bare(bytes),
                _ => {
                    if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                        self.state = self.after(byte);
                    }
                    rest
                }
            };
        }
    }

    /// What comes after this byte, which stands between strings, numbers and the like.
    fn after(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (State::FirstItem, b']') | (State::FirstName, b'}') => self.leave(byte),
            (State::Value | State::FirstItem, _) => self.begin_value(byte),
            (State::FirstName | State::Name, b'"') => {
                self.begin_text(byte, self.container() != Node::Elsewhere);
                State::Text(Role::Name)
            }
            (State::Colon, b':') => State::Value,
            (State::AfterValue, b',') if self.is_in_object() => State::Name,
            (State::AfterValue, b',') => {
                self.node = Node::Elsewhere; // An item of an array.
                State::Value
            }
            (State::AfterValue, b'}' | b']') => self.leave(byte),
            _ => State::Broken,
        }
    }

    fn begin_value(&mut self, byte: u8) -> State {
        self.found.forget(self.node);
        let is_wanted = matches!(self.node, Node::Leaf(_));
        match byte {
            b'{' | b'[' => self.enter(byte == b'{'),
            b'"' => {
                self.begin_text(byte, is_wanted);
                State::Text(Role::Value)
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.begin_text(byte, is_wanted);
                State::Bare
            }
            _ => State::Broken,
        }
    }

    fn enter(&mut self, is_object: bool) -> State {
        if self.depth == DEPTH_LIMIT {
            return State::Broken;
        }
        let level = 1_u128 << self.depth;
        self.objects = if is_object { self.objects | level } else { self.objects & !level };
        self.depth += 1;
        if let Some(container) = self.path.get_mut(self.depth) {
            *container = if is_object { self.node } else { Node::Elsewhere };
        }
        self.node = Node::Elsewhere;
        if is_object { State::FirstName } else { State::FirstItem }
    }

    fn leave(&mut self, byte: u8) -> State {
        if self.is_in_object() != (byte == b'}') {
            return State::Broken;
        }
        self.depth -= 1;
        self.after_value()
    }

    fn after_value(&self) -> State {
        if self.depth == 0 { State::Whole } else { State::AfterValue }
    }

    fn is_in_object(&self) -> bool {
        self.depth > 0 && self.objects & (1_u128 << (self.depth - 1)) != 0
    }

    /// What the object is in which we are.
    fn container(&self) -> Node {
        self.path.get(self.depth).copied().unwrap_or(Node::Elsewhere)
    }

    fn begin_text(&mut self, byte: u8, is_wanted: bool) {
        self.keeps_text = is_wanted;
        self.text.clear();
        self.keep(&[byte]);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.keeps_text {
            self.text.push(bytes);
        }
    }

    /// Reads on in a string, and gives back what comes after it.
    fn read_text<'a>(&mut self, role: Role, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr2(b'"', b'\\', bytes) else {
            self.keep(bytes);
            return &[];
        };
        let (text, rest) = bytes.split_at(end + 1);
        self.keep(text);
        self.state = match (bytes[end], role) {
            (b'\\', _) => State::Escape(role),
            (_, Role::Name) => self.end_name(),
            (_, Role::Value) => self.end_value(),
        };
        rest
    }

    /// Reads on in a number or the like, and gives back what comes after it.
    fn read_bare<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let is_outside = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte);
        let end = bytes.iter().position(is_outside).unwrap_or(bytes.len());
        let (text, rest) = bytes.split_at(end);
        self.keep(text);
        if !rest.is_empty() {
            self.state = self.end_value();
        }
        rest
    }

    fn end_name(&mut self) -> State {
        let raw = self.text.whole().filter(|_| self.keeps_text);
        let member = raw.and_then(string).map(|name| self.container().member(&name));
        self.node = member.unwrap_or(Node::Elsewhere);
        State::Colon
    }

    fn end_value(&mut self) -> State {
        if let Node::Leaf(leaf) = self.node
            && let Some(raw) = self.text.whole()
        {
            self.found.take(leaf, raw);
            // An event says what it is in its first member. One that contradicts itself later is not read for that.
            if leaf == Leaf::Type && self.found.kind.is_some_and(|kind| !kind.has_facts()) {
                return State::Settled;
            }
        }
        self.after_value()
    }
}

#[cfg(test)]
mod tests {
    use codex_request_log::Usage;

    use super::super::{Facts, StreamEnd};
    use super::*;

    /// The facts of a response object, which are the same however it is cut.
    fn facts(text: &str) -> Option<Facts> {
        let text = text.as_bytes();
        let cut = |pieces: &[&[u8]]| {
            let mut scanner = Scanner::new(Node::Response);
            pieces.iter().for_each(|piece| scanner.feed(piece));
            scanner.is_whole().then(|| scanner.found().document())
        };
        let whole = cut(&[text]);
        for at in 0..=text.len().min(1_000) {
            assert_eq!(cut(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        assert_eq!(cut(&text.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
        whole
    }

    fn tokens(total: u64) -> Option<Usage> {
        Some(Usage { total_tokens: Some(total), ..Usage::default() })
    }

    #[test]
    fn what_is_wanted_is_found_where_it_belongs() {
        let text = r#" {"id":"resp_1","object":"response","status":"completed","model":"gpt-5-2025-08-07",
            "error":null,"output":[{"type":"message","content":[{"text":"a \"quoted\" \\ word"}]}],
            "usage":{"input_tokens":1200,"input_tokens_details":{"cached_tokens":1024},"output_tokens":42,
            "output_tokens_details":{"reasoning_tokens":7},"total_tokens":1242},"tools":[],"user":{}} "#;
        let usage = Usage {
            input_tokens: Some(1_200),
            cached_tokens: Some(1_024),
            output_tokens: Some(42),
            reasoning_tokens: Some(7),
            total_tokens: Some(1_242),
        };
        let expected = Facts {
            model: Some("gpt-5-2025-08-07".to_owned()),
            stream: None,
            usage: Some(usage),
            error: None,
            end: Some(StreamEnd::Completed),
        };
        assert_eq!(facts(text), Some(expected));
    }

    #[test]
    fn what_only_looks_like_it_is_not_taken() {
        for decoy in [
            r#"{"output":[{"usage":{"total_tokens":9},"model":"evil"}]}"#,
            r#"{"metadata":{"usage":{"total_tokens":9},"model":"evil"}}"#,
            r#"{"text":"\"usage\":{\"total_tokens\":9},\"model\":\"evil\""}"#,
            r#"{"text":"\\\",\"model\":\"evil\""}"#,
            r#"{"usage":[{"total_tokens":9}],"model":["evil"]}"#,
            r#"{"usage":{"x":{"total_tokens":9}},"model":{"model":"evil"}}"#,
            r#"{"usage":"total_tokens","error":"code"}"#,
            r#"{"usage":null,"model":null,"error":null,"status":null}"#,
            r#"{"usage":{"total_tokens":"9"},"model":7,"status":"odd"}"#,
            r#"{"usage":{"total_tokens":9.0}}"#,
            r#"{"response":{"usage":{"total_tokens":9},"model":"evil"}}"#,
            r#"{"Model":"evil","model ":"evil","":"evil"}"#,
            r#"[{"model":"evil"}]"#,
            r#""model""#,
            "{}",
            "[]",
        ] {
            assert_eq!(facts(decoy), Some(Facts::default()), "{decoy}");
        }
        let long = format!(r#"{{"{}":1,"model":"{}"}}"#, "model".repeat(40), "m".repeat(1_000));
        assert_eq!(facts(&long), Some(Facts::default()));
    }

    #[test]
    fn names_and_values_may_be_escaped() {
        let text = r#"{"\u006dodel":"gpt\u002d5","usa\u0067e":{"total\u005ftokens":3}}"#;
        let expected =
            Facts { model: Some("gpt-5".to_owned()), usage: tokens(3), ..Facts::default() };
        assert_eq!(facts(text), Some(expected));
    }

    #[test]
    fn of_members_with_one_name_the_last_counts() {
        for (text, usage) in [
            (r#"{"usage":{"total_tokens":1,"total_tokens":2}}"#, tokens(2)),
            (r#"{"usage":{"total_tokens":1,"total_tokens":"x"}}"#, None),
            (r#"{"usage":{"total_tokens":1},"usage":{"total_tokens":2}}"#, tokens(2)),
            (r#"{"usage":{"input_tokens":1},"usage":{"total_tokens":2}}"#, tokens(2)),
            (r#"{"usage":{"total_tokens":1},"usage":null}"#, None),
            (r#"{"usage":null,"usage":{"total_tokens":1}}"#, tokens(1)),
        ] {
            assert_eq!(facts(text), Some(Facts { usage, ..Facts::default() }), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_gives_nothing() {
        for broken in [
            "",
            " ",
            "{",
            r#"{"model":"gpt-5""#,
            r#"{"model":"gpt-5"}}"#,
            r#"{"model":"gpt-5"} x"#,
            r#"{"model":"gpt-5"]"#,
            r#"{"model":"gpt-5",}"#,
            r#"{"model":"gpt-5","a":[1,]}"#,
            r#"{"model":"gpt-5","a":[1}]"#,
            r#"{"model":"gpt-5" "a":1}"#,
            r#"{"model":"gpt-5","a" 1}"#,
            r#"{"model":"gpt-5","a"::1}"#,
            r#"{"model":"gpt-5",a:1}"#,
            r#"{"model":"gpt-5","a":'1'}"#,
            "{\"model\":\"gpt-5\",\"a\":1\n2}",
            "[DONE]",
            "]",
            "data",
        ] {
            assert_eq!(facts(broken), None, "{broken}");
        }
    }

    #[test]
    fn nesting_is_followed_as_far_as_is_sane() {
        let nested = |open: &str, close: &str, levels: usize| {
            let inside = [open.repeat(levels), "1".to_owned(), close.repeat(levels)].concat();
            facts(&format!(r#"{{"a":{inside},"model":"gpt-5"}}"#)).and_then(|facts| facts.model)
        };
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"model":"#, "}]")] {
            let levels_each = if open.starts_with("[{") { 2 } else { 1 };
            let most = (DEPTH_LIMIT - 1) / levels_each;
            assert_eq!(nested(open, close, most).as_deref(), Some("gpt-5"), "{open}");
            assert_eq!(nested(open, close, most + 1), None, "{open}");
            assert_eq!(nested(open, close, 10_000), None, "{open}");
        }
    }
}
