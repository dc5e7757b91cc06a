//! The line that selects the provider: `model_provider`, in the file's root.

use std::ops::Range;

use toml_edit::{Document, Item};

use super::source::{Source, without_line_end};
use super::splice::Splice;
use super::{EditError, table};
use crate::PROVIDER;

const KEY: &str = "model_provider";

/// What our line says where there was no other.
const ALONE: &str = "# by codex proxy point; codex proxy unpoint takes it out";
/// What our line says where it stands in place of another, which is a comment above it: there it stays with our line
/// when Codex writes the file anew.
const IN_PLACE: &str = "# by codex proxy point; codex proxy unpoint puts back what stands above";
/// What the first line of the former selector begins with.
const FORMER: &str = "#openai-proxy# ";
/// What its other lines begin with. A string may have many.
const FORMER_GOES_ON: &str = "#openai-proxy+ ";

/// The selector of a file.
#[derive(Debug)]
pub(super) struct Selector<'s> {
    /// The provider that it names.
    pub(super) id: &'s str,
    value: Range<usize>,
}

pub(super) fn find<'s>(source: &'s Source<'_>) -> Result<Option<Selector<'s>>, EditError> {
    let Some(item) = source.root().get(KEY) else { return Ok(None) };
    match (item.as_str(), item.span()) {
        (Some(id), Some(value)) => Ok(Some(Selector { id, value })),
        _ => Err(EditError::WrongType { key: KEY, expected: "string", found: type_of(item) }),
    }
}

pub(super) fn type_of(item: &Item) -> &'static str {
    item.type_name()
}

/// Ours, in place of another or before all else. Nothing, if it is ours already.
pub(super) fn put(source: &Source<'_>) -> Result<Option<Splice>, EditError> {
    let newline = source.newline();
    let line = |comment| format!("{KEY} = {PROVIDER:?} {comment}");
    let Some(selector) = find(source)? else {
        let top = top(source);
        return Ok(Some(Splice { place: top..top, with: line(ALONE) + newline }));
    };
    if selector.id == PROVIDER {
        return Ok(None);
    }
    let place = source.lines(&selector.value);
    let former = source.text[place.clone()].split_inclusive('\n').enumerate();
    let mark =
        |(number, line)| format!("{}{line}", if number == 0 { FORMER } else { FORMER_GOES_ON });
    let former: String = former.map(mark).collect();
    // Our line ends as theirs did, with a newline or without.
    let line_end = &former[without_line_end(&former).len()..];
    let divided = if line_end.is_empty() { newline } else { "" };
    let with = format!("{former}{divided}{}{line_end}", line(IN_PLACE));
    Ok(Some(Splice { place, with }))
}

/// Before all but `#:` lines, which tools look for in the first line (`#:schema`).
fn top(source: &Source<'_>) -> usize {
    let lines = source.text.split_inclusive('\n');
    lines.take_while(|line| line.starts_with("#:") && line.ends_with('\n')).map(str::len).sum()
}

/// The former one in its place; nothing, if ours is not there.
pub(super) fn take_out(source: &Source<'_>) -> Result<Option<Splice>, EditError> {
    let Some(selector) = find(source)? else { return Ok(None) };
    if selector.id != PROVIDER || table::find(source)?.is_foreign() {
        return Ok(None);
    }
    let lines = source.lines(&selector.value);
    let is_in_place = source.text[selector.value.end..lines.end].trim() == IN_PLACE;
    let former = if is_in_place { former(source, lines.start) } else { None };
    Ok(Some(match former {
        // The end of our line is now the end of theirs.
        Some(Former { start, statement }) => {
            let end = lines.start + without_line_end(&source.text[lines]).len();
            Splice { place: start..end, with: statement }
        }
        None => Splice { place: lines, with: String::new() },
    }))
}

/// A selector that is a comment, without the end of its last line.
struct Former {
    statement: String,
    /// Where the comment begins.
    start: usize,
}

/// The one above the line that begins here.
fn former(source: &Source<'_>, mut start: usize) -> Option<Former> {
    let mut statement = String::new();
    loop {
        let place = source.line_before(start)?;
        start = place.start;
        let line = &source.text[place];
        if let Some(line) = line.strip_prefix(FORMER_GOES_ON) {
            statement.insert_str(0, line);
            continue;
        }
        statement.insert_str(0, line.strip_prefix(FORMER)?);
        let parsed = Document::parse(&*statement).ok()?;
        parsed.as_table().get(KEY)?;
        let length = without_line_end(&statement).len();
        statement.truncate(length);
        return Some(Former { statement, start });
    }
}
