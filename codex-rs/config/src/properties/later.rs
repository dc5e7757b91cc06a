//! Edits by others between pointing and undoing it: they survive, as if we had never been there.

use toml_edit::DocumentMut;

use super::document::{Members, meaning, selecting_us, string, with_our_table};
use super::layout::{FORMER_GOES_ON, Layout};
use super::{BASE_URL, purge, unpoint};
use crate::PROVIDER;
use crate::edit;

/// How many lines are tried to be changed: each costs much more than all the rest.
const CHANGED_LINES: usize = 2;

/// A text, the same pointed, and what the first means.
pub(super) fn edits_survive(
    before: &str,
    pointed: &str,
    old: &Members,
    layout: Option<&Layout<'_>>,
) {
    if !old.contains_key("later_table") {
        a_table_is_appended(before, pointed);
    }
    if !old.contains_key("later_key") {
        it_is_saved_by_codex(pointed, old);
    }
    if let Some(layout) = layout {
        if !old.contains_key("later_key") {
            a_line_is_put_in(layout);
        }
        digits_are_changed(layout);
    }
}

fn a_table_is_appended(before: &str, pointed: &str) {
    // As the first line ends: if the last has no end, ours begins with one, which stays.
    let first = before.split_inclusive('\n').next().unwrap_or_default();
    let newline = if first.ends_with("\r\n") { "\r\n" } else { "\n" };
    let table = format!("[later_table]{newline}later = 1{newline}");
    let is_ended = before.trim_start_matches('\u{feff}').is_empty() || before.ends_with('\n');
    if is_ended {
        both_ways(&format!("{before}{table}"), &format!("{pointed}{table}"));
    }
    both_ways(&format!("{before}{newline}{table}"), &format!("{pointed}{newline}{table}"));
}

/// Right below our selector.
fn a_line_is_put_in(layout: &Layout<'_>) {
    let line = format!("later_key = 1{}", layout.newline());
    let above = layout.selector.checked_sub(1).and_then(|above| layout.before.get(above));
    if above.is_some_and(|above| !above.ends_with('\n')) {
        return; // There is no line to put it below.
    }
    let (before, pointed) = layout.with_line_at_selector(&line);
    both_ways(&before, &pointed);
}

/// A digit of a line that is not ours becomes another.
fn digits_are_changed(layout: &Layout<'_>) {
    let others = layout.before.iter().enumerate();
    let others = others.filter(|(line, _)| !layout.former.contains(line));
    let changed = others.filter_map(|(line, old)| {
        let (before, pointed) = layout.with_line(line, &with_another_digit(old)?);
        is_editable(&before).then_some((before, pointed))
    });
    for (before, pointed) in changed.take(CHANGED_LINES) {
        both_ways(&before, &pointed);
    }
}

fn with_another_digit(line: &str) -> Option<String> {
    let place = line.rfind(|letter: char| letter.is_ascii_digit())?;
    let digit = if &line[place..=place] == "1" { "2" } else { "1" };
    let mut line = line.to_owned();
    line.replace_range(place..=place, digit);
    Some(line)
}

/// Whether it is still TOML, and nothing of ours.
fn is_editable(text: &str) -> bool {
    let is_without_us =
        |said: edit::Said| !said.has_table && said.selector.as_deref() != Some(PROVIDER);
    edit::read(text).is_ok_and(is_without_us) && edit::point(Some(text), BASE_URL).is_ok()
}

/// The same edit, done to both: undoing ours gives the edited file.
fn both_ways(before: &str, pointed: &str) {
    assert_eq!(purge(pointed).as_deref(), Some(before), "purged from {pointed:?}");
    let unpointed = unpoint(pointed);
    assert_eq!(purge(&unpointed).as_deref(), Some(before), "purged from {unpointed:?}");
}

/// Codex writes its configuration with toml_edit: a new key comes after the last one of the root, and lines may end otherwise.
fn it_is_saved_by_codex(pointed: &str, old: &Members) {
    let Ok(mut document) = pointed.parse::<DocumentMut>() else { panic!("no TOML: {pointed:?}") };
    document.insert("later_key", toml_edit::value("later"));
    let saved = document.to_string();
    let mut edited = old.clone();
    edited.insert("later_key".to_owned(), string("later"));
    let with_us = with_our_table(edited.clone(), BASE_URL);
    // What is lost there is not lost by us; nor are the line ends within a string of several lines that is a comment now.
    let is_lost = meaning(&saved) != Some(selecting_us(with_us.clone()));
    if is_lost
        || pointed.lines().any(|line| line.starts_with(FORMER_GOES_ON)) && pointed.contains('\r')
    {
        return;
    }
    assert_eq!(meaning(&unpoint(&saved)), Some(with_us), "unpointed from {saved:?}");
    assert_eq!(purge(&saved).as_deref().and_then(meaning), Some(edited), "purged from {saved:?}");
}
