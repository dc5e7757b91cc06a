//! The events of a stream, as its bytes pass (WHATWG HTML, section 9.2.6), cut anywhere.
//!
//! No line and no event is kept or copied: a line is passed over in one go, the data of the few events that
//! matter goes through a [`Scanner`]. An event counts once its blank line has come.

use std::mem;

use memchr::{memchr, memchr2, memchr3};

use super::Facts;
use super::event::Kind;
use super::json_scan::Scanner;
use super::outline::Node;
use super::short_text::ShortText;

/// It may stand at the very beginning of a stream.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The longest name of a field that we know: `event`.
const FIELD_LIMIT: usize = 5;

/// Longer names of events are none of this API.
const NAME_LIMIT: usize = 64;

/// The longest beginning of an event that is kept: a name, and what stands around it.
const HEAD_LIMIT: usize = NAME_LIMIT + 16;

/// Reads an event stream.
pub(super) struct EventReader {
    /// How much of a byte order mark has come; all of it as soon as it no longer can.
    mark_bytes: usize,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    is_after_return: bool,
    line: Line,
    field: ShortText<FIELD_LIMIT>,
    /// A space right after the colon is not of the value.
    is_after_colon: bool,
    name: ShortText<NAME_LIMIT>,
    /// What the event is by its `event` field.
    kind: Option<Kind>,
    has_data: bool,
    /// Whether the event's data is read.
    is_read: bool,
    scanner: Scanner,
    /// How the last event began that [`EventReader::pass_delta`] passed over.
    delta_head: ShortText<HEAD_LIMIT>,
    facts: Facts,
    has_output: bool,
}

/// What is being read of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The name of its field.
    Field,
    /// The value of `data`.
    Data,
    /// The value of `event`.
    Event,
    /// Nothing: a comment, or a field that is nothing to us.
    Ignored,
}

impl EventReader {
    pub(super) fn new() -> Self {
        Self {
            mark_bytes: 0,
            is_after_return: false,
            line: Line::Field,
            field: ShortText::new(),
            is_after_colon: false,
            name: ShortText::new(),
            kind: None,
            has_data: false,
            is_read: false,
            scanner: Scanner::new(Node::Event),
            delta_head: ShortText::new(),
            facts: Facts::default(),
            has_output: false,
        }
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether an event with a part of the output has passed.
    pub(super) fn has_output(&self) -> bool {
        self.has_output
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut bytes = self.skip_mark(bytes);
        while let Some(&first) = bytes.first() {
            if mem::take(&mut self.is_after_return) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            if self.is_between_events()
                && let Some(rest) = self.pass_delta(bytes)
            {
                bytes = rest;
                continue;
            }
            // Every third line is blank: not worth a search.
            let is_blank = matches!(first, b'\n' | b'\r');
            let end = if is_blank { Some(0) } else { memchr2(b'\n', b'\r', bytes) };
            let Some(end) = end else {
                self.read(bytes);
                return;
            };
            self.read(&bytes[..end]);
            self.end_line();
            self.is_after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
        }
    }

    fn skip_mark<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let Some(expected) = BYTE_ORDER_MARK.get(self.mark_bytes)
            && let Some((byte, rest)) = bytes.split_first()
        {
            if byte == expected {
                self.mark_bytes += 1;
                bytes = rest;
            } else {
                if self.mark_bytes > 0 {
                    self.line = Line::Ignored; // No field's name begins like that.
                }
                self.mark_bytes = BYTE_ORDER_MARK.len();
            }
        }
        bytes
    }

    /// Whether what comes next is the first line of an event, from its beginning.
    fn is_between_events(&self) -> bool {
        self.line == Line::Field && self.field.is_empty() && !self.has_data && self.kind.is_none()
    }

