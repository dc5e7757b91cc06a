//! How it stands with an account and sudo.

use crate::account::Account;
use crate::audit::Ground;
use crate::finding::{Closing, Finding, let_root_look};
use crate::sudo::proof::ProofError;
use crate::sudo::rules;

/// How it stands with an account and sudo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SudoState {
    /// There is none.
    NotInstalled,
    /// It is one that is not known here.
    Unsupported {
        /// What is missing.
        because: String,
    },
    /// Its own files are not in order, or it can't be tried.
    Broken {
        /// What its tools say.
        because: String,
    },
    /// The account can do nothing through it.
    None,
    /// The account can do something through it.
    Held {
        /// As sudo lists it.
        by: Vec<String>,
    },
    /// Only root can tell.
    Unknown {
        /// Why.
        because: String,
    },
    /// Our rule is there.
    Locked,
}

impl SudoState {
    /// In one sentence.
    pub fn words(&self) -> String {
        match self {
            Self::NotInstalled => "sudo is not installed".to_owned(),
            Self::Unsupported { because }
            | Self::Broken { because }
            | Self::Unknown { because } => because.clone(),
            Self::None => "this account can do nothing through sudo".to_owned(),
            Self::Held { by } => format!("sudo lets this account: {}", by.join("; ")),
            Self::Locked => {
                "this account has given sudo up, and the rule that says so is there".to_owned()
            }
        }
    }
}

/// Where root does not look.
pub(super) fn only_root() -> SudoState {
    SudoState::Unknown { because: "only root can read sudo's rules".to_owned() }
}

/// From what sudo's rules say and what was tried with them.
pub(super) fn state(
    account: &Account,
    ground: Result<&Ground, &SudoState>,
    held: Option<Result<Vec<String>, ProofError>>,
) -> SudoState {
    let ground = match ground {
        Ok(ground) => ground,
        Err(state) => return state.clone(),
    };
    match held {
        Some(Ok(by)) if !by.is_empty() => SudoState::Held { by },
        Some(Ok(_)) if rules::is_read_last(&ground.rules, account.uid) => SudoState::Locked,
        Some(Ok(_)) => SudoState::None,
        Some(Err(error)) => SudoState::Broken { because: error.to_string() },
        None => SudoState::Broken {
            because: "what the account can do with it could not be found out".to_owned(),
        },
    }
}

/// What is to be said of it.
pub(super) fn of_rules(account: &Account, sudo: &SudoState) -> Option<Finding> {
    match sudo {
        SudoState::Held { by } => {
            let why = "sudo lets this account become root, or run what leads there";
            let finding = Finding::open("rules", "sudo's rules", why).seen(by.join("; "));
            Some(
                finding.closed_by(Closing::Rules).remedy("give it up: codex proxy relinquish-sudo"),
            )
        }
        SudoState::Unknown { because } => Some(unknown(because).remedy(let_root_look(account))),
        SudoState::Unsupported { because } => Some(
            unknown(because)
                .remedy("install the whole of sudo's package: visudo and cvtsudoers belong to it"),
        ),
        SudoState::Broken { because } => Some(unknown(because).remedy("as root: visudo -c")),
        SudoState::NotInstalled | SudoState::None | SudoState::Locked => None,
    }
}

fn unknown(because: &str) -> Finding {
    let why = "what sudo's rules allow is not known";
    Finding::undecided("rules", "sudo's rules", why).seen(because)
}
