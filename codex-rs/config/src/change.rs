//! One change of one configuration file: planned, shown, done.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::place::{Content, follow, read};
use crate::replace::{Draft, Folder, OWNERS_MODE};
use crate::{ConfigError, edit};

/// What is to be done to a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// [`edit::point`].
    Point {
        /// Where our table is to lead, as in `http://127.0.0.1:4000/v1`.
        base_url: String,
    },
    /// [`edit::unpoint`].
    Unpoint,
    /// [`edit::purge`].
    Purge,
}

/// A change that is planned. Nothing has been written.
#[derive(Debug)]
pub struct Change {
    file: PathBuf,
    place: PathBuf,
    before: Option<Content>,
    after: Option<String>,
    backup: Backup,
}

/// What becomes of the copy of the file as it was without us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backup {
    /// The file has something of ours: it is not to be taken for what it was.
    Leave,
    Make,
    /// The file is to be what the backup says: nobody needs it any more.
    Remove,
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub struct Applied {
    /// The file as it was before us, if there is such a copy.
    pub backup: Option<PathBuf>,
    /// Whether that copy was made now, and not by an earlier change.
    pub is_new: bool,
}

impl Change {
    /// Looks at the file, which need not be there, and plans.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn plan(file: &Path, deed: &Deed) -> Result<Self, ConfigError> {
        let place = follow(file)?;
        let before = read(&place)?;
        let text = before.as_ref().map(|before| before.text.as_str());
        let after = match (deed, text) {
            (Deed::Point { base_url }, text) => edit::point(text, base_url).map(Some),
            (Deed::Unpoint | Deed::Purge, None) => Ok(None),
            (Deed::Unpoint, Some(text)) => edit::unpoint(text).map(Some),
            (Deed::Purge, Some(text)) => edit::purge(text),
        };
        let wrong = |source| ConfigError::Edit { file: file.to_owned(), source };
        let after = after.map_err(wrong)?;
        let backup = match (deed, text) {
            (Deed::Point { .. }, Some(text))
                if edit::read(text).map_err(wrong)?.is_without_us() =>
            {
                Backup::Make
            }
            (Deed::Purge, _) => Backup::Remove,
            _ => Backup::Leave,
        };
        Ok(Self { file: file.to_owned(), place, before, after, backup })
    }

    /// The file, as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where its links lead: what is written.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// What it says; `None`, if it is not there.
    pub fn before(&self) -> Option<&str> {
        self.before.as_ref().map(|before| before.text.as_str())
    }

    /// What it will say; `None`, if it will not be there.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Whether there is nothing to do.
    pub fn is_none(&self) -> bool {
        self.before() == self.after()
    }

    /// What somebody may want to know before.
    pub fn warnings(&self) -> Vec<String> {
        let links = self.before.as_ref().map_or(1, |before| before.metadata.nlink());
        let place = self.place.display();
        let linked =
            format!("{place} has {links} names (hard links); the others keep the old text");
        if links > 1 && !self.is_none() { vec![linked] } else { Vec::new() }
    }

    /// Where the file as it was before us is kept.
    pub fn backup_path(file: &Path) -> PathBuf {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".before-openai-proxy");
        file.with_file_name(name)
    }

    /// Does it: wholly or, if it fails, not at all.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]. A file that was changed since it was planned is left alone ([`ConfigError::Changed`]).
    pub fn apply(self) -> Result<Applied, ConfigError> {
        let backup = Self::backup_path(&self.file);
        if !self.is_none() {
            self.check_mode()?;
            make_folder(&self.place)?;
            let folder = Folder::locked(&self.place)?;
            match &self.after {
                Some(after) => {
                    let draft = Draft::write(
                        &folder,
                        &self.place,
                        after,
                        self.before.as_ref(),
                        /*mode_mask*/ 0o7777,
                    )?;
                    let is_new = self.back_up(&folder, &backup)?;
                    let put = draft.put(self.before.as_ref());
                    if put.is_err() && is_new {
                        let _ = fs::remove_file(&backup); // It says what the file says.
                    }
                    put?;
                }
                None => {
                    if let Some(before) = &self.before {
                        Draft::remove(&folder, &self.place, before)?;
                    }
                }
            }
        }
        let is_needless = || {
            read(&backup)
                .is_ok_and(|kept| kept.is_some_and(|kept| Some(kept.text.as_str()) == self.after()))
        };
        if self.backup == Backup::Remove && is_needless() {
            let _ = fs::remove_file(&backup); // It would only be one file too many.
        }
        let is_there = fs::symlink_metadata(&backup).is_ok();
        let is_new = is_there && self.backup == Backup::Make;
        Ok(Applied { backup: is_there.then_some(backup), is_new })
    }

    /// Renaming asks for no right to the file itself: who made it read-only meant something by it.
    fn check_mode(&self) -> Result<(), ConfigError> {
        let Some(before) = &self.before else { return Ok(()) };
        if accessat(CWD, &self.place, Access::WRITE_OK, AtFlags::EACCESS).is_ok() {
            return Ok(());
        }
        Err(ConfigError::ReadOnly { file: self.place.clone(), uid: before.metadata.uid() })
    }

    /// Whether there was no backup before.
    fn back_up(&self, folder: &Folder, backup: &Path) -> Result<bool, ConfigError> {
        let (Backup::Make, Some(before)) = (self.backup, &self.before) else { return Ok(false) };
        let is_new = fs::symlink_metadata(backup).is_err();
        let elsewhere;
        let folder = if backup.parent() == self.place.parent() {
            folder
        } else {
            elsewhere = Folder::locked(backup)?;
            &elsewhere
        };
        // There may be keys in it: nobody else reads a copy.
        Draft::write(folder, backup, &before.text, Some(before), OWNERS_MODE)?
            .put_over_anything()?;
        Ok(is_new)
    }
}

/// `~/.codex`, if need be, as it should be: for this account alone.
fn make_folder(file: &Path) -> Result<(), ConfigError> {
    let Some(folder) = file.parent() else { return Ok(()) };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => Err(ConfigError::Unwritable {
            file: file.to_owned(),
            doing: "its folder can't be made",
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
