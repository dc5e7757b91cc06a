//! The folder that dumps go to: this account's alone, held open, and never reached through a link.
//!
//! A folder that is already there is taken as it is or refused. Its mode is not changed: somebody may have
//! named /tmp.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use thiserror::Error;

/// A folder of our own. Files are made in the folder that was opened, whatever its path comes to mean.
#[derive(Debug)]
pub(crate) struct DumpFolder {
    path: PathBuf,
    folder: File,
}

/// Why a folder is not dumped to.
#[derive(Debug, Error)]
pub enum DumpFolderError {
    /// It is not there and can't be made.
    #[error("the dump folder {path} can't be made", path = path.display())]
    Make {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It can't be opened.
    #[error("the dump folder {path} can't be opened", path = path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No file can be made in it.
    #[error("no file can be made in the dump folder {path}", path = path.display())]
    Write {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is a link, or not a folder at all.
    #[error("{path} is no folder to dump to: it is a link, or a file stands where a folder should", path = path.display())]
    NotAFolder {
        /// What was named.
        path: PathBuf,
    },
    /// Another account could give it away.
    #[error("the dump folder {path} belongs to uid {owner}, and this runs as uid {uid}", path = path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Other accounts may enter it or list it.
    #[error("the dump folder {path} is open to other accounts (mode {mode:o})", path = path.display())]
    OpenToOthers {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

impl DumpFolderError {
    /// What the person who started the proxy can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Make { .. } | Self::Open { .. } | Self::Write { .. } => {
                "name a folder where the account that this runs as may make files, on a disk with room"
            }
            Self::NotAFolder { .. } => {
                "name the folder itself, or one that does not exist yet: it is made with mode 700"
            }
            Self::NotOurs { .. } => {
                "name a folder that does not exist yet: it is made with mode 700"
            }
            Self::OpenToOthers { .. } => {
                "if it is for dumps alone, close it with `chmod 700 DIR`, else name a folder that does not exist yet"
            }
        }
    }
}

impl DumpFolder {
    /// Opens the folder, and makes it first, with mode 700, if it is not there; missing parents too.
    ///
    /// # Errors
    ///
    /// It is not a folder of this account's alone, or no file can be made in it.
    pub(crate) fn open(path: &Path) -> Result<Self, DumpFolderError> {
        // Without a slash at its end: with one, a link would be followed all the same.
        let path: PathBuf = path.components().collect();
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut opened = fcntl::open(path.as_path(), flags, Mode::empty());
        if matches!(opened, Err(Errno::ENOENT)) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
            if let Err(source) = made {
                return Err(DumpFolderError::Make { path, source });
            }
            opened = fcntl::open(path.as_path(), flags, Mode::empty());
        }
        let folder = match opened {
            Ok(folder) => File::from(folder),
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(DumpFolderError::NotAFolder { path }),
            Err(errno) => return Err(DumpFolderError::Open { path, source: errno.into() }),
        };
        // From here on about what was opened, not about what its path leads to.
        let facts = match folder.metadata() {
            Ok(facts) => facts,
            Err(source) => return Err(DumpFolderError::Open { path, source }),
        };
        let (owner, uid) = (facts.uid(), geteuid().as_raw());
        if owner != uid {
            return Err(DumpFolderError::NotOurs { path, owner, uid });
        }
        let mode = facts.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(DumpFolderError::OpenToOthers { path, mode });
        }
        let folder = Self { path, folder };
        match folder.try_out() {
            Ok(()) => Ok(folder),
            Err(errno) => Err(DumpFolderError::Write { path: folder.path, source: errno.into() }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file and takes it away again: a start that can't dump is to fail.
    fn try_out(&self) -> nix::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("{}-{}.try", now.as_nanos(), std::process::id());
        drop(self.create(&name)?);
        self.remove(&name)
    }

    /// A file that was not there before, for this account alone.
    fn create(&self, name: &str) -> nix::Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        fcntl::openat(&self.folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
    }

    fn remove(&self, name: &str) -> nix::Result<()> {
        unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir)
    }
}

/// A file that is not complete, as its name says: it ends in `.part`. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct PartFile {
    folder: Arc<DumpFolder>,
    file: File,
    /// What it will be called.
    name: String,
    published: bool,
}

