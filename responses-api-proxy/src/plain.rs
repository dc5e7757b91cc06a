//! Words that somebody else chose, on their way to a terminal: nothing in them moves its cursor, turns the
//! writing around or pretends to be another line. They are shown as escapes, so nothing is lost either.

use std::borrow::Cow;
use std::fmt::Write;

/// A text as it may be shown, in one line.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_harmless(letter) {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_debug());
        }
    }
    Cow::Owned(shown)
}

/// A line of JSON as it may be shown: the same JSON. What is escaped can only stand in its strings.
pub fn plain_json(line: &str) -> Cow<'_, str> {
    if line.chars().all(is_harmless) {
        return Cow::Borrowed(line);
    }
    let mut shown = String::with_capacity(line.len() + 16);
    for letter in line.chars() {
        if is_harmless(letter) {
            shown.push(letter);
            continue;
        }
        // One that is beyond 16 bits is written as two halves (RFC 8259 §7).
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let _ = write!(shown, "\\u{unit:04x}"); // A String takes all.
        }
    }
    Cow::Owned(shown)
}

/// Quotes and backslashes do nothing to a terminal; what else Rust escapes may, or is not seen at all.
fn is_harmless(letter: char) -> bool {
    matches!(letter, '"' | '\'' | '\\') || letter.escape_debug().eq([letter])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_terminal_could_act_on_is_escaped() {
        for (text, expected) in [
            ("gpt-5 \"x\" C:\\", "gpt-5 \"x\" C:\\"),
            ("größer 模型", "größer 模型"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("two\nlines\t", "two\\nlines\\t"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("\u{7f}", "\\u{7f}"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn what_nobody_sees_is_shown() {
        for (first, last) in [
            ('\u{ad}', '\u{ad}'),
            ('\u{61c}', '\u{61c}'),
            ('\u{200b}', '\u{200f}'),
            ('\u{2028}', '\u{202e}'),
            ('\u{2060}', '\u{2064}'),
            ('\u{2066}', '\u{2069}'),
            ('\u{feff}', '\u{feff}'),
            ('\u{e0000}', '\u{e007f}'),
        ] {
            for letter in first..=last {
                let expected = format!("\\u{{{:x}}}", u32::from(letter));
                assert_eq!(plain(&letter.to_string()), expected);
                let line = format!("\"{letter}\"");
                let shown = plain_json(&line);
                assert!(shown.is_ascii(), "{shown}");
                assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), letter.to_string());
            }
        }
    }

    #[test]
    fn json_stays_the_same_json() {
        let line = "{\"model\":\"a\u{9b}2J\u{7f}\"}";
        let shown = plain_json(line);
        assert_eq!(shown, "{\"model\":\"a\\u009b2J\\u007f\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(line));
    }
}
