//! What the doctor says, as lines: a grade, what was looked at, the evidence, and below it what to do.

use anstyle::{AnsiColor, Style};
use codex_doctor::{Finding, Grade, Progress, Report};
use codex_responses_api_proxy::plain::plain;
use unicode_width::UnicodeWidthStr;

use super::sheet::wrap;

/// Between columns.
const GAP: usize = 2;
/// Each grade's word is as long.
const GRADE: usize = 4;
/// Where less than this would be left beside the names, the words stand below them.
const MIN_WORDS: usize = 30;
/// How far, then.
const INDENT: usize = 4;
/// A space that no line ends at, until it is shown as any other.
const UNBROKEN: &str = "\u{a0}";

/// All findings; then how many there are of each grade, and what is not well. The grade is always a word; colour is
/// beside it.
pub(crate) fn lines(report: &Report, width: Option<usize>, colour: bool) -> Vec<String> {
    let names = report.findings.iter().map(|finding| finding.check.width());
    let place = Place::within(width, names.max().unwrap_or(0));
    let mut lines = Vec::new();
    for finding in &report.findings {
        lines.extend(place.lines(finding, colour));
    }
    lines.push(String::new());
    let sum = wrap(&sum(report), width).into_iter();
    lines.extend(sum.map(|line| line.replace(UNBROKEN, " ")));
    lines
}