impl PartFile {
    pub(crate) fn create(folder: &Arc<DumpFolder>, name: String) -> io::Result<Self> {
        let file = folder.create(&part(&name))?;
        Ok(Self { folder: Arc::clone(folder), file, name, published: false })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives it the name of a complete file.
    pub(crate) fn publish(mut self) -> io::Result<()> {
        let folder = &self.folder.folder;
        fcntl::renameat(folder, part(&self.name).as_str(), folder, self.name.as_str())?;
        self.published = true;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = self.folder.remove(&part(&self.name)); // Somebody else may have been quicker.
        }
    }
}

fn part(name: &str) -> String {
    format!("{name}.part")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn refused(path: &Path) -> DumpFolderError {
        DumpFolder::open(path).unwrap_err()
    }

    #[test]
    fn a_folder_that_is_not_there_is_made_for_its_account_alone_and_so_are_its_files() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = Arc::new(DumpFolder::open(&path).unwrap());
        assert_eq!((mode(&parent.path().join("a")), mode(&path)), (0o700, 0o700));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "something is left of the trial");

        let mut file = PartFile::create(&folder, "x.json".to_owned()).unwrap();
        file.write(b"{}").unwrap();
        assert_eq!(mode(&path.join("x.json.part")), 0o600);
        file.publish().unwrap();
        assert_eq!(fs::read(path.join("x.json")).unwrap(), b"{}");
        assert_eq!(mode(&path.join("x.json")), 0o600);

        drop(PartFile::create(&folder, "y.json".to_owned()).unwrap());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        assert!(DumpFolder::open(&path).is_ok(), "one that is ours is not taken again");
    }

    #[test]
    fn a_link_or_a_file_is_refused_however_it_is_written() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        fs::create_dir(path("real")).unwrap();
        fs::set_permissions(path("real"), Permissions::from_mode(0o700)).unwrap();
        symlink(path("real"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        fs::write(path("file"), "").unwrap();
        for name in ["link", "link/", "link/.", "link//", "dangling", "dangling/", "file", "file/x"]
        {
            let error = refused(&path(name));
            assert!(matches!(error, DumpFolderError::NotAFolder { .. }), "{name}: {error:?}");
        }
        assert!(!path("nowhere").exists());
        // A link on the way is the operator's own affair.
        assert!(DumpFolder::open(&path("link/new")).is_ok());
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for bits in [0o755, 0o701, 0o710, 0o770, 0o1777] {
            fs::set_permissions(folder.path(), Permissions::from_mode(bits)).unwrap();
            let error = refused(folder.path());
            let expected = format!("(mode {bits:o})");
            assert!(error.to_string().ends_with(&expected), "{error}");
            assert!(error.hint().contains("chmod 700"), "{}", error.hint());
            assert_eq!(mode(folder.path()), bits);
        }
    }

    #[test]
    fn a_folder_of_another_account_is_refused() {
        // Root makes one; for anybody else, /proc is root's.
        let folder = tempfile::tempdir().unwrap();
        let foreign = if geteuid().is_root() {
            chown(folder.path(), Some(61_236), None).unwrap();
            folder.path()
        } else {
            Path::new("/proc")
        };
        let error = refused(foreign);
        assert!(matches!(error, DumpFolderError::NotOurs { .. }), "{error:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_takes_no_file_is_refused() {
        // This account's, closed to others, and of the kernel's own making: root has no more rights there.
        let error = refused(Path::new("/proc/self/fd"));
        assert!(matches!(error, DumpFolderError::Write { .. }), "{error:?}");
        let error = refused(Path::new("/proc/self/no-such-folder"));
        assert!(matches!(error, DumpFolderError::Make { .. }), "{error:?}");
    }

    #[test]
    fn a_file_that_is_there_is_not_written_to() {
        let parent = crate::dump::dumper::testing::private_folder();
        let folder = Arc::new(DumpFolder::open(parent.path()).unwrap());
        fs::write(parent.path().join("x.json.part"), "precious").unwrap();
        let error = PartFile::create(&folder, "x.json".to_owned()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(parent.path().join("x.json.part")).unwrap(), b"precious");
    }
}
