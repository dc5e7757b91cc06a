//! The one place that writes: a file is replaced whole or not at all, in folders that are root's alone.
//!
//! The new content is on the disk under a temporary name beside the file before it takes the file's place in one step. A
//! process that is killed on the way leaves the old file or the new one, and at most something under the temporary
//! name, which the next one removes. Nobody but root can come in between: that is looked at first, link by link.
//!
//! Source: open(2), rename(2), fsync(2).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use codex_config::regular::{Links, open_regular};
use codex_config::shell_word;
use codex_path_trust::{Groups, Sticky, Trust, Who, ways_in};
use rustix::fs::OFlags;
use thiserror::Error;

use crate::subject::account_name;

/// None of our files is nearly as large.
const LIMIT_BYTES: u64 = 4 * 1024 * 1024;
/// So many files are kept aside under one name.
const MOST_ASIDE: usize = 10_000;
/// All bits that chmod(2) sets.
const MODE_BITS: u32 = 0o7777;

/// Why a file of the system was not read or written. It is as it was, unless the message says otherwise.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Others could change what its path leads to.
    #[error("{folder} is not root's alone: {ways}", folder = folder.display())]
    Open {
        /// The folder that it is in.
        folder: PathBuf,
        /// How.
        ways: String,
        /// What closes that.
        remedy: String,
    },
    /// Something lies where the temporary file has to be.
    #[error("{path} is in the way: it is no regular file of root's", path = path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path}: {doing}", path = path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What could not be done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl WriteError {
    fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Failed { path, doing, source }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Open { remedy, .. } => remedy.clone(),
            Self::InTheWay { path } => {
                format!("look at it, and move it away: ls -ld {}", word(path))
            }
            Self::Failed { path, source, .. } => refused(path, source.kind()),
        }
    }
}

/// What root can do where the system refuses it something.
fn refused(path: &Path, kind: ErrorKind) -> String {
    let (file, folder) = (word(path), word(folder_of(path)));
    match kind {
        ErrorKind::ReadOnlyFilesystem => format!(
            "mount that file system writable first (findmnt -T {folder}), or do this where the \
             system's image is made"
        ),
        ErrorKind::PermissionDenied => format!(
            "it may be immutable: lsattr -d {folder} {file} shows that, chattr -i takes it off"
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("make room first: df -h {folder}; df -i {folder}")
        }
        ErrorKind::FileTooLarge => {
            "lift the limit on the size of files first: ulimit -f unlimited".to_owned()
        }
        _ => format!("look at it: ls -ld {folder} {file}"),
    }
}

fn word(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

/// Whose a file is, and who may do what with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl Look {
    pub(crate) const fn roots(mode: u32) -> Self {
        Self { uid: 0, gid: 0, mode }
    }
}

/// A regular file, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) look: Look,
}

/// What is there. A link is not followed, and anything else that is no regular file is an error.
pub(crate) fn read(path: &Path) -> Result<Option<Content>, WriteError> {
    let unreadable = || WriteError::failed(path, "it can't be read");
    let Some(file) = open_regular(path, Links::Refused).map_err(unreadable())? else {
        return Ok(None);
    };
    let metadata = file.metadata().map_err(unreadable())?;
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & MODE_BITS);
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LIMIT_BYTES) {
        return Ok(Some(Content { bytes, look: Look { uid, gid, mode } }));
    }
    Err(unreadable()(io::Error::other(format!("it is longer than {LIMIT_BYTES} bytes"))))
}

/// Content on its way to a file's place. Dropped before it is there, it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    place: PathBuf,
    /// Whether it still is under its temporary name.
    is_draft: bool,
}

impl Draft {
    /// On the disk, under this name beside its place.
    pub(crate) fn write(
        place: &Path,
        temporary: &str,
        bytes: &[u8],
        look: Look,
    ) -> Result<Self, WriteError> {
        let folder = folder_of(place);
        check_folder(folder)?;
        let path = folder.join(temporary);
        remove_left_over(&path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed()) // O_CLOEXEC is std's habit.
            .open(&path)
            .map_err(WriteError::failed(place, "no file can be made in its folder"))?;
        let draft = Self { path, place: place.to_owned(), is_draft: true };
        // Before there is anything to read in it; and chown(2) takes bits away, so the mode comes after the owner.
        fchown(&file, Some(look.uid), Some(look.gid))
            .map_err(WriteError::failed(place, "a new file can't be given its owner"))?;
        file.set_permissions(Permissions::from_mode(look.mode))
            .map_err(WriteError::failed(place, "a new file can't be given its mode"))?;
        file.write_all(bytes)
            .map_err(WriteError::failed(place, "its new content can't be written"))?;
        file.sync_all()
            .map_err(WriteError::failed(place, "its new content can't be brought to the disk"))?;
        Ok(draft)
    }

