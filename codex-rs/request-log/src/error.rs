//! Why a file is no request log.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a file is not written, or read, as a request log.
#[derive(Debug, Error)]
pub enum LogFileError {
    /// It can't be opened, or made.
    #[error("the request log {path} can't be opened", path = path.display())]
    Unopenable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is a symbolic link.
    #[error("the request log {path} is a symbolic link, and none is followed", path = path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// It is a folder, a FIFO, a device or a socket.
    #[error("the request log {path} is not a regular file", path = path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It is to be written and belongs to somebody else, who could read it.
    #[error("the request log {path} belongs to uid {owner}, and this runs as uid {uid}", path = path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// It is to be written and has other names, perhaps where somebody else wants lines of ours.
    #[error("the request log {path} has {links} names (hard links)", path = path.display())]
    HardLinked {
        /// The file.
        path: PathBuf,
        /// How many.
        links: u64,
    },
    /// It is to be written and others may read or write it.
    #[error("the request log {path} is open to other accounts (mode {mode:o})", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is to be read and belongs to neither root nor this account: anything may stand in it.
    #[error("the request log {path} belongs to uid {owner}, neither to root nor to this account", path = path.display())]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
}

impl LogFileError {
    /// What can be done about it where it is to be written.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unopenable { .. } => {
                "name a file in a folder that exists and that this account may write to"
            }
            Self::Link { .. } => "name the file itself, or one that does not exist yet",
            Self::NotAFile { .. } => "name a regular file, or one that does not exist yet",
            Self::ForeignOwner { .. } => {
                "name a file that does not exist yet: it is made with mode 600"
            }
            Self::HardLinked { .. } => {
                "remove its other names, or name a file that does not exist yet"
            }
            Self::Exposed { .. } => {
                "close it with `chmod 600 FILE` (in logrotate: `create 600`), or name a file that does not exist yet"
            }
            Self::Untrusted { .. } => "read it as the account that writes it",
        }
    }

    /// What can be done about it where it is to be read.
    pub fn reading_hint(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => "read it as the account that writes it",
            _ => "name a file that is there and that this account may read",
        }
    }

    /// The message and its cause in one line.
    pub(crate) fn in_full(&self) -> String {
        match self.source() {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_and_who_writes_are_told_different_things() {
        let path = PathBuf::from("/tmp/log");
        let source = io::Error::from(io::ErrorKind::NotFound);
        let missing = LogFileError::Unopenable { path: path.clone(), source };
        assert_eq!(
            missing.hint(),
            "name a file in a folder that exists and that this account may write to"
        );
        let reading = "name a file that is there and that this account may read";
        assert_eq!(missing.reading_hint(), reading);
        assert_eq!(LogFileError::Link { path: path.clone() }.reading_hint(), reading);
        let foreign = LogFileError::Untrusted { path, owner: 1_000 };
        assert_eq!(foreign.reading_hint(), "read it as the account that writes it");
    }
}