/// `2 fail (upstream, files), 1 warn (port), 13 pass`, with no line's end between a number and its grade.
fn sum(report: &Report) -> String {
    let counted = Grade::ALL.iter().rev().map(|grade| {
        let count = format!("{}{UNBROKEN}{}", report.count(*grade), grade.word());
        match &named(report, *grade)[..] {
            [] => count,
            names => format!("{count} ({})", names.join(", ")),
        }
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// What was found to be so, each once, unless all is well with it.
fn named(report: &Report, grade: Grade) -> Vec<&'static str> {
    let mut names = Vec::new();
    for finding in report.findings.iter().filter(|finding| finding.grade == grade) {
        if grade != Grade::Pass && !names.contains(&finding.check) {
            names.push(finding.check);
        }
    }
    names
}

/// How far the examination is, in one line that does not reach the terminal's end.
pub(crate) fn progress(progress: &Progress, width: usize) -> String {
    let Progress { done, of, waiting_for } = progress;
    let mut line = format!("looked at {done} of {of}");
    if !waiting_for.is_empty() {
        line.push_str(&format!(", waiting for: {}", waiting_for.join(", ")));
    }
    let room = width.saturating_sub(1);
    if line.len() > room {
        // Names of checks are ASCII, and so is all of it.
        line.truncate(room.saturating_sub(1));
        line.push('…');
    }
    line
}

/// Where the words of a finding stand.
struct Place {
    width: Option<usize>,
    /// The column of names.
    names: usize,
    /// How far from the left the words begin.
    words: usize,
    /// Below the grade and the name, not beside them.
    is_below: bool,
}

impl Place {
    fn within(width: Option<usize>, names: usize) -> Self {
        let beside = GRADE + GAP + names + GAP;
        let is_below = width.is_some_and(|width| width < beside + MIN_WORDS);
        Self { width, names, words: if is_below { INDENT } else { beside }, is_below }
    }

    fn lines(&self, finding: &Finding, colour: bool) -> Vec<String> {
        let mut words = self.wrapped(&finding.evidence);
        if let Some(remedy) = &finding.remedy {
            words.extend(self.wrapped(&format!("remedy: {remedy}")));
        }
        let (indent, names) = (self.words, self.names);
        let mut lines: Vec<String> =
            words.iter().map(|words| format!("{:indent$}{words}", "")).collect();
        let grade = painted(finding.grade, colour);
        let head = |name: String| format!("{grade}{:GAP$}{name}", "");
        if self.is_below {
            lines.insert(0, head(finding.check.to_owned()));
        } else {
            let name = format!("{:names$}{:GAP$}", finding.check, "");
            lines[0].replace_range(..indent, &head(name));
        }
        lines
    }

    fn wrapped(&self, text: &str) -> Vec<String> {
        let room = self.width.map(|width| width.saturating_sub(self.words).max(1));
        wrap(&plain(text), room)
    }
}

fn painted(grade: Grade, colour: bool) -> String {
    let style = match grade {
        _ if !colour => Style::new(),
        Grade::Pass => AnsiColor::Green.on_default(),
        Grade::Warn => AnsiColor::Yellow.on_default(),
        Grade::Fail => AnsiColor::Red.on_default().bold(),
    };
    format!("{style}{}{style:#}", grade.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let shut = "uid 1000 could take port 4000 once the proxy has ended";
        Report {
            findings: vec![
                Finding::pass("proxy", "pid 17 serves http://127.0.0.1:4000/v1"),
                Finding::warn("port", shut, "serve below port 1024, as root: --port 999"),
                Finding::fail("auth_file", "a key lies in /home/a\nb/auth.json", "codex logout"),
            ],
        }
    }

    #[test]
    fn words_stand_beside_their_names_and_are_wrapped_there() {
        let expected = [
            "pass  proxy      pid 17 serves http://127.0.0.1:4000/v1",
            "warn  port       uid 1000 could take port 4000 once the",
            "                 proxy has ended",
            "                 remedy: serve below port 1024, as root:",
            "                 --port 999",
            "fail  auth_file  a key lies in /home/a\\nb/auth.json",
            "                 remedy: codex logout",
            "",
            "1 fail (auth_file), 1 warn (port), 1 pass",
        ];
        assert_eq!(lines(&report(), Some(57), false), expected);
    }

    #[test]
    fn where_it_is_narrow_words_stand_below_and_nothing_is_cut() {
        let expected = [
            "pass  proxy",
            "    pid 17 serves",
            "    http://127.0.0.1:4000/v1",
            "warn  port",
            "    uid 1000 could take port 4000 once",
            "    the proxy has ended",
            "    remedy: serve below port 1024, as",
            "    root: --port 999",
            "fail  auth_file",
            "    a key lies in /home/a\\nb/auth.json",
            "    remedy: codex logout",
            "",
            "1 fail (auth_file), 1 warn (port),",
            "1 pass",
        ];
        let lines = lines(&report(), Some(40), false);
        assert_eq!(lines, expected);
        assert!(lines.iter().all(|line| line.width() <= 40));
    }

    #[test]
    fn where_there_is_no_width_each_is_one_line_and_one_for_what_to_do() {
        let lines = lines(&report(), None, false);
        assert_eq!(lines.len(), 7);
        let port = "warn  port       uid 1000 could take port 4000 once the proxy has ended";
        assert_eq!(lines[1], port);
    }

    #[test]
    fn only_the_grade_has_a_colour_and_the_word_stays() {
        let (plain, coloured) =
            (lines(&report(), Some(57), false), lines(&report(), Some(57), true));
        assert!(!plain.join("").contains('\u{1b}'));
        assert_eq!(coloured[0], plain[0].replace("pass", "\u{1b}[32mpass\u{1b}[0m"));
        assert_eq!(coloured[2], plain[2]);
        assert!(coloured[5].contains("fail\u{1b}[0m  auth_file  a key"), "{}", coloured[5]);
    }

    #[test]
    fn nothing_found_is_a_sum_of_nothing() {
        let report = Report { findings: Vec::new() };
        assert_eq!(lines(&report, Some(40), true), ["", "0 fail, 0 warn, 0 pass"]);
    }

    #[test]
    fn the_sum_names_what_is_not_well_once_and_in_order() {
        let fail = |check| Finding::fail(check, "seen", "mend it");
        let warn = |check| Finding::warn(check, "seen", "mend it");
        let findings = vec![
            fail("proxy"),
            warn("proxy"),
            warn("port"),
            Finding::pass("codex", "seen"),
            fail("files"),
            fail("files"),
            warn("proxy"),
        ];
        let report = Report { findings };
        let last = |width, count: usize| {
            let lines = lines(&report, width, false);
            lines[lines.len() - count..].to_vec()
        };
        assert_eq!(last(None, 2), ["", "3 fail (proxy, files), 3 warn (proxy, port), 1 pass"]);
        let narrow = ["", "3 fail (proxy, files),", "3 warn (proxy, port),", "1 pass"];
        assert_eq!(last(Some(24), 4), narrow);
        // A number stays with its grade, wherever a line ends.
        for width in 8..60 {
            let lines = lines(&report, Some(width), false);
            let from = lines.iter().position(|line| line.is_empty()).unwrap() + 1;
            let sum = lines[from..].join("\n");
            for part in ["3 fail", "3 warn", "1 pass"] {
                assert!(sum.contains(part), "{width}: {sum}");
            }
            assert!(lines[from..].iter().all(|line| line.width() <= width), "{width}: {sum}");
        }
    }

    #[test]
    fn how_far_it_is_fits_one_line() {
        let at = |done, waiting_for: &[&'static str], width| {
            progress(&Progress { done, of: 16, waiting_for: waiting_for.to_vec() }, width)
        };
        assert_eq!(at(7, &["upstream"], 80), "looked at 7 of 16, waiting for: upstream");
        assert_eq!(at(6, &["upstream", "files"], 41), "looked at 6 of 16, waiting for: upstrea…");
        assert_eq!(at(16, &[], 80), "looked at 16 of 16");
        assert_eq!(at(16, &[], 1), "…");
    }
}
