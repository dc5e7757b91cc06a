//! Why nothing is done. All is as it was.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::audit::SudoState;
use crate::sudo::proof::ProofError;
use crate::sudo::view::ViewError;

/// Why nothing is done. All is as it was.
#[derive(Debug, Error)]
pub enum Refusal {
    /// There is no sudo.
    #[error("sudo is not installed on this system, so there is nothing to give up")]
    NotInstalled,
    /// The account has none.
    #[error("{account} has no sudo, and nothing else that is closed by giving it up")]
    NoSudo {
        /// Whose.
        account: String,
    },
    /// Only root can do it.
    #[error("only root can read sudo's rules and change them")]
    NotRoot,
    /// It is a sudo that is not known here.
    #[error("this sudo can't be worked with: {because}")]
    Unsupported {
        /// What is missing.
        because: String,
    },
    /// It was broken before.
    #[error("sudo's own files are not in order: {because}")]
    Broken {
        /// What its tools say.
        because: String,
    },
    /// A rule would come later.
    #[error("the rule would not be the last one, and sudo obeys the last one that matches: after it comes {}", later.join("; "))]
    NotLast {
        /// The rules that come later.
        later: Vec<String>,
    },
    /// It was tried, and something got through.
    #[error("the rule was tried in a private view of this system and does not hold: {} gets through", through.join("; "))]
    DoesNotHold {
        /// What got through.
        through: Vec<String>,
    },
    /// Nothing can be tried.
    #[error("that sudo is gone could not be proved here")]
    NoProof {
        /// Why.
        source: ProofError,
    },
    /// It can't be written.
    #[error("{} can't be written to", folder.display())]
    NotWritable {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Refusal {
    /// By what the audit found of sudo.
    pub(super) fn of(state: &SudoState) -> Self {
        match state {
            SudoState::NotInstalled => Self::NotInstalled,
            SudoState::Unsupported { because } => Self::Unsupported { because: because.clone() },
            SudoState::Broken { because } => Self::Broken { because: because.clone() },
            _ => Self::NotRoot,
        }
    }

    /// Whether it is that there is nothing to give up.
    pub fn is_nothing_to_do(&self) -> bool {
        matches!(self, Self::NotInstalled | Self::NoSudo { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotInstalled | Self::NoSudo { .. } => return None,
            Self::NotRoot => "run it through sudo, as long as this account has it",
            Self::Unsupported { .. } => {
                "it takes the sudo of sudo.ws with visudo and cvtsudoers, as Linux distributions package it, and a @includedir in its main file"
            }
            Self::Broken { .. } => {
                "as root, mend it with `visudo`, and see that `visudo -c` is content; then try again"
            }
            Self::NotLast { .. } => {
                "as root, run `visudo` and move the @includedir line to the end of the file, or that rule before it; then try again"
            }
            Self::DoesNotHold { .. } => {
                "see `sudo -V` as root and /etc/sudo.conf for a policy that is not sudoers'; or let the agent run as an account without sudo"
            }
            Self::NoProof { source: ProofError::View(ViewError::Refused { .. }) } => {
                "in a container it takes CAP_SYS_ADMIN; or let the agent run as an account without sudo"
            }
            Self::NoProof { source: ProofError::NoControl } => {
                "see what /etc/pam.d/sudo and /etc/security say about this account"
            }
            Self::NoProof { .. } => "see what `visudo -c` and `sudo -V` say as root",
            Self::NotWritable { .. } => {
                "see how it is mounted: findmnt --target that folder; then try again"
            }
        };
        Some(hint.to_owned())
    }
}

impl From<ProofError> for Refusal {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::NotLast { later } => Self::NotLast { later },
            ProofError::Sudo { because } => Self::Broken { because },
            source => Self::NoProof { source },
        }
    }
}
