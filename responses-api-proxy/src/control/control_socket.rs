//! The socket file: made for those who may use it, put in place whole, taken away at the end.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use codex_path_trust::Groups;
use nix::unistd::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::Access;
use crate::ownership;
use crate::placed_file::PlacedFile;

/// Callers that may wait to be accepted (listen(2)).
const BACKLOG: i32 = 64;

/// A socket that listens. Dropped, it takes its file away, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    file: PlacedFile,
    listener: UnixListener,
}

/// Why a control socket can't be had.
#[derive(Debug, Error)]
pub enum ControlSocketError {
    /// Another program listens on it.
    #[error("another program answers on the control socket {path}", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else stands there, or somebody else's socket.
    #[error("{path} is there and no socket of this account's", path = path.display())]
    NotOurs {
        /// What was named.
        path: PathBuf,
    },
    /// Others could put something else in its place while it is made.
    #[error("other accounts can change what {path} leads to", path = path.display())]
    OpenFolder {
        /// The socket.
        path: PathBuf,
    },
    /// The kernel does not let us.
    #[error("the control socket {path} can't be made", path = path.display())]
    Make {
        /// The socket.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl ControlSocketError {
    /// What the person who started the proxy can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InUse { .. } => {
                "another proxy may run: `codex proxy status` shows it; else name another path with --control-socket"
            }
            Self::OpenFolder { .. } => {
                "name a path in a folder where, and on the way to which, only root and this account may write"
            }
            Self::NotOurs { .. } => {
                "name a path that does not exist yet, in a folder that only this account may write to"
            }
            Self::Make { .. } => {
                "name a path of at most 90 bytes in a folder that this account may write to"
            }
        }
    }
}

impl ControlSocket {
    /// A socket at a path that the operator named: what answers there is left alone, what is left over is replaced.
    pub(crate) fn at(path: &Path, access: &Access) -> Result<Self, ControlSocketError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        if let Err(source) = fs::metadata(folder) {
            return Err(ControlSocketError::Make { path: path.into(), source });
        }
        // Else they could have us change the owner and mode of another file. No group may, not even a usual one.
        if !ownership::is_ours_alone(folder, Groups::None) {
            return Err(ControlSocketError::OpenFolder { path: path.into() });
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(ControlSocketError::Make { path: path.into(), source }),
            Ok(facts) => {
                if !facts.file_type().is_socket() || facts.uid() != geteuid().as_raw() {
                    return Err(ControlSocketError::NotOurs { path: path.into() });
                }
                if UnixStream::connect(path).is_ok() {
                    return Err(ControlSocketError::InUse { path: path.into() });
                }
            }
        }
        Self::put(path, access)
    }

    /// The same at a path that is ours by right, whoever listens there now.
    pub(super) fn put(path: &Path, access: &Access) -> Result<Self, ControlSocketError> {
        Self::make(path, access)
            .map_err(|source| ControlSocketError::Make { path: path.to_owned(), source })
    }

    fn make(path: &Path, access: &Access) -> io::Result<Self> {
        SockAddr::unix(path)?; // Too long, it could be made here and reached by nobody.
        let folder = path.parent().unwrap_or(Path::new("/"));
        // In a folder that nobody else can enter, and renamed into place once it is as it should be.
        let private = tempfile::Builder::new().prefix(".control.").tempdir_in(folder)?;
        let made = private.path().join("s");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&made)?)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let others = access.others();
        // The kernel keeps everybody else out, where it can; SO_PEERCRED does so in any case.
        let mode = match others.as_slice() {
            [] => 0o600,
            [other] if access.serving.is_root() => {
                lchown(&made, Some(other.as_raw()), None)?;
                0o600
            }
            _ => 0o666,
        };
        fs::set_permissions(&made, Permissions::from_mode(mode))?;
        let facts = fs::symlink_metadata(&made)?;
        fs::rename(&made, path)?;
        let file = PlacedFile::new(path.to_owned(), &facts);
        Ok(Self { file, listener: UnixListener::from(socket) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    /// The file, and the listener for the runtime.
    pub(crate) fn into_parts(self) -> (PlacedFile, UnixListener) {
        (self.file, self.listener)
    }
}
