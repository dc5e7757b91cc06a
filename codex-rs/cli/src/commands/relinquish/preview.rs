//! What was seen and what would be done, as lines for people. Made of values, so it changes nothing.

use std::path::Path;
use std::time::Duration;

use codex_config::shell_word;
use codex_privileges::{
    Account, Administrators, Audit, Closing, Finding, Grade, Intent, NEVER_DECIDED, Plan, Proof,
    SecondLock, StaleProcess, SudoState, leading,
};
use nix::unistd::{Gid, Group};

use super::page::{closings, findings, heading, item, list, quoted, under};
use crate::commands::diff;
use crate::commands::figures::{bytes, millis};
use crate::commands::sheet::Sheet;

/// What the audit has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'s> {
    pub(super) account: &'s Account,
    pub(super) is_root: bool,
    pub(super) sudo: &'s SudoState,
    pub(super) findings: &'s [Finding],
    pub(super) others: &'s Administrators,
    /// Whether nobody else could become root.
    pub(super) is_sole: bool,
    pub(super) took: Duration,
    /// What everybody can see of it, where sudo was given up and this is not root.
    pub(super) given_up: Option<&'s str>,
}

impl<'s> From<&'s Audit> for Seen<'s> {
    fn from(audit: &'s Audit) -> Self {
        Self {
            account: &audit.account,
            is_root: audit.is_root,
            sudo: &audit.sudo,
            findings: &audit.findings,
            others: &audit.others,
            is_sole: audit.others.is_sole(),
            took: audit.took,
            given_up: None,
        }
    }
}

/// The plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned<'p> {
    pub(super) seen: Seen<'p>,
    pub(super) intent: &'p Intent,
    pub(super) to_end: &'p [StaleProcess],
    /// Those that this command runs in.
    pub(super) stays: &'p [StaleProcess],
    pub(super) stays_open: &'p [Finding],
    pub(super) undecided: &'p [Finding],
    pub(super) afterwards: &'p [String],
    pub(super) rehearsal: &'p Proof,
    pub(super) is_done: bool,
    /// What a group is called.
    pub(super) group_name: fn(u32) -> Option<String>,
}

impl<'p> From<&'p Plan> for Planned<'p> {
    fn from(plan: &'p Plan) -> Self {
        Self {
            seen: Seen::from(&plan.audit),
            intent: &plan.intent,
            to_end: &plan.to_end,
            stays: &plan.stays,
            stays_open: &plan.stays_open,
            undecided: &plan.undecided,
            afterwards: &plan.afterwards,
            rehearsal: &plan.rehearsal,
            is_done: plan.is_done,
            group_name: |gid| Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name),
        }
    }
}

/// What leads to root, where nothing is going to be done about it.
pub(super) fn seen_lines(seen: &Seen<'_>, width: Option<usize>) -> Vec<String> {
    let mut sheet = Sheet::new(width);
    sheet.paragraph(&format!("What leads to root for {}", seen.account.words()));
    looked(&mut sheet, seen);
    through_sudo(&mut sheet, seen);
    let of = |grade| seen.findings.iter().filter(move |finding| finding.grade == grade);
    findings(&mut sheet, "Leads to root", of(Grade::Open));
    undecided(&mut sheet, of(Grade::Undecided));
    sheet.lines
}

/// The whole plan.
pub(super) fn plan_lines(plan: &Planned<'_>, width: Option<usize>) -> Vec<String> {
    let mut sheet = Sheet::new(width);
    let account = plan.seen.account.words();
    sheet.paragraph(&if plan.is_done {
        format!("The sudo of {account} has been given up: it is only verified")
    } else {
        format!("Giving up the sudo of {account}, for good")
    });
    looked(&mut sheet, &plan.seen);
    through_sudo(&mut sheet, &plan.seen);
    let closed = |grade| plan.closed().filter(move |finding| finding.grade == grade);
    closings(&mut sheet, "Leads to root now, and is closed", closed(Grade::Open));
    closings(&mut sheet, "May lead to root, and ends with it", closed(Grade::Undecided));
    if plan.is_done {
        tickets(&mut sheet, plan.intent);
    } else {
        intent(&mut sheet, plan.seen.account, plan.intent);
        rehearsal(&mut sheet, plan.rehearsal);
    }
    processes(&mut sheet, plan);
    if plan.stays_open.is_empty() {
        sheet.heading("Stays open");
        item(&mut sheet, "nothing that is known here");
    } else {
        findings(&mut sheet, "Stays open", plan.stays_open);
    }
    undecided(&mut sheet, plan.undecided);
    others(&mut sheet, &plan.seen);
    if !plan.is_done {
        list(&mut sheet, "Afterwards", plan.afterwards.iter().cloned());
        sheet.heading(&in_short(plan)); // Last: on a small screen it is what is seen.
    }
    sheet.lines
}