    /// Where it is until it is put in place.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the place of whatever is there. After an error in this it may have done so.
    pub(crate) fn put(mut self) -> Result<(), WriteError> {
        fs::rename(&self.path, &self.place)
            .map_err(WriteError::failed(&self.place, "it can't be replaced"))?;
        self.is_draft = false;
        keep(&self.place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.is_draft {
            let _ = fs::remove_file(&self.path); // The next one of us removes it else.
        }
    }
}

/// Replaces it, in one go.
pub(crate) fn replace(
    place: &Path,
    temporary: &str,
    bytes: &[u8],
    look: Look,
) -> Result<(), WriteError> {
    Draft::write(place, temporary, bytes, look)?.put()
}

/// Removes it; a link itself, not what it leads to. Whether it was there.
pub(crate) fn remove(place: &Path) -> Result<bool, WriteError> {
    if is_nothing(place) {
        return Ok(false);
    }
    check_folder(folder_of(place))?;
    match fs::remove_file(place) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        removed => removed.map_err(WriteError::failed(place, "it can't be removed"))?,
    }
    keep(place).map(|()| true)
}

/// Gives it another name in the same folder, which nothing has.
pub(crate) fn set_aside(place: &Path, name: &str) -> Result<PathBuf, WriteError> {
    let folder = folder_of(place);
    check_folder(folder)?;
    let aside = free_name(folder, name)?;
    fs::rename(place, &aside).map_err(WriteError::failed(place, "it can't be moved aside"))?;
    keep(place)?;
    Ok(aside)
}

/// This one, or with a number behind it.
fn free_name(folder: &Path, name: &str) -> Result<PathBuf, WriteError> {
    let names = (2..=MOST_ASIDE).map(|number| format!("{name}.{number}"));
    for name in std::iter::once(name.to_owned()).chain(names) {
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(WriteError::failed(&path, "it can't be looked at")(error)),
        }
    }
    Err(WriteError::InTheWay { path: folder.join(name) })
}

/// A folder of root's with this mode. One that is there keeps its own.
pub(crate) fn make_folder(folder: &Path, mode: u32) -> Result<(), WriteError> {
    if folder.is_dir() {
        return check_folder(folder);
    }
    check_folder(folder_of(folder))?;
    match DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
        made => made.map_err(WriteError::failed(folder, "it can't be made"))?,
    }
    // The umask has taken bits away from what mkdir(2) was told.
    fs::set_permissions(folder, Permissions::from_mode(mode))
        .map_err(WriteError::failed(folder, "it can't be given its mode"))?;
    keep(folder)?;
    check_folder(folder)
}

/// Whether nobody but root could change what lies in a folder, or what leads to it.
pub(crate) fn check_folder(folder: &Path) -> Result<(), WriteError> {
    let trust = Trust { accounts: [0].into(), groups: Groups::None, sticky: Sticky::OnTheWay };
    let ways = ways_in(folder, &trust);
    if ways.is_empty() {
        return Ok(());
    }
    let remedies: Vec<String> = ways
        .iter()
        .map(|way| match way.who {
            Who::Owner => format!("chown -h 0:0 {}", word(&way.place)),
            Who::Group { .. } | Who::Everyone => format!("chmod go-w {}", word(&way.place)),
            Who::Unknown { .. } => format!("ls -ld {}", word(&way.place)),
        })
        .collect();
    let ways: Vec<String> = ways.iter().map(|way| way.words(account_name)).collect();
    Err(WriteError::Open {
        folder: folder.to_owned(),
        ways: ways.join("; "),
        remedy: remedies.join("; "),
    })
}

/// What a killed one of us has left. Anything else of that name is somebody's, and stays.
fn remove_left_over(path: &Path) -> Result<(), WriteError> {
    let left_over = WriteError::failed(path, "a file that was left over can't be removed");
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.uid() == 0 => {
            fs::remove_file(path).map_err(left_over)
        }
        Ok(_) => Err(WriteError::InTheWay { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(left_over(error)),
    }
}

/// What was renamed, made or removed stays so, also if the power fails.
fn keep(place: &Path) -> Result<(), WriteError> {
    match File::open(folder_of(place)).and_then(|folder| folder.sync_all()) {
        // Some file systems can't, and nothing could be done about it.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(())
        }
        kept => kept.map_err(WriteError::failed(
            place,
            "it is changed, but that can't be brought to the disk",
        )),
    }
}

fn is_nothing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn folder_of(place: &Path) -> &Path {
    place.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests;
