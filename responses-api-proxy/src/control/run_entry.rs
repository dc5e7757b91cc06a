//! Our place in the run folder, where programs look for a running proxy without being told where.
//!
//! A proxy on port P has `P.sock` and `P.json` there: while it listens on that port nobody else does, so both names are
//! its own. What killed proxies have left behind is taken away by the next that starts.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use codex_proxy_client::{RunFolder, ServerInfo};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::unistd::geteuid;
use thiserror::Error;

use super::{Access, ControlSocket, ControlSocketError};

/// Held while files come and go.
const LOCK: &str = ".lock";
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Group and others (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A run folder that can be used. While it lives, no other proxy of this account that starts changes the folder. (One
/// that ends takes away only what is still its own.)
#[derive(Debug)]
pub(crate) struct RunEntry {
    folder: PathBuf,
    port: u16,
    _lock: Flock<File>,
}

/// Why there is no run folder.
#[derive(Debug, Error)]
pub(crate) enum RunFolderError {
    #[error("this account has no run folder (XDG_RUNTIME_DIR is not set)")]
    None,
    #[error("the run folder {path} can't be used", path = path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("the run folder {path} is not this account's alone", path = path.display())]
    NotOurs { path: PathBuf },
}

impl RunEntry {
    /// Finds or makes the folder, and takes away what has been left over there.
    pub(crate) fn prepare(port: u16) -> Result<Self, RunFolderError> {
        let folder = RunFolder::own().ok_or(RunFolderError::None)?;
        match Self::within(&folder, port) {
            Ok(Some(entry)) => Ok(entry),
            Ok(None) => Err(RunFolderError::NotOurs { path: folder }),
            Err(source) => Err(RunFolderError::Unusable { path: folder, source }),
        }
    }

    fn within(folder: &Path, port: u16) -> io::Result<Option<Self>> {
        // Of root's, everybody may know: it says where the proxy is, and nothing secret.
        let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
        match DirBuilder::new().mode(mode).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let facts = fs::symlink_metadata(folder)?;
        let is_ours = facts.is_dir()
            && facts.uid() == geteuid().as_raw()
            && facts.mode() & WRITABLE_BY_OTHERS == 0;
        if !is_ours {
            return Ok(None);
        }
        if geteuid().is_root() {
            fs::set_permissions(folder, Permissions::from_mode(mode))?; // Whatever the umask was at the first start.
        }
        let lock = lock(&folder.join(LOCK))?;
        for left in left_over(folder) {
            let _ = fs::remove_file(left);
        }
        Ok(Some(Self { folder: folder.to_owned(), port, _lock: lock }))
    }

    /// Where our server-info stands.
    pub(crate) fn server_info(&self) -> PathBuf {
        RunFolder::server_info(&self.folder, self.port)
    }

    /// Our control socket, in place of any that a proxy that is coming to its end may still have.
    pub(crate) fn control_socket(
        &self,
        access: &Access,
    ) -> Result<ControlSocket, ControlSocketError> {
        ControlSocket::put(&RunFolder::control_socket(&self.folder, self.port), access)
    }
}

/// The files of proxies whose process is gone.
fn left_over(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let infos = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let gone = infos.filter(|path| {
        // In another PID namespace a process has another number: whoever answers is there.
        let answers = || UnixStream::connect(path.with_extension("sock")).is_ok();
        ServerInfo::read(path).is_ok_and(|info| !info.has_its_process()) && !answers()
    });
    gone.flat_map(|path| [path.with_extension("sock"), path]).collect()
}

/// Waits a while: a start holds it for milliseconds, but one that was stopped (^Z) would for ever.
fn lock(path: &Path) -> io::Result<Flock<File>> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let give_up_at = Instant::now() + LOCK_PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EWOULDBLOCK)) if Instant::now() < give_up_at => file = again,
            Err((_, errno)) => return Err(errno.into()),
        }
        sleep(LOCK_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    fn info(pid: u32) -> String {
        format!(
            r#"{{"port":1,"pid":{pid},"base_url":"","uid":0,"listener_uid":0,"instance":"","started_at":0,"version":""}}"#
        )
    }

    #[test]
    fn what_a_killed_proxy_left_goes_and_what_a_living_one_has_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("run");
        RunEntry::within(&folder, 9).unwrap().unwrap();
        let mut child = Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        for (name, text) in [
            ("1.json", info(gone)),
            ("1.sock", String::new()),
            ("2.json", info(std::process::id())),
            ("2.sock", String::new()),
            ("3.json", "something else".to_owned()),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        RunEntry::within(&folder, 9).unwrap().unwrap();
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".lock", "2.json", "2.sock", "3.json"]);
    }

    #[test]
    fn a_folder_that_others_could_change_is_not_used() {
        let parent = tempfile::tempdir().unwrap();
        let open = parent.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = parent.path().join("link");
        fs::create_dir(parent.path().join("real")).unwrap();
        symlink(parent.path().join("real"), &link).unwrap();
        fs::write(parent.path().join("file"), "").unwrap();
        for folder in [open, link, parent.path().join("file")] {
            assert!(RunEntry::within(&folder, 9).unwrap().is_none(), "{}", folder.display());
        }
        assert!(RunEntry::within(&parent.path().join("no/parent"), 9).is_err());
    }
}