impl<'p> Planned<'p> {
    /// What is closed by it, but for processes: they have a list of their own.
    fn closed(&self) -> impl Iterator<Item = &'p Finding> + use<'p> {
        self.seen.findings.iter().filter(|finding| match finding.closed_by {
            Some(Closing::Processes) | None => false,
            Some(_) => true,
        })
    }

    /// Groups of a process that lead to root by something else than sudo, which our locks do not close.
    fn leading_past_sudo(&self, process: &StaleProcess) -> Vec<String> {
        let by_sudo = leading("sudo").map(|sudo| sudo.why);
        let names = process.gids.iter().filter_map(|gid| (self.group_name)(*gid));
        let leads = |name: &String| leading(name).is_some_and(|it| Some(it.why) != by_sudo);
        names.filter(leads).collect()
    }
}

/// The plan in one sentence.
fn in_short(plan: &Planned<'_>) -> String {
    let (open, undecided) = (plan.stays_open.len(), plan.undecided.len());
    let closed = plan.closed().count();
    let asks = match plan.to_end.len() {
        0 => String::new(),
        1 => "; it asks about 1 process".to_owned(),
        count => format!("; it asks about {count} processes"),
    };
    let sole = match (plan.seen.is_sole, &plan.seen.others.unknown) {
        (false, _) => "",
        (true, None) => "; nobody else on this system could become root",
        (true, Some(_)) => "; nobody else is known who could become root",
    };
    format!("It closes {closed}, leaves {open} open and can't tell {undecided}{asks}{sole}.")
}

fn looked(sheet: &mut Sheet, seen: &Seen<'_>) {
    let took = millis(u64::try_from(seen.took.as_millis()).unwrap_or(u64::MAX));
    let reach = if seen.is_root {
        "as root"
    } else {
        "with that account's own reach: only root sees all of it"
    };
    sheet.paragraph(&format!("Looked for {took}, {reach}."));
}

fn through_sudo(sheet: &mut Sheet, seen: &Seen<'_>) {
    sheet.heading("Through sudo now");
    if let Some(told) = seen.given_up {
        return item(sheet, told);
    }
    match seen.sudo {
        SudoState::NotInstalled => item(sheet, "nothing: sudo is not installed"),
        SudoState::None => item(sheet, "nothing: no rule of sudo's is for this account"),
        SudoState::Locked => item(sheet, "nothing: it was given up, and the locks stand"),
        SudoState::Unsupported { because } => {
            item(sheet, &format!("not known: this sudo can't be judged: {because}"));
        }
        SudoState::Broken { because } => {
            item(sheet, &format!("its rules were not valid before anything was done: {because}"));
        }
        SudoState::Unknown { because } => item(sheet, &format!("not known from here: {because}")),
        SudoState::Held { by } => by.iter().for_each(|rule| item(sheet, rule)),
    }
}

/// What would be written and called, exactly.
fn intent(sheet: &mut Sheet, account: &Account, intent: &Intent) {
    let written = &intent.drop_in;
    sheet.heading("Written, and read last by sudo");
    let size = bytes(u64::try_from(written.text.len()).unwrap_or(u64::MAX));
    item(sheet, &format!("{}, of root:root, mode 0440, {size}:", written.path.display()));
    written.text.lines().for_each(|line| quoted(sheet, '+', line));
    let mut edits = intent.pam.iter().filter(|edit| edit.before != edit.after).peekable();
    if edits.peek().is_some() {
        sheet.heading("Written, and asked by PAM whenever sudo is called");
    }
    for edit in edits {
        item(sheet, &format!("{}:", edit.file.display()));
        changed(sheet, &edit.file, &edit.before, &edit.after);
    }
    let name = shell_word(&account.name);
    let leave = intent.leave.iter().map(|group| {
        let word = shell_word(group);
        format!("{group}: deluser {name} {word}, or else gpasswd -d {name} {word}")
    });
    list(sheet, "Groups to leave", leave);
    let administered = intent.administered.iter().map(|administered| {
        let remaining = shell_word(&administered.remaining.join(","));
        let group = &administered.group;
        format!("{group}: gpasswd -A {remaining} {}", shell_word(group))
    });
    list(sheet, "Groups that it no longer administers", administered);
    tickets(sheet, intent);
    let plants = intent.plants.iter().map(|plant| format!("chmod ug-s {}", word(&plant.path)));
    list(sheet, "Files that give a group to whoever runs them, and will not", plants);
}

