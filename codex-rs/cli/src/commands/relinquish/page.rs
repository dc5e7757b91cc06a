//! Lists on a sheet: a thing, what belongs to it below, and lines of files as they are.

use codex_privileges::{Closing, Finding};
use codex_responses_api_proxy::plain::plain;
use unicode_width::UnicodeWidthStr;

use crate::commands::sheet::{Sheet, wrap};

/// How many columns a list and what belongs to a thing of it are set in.
const ITEM: &str = "  - ";
const UNDER: &str = "    ";

/// A heading with how many there are, and nothing where there are none.
pub(super) fn heading(sheet: &mut Sheet, text: &str, count: usize) -> bool {
    if count > 0 {
        sheet.heading(&format!("{text} ({count})"));
    }
    count > 0
}

/// A thing of a list.
pub(super) fn item(sheet: &mut Sheet, text: &str) {
    hanging(sheet, ITEM, text);
}

/// What belongs to the thing above.
pub(super) fn under(sheet: &mut Sheet, text: &str) {
    hanging(sheet, UNDER, text);
}

/// A line of a file. What does not fit goes on further in, without a sign: so each line's beginning can be seen.
pub(super) fn quoted(sheet: &mut Sheet, sign: char, line: &str) {
    let text = line.trim_start_matches(' ');
    let before = &line[..line.len() - text.len()];
    hanging(sheet, &format!("{UNDER}{sign}{before}"), text);
}

/// Things of a list, if there are any.
pub(super) fn list(sheet: &mut Sheet, title: &str, things: impl IntoIterator<Item = String>) {
    let things: Vec<String> = things.into_iter().collect();
    if heading(sheet, title, things.len()) {
        things.iter().for_each(|thing| item(sheet, thing));
    }
}

/// Findings, if there are any, each with what was seen and what to do about it.
pub(super) fn findings<'f>(
    sheet: &mut Sheet,
    title: &str,
    findings: impl IntoIterator<Item = &'f Finding>,
) {
    each(sheet, title, findings, |finding| match finding.remedy.as_str() {
        "" => None,
        remedy => Some(format!("remedy: {remedy}")),
    });
}

/// The same of those that we close, each with what closes it.
pub(super) fn closings<'f>(
    sheet: &mut Sheet,
    title: &str,
    findings: impl IntoIterator<Item = &'f Finding>,
) {
    each(sheet, title, findings, |finding| {
        Some(format!("closed by {}", closing_words(finding.closed_by?)))
    });
}

fn each<'f>(
    sheet: &mut Sheet,
    title: &str,
    findings: impl IntoIterator<Item = &'f Finding>,
    becomes: impl Fn(&Finding) -> Option<String>,
) {
    let findings: Vec<&Finding> = findings.into_iter().collect();
    heading(sheet, title, findings.len());
    for found in findings {
        finding(sheet, found);
        if let Some(words) = becomes(found) {
            under(sheet, &words);
        }
    }
}

fn finding(sheet: &mut Sheet, finding: &Finding) {
    let Finding { check, what, why, evidence, .. } = finding;
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    item(sheet, &format!("{what}{why} [{check}]"));
    if !evidence.is_empty() {
        under(sheet, &format!("seen: {evidence}"));
    }
}

fn closing_words(closing: Closing) -> &'static str {
    match closing {
        Closing::Rules => "the rule that is read last, and the line in PAM",
        Closing::Groups => "leaving the group",
        Closing::GroupAdmins => "no longer administering the group",
        Closing::Tickets => "taking it away",
        Closing::Plants => "chmod ug-s",
        Closing::Processes => "ending the process, if you agree to that",
    }
}

fn hanging(sheet: &mut Sheet, first: &str, text: &str) {
    let indent = first.width();
    let room = sheet.width.map(|width| width.saturating_sub(indent).max(1));
    for (number, line) in wrap(&plain(text), room).iter().enumerate() {
        let line =
            if number == 0 { format!("{first}{line}") } else { format!("{:indent$}{line}", "") };
        sheet.line(line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use codex_privileges::Grade;

    use super::*;

    #[test]
    fn lines_of_files_begin_at_their_signs_and_lists_at_their_dashes() {
        let mut sheet = Sheet::new(Some(24));
        item(&mut sheet, "one thing, which is long\u{1b}");
        quoted(&mut sheet, '+', "#1000 ALL=(ALL:ALL) !ALL");
        quoted(&mut sheet, ' ', "  set in");
        quoted(&mut sheet, ' ', "");
        let expected = [
            "  - one thing, which is",
            "    long\\u{1b}",
            "    +#1000 ALL=(ALL:ALL)",
            "     !ALL",
            "       set in",
            "",
        ];
        assert_eq!(sheet.lines, expected);
    }

    #[test]
    fn a_finding_has_what_was_seen_and_what_to_do_or_what_closes_it() {
        let found = |closed_by| Finding {
            check: "group",
            grade: Grade::Open,
            what: "the group docker".to_owned(),
            why: "its socket is root".to_owned(),
            evidence: "/etc/group".to_owned(),
            remedy: "gpasswd -d alice docker".to_owned(),
            closed_by,
        };
        let mut sheet = Sheet::new(None);
        closings(&mut sheet, "None", []);
        closings(&mut sheet, "Closed", [&found(Some(Closing::Groups))]);
        findings(&mut sheet, "Open", [&found(Some(Closing::Processes)), &found(None)]);
        let expected = [
            "",
            "Closed (1)",
            "  - the group docker: its socket is root [group]",
            "    seen: /etc/group",
            "    closed by leaving the group",
            "",
            "Open (2)",
            "  - the group docker: its socket is root [group]",
            "    seen: /etc/group",
            "    remedy: gpasswd -d alice docker",
            "  - the group docker: its socket is root [group]",
            "    seen: /etc/group",
            "    remedy: gpasswd -d alice docker",
        ];
        assert_eq!(sheet.lines, expected);
    }
}
