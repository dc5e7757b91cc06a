//! Where the lines of a text are after it was pointed.

use std::ops::Range;

use toml_edit::{Document, Item, Value};

use super::document::{Members, meaning, with_our_table};

const BYTE_ORDER_MARK: &str = "\u{feff}";
/// What the first line of a former selector begins with.
const FORMER: &str = "#openai-proxy# ";
/// What its other lines begin with.
pub(super) const FORMER_GOES_ON: &str = "#openai-proxy+ ";

/// The lines of a text, and those of the same text pointed, which are the same but for one more, our selector, and
/// our table behind them all.
#[derive(Debug)]
pub(super) struct Layout<'t> {
    pub(super) byte_order_mark: &'t str,
    pub(super) before: Vec<&'t str>,
    pub(super) pointed: Vec<&'t str>,
    /// Which of the pointed ones is our selector.
    pub(super) selector: usize,
    /// Which of those before are the former selector.
    pub(super) former: Range<usize>,
}

impl<'t> Layout<'t> {
    /// Nothing where our table is to become a member of an inline one.
    pub(super) fn of(before: &'t str, pointed: &'t str) -> Option<Self> {
        let (byte_order_mark, before) = without_mark(before);
        let (mark, pointed) = without_mark(pointed);
        assert_eq!(mark, byte_order_mark, "the byte order mark");
        let document = parse(before);
        if matches!(document.get("model_providers"), Some(Item::Value(Value::InlineTable(_)))) {
            return None;
        }
        let former = lines_of_selector(before).unwrap_or_default();
        let Some(Range { start: selector, .. }) = lines_of_selector(pointed) else {
            panic!("it selects nothing: {pointed:?}")
        };
        let (before, pointed) = (lines(before), lines(pointed));
        Some(Self { byte_order_mark, before, pointed, selector, former })
    }

    /// Where a line from before is among the pointed ones.
    pub(super) fn place(&self, line: usize) -> usize {
        line + usize::from(line >= self.selector)
    }

    /// Each line is still there, in its order and with its end; those of a former selector, and no others, as comments.
    pub(super) fn keeps_each_line(&self) {
        for (line, old) in self.before.iter().enumerate() {
            let new = self.pointed.get(self.place(line)).copied().unwrap_or_default();
            let mark = match line {
                line if !self.former.contains(&line) => "",
                line if line == self.former.start => FORMER,
                _ => FORMER_GOES_ON,
            };
            let is_kept = new.strip_prefix(mark).is_some_and(|new| is_same_line(old, new));
            assert!(is_kept, "line {}: {old:?} became {new:?}", line + 1);
        }
        let added = self.pointed.get(self.place(self.before.len())..).unwrap_or_default().concat();
        let base_url = super::BASE_URL;
        assert_eq!(meaning(&added), Some(with_our_table(Members::new(), base_url)), "{added:?}");
    }

    /// How the line of our selector ends.
    pub(super) fn newline(&self) -> &'static str {
        if self.pointed[self.selector].ends_with("\r\n") { "\r\n" } else { "\n" }
    }

    /// Both texts, each with this line in place of one from before that is none of the former selector's.
    pub(super) fn with_line(&self, line: usize, new: &str) -> (String, String) {
        let (old, place) = (self.before[line], self.place(line));
        let end = &self.pointed[place][old.len().min(self.pointed[place].len())..];
        (
            self.text(&self.before, line, new),
            self.text(&self.pointed, place, &format!("{new}{end}")),
        )
    }

    fn text(&self, lines: &[&str], changed: usize, new: &str) -> String {
        let (before, after) = (lines[..changed].concat(), lines[changed + 1..].concat());
        format!("{}{before}{new}{after}", self.byte_order_mark)
    }

    /// Both texts, with a line put in where our selector is: below it.
    pub(super) fn with_line_at_selector(&self, new: &str) -> (String, String) {
        let put = |lines: &[&str], at: usize| {
            let (before, after) = lines.split_at(at.min(lines.len()));
            format!("{}{}{new}{}", self.byte_order_mark, before.concat(), after.concat())
        };
        (put(&self.before, self.selector), put(&self.pointed, self.selector + 1))
    }
}

/// A file whose lines all end in one way has no other afterwards.
pub(super) fn has_the_same_line_ends(before: &str, pointed: &str) {
    let carriage_returns = |text: &str| text.matches("\r\n").count();
    let newlines = |text: &str| text.matches('\n').count();
    if carriage_returns(before) == 0 {
        assert_eq!(carriage_returns(pointed), 0, "{pointed:?}");
    } else if carriage_returns(before) == newlines(before) {
        assert_eq!(carriage_returns(pointed), newlines(pointed), "{pointed:?}");
    }
}

/// Every byte is still there, in its order.
pub(super) fn only_adds(before: &str, after: &str) {
    let mut rest = after.bytes();
    let is_there = before.bytes().all(|byte| rest.any(|other| other == byte));
    assert!(is_there, "{before:?} became {after:?}");
}

fn without_mark(text: &str) -> (&str, &str) {
    text.split_at(if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 })
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn parse(text: &str) -> Document<&str> {
    Document::parse(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn lines_of_selector(text: &str) -> Option<Range<usize>> {
    let value = parse(text).get("model_provider")?.span()?;
    let line = |place: usize| text[..place].matches('\n').count();
    Some(line(value.start)..line(value.end) + 1)
}

/// The last line of a file may have got an end.
fn is_same_line(old: &str, new: &str) -> bool {
    old == new || !old.ends_with('\n') && old == new.trim_end_matches(['\r', '\n'])
}
