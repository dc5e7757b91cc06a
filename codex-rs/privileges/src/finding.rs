//! A way to root, or what may be one.

use codex_config::shell_word;
use serde::Serialize;

use crate::account::Account;

/// How sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// It leads to root.
    Open,
    /// It may, and from here nobody can tell.
    Undecided,
}

/// What of a relinquishment closes a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// The rule that is read last, and PAM's line.
    Rules,
    /// Leaving groups.
    Groups,
    /// No longer administering groups.
    GroupAdmins,
    /// Taking sudo's tickets away.
    Tickets,
    /// Taking the setgid bit off planted files.
    Plants,
    /// Ending processes that still have what the account gave up.
    Processes,
}

/// A way to root, or what may be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: a name that stays the same, in snake_case.
    pub check: &'static str,
    /// How sure it is.
    pub grade: Grade,
    /// The thing. With `check` it is the same in each audit in which the thing is.
    pub what: String,
    /// How it leads to root: one clause.
    pub why: String,
    /// What was seen.
    pub evidence: String,
    /// What to type or to do, as root.
    pub remedy: String,
    /// What of ours closes it; `None`: nothing of ours does.
    pub closed_by: Option<Closing>,
}

impl Finding {
    /// It leads to root.
    pub(crate) fn open(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        let (what, why) = (what.into(), why.into());
        let (evidence, remedy) = (String::new(), String::new());
        Self { check, grade: Grade::Open, what, why, evidence, remedy, closed_by: None }
    }

    /// It may lead to root.
    pub(crate) fn undecided(
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self { grade: Grade::Undecided, ..Self::open(check, what, why) }
    }

    /// What was seen.
    pub(crate) fn seen(self, evidence: impl Into<String>) -> Self {
        Self { evidence: evidence.into(), ..self }
    }

    /// What to do, as root.
    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// What of ours closes it.
    pub(crate) fn closed_by(self, closing: Closing) -> Self {
        Self { closed_by: Some(closing), ..self }
    }

    /// Whether both are about the same thing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.check, &self.what) == (other.check, &other.what)
    }
}

/// What helps where only root could look.
pub(crate) fn let_root_look(account: &Account) -> String {
    let name = shell_word(&account.name);
    format!("an administrator sees it: sudo codex proxy relinquish-sudo --user {name} --plan")
}
