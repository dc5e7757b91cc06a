//! Why sudo was not given up, each with its remedy.

use std::io;

use codex_privileges::AccountError;
#[cfg(target_os = "linux")]
use codex_privileges::{ApplyError, NotGone, Refusal, ToolError};
use thiserror::Error;

#[derive(Debug, Error)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there it is not done"))]
pub(crate) enum RelinquishError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error("--user {user}: only root gives up another account's sudo")]
    OnlyOwnSudo { user: String },
    #[error("whose sudo is to be given up? this is root, and nobody called sudo")]
    WhoseSudo,
    #[error("SUDO_UID is {uid}, which is {owner}, and SUDO_USER is {name}")]
    CallersDisagree { uid: String, owner: String, name: String },
    #[error("--yes-relinquish {typed:?} is not the account's name, which is {name:?}")]
    OtherName { typed: String, name: String },
    #[error("giving sudo up can't be taken back by {name}, and nobody is there to be asked")]
    NobodyToConfirm { name: String },
    #[error("--json shows nobody what they would agree to")]
    NothingShown { name: String },
    #[error(
        "the program would have a terminal that is not {name}'s: it could type there, and read what is typed"
    )]
    ForeignTerminal { name: String },
    #[error("signals can't be held back")]
    Signals(#[source] io::Error),
    #[error("the audit can't be started")]
    Looking(#[source] io::Error),
    #[error("the audit broke off")]
    AuditBroke,
    #[error("the path of this program can't be told")]
    OwnPath(#[source] io::Error),
    #[error("there is no sudo on this machine, so nothing was changed")]
    NoSudoHere { name: String },
    #[error("sudo did not let {name} through: see what sudo said above")]
    NotLetThrough { name: String, is_plan: bool },
    #[error("{name} has given sudo up on this system")]
    GivenUp { name: String },
    #[error("--then-exec {program:?}: there is no such program, so nothing was changed")]
    NoProgram { program: String, path: String },
    #[error("the plan could not be shown, so nothing was changed")]
    PlanUnseen(#[source] io::Error),
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Refused(Box<Refusal>),
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Applying(Box<ApplyError>),
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    NotGone(Box<NotGone>),
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[cfg(not(target_os = "linux"))]
    #[error("sudo is given up by this program on Linux only")]
    OnlyOnLinux,
}

impl RelinquishError {
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Account(error) => return Some(error.hint()),
            Self::OnlyOwnSudo { .. } => "use sudo, or leave --user out",
            Self::WhoseSudo | Self::CallersDisagree { .. } => "say whose with --user",
            Self::OtherName { name, .. }
            | Self::NobodyToConfirm { name }
            | Self::NothingShown { name } => {
                let name = codex_config::shell_word(name);
                return Some(format!("look with --plan, then say --yes-relinquish {name}"));
            }
            Self::NoSudoHere { name } | Self::NotLetThrough { name, is_plan: true } => {
                return Some(format!("an administrator can do it: {}", as_administrator(name)));
            }
            Self::NotLetThrough { name, is_plan: false } => {
                return Some(format!(
                    "try again; `codex proxy relinquish-sudo --plan` shows what can be seen without root; an administrator can do it: {}",
                    as_administrator(name)
                ));
            }
            Self::GivenUp { name } => {
                return Some(format!("an administrator verifies it: {}", as_administrator(name)));
            }
            Self::NoProgram { program, .. } if program.contains('/') => {
                "name a file that can be executed"
            }
            Self::NoProgram { path, .. } => {
                return Some(format!("name it by its absolute path; it is looked for in {path}"));
            }
            #[cfg(target_os = "linux")]
            Self::Refused(refusal) => return refusal.hint(),
            #[cfg(target_os = "linux")]
            Self::Applying(error) => return Some(error.hint().to_owned()),
            #[cfg(target_os = "linux")]
            Self::NotGone(error) => {
                return Some(format!("what was done stays done; {}", error.hint()));
            }
            #[cfg(target_os = "linux")]
            Self::Tool(_) => "setpriv and setsid are parts of util-linux",
            #[cfg(not(target_os = "linux"))]
            Self::OnlyOnLinux => "codex proxy relinquish-sudo --plan shows what to type by hand",
            Self::ForeignTerminal { name } => {
                return Some(format!(
                    "log in as {name} and run it there; or leave --then-exec out; or give it no terminal: setsid --wait codex … </dev/null"
                ));
            }
            Self::Signals(_)
            | Self::Looking(_)
            | Self::AuditBroke
            | Self::OwnPath(_)
            | Self::PlanUnseen(_) => return None,
        };
        Some(hint.to_owned())
    }
}

/// What an administrator types about this account.
fn as_administrator(name: &str) -> String {
    format!("sudo codex proxy relinquish-sudo --user {}", codex_config::shell_word(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_types_names_the_account() {
        let name = || "alice".to_owned();
        for error in [
            RelinquishError::NoSudoHere { name: name() },
            RelinquishError::NotLetThrough { name: name(), is_plan: true },
            RelinquishError::NotLetThrough { name: name(), is_plan: false },
            RelinquishError::GivenUp { name: name() },
        ] {
            let hint = error.hint().unwrap();
            let expected = ": sudo codex proxy relinquish-sudo --user alice";
            assert!(hint.ends_with(expected), "{error:?}: {hint}");
        }
    }
}