fn tickets(sheet: &mut Sheet, intent: &Intent) {
    let tickets = intent.tickets.iter().map(|ticket| format!("rm {}", word(ticket)));
    list(sheet, "Tickets of sudo's to take away", tickets);
}

/// What came of the files in a view of the system that nobody else sees.
fn rehearsal(sheet: &mut Sheet, proof: &Proof) {
    let Proof { tried, controls, untried, second_lock, .. } = proof;
    sheet.heading("Tried with these files in a view that nobody else sees");
    item(
        sheet,
        &format!(
            "{tried} tries to become root or anybody else by sudo, with no password asked: all failed"
        ),
    );
    item(
        sheet,
        &format!(
            "{controls} tries with a rule that allows everything: all got through, as they had to"
        ),
    );
    for form in untried {
        item(sheet, &format!("{form}: works here for nobody, so it was not tried"));
    }
    match second_lock {
        SecondLock::Holds => item(sheet, "PAM's line alone: refused, too"),
        SecondLock::Unproven { because } => {
            item(sheet, &format!("PAM's line alone: not proved: {because}"))
        }
        SecondLock::Absent => item(sheet, "PAM's line: sudo has no file of PAM's here"),
    }
}

/// What is put into a file, with a few lines around it.
fn changed(sheet: &mut Sheet, file: &Path, before: &[u8], after: &[u8]) {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let diff = diff::unified(file, Some(&before), Some(&after), /*colour*/ false);
    // The first two lines name the file.
    for line in diff.lines().skip(2) {
        match line.chars().next() {
            Some(sign @ ('+' | '-' | ' ')) => quoted(sheet, sign, &line[1..]),
            _ => under(sheet, line),
        }
    }
}

fn processes(sheet: &mut Sheet, plan: &Planned<'_>) {
    let words = |process: &StaleProcess| {
        format!("pid {} {}: {}", process.pid, process.name, process.command)
    };
    let title = "Processes that keep what is given up, and that you are asked about";
    heading(sheet, title, plan.to_end.len());
    for process in plan.to_end {
        item(sheet, &words(process));
        let past_sudo = plan.leading_past_sudo(process);
        if !past_sudo.is_empty() {
            let stays =
                format!("if it is not ended, what it has stays open ({})", past_sudo.join(", "));
            under(sheet, &stays);
        }
    }
    let title = "Processes that keep it and are not ended: this command runs in them, so log out afterwards";
    list(sheet, title, plan.stays.iter().map(words));
}

fn undecided<'f>(sheet: &mut Sheet, undecided: impl IntoIterator<Item = &'f Finding>) {
    findings(sheet, "Can't be told from here", undecided);
    list(sheet, "No audit can tell", NEVER_DECIDED.iter().map(|what| (*what).to_owned()));
}

fn others(sheet: &mut Sheet, seen: &Seen<'_>) {
    let Administrators { others, root_has_password, root_has_keys, unknown } = seen.others;
    sheet.heading("Who else can become root");
    if !others.is_empty() {
        item(sheet, &format!("by sudo: {}", others.join(", ")));
    }
    if *root_has_password {
        item(sheet, "root itself, with its password");
    }
    if *root_has_keys {
        item(sheet, "root itself, with a key of SSH's");
    }
    if let Some(unknown) = unknown {
        item(sheet, &format!("not known: {unknown}"));
    }
    if seen.is_sole {
        item(
            sheet,
            "WARNING: nobody. What root has to do then needs a rescue system, the console of a host, or an image made anew",
        );
    }
}

fn word(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

#[cfg(test)]
mod tests;
