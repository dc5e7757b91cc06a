//! What was done on this machine to which account, and what an administrator would type to take it back.
//!
//! One file an account, root's alone, replaced whole: before a step begins it says what is about to be done, and after it
//! what was done. So whoever finds a machine whose power failed on the way can tell. What an earlier run wrote stays.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::account::Account;
use crate::apply::whole_file::{self, Content, Look, WriteError};
use crate::apply::{Outcome, StepReport};

/// Where they are.
const FOLDER: &str = "/var/lib/codex-responses-api-proxy/relinquished";
const FOLDER_MODE: u32 = 0o700;
/// Of the folder above: others keep things there that are not secret.
const STATE_FOLDER_MODE: u32 = 0o755;
const LOOK: Look = Look::roots(0o600);
/// The form that is written and understood.
const VERSION: u32 = 1;
/// Another run needs a few seconds.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What was done to an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// Its form.
    pub version: u32,
    /// The account's name.
    pub account: String,
    /// Its number.
    pub uid: u32,
    /// When the first run began, in seconds since 1970.
    pub began_at: u64,
    /// What was done, in order; of all runs.
    pub steps: Vec<Entry>,
    /// What the last verification found.
    pub evidence: Option<serde_json::Value>,
}

/// A step that changed something, or was about to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Which.
    pub step: String,
    /// `begun`, `done`, `failed`, `undone` or `skipped`; `interrupted`: it was begun, its run was killed, and a later one
    /// began it anew.
    pub outcome: String,
    /// One line for each thing.
    pub details: Vec<String>,
    /// What an administrator would type to take it back.
    pub reverse: Vec<String>,
}

/// Why there is no journal.
#[derive(Debug, Error)]
pub enum JournalError {
    /// It is there.
    #[error("the journal {path} can't be read", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WriteError,
    },
    /// It is not one of ours.
    #[error("the journal {path} can't be understood: {because}", path = path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        because: String,
    },
    /// It could not be replaced, or made.
    #[error("the journal {path} can't be written", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WriteError,
    },
    /// Two would undo each other's steps.
    #[error("another run is at work on this machine: it holds {folder}", folder = folder.display())]
    Busy {
        /// The journals' folder.
        folder: PathBuf,
    },
    /// It can't be told whether there is another run.
    #[error("the journals' folder {folder} can't be locked", folder = folder.display())]
    Unlockable {
        /// The journals' folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl JournalError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { source, .. } | Self::Unwritable { source, .. } => source.hint(),
            Self::Garbled { .. } => "move it away, and run this again".to_owned(),
            Self::Busy { .. } => "wait until it has ended, and run this again".to_owned(),
            Self::Unlockable { folder, .. } => format!("look at it: ls -ld {}", folder.display()),
        }
    }
}

/// While it is kept, no other run changes anything.
#[derive(Debug)]
pub(crate) struct Lock {
    _folder: File,
}

impl Journal {
    /// Where an account's is.
    pub fn path(uid: u32) -> PathBuf {
        path_in(Path::new(FOLDER), uid)
    }

    /// As it is on the disk. `None`: there is none.
    ///
    /// # Errors
    ///
    /// It can't be read or understood, or others than root could have written it.
    pub fn read(uid: u32) -> Result<Option<Self>, JournalError> {
        Self::read_in(Path::new(FOLDER), uid)
    }

    /// Brings it to the disk, in place of the one that is there.
    ///
    /// # Errors
    ///
    /// It can't be written; then the one that was there still is.
    pub fn write(&self) -> Result<(), JournalError> {
        self.write_in(Path::new(FOLDER))
    }

