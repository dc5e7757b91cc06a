//! Why a control socket can't be used, each case being something else to its caller.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// A process, as SO_PEERCRED (unix(7)) names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// `None` where the system does not tell.
    pub pid: Option<u32>,
    /// The account that it runs as.
    pub uid: u32,
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(formatter, "pid {pid} of uid {}", self.uid),
            None => write!(formatter, "a process of uid {}", self.uid),
        }
    }
}

/// Why a control socket gave no answer, or none that is one.
#[derive(Debug, Error)]
pub enum ControlError {
    /// There is no such socket, or nobody listens on it any more.
    #[error("nobody answers at {path}", path = path.display())]
    NotThere {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process listens on it. Nothing was sent.
    #[error("{path} belongs to {found}, not to {expected}", path = path.display())]
    NotOurs {
        /// The socket.
        path: PathBuf,
        /// Who was to listen on it.
        expected: Process,
        /// Who does.
        found: Process,
    },
    /// This account may not do that: by the file's mode, or the proxy said so.
    #[error("{0}")]
    NotAllowed(String),
    /// This account has as many connections to it as it may have.
    #[error("this account has too many connections to it already; try again")]
    Crowded,
    /// Somebody else has it done just now.
    #[error("{0}")]
    Busy(String),
    /// The key that was offered can't be used. The one before it stays.
    #[error("{0}")]
    BadKey(String),
    /// The proxy answered that it won't.
    #[error("the proxy answered {status}: {message}")]
    Refused {
        /// The answer's status.
        status: u16,
        /// Why, in the proxy's words.
        message: String,
    },
    /// What came is no answer, or not all of one.
    #[error("{path} gave no answer that can be read", path = path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Nothing came.
    #[error("{path} has been silent for {limit:?}", path = path.display())]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl ControlError {
    /// What helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotThere { .. } => {
                Some("the proxy may have ended: look with `codex proxy status`")
            }
            Self::NotOurs { .. } => {
                Some("the server-info file may be left over from another proxy, or forged")
            }
            Self::NotAllowed(_) => {
                Some("ask as the account that started the proxy, or as root with sudo")
            }
            Self::BadKey(_) => Some(
                "offer the new key alone, by a pipe or from a file, with at most one line end after it: `printenv NEW_KEY | codex proxy rotate-key`",
            ),
            // It stops, has too many callers or lacks something: it said so, and what helps.
            Self::Crowded | Self::Busy(_) | Self::Refused { status: 409 | 500, .. } => None,
            Self::Timeout { .. } => Some("the proxy may have been stopped: look at it with `ps`"),
            Self::Refused { .. } | Self::Broken { .. } => {
                Some("the proxy may be of another version: compare with `codex --version`")
            }
        }
    }
}
