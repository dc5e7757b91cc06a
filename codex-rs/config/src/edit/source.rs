//! A configuration as text, and where in it things stand.

use std::ops::Range;

use toml_edit::{Document, Item, Table, Value};

use super::EditError;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A configuration that was parsed. Places are offsets in bytes of `text`.
#[derive(Debug)]
pub(super) struct Source<'t> {
    all: &'t str,
    /// Without a byte order mark.
    pub(super) text: &'t str,
    document: Document<&'t str>,
}

impl<'t> Source<'t> {
    pub(super) fn parse(all: &'t str) -> Result<Self, EditError> {
        let text = all.strip_prefix(BYTE_ORDER_MARK).unwrap_or(all);
        if text.starts_with(BYTE_ORDER_MARK) {
            // toml_edit would pass over the second, too, and Codex would not start.
            let what = "a second byte order mark".to_owned();
            return Err(EditError::Invalid { line: 1, column: 1, what });
        }
        let document = Document::parse(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            EditError::Invalid { line, column, what: error.message().replace('\n', ", ") }
        })?;
        Ok(Self { all, text, document })
    }

    /// With the byte order mark.
    pub(super) fn all(&self) -> &'t str {
        self.all
    }

    pub(super) fn byte_order_mark(&self) -> &'t str {
        &self.all[..self.all.len() - self.text.len()]
    }

    pub(super) fn root(&self) -> &Table {
        self.document.as_table()
    }

    /// How its lines end: as the first one does.
    pub(super) fn newline(&self) -> &'static str {
        match self.text.find('\n') {
            Some(end) if self.text[..end].ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }

    /// Where the line that this place is in begins.
    pub(super) fn line_start(&self, place: usize) -> usize {
        self.text[..place].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Where the line that this place is in has ended, with its newline.
    pub(super) fn line_end(&self, place: usize) -> usize {
        self.text[place..].find('\n').map_or(self.text.len(), |newline| place + newline + 1)
    }

    /// All lines of a statement, `key = value`, that is not within an inline table. (Key and value begin on one line.)
    pub(super) fn lines(&self, value: &Range<usize>) -> Range<usize> {
        self.line_start(value.start)..self.line_end(value.end)
    }

    /// The line before the one that begins here.
    pub(super) fn line_before(&self, start: usize) -> Option<Range<usize>> {
        let end = start.checked_sub(1)?;
        Some(self.line_start(end)..start)
    }
}

/// Where values stand that belong to an item: those of its dotted keys too, those below other headers not.
pub(super) fn values(item: &Item) -> Vec<Range<usize>> {
    match item {
        Item::Value(value) => values_within(value),
        Item::Table(table) if table.is_dotted() => values_below(table),
        Item::Table(_) | Item::ArrayOfTables(_) | Item::None => Vec::new(),
    }
}

/// The same for what stands below a header.
pub(super) fn values_below(table: &Table) -> Vec<Range<usize>> {
    table.iter().flat_map(|(_, item)| values(item)).collect()
}

/// The same for a value, or a member of an inline table.
pub(super) fn values_within(value: &Value) -> Vec<Range<usize>> {
    match value {
        // Made of dotted keys, it has no braces.
        Value::InlineTable(table) if table.is_dotted() => {
            table.iter().flat_map(|(_, value)| values_within(value)).collect()
        }
        value => value.span().into_iter().collect(),
    }
}

/// The text without its last newline, if it has one.
pub(super) fn without_line_end(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

fn position(text: &str, place: usize) -> (usize, usize) {
    let before = text.get(..place).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
