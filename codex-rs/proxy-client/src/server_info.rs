//! The server-info file: its form, and when to believe it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::process::is_running;

/// No server-info is longer, in bytes.
const MAX_FILE_BYTES: u64 = 4_096;

/// What a proxy says about itself: one line of JSON, `port` and `pid` first.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The process that serves.
    pub pid: u32,
    /// What a client's `base_url` is to be: `http://127.0.0.1:PORT/v1`.
    pub base_url: String,
    /// Where it can be asked about itself; `None` when it has no such socket.
    #[serde(default, skip_serializing_if = "is_unwritable")]
    pub control_socket: Option<PathBuf>,
    /// The account that serves.
    pub uid: u32,
    /// The account that created the listening socket, as inet_diag reports it.
    pub listener_uid: u32,
    /// Random, made anew by each start.
    pub instance: String,
    /// Unix time in seconds.
    pub started_at: u64,
    /// The proxy's version.
    pub version: String,
}

/// Why a server-info file is of no use.
#[derive(Debug, Error)]
pub enum ServerInfoError {
    /// There is none, or it can't be opened; also when it is a symbolic link.
    #[error("{path} could not be read", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It is no regular file, or too long.
    #[error("{path} is not a file of at most {MAX_FILE_BYTES} bytes", path = path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else wrote it.
    #[error("{path} belongs to uid {owner}, neither to root nor to this account", path = path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It is not one line of the JSON that a proxy writes.
    #[error("{path} is not what a proxy writes (line {line}, column {column})", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where that is seen, from 1 on. (What stands there is not told: it may be a key.)
        line: usize,
        /// In bytes, from 1 on.
        column: usize,
    },
}

impl ServerInfo {
    /// Reads a file that root or this account owns, following no link.
    ///
    /// # Errors
    ///
    /// The file can't be read, is not ours to believe, or is not what a proxy writes.
    pub fn read(path: &Path) -> Result<Self, ServerInfoError> {
        Self::read_with_owner(path).map(|(info, _)| info)
    }

    /// As [`ServerInfo::read`], with the uid of the file's owner.
    ///
    /// # Errors
    ///
    /// As those of [`ServerInfo::read`].
    pub fn read_with_owner(path: &Path) -> Result<(Self, u32), ServerInfoError> {
        let unreadable = |source| ServerInfoError::Unreadable { path: path.to_owned(), source };
        // Without O_NONBLOCK a planted FIFO would make us wait for ever.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = open(path, flags, Mode::empty()).map_err(|errno| unreadable(errno.into()))?;
        let file = File::from(file);
        let facts = file.metadata().map_err(unreadable)?;
        if !facts.is_file() || facts.len() > MAX_FILE_BYTES {
            return Err(ServerInfoError::NotAFile { path: path.to_owned() });
        }
        let owner = facts.uid();
        if owner != 0 && owner != geteuid().as_raw() {
            return Err(ServerInfoError::ForeignOwner { path: path.to_owned(), owner });
        }
        let mut line = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut line).map_err(unreadable)?;
        let info = serde_json::from_str(&line).map_err(|error| {
            let (path, line, column) = (path.to_owned(), error.line(), error.column());
            ServerInfoError::Malformed { path, line, column }
        })?;
        Ok((info, owner))
    }

    /// Whether a process of this number runs, be it somebody else's.
    pub fn has_its_process(&self) -> bool {
        is_running(self.pid)
    }

    /// The line that is written, with its line end.
    pub fn to_line(&self) -> String {
        // Numbers and strings: nothing that JSON could refuse.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// A path that is not UTF-8 can't stand in JSON: better none than another, or than no line at all.
fn is_unwritable(path: &Option<PathBuf>) -> bool {
    path.as_deref().and_then(Path::to_str).is_none()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn info() -> ServerInfo {
        ServerInfo {
            port: 4_321,
            pid: 17,
            base_url: "http://127.0.0.1:4321/v1".to_owned(),
            control_socket: Some("/run/codex-responses-api-proxy/4321.sock".into()),
            uid: 1_000,
            listener_uid: 0,
            instance: "0123456789abcdef".to_owned(),
            started_at: 1_800_000_000,
            version: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn the_line_begins_with_port_and_pid_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("info.json");
        let line = info().to_line();
        assert!(line.starts_with(r#"{"port":4321,"pid":17,"#) && line.ends_with("}\n"), "{line}");
        fs::write(&path, line).unwrap();
        assert_eq!(ServerInfo::read(&path).unwrap(), info());
        let owner = geteuid().as_raw();
        assert_eq!(ServerInfo::read_with_owner(&path).unwrap(), (info(), owner));
    }

    #[test]
    fn a_line_without_a_control_socket_has_none() {
        let without = ServerInfo { control_socket: None, ..info() };
        assert!(!without.to_line().contains("control_socket"), "{}", without.to_line());
        assert_eq!(serde_json::from_str::<ServerInfo>(&without.to_line()).unwrap(), without);
        // No UTF-8: no string of JSON's can name it.
        let odd = PathBuf::from(std::ffi::OsString::from_vec(vec![b'/', 0xff]));
        let odd = ServerInfo { control_socket: Some(odd), ..info() };
        assert_eq!(odd.to_line(), without.to_line());
    }

    #[test]
    fn a_file_has_its_process_while_that_runs() {
        let of = |pid| ServerInfo { pid, ..info() };
        assert!(of(std::process::id()).has_its_process());
        assert!(!of(0).has_its_process());
    }

    #[test]
    fn a_planted_file_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("real"), info().to_line()).unwrap();
        symlink(at("real"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        fs::write(at("long"), "x".repeat(5_000)).unwrap();
        fs::write(at("text"), "hello").unwrap();
        for (name, expected) in [
            ("none", "read"),
            ("link", "read"),
            ("fifo", "not a file"),
            ("long", "not a file"),
            ("text", "writes"),
        ] {
            let error = ServerInfo::read(&at(name)).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
        }
        // Only root can make a file of somebody else's; anyone else has this proven in CI.
        if geteuid().is_root() {
            std::os::unix::fs::chown(at("real"), Some(61_234), None).unwrap();
            let error = ServerInfo::read(&at("real")).unwrap_err();
            assert!(
                matches!(error, ServerInfoError::ForeignOwner { owner: 61_234, .. }),
                "{error}"
            );
        }
    }
}
