//! Does what the plan says, step by step, and takes it back when a step fails.
//!
//! Each step looks before it acts: what is so already is left alone, so that a second run changes nothing and one after a
//! killed run does what is missing. Nothing is ever half written: [`whole_file`] is the one place that writes, and the
//! lists of groups are changed by the system's own tools. The journal says what is about to be done before it is done.
//!
//! A failure takes back what this run did. Tickets and planted files stay as they are then; and a planted file that can't be
//! closed is no failure, because the account could see to that.

mod admins;
mod deed;
mod drop_in;
mod groups;
mod pam_lock;
pub(crate) mod pam_text;
mod plants;
mod run;
mod tickets;
pub(crate) mod whole_file;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

use crate::account::Account;
use crate::audit::walk::Plant;
use crate::journal::{Journal, JournalError};

use deed::Trouble;
use run::{Look, Run};

pub use whole_file::WriteError;

/// A step of giving sudo up, in the order in which they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// sudo's last rule.
    DropIn,
    /// PAM's line.
    PamLock,
    /// Groups are left.
    Groups,
    /// Groups are no longer administered.
    GroupAdmins,
    /// sudo's tickets are removed.
    Tickets,
    /// Planted files lose their setgid bit.
    Plants,
    /// Processes that still have what was given up are ended. (Asked about after all others.)
    Processes,
}

impl Step {
    /// As the journal has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DropIn => "drop_in",
            Self::PamLock => "pam_lock",
            Self::Groups => "groups",
            Self::GroupAdmins => "group_admins",
            Self::Tickets => "tickets",
            Self::Plants => "plants",
            Self::Processes => "processes",
        }
    }

    /// Whether all is taken back if it fails. What lies in the account's own folders is in its hands.
    fn is_vital(self) -> bool {
        !matches!(self, Self::Plants | Self::Processes)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::DropIn => "writing sudo's last rule",
            Self::PamLock => "putting a line into PAM's files",
            Self::Groups => "leaving groups",
            Self::GroupAdmins => "giving up the administration of groups",
            Self::Tickets => "removing sudo's tickets",
            Self::Plants => "closing planted files",
            Self::Processes => "ending processes",
        })
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done,
    /// It was so before.
    Already,
    /// There is nothing of it, or it was not agreed to.
    Skipped,
    /// It could not be done.
    Failed,
    /// It was done, and is taken back.
    Undone,
}

impl Outcome {
    /// As the journal has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Already => "already",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Undone => "undone",
        }
    }
}

/// What came of a step, and of each thing in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// Which.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// One line for each thing.
    pub details: Vec<String>,
}

/// sudo's last rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// Its file, in a folder that sudo includes.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// A file of PAM's that gets a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PamEdit {
    /// Which.
    pub file: PathBuf,
    /// What it said when it was looked at.
    pub before: Vec<u8>,
    /// What it is to say.
    pub after: Vec<u8>,
}

/// A group that the account administers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administered {
    /// Its name.
    pub group: String,
    /// Its other administrators.
    pub remaining: Vec<String>,
}

/// What a plan has decided.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Whose sudo it is.
    pub account: Account,
    /// The rule.
    pub drop_in: DropIn,
    /// PAM's files.
    pub pam: Vec<PamEdit>,
    /// Groups to leave: names in `/etc/group`.
    pub leave: Vec<String>,
    /// Groups whose administrator it is no longer.
    pub administered: Vec<Administered>,
    /// Tickets of sudo's to remove.
    pub tickets: Vec<PathBuf>,
    /// Planted files to close.
    pub plants: Vec<Plant>,
    /// sudo's main file, which includes the others.
    pub sudoers: PathBuf,
}

/// Why sudo was not given up, and what the state is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{step} failed: {because}")]
pub struct ApplyError {
    /// Where it stopped.
    pub step: Step,
    /// Why.
    pub because: String,
    /// What to do about it.
    pub hint: String,
    /// What was told of each step.
    pub reports: Box<[StepReport]>,
    /// What was done in this run and is taken back.
    pub undone: Vec<String>,
    /// What was done in this run and could not be taken back. (What earlier runs did stays, and is told as `Already`.)
    pub left: Vec<String>,
}

impl ApplyError {
    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Nothing has been touched.
    fn before(step: Step, trouble: Trouble) -> Self {
        let Trouble { because, hint } = trouble;
        let (reports, undone, left) = (Box::default(), Vec::new(), Vec::new());
        Self { step, because, hint, reports, undone, left }
    }
}

/// Does it, as root. `check` looks whether the rule is the last one, when it is there; `told` hears of each step as it is
/// done; `interrupted` is asked before each.
///
/// # Errors
///
/// A step could not be done, or it was interrupted. What was done in this run is taken back as far as that can be.
pub(crate) fn apply(
    intent: &Intent,
    check: &dyn Fn() -> Result<(), String>,
    told: &mut dyn FnMut(&StepReport),
    interrupted: &dyn Fn() -> bool,
) -> Result<Vec<StepReport>, ApplyError> {
    let journals = Journal::folder();
    groups::check(intent).map_err(|trouble| ApplyError::before(Step::Groups, trouble))?;
    let no_journal = |error: JournalError| ApplyError::before(Step::DropIn, Trouble::from(error));
    let _lock = Journal::lock_in(journals).map_err(no_journal)?;
    let journal = Journal::open_in(journals, &intent.account).map_err(no_journal)?;
    let steps: Vec<(Step, Look<'_>)> = vec![
        (Step::DropIn, Box::new(move || drop_in::look(intent, check))),
        (Step::PamLock, Box::new(move || pam_lock::look(intent))),
        (Step::Groups, Box::new(move || groups::look(intent))),
        (Step::GroupAdmins, Box::new(move || admins::look(intent))),
        (Step::Tickets, Box::new(move || tickets::look(intent))),
        (Step::Plants, Box::new(move || Ok(plants::look(intent)))),
    ];
    Run::new(journals, journal, told).all(steps, interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_its_outcome_have_the_same_names_in_the_journal_and_on_the_wire() {
        for step in [
            Step::DropIn,
            Step::PamLock,
            Step::Groups,
            Step::GroupAdmins,
            Step::Tickets,
            Step::Plants,
            Step::Processes,
        ] {
            assert_eq!(serde_json::to_value(step).unwrap(), step.name());
        }
        for outcome in
            [Outcome::Done, Outcome::Already, Outcome::Skipped, Outcome::Failed, Outcome::Undone]
        {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }
}
