//! What holds for any configuration: tried with anything by `fuzz/`, and with files, with its corpus and with generated texts
//! by the tests in `tests/`, which take this file in.

// Named, because the tests take these files from elsewhere.
#[path = "properties/document.rs"]
mod document;
#[path = "properties/later.rs"]
mod later;
#[path = "properties/layout.rs"]
mod layout;

use crate::PROVIDER;
use crate::edit::{self, EditError, Said};
use document::{Members, meaning, selecting_us, with_our_table};
use layout::Layout;

const BASE_URL: &str = "http://127.0.0.1:4000/v1";
const OTHER_BASE_URL: &str = "http://127.0.0.1:65535/v1";

/// What is put into a configuration is all that changes in it, and taken out again it leaves the same bytes, whatever else
/// was edited meanwhile. What can't be edited so is refused.
///
/// # Panics
///
/// When the property is broken.
pub fn edits_lose_nothing(bytes: &[u8]) {
    if bytes.is_empty() {
        a_new_file_goes_again();
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return }; // Refused where the file is read.
    let pointed = match edit::point(Some(text), BASE_URL) {
        Ok(pointed) => pointed,
        Err(error) => return is_refused(text, &error),
    };
    let said = edit::read(text).unwrap_or_else(|error| panic!("pointed, but {error}: {text:?}"));
    if said.has_table || said.selector.as_deref() == Some(PROVIDER) {
        is_ours_already(text, &said, &pointed);
    } else {
        goes_in_and_out(text, &pointed);
    }
}

/// A text without us, and the same pointed.
fn goes_in_and_out(before: &str, pointed: &str) {
    assert_eq!(purge(pointed).as_deref(), Some(before), "purged from {pointed:?}");
    assert_eq!(point(pointed, BASE_URL), pointed, "a second time");
    assert_eq!(
        point(pointed, OTHER_BASE_URL),
        point(before, OTHER_BASE_URL),
        "to another port, and there at once"
    );
    assert_eq!(
        purge(&point(pointed, OTHER_BASE_URL)).as_deref(),
        Some(before),
        "by way of another"
    );

    let old = meaning(before).unwrap_or_else(|| panic!("pointed, but no TOML: {before:?}"));
    let with_us = with_our_table(old.clone(), BASE_URL);
    assert_eq!(meaning(pointed), Some(selecting_us(with_us.clone())), "{pointed:?}");
    says(pointed, Some(PROVIDER), Some(BASE_URL));

    let unpointed = unpoint(pointed);
    assert_eq!(meaning(&unpointed), Some(with_us), "{unpointed:?}");
    assert_eq!(purge(&unpointed).as_deref(), Some(before), "purged from {unpointed:?}");
    assert_eq!(unpoint(&unpointed), unpointed, "a second time");
    // (Where such a line is all there was, and had no end, it has one now, and comes first.)
    let bare = before.trim_start_matches('\u{feff}');
    if !bare.ends_with('\n') && bare.lines().all(|line| line.starts_with("#:")) {
        return;
    }
    assert_eq!(point(&unpointed, BASE_URL), pointed, "pointed again");

    layout::has_the_same_line_ends(before, pointed);
    let layout = Layout::of(before, pointed);
    match &layout {
        Some(layout) => {
            layout.keeps_each_line();
            assert!(unpointed.starts_with(before), "our table is not at the end: {unpointed:?}");
        }
        None => {
            layout::only_adds(before, pointed);
            layout::only_adds(before, &unpointed);
        }
    }
    later::edits_survive(before, pointed, &old, layout.as_ref());
}

/// A text that has our table, or selects it, from before.
fn is_ours_already(text: &str, said: &Said, pointed: &str) {
    assert_eq!(point(pointed, BASE_URL), pointed, "a second time");
    says(pointed, Some(PROVIDER), Some(BASE_URL));
    if let Ok(unpointed) = edit::unpoint(text) {
        assert!(meaning(&unpointed).is_some(), "{unpointed:?}");
    }
    if let Ok(Some(purged)) = edit::purge(text) {
        assert!(!edit::read(&purged).is_ok_and(|said| said.has_table), "{purged:?}");
    }
    // As `unpoint` leaves it.
    if said.selector.as_deref() != Some(PROVIDER)
        && let Some(base_url) = &said.base_url
    {
        assert_eq!(unpoint(&point(text, base_url)), text, "pointed and unpointed once more");
    }
}

/// What is refused once is refused again, in words that fit a terminal; and undoing does not fail worse.
fn is_refused(text: &str, error: &EditError) {
    let said = error.to_string();
    assert!(!said.contains(char::is_control), "{said:?}");
    let again = edit::point(Some(text), BASE_URL).map_err(|error| error.to_string());
    assert_eq!(again, Err(said), "{text:?}");
    for undone in [edit::unpoint(text).map(Some), edit::purge(text)].into_iter().flatten().flatten()
    {
        assert!(meaning(&undone).is_some(), "{undone:?}");
    }
}

/// Of no file a file is made, which goes when it is purged; what somebody put into it meanwhile stays.
fn a_new_file_goes_again() {
    let pointed = edit::point(None, BASE_URL).unwrap_or_else(|error| panic!("{error}"));
    let table = with_our_table(Members::new(), BASE_URL);
    assert_eq!(meaning(&pointed), Some(selecting_us(table.clone())), "{pointed:?}");
    assert_eq!(point(&pointed, BASE_URL), pointed, "a second time");
    assert_eq!(purge(&pointed), None);
    let unpointed = unpoint(&pointed);
    assert_eq!(meaning(&unpointed), Some(table), "{unpointed:?}");
    assert_eq!(point(&unpointed, BASE_URL), pointed, "pointed again");
    assert_eq!(purge(&unpointed), None);
    assert_eq!(purge(&point(&unpointed, OTHER_BASE_URL)), None);

    let appended = "[later_table]\nlater = 1\n";
    let left = purge(&format!("{pointed}{appended}"));
    assert_eq!(left.as_deref().and_then(meaning), meaning(appended), "{left:?}");
}

fn says(text: &str, selector: Option<&str>, base_url: Option<&str>) {
    let said = edit::read(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    let read = (said.selector.as_deref(), said.base_url.as_deref(), said.has_table);
    assert_eq!(read, (selector, base_url, base_url.is_some()), "{text:?}");
}

fn point(text: &str, base_url: &str) -> String {
    edit::point(Some(text), base_url)
        .unwrap_or_else(|error| panic!("can't be pointed: {error}: {text:?}"))
}

fn unpoint(text: &str) -> String {
    edit::unpoint(text).unwrap_or_else(|error| panic!("can't be unpointed: {error}: {text:?}"))
}

fn purge(text: &str) -> Option<String> {
    edit::purge(text).unwrap_or_else(|error| panic!("can't be purged: {error}: {text:?}"))
}
