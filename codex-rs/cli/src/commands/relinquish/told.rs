//! What is told while it is done, a line a step, and what there is to say at the end.

use std::path::Path;

use anstyle::{AnsiColor, Style};
use codex_privileges::{
    Account, Closed, Finding, NEVER_DECIDED, Outcome, StaleProcess, Step, StepReport,
};

use super::page::{findings, heading, item, list, under};
use crate::commands::sheet::Sheet;

/// What came of the verification.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict<'v> {
    pub(super) account: &'v Account,
    pub(super) closed: &'v [Closed],
    pub(super) open: &'v [Finding],
    pub(super) undecided: &'v [Finding],
    /// Processes with a group that was given up, and that nothing honours any more.
    pub(super) stale: &'v [StaleProcess],
    pub(super) journal: &'v Path,
}

/// Before the first step.
pub(super) fn headline(account: &Account, is_done: bool, width: Option<usize>) -> Vec<String> {
    let mut sheet = Sheet::new(width);
    let account = account.words();
    sheet.heading(&if is_done {
        format!("The sudo of {account} has been given up: each step is looked at again")
    } else {
        format!("Giving up the sudo of {account}")
    });
    sheet.lines
}

/// A step, and what it did.
pub(super) fn step_lines(report: &StepReport, width: Option<usize>, colour: bool) -> Vec<String> {
    let word = outcome_word(report);
    let mut sheet = Sheet::new(width);
    let details = report.details.join("; ");
    let colon = if details.is_empty() { "" } else { ": " };
    sheet.fact(step_label(report.step), &format!("{word}{colon}{details}"));
    paint(&mut sheet.lines, word, outcome_style(report.outcome), colour);
    sheet.lines
}

/// After a step that failed: what was taken back, and what could not be.
pub(super) fn undone_lines(
    undone: &[String],
    left: &[String],
    width: Option<usize>,
) -> Vec<String> {
    let mut sheet = Sheet::new(width);
    list(&mut sheet, "Taken back", undone.iter().cloned());
    list(&mut sheet, "NOT taken back", left.iter().cloned());
    if left.is_empty() {
        sheet.heading("Rules, PAM and groups are as they were.");
    }
    sheet.lines
}

/// The three lists: closed, open, undecided.
pub(super) fn verdict_lines(
    verdict: &Verdict<'_>,
    width: Option<usize>,
    colour: bool,
) -> Vec<String> {
    let mut sheet = Sheet::new(width);
    let account = verdict.account.words();
    let (word, style) = match verdict.open.len() {
        0 => ("gone", AnsiColor::Green.on_default().bold()),
        _ => ("open", AnsiColor::Red.on_default().bold()),
    };
    sheet.heading(&match verdict.open.len() {
        0 => format!("gone: {account} can't become anybody by sudo any more, and no other way to root is known"),
        1 => format!("open: the sudo of {account} is gone, but another way to root is not closed"),
        count => format!("open: the sudo of {account} is gone, but {count} other ways to root are not closed"),
    });
    paint(&mut sheet.lines, word, style, colour);
    if heading(&mut sheet, "Closed, and how that was proved", verdict.closed.len()) {
        for closed in verdict.closed {
            item(&mut sheet, &closed.what);
            under(&mut sheet, &format!("proved: {}", closed.how));
        }
    }
    findings(&mut sheet, "Still open", verdict.open);
    findings(&mut sheet, "Can't be told from here", verdict.undecided);
    let stale = verdict.stale.iter().map(|it| format!("pid {} {}", it.pid, it.name));
    let title = "Have a group that was given up, and nothing lets them through any more: log out, to be rid of them";
    list(&mut sheet, title, stale);
    list(&mut sheet, "No audit can tell", NEVER_DECIDED.iter().map(|what| (*what).to_owned()));
    let journal = verdict.journal.display();
    sheet.heading(&format!("What was done, and how an administrator takes it back: {journal}"));
    sheet.lines
}

/// What was tried again, where nothing was done.
pub(super) fn evidence_lines(words: &str, width: Option<usize>) -> Vec<String> {
    let mut sheet = Sheet::new(width);
    list(&mut sheet, "Tried again just now", [words.to_owned()]);
    sheet.lines
}

fn step_label(step: Step) -> &'static str {
    match step {
        Step::DropIn => "rule of sudo's",
        Step::PamLock => "line in PAM",
        Step::Groups => "groups",
        Step::GroupAdmins => "group admins",
        Step::Tickets => "tickets",
        Step::Plants => "planted files",
        Step::Processes => "processes",
    }
}

/// The same word as in JSON, but for what there was nothing of.
fn outcome_word(report: &StepReport) -> &'static str {
    match report.outcome {
        Outcome::Skipped if report.details.is_empty() => "none",
        Outcome::Done => "done",
        Outcome::Already => "already",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
        Outcome::Undone => "undone",
    }
}

fn outcome_style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Done => AnsiColor::Green.on_default(),
        Outcome::Already | Outcome::Skipped => Style::new(),
        Outcome::Failed => AnsiColor::Red.on_default().bold(),
        Outcome::Undone => AnsiColor::Yellow.on_default(),
    }
}

