//! What a change would do to a file, as a unified diff. `+` and `-` say it; colour only repeats them.
//!
//! A key that stands in a line is not shown.

use std::path::Path;

use anstyle::{AnsiColor, Style};
use codex_doctor::masked_setting;
use codex_responses_api_proxy::plain::plain;
use similar::{ChangeTag, TextDiff};

/// Where a side has no file.
const NO_FILE: &str = "/dev/null";

/// Lines with their ends; nothing where both are the same.
pub(crate) fn unified(
    file: &Path,
    before: Option<&str>,
    after: Option<&str>,
    colour: bool,
) -> String {
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
    let name = file.to_string_lossy();
    let side = |text: Option<&str>| text.map_or(NO_FILE.into(), |_| plain(&name));
    let mut shown = String::new();
    let unified = diff.unified_diff();
    for hunk in unified.iter_hunks() {
        if shown.is_empty() {
            shown += &format!("--- {}\n+++ {}\n", side(before), side(after));
        }
        shown += &format!("{}\n", hunk.header());
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', AnsiColor::Red.on_default()),
                ChangeTag::Insert => ('+', AnsiColor::Green.on_default()),
                ChangeTag::Equal => (' ', Style::new()),
            };
            let style = if colour { style } else { Style::new() };
            let line: &str = change.value();
            let text = line.strip_suffix('\n').unwrap_or(line);
            shown += &format!("{style}{sign}{}{style:#}\n", plain(&masked_setting(text)));
            if change.missing_newline() {
                shown += "\\ No newline at end of file\n";
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: Option<&str>, after: Option<&str>) -> String {
        unified(Path::new("/h/config.toml"), before, after, false)
    }

    #[test]
    fn lines_that_come_and_go_have_a_sign() {
        let expected = "--- /h/config.toml\n+++ /h/config.toml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n";
        assert_eq!(shown(Some("a\nb\n"), Some("a\nc\n")), expected);
        assert_eq!(shown(Some("a\n"), Some("a\n")), "");
    }

    #[test]
    fn a_file_that_is_made_or_goes_has_one_side() {
        let made = shown(None, Some("a\n"));
        assert!(made.starts_with("--- /dev/null\n+++ /h/config.toml\n@@ "), "{made}");
        assert!(made.ends_with(" @@\n+a\n"), "{made}");
        let gone = shown(Some("a\n"), None);
        assert!(gone.starts_with("--- /h/config.toml\n+++ /dev/null\n@@ "), "{gone}");
    }

    #[test]
    fn what_a_terminal_could_act_on_is_shown_and_a_missing_line_end_too() {
        let shown = shown(Some("a\u{1b}[2J\r\nb"), Some("a\u{1b}[2J\r\nc"));
        assert!(shown.contains("\n a\\u{1b}[2J\\r\n"), "{shown}");
        assert!(shown.contains("\n-b\n\\ No newline at end of file\n"), "{shown}");
    }

    #[test]
    fn a_key_in_a_line_is_not_shown() {
        let before = "http_headers = { x = \"sk-proj-0123456789abcdef\" }\n";
        let after = format!("a = 1\n{before}");
        let shown = shown(Some(before), Some(&after));
        assert!(shown.contains("\n http_headers = { x = \"sk-…\" }\n"), "{shown}");
        assert!(!shown.contains("0123456789"), "{shown}");
    }

    #[test]
    fn colour_repeats_the_signs() {
        let file = Path::new("/h/config.toml");
        let shown = unified(file, Some("a\nb\n"), Some("a\nc\n"), true);
        assert!(shown.contains("\n\u{1b}[31m-b\u{1b}[0m\n\u{1b}[32m+c\u{1b}[0m\n"), "{shown:?}");
        assert!(shown.contains("\n a\n"), "{shown:?}");
    }
}
