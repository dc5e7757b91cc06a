//! The file that records are appended to: this account's alone, and never reached through a link.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::LogFileError;

type OnOpen = Box<dyn Fn(BorrowedFd<'_>) + Send>;

/// A file of records, open for appending.
pub struct LogFile {
    file: File,
    path: PathBuf,
    identity: Identity,
    on_open: Option<OnOpen>,
}

/// Device and inode: what makes a file the same, whatever it is called.
pub(crate) type Identity = (u64, u64);

impl LogFile {
    /// Opens a file, and makes it first, with mode 600, if it is not there. A file that is there must be a
    /// regular one, this account's, closed to all others, and without other names.
    ///
    /// # Errors
    ///
    /// It is not such a file, or can't be opened.
    pub fn open(path: &Path) -> Result<Self, LogFileError> {
        // The current directory may change before it is opened anew.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (file, identity) = open_own(&path)?;
        Ok(Self { file, path, identity, on_open: None })
    }

    /// From here on, `on_open` is called with the new file each time the log has been opened anew, on the
    /// thread that writes it.
    #[must_use]
    pub fn on_open(self, on_open: impl Fn(BorrowedFd<'_>) + Send + 'static) -> Self {
        Self { on_open: Some(Box::new(on_open)), ..self }
    }

    /// Where it was opened, as an absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this file.
    pub(crate) fn is_at_its_path(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|facts| identity(&facts) == self.identity)
    }

    /// Opens what the path leads to now. If that can't be used, everything stays as it is.
    pub(crate) fn reopen(&mut self) -> Result<(), LogFileError> {
        (self.file, self.identity) = open_own(&self.path)?;
        if let Some(on_open) = &self.on_open {
            on_open(self.file.as_fd());
        }
        Ok(())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// A log that goes to this file, whatever stands at the path.
    #[cfg(test)]
    pub(crate) fn elsewhere(file: File, path: PathBuf) -> Self {
        let identity = identity(&file.metadata().unwrap());
        Self { file, path, identity, on_open: None }
    }
}

impl AsFd for LogFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LogFile").field("path", &self.path).finish_non_exhaustive()
    }
}

fn open_own(path: &Path) -> Result<(File, Identity), LogFileError> {
    // Reading too: how its last line ends wants to be known.
    let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT;
    let (file, facts) = open_regular(path, flags)?;
    let path = path.to_owned();
    let (owner, uid) = (facts.uid(), geteuid().as_raw());
    if owner != uid {
        return Err(LogFileError::ForeignOwner { path, owner, uid });
    }
    if facts.nlink() > 1 {
        return Err(LogFileError::HardLinked { path, links: facts.nlink() });
    }
    let mode = facts.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(LogFileError::Exposed { path, mode });
    }
    Ok((file, identity(&facts)))
}

/// Opens a regular file, following no link, and tells about what was opened.
pub(crate) fn open_regular(path: &Path, flags: OFlag) -> Result<(File, Metadata), LogFileError> {
    let unopenable = |source| LogFileError::Unopenable { path: path.to_owned(), source };
    // Without O_NONBLOCK a FIFO would make us wait for ever.
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(file) => File::from(file),
        Err(Errno::ELOOP) => return Err(LogFileError::Link { path: path.to_owned() }),
        Err(Errno::EISDIR | Errno::ENXIO) => {
            return Err(LogFileError::NotAFile { path: path.to_owned() });
        }
        Err(errno) => return Err(unopenable(errno.into())),
    };
    let facts = file.metadata().map_err(unopenable)?;
    match facts.is_file() {
        true => Ok((file, facts)),
        false => Err(LogFileError::NotAFile { path: path.to_owned() }),
    }
}

pub(crate) fn identity(facts: &Metadata) -> Identity {
    (facts.dev(), facts.ino())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn closed(path: &Path) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_new_file_is_this_accounts_alone_and_one_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        drop(LogFile::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        fs::write(&path, "before\n").unwrap();
        let log = LogFile::open(&path).unwrap();
        assert_eq!(log.path(), path);
        assert!(log.is_at_its_path());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\n");
    }

    #[test]
    fn what_is_not_a_file_of_this_accounts_alone_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        closed(&at("real"));
        symlink(at("real"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        fs::create_dir(at("folder")).unwrap();
        closed(&at("linked"));
        fs::hard_link(at("linked"), at("other")).unwrap();
        closed(&at("open"));
        fs::set_permissions(at("open"), Permissions::from_mode(0o640)).unwrap();
        for (name, expected) in [
            ("link", "is a symbolic link"),
            ("dangling", "is a symbolic link"),
            ("fifo", "is not a regular file"),
            ("folder", "is not a regular file"),
            ("linked", "has 2 names"),
            ("open", "is open to other accounts (mode 640)"),
            ("missing/log", "can't be opened: No such file or directory"),
        ] {
            let error = LogFile::open(&at(name)).unwrap_err();
            let text = error.in_full();
            assert!(text.contains(&format!("/{name} {expected}")), "{text}");
            assert!(!error.hint().is_empty());
        }
        assert!(!at("nowhere").exists(), "a link was followed");
        // Only root can make a file of somebody else's; anyone else has this proven in CI.
        if geteuid().is_root() {
            chown(at("real"), Some(61_234), None).unwrap();
            let error = LogFile::open(&at("real")).unwrap_err();
            let is_foreign = matches!(error, LogFileError::ForeignOwner { owner: 61_234, .. });
            assert!(is_foreign, "{error}");
        }
    }

    #[test]
    fn opened_anew_it_is_what_the_path_leads_to_and_whoever_wants_to_know_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (told, telling) = std::sync::mpsc::channel();
        let mut log = LogFile::open(&path).unwrap().on_open(move |fd| {
            let facts = File::from(fd.try_clone_to_owned().unwrap()).metadata().unwrap();
            told.send(identity(&facts)).unwrap();
        });
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        assert!(!log.is_at_its_path());
        log.reopen().unwrap();
        assert!(log.is_at_its_path());
        assert_eq!(telling.recv().unwrap(), identity(&fs::metadata(&path).unwrap()));

        let before = log.identity;
        fs::remove_file(&path).unwrap();
        symlink("elsewhere", &path).unwrap();
        assert!(matches!(log.reopen(), Err(LogFileError::Link { .. })));
        assert_eq!(log.identity, before);
        assert!(telling.try_recv().is_err(), "something was told");
    }
}
