//! What a file says, replaced whole or not at all, whatever happens meanwhile.
//!
//! The new text is written to a draft beside the file and is on the disk before it takes the file's place in one step.
//! Where the kernel can, that step exchanges the two (renameat2(2), RENAME_EXCHANGE), so that what was displaced can be
//! looked at: if it is not what had been read, it is put back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use crate::ConfigError;
use crate::place::{Content, is};

/// The mode of a file that is new.
const NEW_MODE: u32 = 0o600;
/// How often a lock is asked for, and how long to wait each time. Another of us needs some milliseconds.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Nobody replaces a file more often within these microseconds.
const TRIES_TO_GIVE_BACK: u32 = 8;
/// What a file's mode says of its group.
const GROUPS_MODE: u32 = 0o070;
/// What only its owner needs of a file's mode.
pub(crate) const OWNERS_MODE: u32 = 0o600;

/// A folder that files are put into.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    handle: File,
    /// Whether no other of us works in it.
    is_locked: bool,
}

impl Folder {
    /// Of this file.
    pub(crate) fn of(file: &Path) -> Result<Self, ConfigError> {
        let unwritable = |source| ConfigError::Unwritable {
            file: file.to_owned(),
            doing: "its folder can't be opened",
            source,
        };
        let path = file.parent().unwrap_or(Path::new("/")).to_owned();
        let handle = File::open(&path).map_err(unwritable)?;
        Ok(Self { path, handle, is_locked: false })
    }

    /// The same, while no other of us works in it. Waits for one that does, for a moment; but anybody who can open the folder
    /// could keep its lock, and so it goes on without it.
    pub(crate) fn locked(file: &Path) -> Result<Self, ConfigError> {
        let mut folder = Self::of(file)?;
        for _ in 0..LOCK_TRIES {
            match flock(&folder.handle, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
                locked => {
                    folder.is_locked = locked.is_ok(); // Some file systems have no locks.
                    break;
                }
            }
        }
        Ok(folder)
    }

    /// What was renamed in it stays renamed, also if the power fails.
    fn keep(&self) {
        let _ = self.handle.sync_all(); // Some file systems can't, and nothing could be done about it.
    }
}

/// A text on its way to a file's place. Dropped before it is there, or after what was there is in its place, it is removed.
#[derive(Debug)]
pub(crate) struct Draft<'d> {
    folder: &'d Folder,
    path: PathBuf,
    place: PathBuf,
    text: &'d str,
    /// What lies there is somebody's newest text, and may be nowhere else.
    holds_theirs: bool,
}

impl<'d> Draft<'d> {
    /// For this place in the folder.
    pub(crate) fn write(
        folder: &'d Folder,
        place: &Path,
        text: &'d str,
        like: Option<&Content>,
        mode_mask: u32,
    ) -> Result<Self, ConfigError> {
        let draft = Self::at(folder, place, text)?;
        let unwritable =
            |doing| move |source| ConfigError::Unwritable { file: place.to_owned(), doing, source };
        let opened =
            OpenOptions::new().write(true).create_new(true).mode(NEW_MODE).open(&draft.path);
        let mut file = opened.map_err(unwritable("no file can be made in its folder"))?;
        file.write_all(text.as_bytes()).map_err(unwritable("its new text can't be written"))?;
        if let Some(like) = like {
            draft.make_like(&file, like, mode_mask)?;
        }
        file.sync_all().map_err(unwritable("its new text can't be brought to the disk"))?;
        Ok(draft)
    }