/// The first place of the word, in lines that are as wide as they will be.
fn paint(lines: &mut [String], word: &str, style: Style, colour: bool) {
    if !colour {
        return;
    }
    if let Some(line) = lines.iter_mut().find(|line| line.contains(word)) {
        *line = line.replacen(word, &format!("{style}{word}{style:#}"), 1);
    }
}

#[cfg(test)]
mod tests {
    use codex_privileges::Grade;

    use super::*;

    fn account() -> Account {
        Account {
            name: "alice".to_owned(),
            uid: 1_000,
            gid: 1_000,
            home: "/home/alice".into(),
            shell: "/bin/bash".into(),
            groups: Vec::new(),
        }
    }

    fn report(step: Step, outcome: Outcome, details: &[&str]) -> StepReport {
        StepReport { step, outcome, details: details.iter().map(|it| (*it).to_owned()).collect() }
    }

    #[test]
    fn each_step_is_a_line_that_fits() {
        let groups = report(
            Step::Groups,
            Outcome::Done,
            &["left the group sudo (deluser)", "left the group docker (deluser)"],
        );
        let wide = "  groups            done: left the group sudo (deluser); left the group docker (deluser)";
        assert_eq!(step_lines(&groups, None, false), [wide]);
        let narrow = [
            "  groups            done: left the group sudo",
            "                    (deluser); left the group docker",
            "                    (deluser)",
        ];
        assert_eq!(step_lines(&groups, Some(52), false), narrow);
        let skipped = report(Step::Tickets, Outcome::Skipped, &[]);
        assert_eq!(step_lines(&skipped, Some(52), true), ["  tickets           none"]);
        let declined = report(Step::Processes, Outcome::Skipped, &["left 2 of them running"]);
        let expected = "  processes         skipped: left 2 of them running";
        assert_eq!(step_lines(&declined, None, true), [expected]);
    }

    #[test]
    fn colour_only_repeats_the_word_and_others_words_are_plain() {
        let failed = report(Step::DropIn, Outcome::Failed, &["no room\u{1b}[2J"]);
        let expected = "  rule of sudo's    failed: no room\\u{1b}[2J";
        assert_eq!(step_lines(&failed, None, false), [expected]);
        let coloured = step_lines(&failed, None, true).join("");
        assert!(coloured.contains("\u{1b}[31mfailed\u{1b}[0m: no room\\u{1b}[2J"), "{coloured:?}");
    }

    #[test]
    fn what_was_taken_back_is_listed_and_what_was_not() {
        let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let all = [
            "",
            "Taken back (1)",
            "  - removed /etc/sudoers.d/x",
            "",
            "Rules, PAM and groups are as they were.",
        ];
        assert_eq!(undone_lines(&words(&["removed /etc/sudoers.d/x"]), &[], None), all);
        assert_eq!(undone_lines(&[], &[], None), ["", "Rules, PAM and groups are as they were."]);
        let left = ["", "NOT taken back (1)", "  - /etc/pam.d/sudo has other bytes by now"];
        assert_eq!(
            undone_lines(&[], &words(&["/etc/pam.d/sudo has other bytes by now"]), None),
            left
        );
    }

    #[test]
    fn the_end_is_three_lists_and_says_gone_only_where_nothing_is_open() {
        let closed = [Closed {
            what: "%sudo: (ALL : ALL) ALL".to_owned(),
            how: "sudo refused in 36 tries".to_owned(),
        }];
        let open = [Finding {
            check: "unit",
            grade: Grade::Open,
            what: "/opt/run.sh".to_owned(),
            why: "root runs it".to_owned(),
            evidence: "mode 0777".to_owned(),
            remedy: "chmod go-w /opt/run.sh".to_owned(),
            closed_by: None,
        }];
        let lines = |open, width| {
            let account = account();
            let journal = Path::new("/var/lib/x/1000.json");
            let verdict = Verdict {
                account: &account,
                closed: &closed,
                open,
                undecided: &[],
                stale: &[],
                journal,
            };
            verdict_lines(&verdict, width, false)
        };
        let mut expected = vec![
            "",
            "gone: alice (uid 1000) can't become anybody by sudo any more, and no other way to root is known",
            "",
            "Closed, and how that was proved (1)",
            "  - %sudo: (ALL : ALL) ALL",
            "    proved: sudo refused in 36 tries",
        ];
        let count = format!("No audit can tell ({})", NEVER_DECIDED.len());
        let never: Vec<String> = NEVER_DECIDED.iter().map(|what| format!("  - {what}")).collect();
        expected.extend(["", count.as_str()]);
        expected.extend(never.iter().map(String::as_str));
        let journal = "What was done, and how an administrator takes it back: /var/lib/x/1000.json";
        expected.extend(["", journal]);
        assert_eq!(lines(&[], None), expected);
        let narrow = lines(&open, Some(52));
        let begin = [
            "",
            "open: the sudo of alice (uid 1000) is gone, but",
            "another way to root is not closed",
            "",
            "Closed, and how that was proved (1)",
            "  - %sudo: (ALL : ALL) ALL",
            "    proved: sudo refused in 36 tries",
            "",
            "Still open (1)",
            "  - /opt/run.sh: root runs it [unit]",
            "    seen: mode 0777",
            "    remedy: chmod go-w /opt/run.sh",
        ];
        assert_eq!(narrow[..begin.len()], begin);
        assert!(narrow.iter().all(|line| line.chars().count() <= 52), "{narrow:?}");
    }
}
