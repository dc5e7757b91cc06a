//! One thing that is to be changed: it can be told before, done, and taken back.

use std::error::Error;
use std::path::Path;

use codex_config::shell_word;

use super::whole_file::WriteError;
use crate::journal::JournalError;
use crate::tools::ToolError;

/// Why a thing could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) because: String,
    pub(crate) hint: String,
}

impl Trouble {
    pub(crate) fn new(because: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { because: because.into(), hint: hint.into() }
    }

    /// An error with all that is behind it.
    fn of(error: &dyn Error, hint: impl Into<String>) -> Self {
        let mut because = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            because += &format!(": {error}");
            source = error.source();
        }
        Self::new(because, hint)
    }
}

impl From<WriteError> for Trouble {
    fn from(error: WriteError) -> Self {
        Self::of(&error, error.hint())
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::of(&error, error.hint())
    }
}

impl From<ToolError> for Trouble {
    fn from(error: ToolError) -> Self {
        let hint = match &error {
            ToolError::Missing { program } => {
                format!(
                    "install it, or see whose it is: ls -l /usr/sbin/{program} /usr/bin/{program}"
                )
            }
            ToolError::Start { .. } | ToolError::TimedOut { .. } | ToolError::Disturbed { .. } => {
                "see what the system's log says, and run this again".to_owned()
            }
        };
        Self::of(&error, hint)
    }
}

/// What of a step is not so yet.
pub(super) enum Due<'i> {
    /// There is nothing of it.
    Nothing,
    /// All of it is so already: in words.
    Already(Vec<String>),
    /// This has to be done.
    Deeds(Vec<Box<dyn Deed + 'i>>),
}

impl<'i> Due<'i> {
    /// These; without any, it is so already.
    pub(super) fn deeds(deeds: Vec<Box<dyn Deed + 'i>>, already: Vec<String>) -> Self {
        if deeds.is_empty() { Self::Already(already) } else { Self::Deeds(deeds) }
    }
}

/// One thing that is to be changed.
pub(super) trait Deed {
    /// `leave the group sudo`.
    fn plan(&self) -> String;

    /// What an administrator would type to take it back.
    fn reverse(&self) -> Option<String>;

    /// Does it, and says what was done.
    fn act(&mut self) -> Result<String, Trouble>;

    /// Takes back what [`act`](Self::act) did, also if that failed half-way. It looks first.
    fn undo(&self) -> Undone;
}

/// What came of taking a thing back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undone {
    /// It is as it was: in words.
    Yes(String),
    /// It had not come to that.
    NotNeeded,
    /// It stays: what, and why.
    No(String),
}

impl Undone {
    /// `words` if it worked.
    pub(super) fn of(result: Result<(), Trouble>, words: String, stays: &str) -> Self {
        match result {
            Ok(()) => Self::Yes(words),
            Err(Trouble { because, .. }) => Self::No(format!("{stays}: {because}")),
        }
    }
}

/// A path, as a shell has to be given it.
pub(super) fn word(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}