    /// Passes over an event with a part of the output that is here whole, and gives back what follows. Almost all
    /// events are, and one looks like the last: they are not worth being read line by line.
    fn pass_delta<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let head = self.delta_head.whole().filter(|head| !head.is_empty());
        let rest = match head.and_then(|head| bytes.strip_prefix(head)) {
            Some(rest) => rest,
            None => {
                let rest = after_delta_head(bytes)?;
                self.delta_head.clear();
                self.delta_head.push(&bytes[..bytes.len() - rest.len()]);
                rest
            }
        };
        let line_end = memchr2(b'\n', b'\r', rest)?;
        let rest = rest[line_end..].strip_prefix(b"\n\n")?;
        self.has_output = true;
        Some(rest)
    }

    /// Reads on in a line.
    fn read(&mut self, bytes: &[u8]) {
        let mut value = bytes;
        if self.line == Line::Field {
            value = self.read_field(bytes);
        }
        if self.is_after_colon && !value.is_empty() {
            self.is_after_colon = false;
            value = value.strip_prefix(b" ").unwrap_or(value);
        }
        match self.line {
            Line::Data if self.is_read => self.scanner.feed(value),
            Line::Event => self.name.push(value),
            Line::Data | Line::Field | Line::Ignored => {}
        }
    }

    /// Reads on in a field's name, and gives back what there is of its value.
    fn read_field<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.field.is_empty() {
            // Nearly always the whole name is there.
            if let Some(value) = bytes.strip_prefix(b"data:") {
                self.begin_data();
                return value;
            }
            if let Some(value) = bytes.strip_prefix(b"event:") {
                self.begin_name();
                return value;
            }
        }
        let Some(colon) = memchr(b':', bytes) else {
            self.field.push(bytes);
            return &[];
        };
        self.field.push(&bytes[..colon]);
        match self.field.whole() {
            Some(b"data") => self.begin_data(),
            Some(b"event") => self.begin_name(),
            _ => self.line = Line::Ignored,
        }
        &bytes[colon + 1..]
    }

    fn begin_name(&mut self) {
        self.line = Line::Event;
        self.is_after_colon = true;
        self.name.clear();
    }

    fn begin_data(&mut self) {
        self.line = Line::Data;
        self.is_after_colon = true;
        if !mem::replace(&mut self.has_data, true) {
            // By its name it can't matter: its data is passed over. If the data says otherwise, the upstream
            // contradicts itself, and that is its own affair.
            self.is_read = self.kind.is_none_or(Kind::has_facts);
        } else if self.is_read {
            self.scanner.feed(b"\n"); // Lines of data are joined.
        }
    }

    fn end_line(&mut self) {
        match self.line {
            Line::Field => match self.field.whole() {
                Some(b"") => self.end_event(),
                Some(b"data") => self.begin_data(),
                Some(b"event") => self.kind = None,
                _ => {}
            },
            Line::Event => self.kind = self.name.whole().and_then(Kind::of_field),
            Line::Data | Line::Ignored => {}
        }
        self.line = Line::Field;
        self.field.clear();
        self.is_after_colon = false;
    }

    fn end_event(&mut self) {
        let named = self.kind.take();
        if !mem::take(&mut self.has_data) {
            return; // Without data it is no event.
        }
        match self.scanner.found().kind.or(named) {
            Some(Kind::Delta) => self.has_output = true,
            Some(kind) if kind.has_facts() && self.scanner.is_whole() => self.note(kind),
            _ => {}
        }
        if mem::take(&mut self.is_read) {
            self.scanner.restart();
        }
    }

    /// Takes over what an event says.
    fn note(&mut self, kind: Kind) {
        let said = self.scanner.found().document();
        self.facts.model = said.model.or(self.facts.model.take());
        if let Kind::Ended(end) = kind {
            self.facts.end = Some(end);
            self.facts.usage = said.usage.or(self.facts.usage.take());
            self.facts.error = said.error.or(self.facts.error.take());
        }
    }
}

/// What follows the beginning of an event that, by its name or by the first member of its data, is a part of the
/// output.
fn after_delta_head(bytes: &[u8]) -> Option<&[u8]> {
    let is_delta = |name: &[u8]| Kind::of(name) == Kind::Delta && name.len() <= NAME_LIMIT;
    if let Some(name) = bytes.strip_prefix(b"event: ") {
        let (name, rest) = name.split_at(memchr2(b'\n', b'\r', name)?);
        return rest.strip_prefix(b"\ndata: ").filter(|_| is_delta(name));
    }
    let name = bytes.strip_prefix(b"data: {\"type\":\"")?;
    let (name, rest) = name.split_at(memchr3(b'"', b'\n', b'\r', name)?);
    // Without escapes, and text at all.
    let is_plain = name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    rest.strip_prefix(b"\"").filter(|_| is_plain && is_delta(name))
}

#[cfg(test)]
mod tests;
