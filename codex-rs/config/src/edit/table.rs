//! Our table, `[model_providers.openai-proxy]`.

use std::ops::Range;

use toml_edit::{InlineTable, Item, Table, TableLike, Value};

use super::EditError;
use super::selector::type_of;
use super::source::{Source, values, values_below, values_within, without_line_end};
use super::splice::Splice;
use crate::{PROVIDER, PROVIDER_NAME};

const PROVIDERS: &str = "model_providers";

/// What stands before our table.
const COMMENT: &str = "# Put here by `codex proxy point`. Old sessions need it: `codex proxy unpoint` leaves it, and `--purge` takes it out.";
/// The same in a file that was not there before.
const COMMENT_OF_NEW_FILE: &str = "# Put here with this file by `codex proxy point`. Old sessions need it: `codex proxy unpoint` leaves it, and `--purge` takes it out.";

/// What a file has of our id.
pub(super) enum Found<'s> {
    Nothing,
    Ours(&'s dyn TableLike),
    /// It has another name, or is no table.
    Foreign {
        name: Option<String>,
    },
}

impl<'s> Found<'s> {
    pub(super) fn ours(self) -> Option<&'s dyn TableLike> {
        match self {
            Self::Ours(table) => Some(table),
            Self::Nothing | Self::Foreign { .. } => None,
        }
    }

    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::Foreign { .. })
    }
}

pub(super) fn find<'s>(source: &'s Source<'_>) -> Result<Found<'s>, EditError> {
    let Some(item) = source.root().get(PROVIDERS) else { return Ok(Found::Nothing) };
    let Some(providers) = item.as_table_like() else {
        let found = type_of(item);
        return Err(EditError::WrongType { key: PROVIDERS, expected: "table", found });
    };
    let Some(item) = providers.get(PROVIDER) else { return Ok(Found::Nothing) };
    let table = item.as_table_like();
    let name = table.and_then(|table| table.get("name")?.as_str());
    Ok(match table {
        Some(table) if name == Some(PROVIDER_NAME) => Found::Ours(table),
        _ => Found::Foreign { name: name.map(str::to_owned) },
    })
}

pub(super) fn base_url(ours: &dyn TableLike) -> Option<&str> {
    ours.get("base_url")?.as_str()
}

/// Ours, leading to `base_url`. Nothing, if it is there and does.
pub(super) fn put(
    source: &Source<'_>,
    base_url: &str,
    by_us: bool,
) -> Result<Option<Splice>, EditError> {
    let with = Value::from(base_url).to_string();
    match find(source)? {
        Found::Foreign { name } => Err(EditError::Conflict { name }),
        Found::Ours(ours) => {
            let item = ours.get("base_url").filter(|item| item.is_str());
            let place = item.and_then(Item::span).ok_or(EditError::Damaged)?;
            let is_so = self::base_url(ours) == Some(base_url);
            Ok((!is_so).then_some(Splice { place, with }))
        }
        Found::Nothing => match source.root().get(PROVIDERS) {
            Some(Item::Value(Value::InlineTable(providers))) => member(providers, &with).map(Some),
            _ => Ok(Some(block(source, &with, by_us))),
        },
    }
}

fn name() -> String {
    Value::from(PROVIDER_NAME).to_string()
}

/// A block of its own at the end of the file. It ends as the file did: with a newline or without.
fn block(source: &Source<'_>, base_url: &str, by_us: bool) -> Splice {
    let newline = source.newline();
    let comment = if by_us { COMMENT_OF_NEW_FILE } else { COMMENT };
    let lines = [
        comment,
        &format!("[{PROVIDERS}.{PROVIDER}]"),
        &format!("name = {}", name()),
        &format!("base_url = {base_url}"),
        "wire_api = \"responses\"",
    ]
    .join(newline);
    let is_ended = source.text.is_empty() || source.text.ends_with('\n');
    let with = if is_ended {
        format!("{newline}{lines}{newline}")
    } else {
        format!("{newline}{newline}{lines}")
    };
    let end = source.text.len();
    Splice { place: end..end, with }
}

/// The last member of an inline table.
fn member(providers: &InlineTable, base_url: &str) -> Result<Splice, EditError> {
    let name = name();
    let ours = format!(
        "{PROVIDER} = {{ name = {name}, base_url = {base_url}, wire_api = \"responses\" }}"
    );
    let last = providers.iter().flat_map(|(_, value)| values_within(value)).max_by_key(|v| v.end);
    let (place, with) = match last {
        Some(value) => (value.end, format!(", {ours}")),
        None => (opened(providers).ok_or(EditError::Lossy)?, format!(" {ours}")),
    };
    Ok(Splice { place: place..place, with })
}