    /// Nothing is there yet: one that was left over by a killed one of us is removed.
    fn at(folder: &'d Folder, place: &Path, text: &'d str) -> Result<Self, ConfigError> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let mut draft = format!(".{name}.openai-proxy-new");
        if !folder.is_locked {
            draft += &format!("-{}", process::id()); // Another of us may be at work on its own.
        }
        let path = folder.path.join(draft);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(ConfigError::Unwritable {
                file: place.to_owned(),
                doing: "a draft that was left over can't be removed",
                source,
            }),
            _ => Ok(Self { folder, path, place: place.to_owned(), text, holds_theirs: false }),
        }
    }

    /// Owner, mode and extended attributes of what it is to replace.
    fn make_like(
        &self,
        file: &File,
        like: &Content,
        mut mode_mask: u32,
    ) -> Result<(), ConfigError> {
        let unwritable = |doing| {
            let file = self.place.clone();
            move |source| ConfigError::Unwritable { file, doing, source }
        };
        let metadata = file.metadata().map_err(unwritable("its draft can't be looked at"))?;
        let (uid, gid) = (like.metadata.uid(), like.metadata.gid());
        if (metadata.uid(), metadata.gid()) != (uid, gid) {
            let file_name = self.place.clone();
            let owner = |source| ConfigError::Owner { file: file_name, uid, gid, source };
            match fchown(file, Some(uid), Some(gid)) {
                // A group that we are not in. The file gets ours, which its mode never spoke of.
                Err(error) if metadata.uid() == uid && is_not_permitted(&error) => {
                    mode_mask &= !GROUPS_MODE;
                }
                given => given.map_err(owner)?,
            }
        }
        attributes::copy(&self.place, file)
            .map_err(unwritable("its extended attributes can't be kept"))?;
        // After the owner: chown(2) takes bits away. And after the attributes: an ACL is also in the mode.
        let mode = fs::Permissions::from_mode(like.metadata.mode() & mode_mask);
        file.set_permissions(mode).map_err(unwritable("its mode can't be kept"))
    }

    /// Takes the place of what is there, if that is still what it was `before`.
    pub(crate) fn put(mut self, before: Option<&Content>) -> Result<(), ConfigError> {
        let before = before.map(|before| before.text.as_str());
        self.check(is(&self.place, before))?;
        self.exchange(before)
    }

    /// The same without the first look, which most often would have been enough.
    fn exchange(&mut self, before: Option<&str>) -> Result<(), ConfigError> {
        let flags = if before.is_some() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        let is_exchanged = self.rename(&self.path, &self.place, flags)? && before.is_some();
        if is_exchanged && !is(&self.path, before) {
            self.give_back()?;
            return self.check(false);
        }
        self.folder.keep();
        Ok(())
    }

    /// What was displaced is somebody's newest text. Should they have put a newer one in place of ours, that is the newest.
    fn give_back(&mut self) -> Result<(), ConfigError> {
        self.holds_theirs = true;
        for _ in 0..TRIES_TO_GIVE_BACK {
            self.rename(&self.path, &self.place, RenameFlags::EXCHANGE)?;
            if is(&self.path, Some(self.text)) {
                self.holds_theirs = false;
                break;
            }
        }
        Ok(())
    }

    /// Takes the place of whatever is there.
    pub(crate) fn put_over_anything(self) -> Result<(), ConfigError> {
        self.rename(&self.path, &self.place, RenameFlags::empty())?;
        self.folder.keep();
        Ok(())
    }

    /// Removes what is there, if that is still what it was `before`.
    pub(crate) fn remove(
        folder: &'d Folder,
        place: &Path,
        before: &'d Content,
    ) -> Result<(), ConfigError> {
        let mut draft = Self::at(folder, place, &before.text)?;
        draft.check(is(place, Some(draft.text)))?;
        draft.rename(place, &draft.path, RenameFlags::NOREPLACE)?;
        if !is(&draft.path, Some(draft.text)) {
            draft.holds_theirs = true;
            match draft.rename(&draft.path, place, RenameFlags::NOREPLACE) {
                Ok(_) | Err(ConfigError::Changed { .. }) => {} // There is a newer one by now.
                Err(error) => return Err(error),
            }
            draft.holds_theirs = false;
            return draft.check(false);
        }
        folder.keep();
        Ok(())
    }

    fn check(&self, is_as_it_was: bool) -> Result<(), ConfigError> {
        if is_as_it_was { Ok(()) } else { Err(ConfigError::Changed { file: self.place.clone() }) }
    }

    /// Whether it was done with these flags. Some file systems know none.
    fn rename(&self, from: &Path, to: &Path, flags: RenameFlags) -> Result<bool, ConfigError> {
        let unwritable = |source| ConfigError::Unwritable {
            file: self.place.clone(),
            doing: "nothing can be renamed in its folder",
            source,
        };
        match renameat_with(CWD, from, CWD, to, flags) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST | Errno::NOENT) => {
                Err(ConfigError::Changed { file: self.place.clone() })
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::rename(from, to).map_err(unwritable)?;
                Ok(false)
            }
            Err(errno) => Err(unwritable(errno.into())),
        }
    }
}

/// EPERM, and no other refusal.
fn is_not_permitted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::PERM.raw_os_error())
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.holds_theirs {
            return; // It could not be given back.
        }
        let _ = fs::remove_file(&self.path); // As a rule it is gone: it has become the file.
    }
}

/// Extended attributes (xattr(7)): access control lists, and what users and security modules note.
mod attributes {
    use std::ffi::CStr;

    use rustix::fs::{XattrFlags, fsetxattr, getxattr, listxattr};

    use super::{AsFd, Errno, Path, io};

    /// Linux keeps no more of them, in bytes.
    const MOST_BYTES: usize = 64 * 1024;

    pub(super) fn copy(from: &Path, to: impl AsFd) -> io::Result<()> {
        let mut names = vec![0; MOST_BYTES];
        let length = match listxattr(from, &mut names[..]) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let mut value = vec![0; MOST_BYTES];
        for name in names[..length].split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            let Ok(length) = getxattr(from, name, &mut value[..]) else { continue };
            let set = fsetxattr(&to, name, &value[..length], XattrFlags::empty());
            // What belongs to the kernel it sets itself.
            let is_the_users =
                name.to_bytes().starts_with(b"user.") || name == c"system.posix_acl_access";
            if let (Err(errno), true) = (set, is_the_users) {
                return Err(errno.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if it had come between the last look and the exchange.
    #[test]
    fn what_came_at_the_last_moment_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        for (before, theirs) in [(Some("old"), "theirs"), (None, "theirs")] {
            fs::write(&file, theirs).unwrap();
            let locked = Folder::locked(&file).unwrap();
            let mut draft =
                Draft::write(&locked, &file, "ours", None, /*mode_mask*/ 0o7777).unwrap();
            let error = draft.exchange(before).unwrap_err();
            assert!(matches!(error, ConfigError::Changed { .. }), "{error:?}");
            drop(draft);
            assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