    /// Where they all are.
    pub(crate) fn folder() -> &'static Path {
        Path::new(FOLDER)
    }

    /// The one that there is; else a new one, which is on the disk before this returns. One that can't be understood
    /// is moved aside, and not lost.
    pub(crate) fn open_in(folder: &Path, account: &Account) -> Result<Self, JournalError> {
        match Self::read_in(folder, account.uid) {
            Ok(Some(journal)) => return Ok(journal),
            Err(JournalError::Garbled { path, .. }) => {
                let aside = format!("{}.json.unreadable", account.uid);
                whole_file::set_aside(&path, &aside)
                    .map_err(|source| JournalError::Unwritable { path, source })?;
            }
            Ok(None) => {}
            Err(error) => return Err(error),
        }
        let journal = Self {
            version: VERSION,
            account: account.name.clone(),
            uid: account.uid,
            began_at: now(),
            steps: Vec::new(),
            evidence: None,
        };
        journal.write_in(folder)?;
        Ok(journal)
    }

    /// Keeps other runs away. Waits for one that is at work, for a moment.
    pub(crate) fn lock_in(folder: &Path) -> Result<Lock, JournalError> {
        make(folder)?;
        let unlockable = |source| JournalError::Unlockable { folder: folder.to_owned(), source };
        let handle = File::open(folder).map_err(unlockable)?;
        let deadline = Instant::now() + LOCK_LIMIT;
        loop {
            match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _folder: handle }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    return Err(JournalError::Busy { folder: folder.to_owned() });
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(unlockable(errno.into())),
            }
        }
    }

    pub(crate) fn read_in(folder: &Path, uid: u32) -> Result<Option<Self>, JournalError> {
        let path = path_in(folder, uid);
        let unreadable = |source| JournalError::Unreadable { path: path.clone(), source };
        let Some(content) = whole_file::read(&path).map_err(unreadable)? else { return Ok(None) };
        whole_file::check_folder(folder).map_err(unreadable)?;
        match understood(&content, uid) {
            Ok(journal) => Ok(Some(journal)),
            Err(because) => Err(JournalError::Garbled { path, because }),
        }
    }

    pub(crate) fn write_in(&self, folder: &Path) -> Result<(), JournalError> {
        make(folder)?;
        let path = path_in(folder, self.uid);
        let unwritable = |source| JournalError::Unwritable { path: path.clone(), source };
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| {
            let (doing, source) = ("it has no form in JSON", error.into());
            unwritable(WriteError::Failed { path: path.clone(), doing, source })
        })?;
        bytes.push(b'\n');
        let temporary = format!(".{}.json.new", self.uid);
        whole_file::replace(&path, &temporary, &bytes, LOOK).map_err(unwritable)
    }

    /// A step is about to begin: the place of its entry. One that an earlier run has begun, and was killed in, is over.
    pub(crate) fn begin(
        &mut self,
        step: &str,
        details: Vec<String>,
        reverse: Vec<String>,
    ) -> usize {
        self.close(step, "interrupted");
        let (step, outcome) = (step.to_owned(), "begun".to_owned());
        self.steps.push(Entry { at: now(), step, outcome, details, reverse });
        self.steps.len() - 1
    }

    /// A step is so already. Whether an earlier run had begun it, and was killed before it could say so.
    pub(crate) fn settle(&mut self, step: &str) -> bool {
        self.close(step, Outcome::Done.name())
    }

    /// Gives those that are begun this outcome. Whether there are any.
    fn close(&mut self, step: &str, outcome: &str) -> bool {
        let is_open = |entry: &&mut Entry| entry.step == step && entry.outcome == "begun";
        let mut is_any = false;
        for entry in self.steps.iter_mut().filter(is_open) {
            outcome.clone_into(&mut entry.outcome);
            is_any = true;
        }
        is_any
    }
}

/// Adds what came of a step that was done by itself, after the others. What was so already is not told again.
pub(crate) fn note(account: &Account, report: &StepReport) -> Result<(), JournalError> {
    note_in(Journal::folder(), account, report)
}

fn note_in(folder: &Path, account: &Account, report: &StepReport) -> Result<(), JournalError> {
    if report.outcome == Outcome::Already {
        return Ok(());
    }
    let _lock = Journal::lock_in(folder)?;
    let mut journal = Journal::open_in(folder, account)?;
    let (step, outcome) = (report.step.name().to_owned(), report.outcome.name().to_owned());
    let (details, reverse) = (report.details.clone(), Vec::new());
    journal.steps.push(Entry { at: now(), step, outcome, details, reverse });
    journal.write_in(folder)
}

fn path_in(folder: &Path, uid: u32) -> PathBuf {
    folder.join(format!("{uid}.json"))
}

fn understood(content: &Content, uid: u32) -> Result<Journal, String> {
    let Look { uid: owner, mode, .. } = content.look;
    if owner != 0 || mode & 0o022 != 0 {
        return Err(format!("it belongs to uid {owner} and has mode {mode:04o}"));
    }
    let journal: Journal =
        serde_json::from_slice(&content.bytes).map_err(|error| error.to_string())?;
    if journal.version != VERSION {
        return Err(format!("its version is {}, not {VERSION}", journal.version));
    }
    if journal.uid != uid {
        return Err(format!("it is about uid {}", journal.uid));
    }
    Ok(journal)
}

fn make(folder: &Path) -> Result<(), JournalError> {
    let made = |folder: &Path, mode| {
        whole_file::make_folder(folder, mode)
            .map_err(|source| JournalError::Unwritable { path: folder.to_owned(), source })
    };
    if let Some(above) = folder.parent() {
        made(above, STATE_FOLDER_MODE)?;
    }
    made(folder, FOLDER_MODE)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
