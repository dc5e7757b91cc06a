//! Facts under headings: labels in a column, values beside them, wrapped where the width ends. Nothing is cut.

use codex_responses_api_proxy::plain::plain;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::table::{Column, Table};

const LABEL: usize = 18;
const INDENT: usize = 2;
/// Where less than this would be left beside the labels, values stand below them.
const MIN_VALUE: usize = 24;

/// Lines in the making.
pub(crate) struct Sheet {
    pub(crate) width: Option<usize>,
    pub(crate) lines: Vec<String>,
}

impl Sheet {
    pub(crate) fn new(width: Option<usize>) -> Self {
        Self { width, lines: Vec::new() }
    }

    /// A paragraph.
    pub(crate) fn paragraph(&mut self, text: &str) {
        self.lines.extend(wrap(&plain(text), self.width));
    }

    /// A heading, after an empty line.
    pub(crate) fn heading(&mut self, text: &str) {
        self.lines.push(String::new());
        self.paragraph(text);
    }

    /// A label and its value.
    pub(crate) fn fact(&mut self, label: &str, value: &str) {
        let value = plain(value);
        let beside = INDENT + LABEL;
        if self.width.is_some_and(|width| width < beside + MIN_VALUE) {
            self.lines.push(format!("{:INDENT$}{label}", ""));
            self.below(2 * INDENT, &value);
        } else {
            let from = self.lines.len();
            self.below(beside, &value);
            self.lines[from].replace_range(..beside, &format!("{:INDENT$}{label:LABEL$}", ""));
        }
    }

    /// Rows under their names, each with a cell a column.
    pub(crate) fn table(&mut self, columns: &'static [Column], rows: &[Vec<String>]) {
        let room = self.width.map(|width| width.saturating_sub(INDENT).max(1));
        let table = Table::fit(columns, rows, /*grows*/ false, room);
        self.lines.push(format!("{:INDENT$}{}", "", table.header()));
        for row in rows {
            let row = table.row(row, |_, text| text.to_owned());
            self.lines.push(format!("{:INDENT$}{row}", ""));
        }
    }

    /// A line that was made to fit.
    pub(crate) fn line(&mut self, text: &str) {
        self.lines.push(text.to_owned());
    }

    fn below(&mut self, indent: usize, value: &str) {
        let width = self.width.map(|width| width.saturating_sub(indent).max(1));
        let lines = wrap(value, width);
        self.lines.extend(lines.into_iter().map(|line| format!("{:indent$}{line}", "")));
    }
}

/// Lines of this width: broken between words, and inside a word only if it has no room on a line of its own.
pub(crate) fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    let (mut lines, mut current, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split(' ') {
        let long = word.width();
        if used > 0 && used + 1 + long <= width {
            current.push(' ');
            used += 1;
        } else if used > 0 {
            lines.push(std::mem::take(&mut current));
            used = 0;
        }
        for letter in word.chars() {
            let wide = letter.width().unwrap_or(0);
            if used + wide > width && used > 0 {
                lines.push(std::mem::take(&mut current));
                used = 0;
            }
            current.push(letter);
            used += wide;
        }
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_whole_where_they_fit() {
        for (text, width, expected) in [
            ("one two three", Some(7), &["one two", "three"][..]),
            ("one two three", None, &["one two three"][..]),
            ("one", Some(3), &["one"][..]),
            ("/a/long/path and more", Some(6), &["/a/lon", "g/path", "and", "more"][..]),
            ("模型模型", Some(5), &["模型", "模型"][..]),
            ("ab", Some(1), &["a", "b"][..]),
            ("", Some(5), &[""][..]),
        ] {
            assert_eq!(wrap(text, width), expected, "{text:?} in {width:?}");
        }
    }

    #[test]
    fn values_stand_beside_their_labels_or_below_them() {
        let mut sheet = Sheet::new(Some(50));
        sheet.heading("Policy");
        sheet.fact("accounts", "alice (uid 1000), bob (uid 1001) and carol");
        assert_eq!(
            sheet.lines,
            [
                "",
                "Policy",
                "  accounts          alice (uid 1000), bob (uid",
                "                    1001) and carol"
            ]
        );
        let mut sheet = Sheet::new(Some(20));
        sheet.fact("accounts", "alice\n(uid 1000), bob");
        assert_eq!(sheet.lines, ["  accounts", "    alice\\n(uid", "    1000), bob"]);
    }
}