/// Right behind the opening brace.
fn opened(table: &InlineTable) -> Option<usize> {
    Some(table.span()?.start + 1)
}

/// What takes it out; and whether we made the file. Nothing, if it is not there.
pub(super) fn take_out(source: &Source<'_>) -> Result<(Vec<Splice>, bool), EditError> {
    let nothing = Ok((Vec::new(), false));
    let Some(_) = find(source)?.ours() else { return nothing };
    let Some(providers) = source.root().get(PROVIDERS) else { return nothing };
    let cut = |place| Splice { place, with: String::new() };
    if let Some(providers) = providers.as_inline_table() {
        let place = member_with_its_comma(source, providers).ok_or(EditError::Lossy)?;
        return Ok((vec![cut(place)], false));
    }
    let ours = providers.as_table_like().and_then(|providers| providers.get(PROVIDER));
    let mut places = Vec::new();
    let by_us = ours.is_some_and(|ours| collect(source, ours, &mut places));
    Ok((places.into_iter().map(cut).collect(), by_us))
}

/// Where a member stands that is to go, with the comma that divides it from the others.
fn member_with_its_comma(source: &Source<'_>, providers: &InlineTable) -> Option<Range<usize>> {
    let (key, ours) = providers.get_key_value(PROVIDER)?;
    let end = values(ours).into_iter().map(|value| value.end).max()?;
    let start = match key.span() {
        Some(key) if !ours.as_inline_table().is_some_and(InlineTable::is_dotted) => key.start,
        _ => return None, // In several members: no tool is known that writes it so.
    };
    let others = providers.iter().filter(|(key, _)| *key != PROVIDER);
    let others: Vec<_> = others.flat_map(|(_, value)| values_within(value)).collect();
    if let Some(before) = others.iter().map(|value| value.end).filter(|end| *end <= start).max() {
        return Some(before..end);
    }
    let opened = opened(providers)?;
    match source.text[end..].find(',') {
        // The next one's own space stays.
        Some(comma) if !others.is_empty() => Some(opened..end + comma + 1),
        _ => Some(opened..end),
    }
}

/// All lines of our table, as a block, or as dotted keys below another header; and whether its comment says that we made the file.
fn collect(source: &Source<'_>, item: &Item, places: &mut Vec<Range<usize>>) -> bool {
    match item {
        Item::Table(table) if !table.is_dotted() && !table.is_implicit() => {
            let by_us = match lines_below(source, table) {
                Some(lines) => {
                    let (lines, by_us) = with_its_comment(source, lines);
                    places.push(lines);
                    by_us
                }
                None => false,
            };
            for (_, item) in table.iter().filter(|(_, item)| !item.is_value()) {
                collect_deeper(source, item, places);
            }
            by_us
        }
        item => {
            places.extend(values(item).iter().map(|value| source.lines(value)));
            false
        }
    }
}

/// Tables below ours that have headers of their own. (Dotted keys stand among our lines.)
fn collect_deeper(source: &Source<'_>, item: &Item, places: &mut Vec<Range<usize>>) {
    let tables: Vec<&Table> = match item {
        Item::Table(table) => vec![table],
        Item::ArrayOfTables(tables) => tables.iter().collect(),
        Item::Value(_) | Item::None => return,
    };
    for table in tables {
        if !table.is_dotted() && !table.is_implicit() {
            places.extend(lines_below(source, table));
        }
        for (_, item) in table.iter() {
            collect_deeper(source, item, places);
        }
    }
}

/// From a header to the last value below it.
fn lines_below(source: &Source<'_>, table: &Table) -> Option<Range<usize>> {
    let header = table.span()?;
    let last = values_below(table).into_iter().map(|value| value.end).max();
    Some(source.line_start(header.start)..source.line_end(last.unwrap_or(header.end)))
}

/// With our comment and one empty line before it, and if it ends a file without a newline, with the one before it.
fn with_its_comment(source: &Source<'_>, lines: Range<usize>) -> (Range<usize>, bool) {
    let Range { mut start, end } = lines;
    let mut by_us = false;
    if let Some(before) = source.line_before(start) {
        let line = source.text[before.clone()].trim_end();
        by_us = line == COMMENT_OF_NEW_FILE;
        if by_us || line == COMMENT {
            start = before.start;
        }
    }
    let is_empty = |line: &Range<usize>| matches!(&source.text[line.clone()], "\n" | "\r\n");
    if let Some(before) = source.line_before(start).filter(is_empty) {
        start = before.start;
    }
    if end == source.text.len() && !source.text.ends_with('\n') {
        start = without_line_end(&source.text[..start]).len();
    }
    (start..end, by_us)
}
