//! Why a configuration file could not be read or changed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use thiserror::Error;

use crate::home::MOST_REFERENCES;
use crate::{EditError, shell_word};

/// Why a file is as it was. No variant holds a word of it.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// What it says stands in the way.
    #[error("{file} is left as it is", file = file.display())]
    Edit {
        /// The file.
        file: PathBuf,
        /// Why.
        source: EditError,
    },
    /// It could not be read.
    #[error("{file} can't be read", file = file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a device, a pipe.
    #[error("{file} is no regular file", file = file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
    /// No configuration is that large.
    #[error("{file} is larger than {limit_bytes} bytes", file = file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// What is read at most.
        limit_bytes: u64,
    },
    /// Each may stand for all that comes before it, and so a few lines for more than there is memory.
    #[error("{file} has more than {MOST_REFERENCES} `$`, and what it sets is not worked out", file = file.display())]
    TooManyReferences {
        /// The file.
        file: PathBuf,
    },
    /// Its bytes are no text.
    #[error("{file} is not UTF-8: byte {offset}", file = file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// Where, from 0 on.
        offset: usize,
    },
    /// This account may not write to it.
    #[error("{file} is read-only for this account", file = file.display())]
    ReadOnly {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// It could not be given the owner that it has now.
    #[error("{file} belongs to uid {uid} and gid {gid}, which this account can't give a file to", file = file.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        uid: u32,
        /// The group that it is in.
        gid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has changed it meanwhile.
    #[error("{file} was changed by somebody else at the same time, and is left as it is", file = file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// A step of writing failed, and what had been done was undone.
    #[error("{file} can't be written: {doing}", file = file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// The step.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ConfigError {
    /// What helps.
    pub fn hint(&self) -> String {
        self.hint_for(geteuid().as_raw())
    }

    /// What helps the account with this number.
    fn hint_for(&self, us: u32) -> String {
        match self {
            Self::Edit { source, .. } => source.hint(),
            Self::ReadOnly { file, uid } => {
                let file = path_word(file);
                let allow = if *uid == us {
                    format!("allow it (chmod u+w {file})")
                } else {
                    format!("make it yours (sudo chown \"$(id -u):$(id -g)\" {file})")
                };
                format!(
                    "{allow}, or write what --dry-run shows where that file is made from; `codex proxy point --profile` needs no change to it"
                )
            }
            Self::Owner { file, uid, .. } if *uid == us => {
                format!("give it a group of yours: sudo chgrp \"$(id -g)\" {}", path_word(file))
            }
            Self::Owner { uid, .. } => {
                format!("do it as that account: sudo -u '#{uid}' codex proxy …")
            }
            Self::Changed { .. } => "try again".to_owned(),
            Self::NotText { .. } => "save it as UTF-8; Codex can't read it either".to_owned(),
            Self::TooManyReferences { .. } => "write the values out".to_owned(),
            Self::NotAFile { .. } | Self::TooLarge { .. } => {
                "move it away, or name another folder with CODEX_HOME".to_owned()
            }
            Self::Unwritable { file, source, .. } if is_full(source) => {
                format!("make room there: df -h {}", path_word(folder_of(file)))
            }
            Self::Unreadable { file, .. } | Self::Unwritable { file, .. } => {
                let (folder, file) = (path_word(folder_of(file)), path_word(file));
                format!("look who may: ls -ld {folder} {file}")
            }
        }
    }
}

fn is_full(source: &io::Error) -> bool {
    matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

fn path_word(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hint_can_be_typed_by_whoever_reads_it() {
        let file = || PathBuf::from("/h/my files/config.toml");
        let denied = || io::Error::from(ErrorKind::PermissionDenied);
        let otherwise = "or write what --dry-run shows where that file is made from; `codex proxy point --profile` needs no change to it";
        let owner = |uid| ConfigError::Owner { file: file(), uid, gid: 7, source: denied() };
        let unwritable = |kind: ErrorKind| {
            let source = io::Error::from(kind);
            ConfigError::Unwritable { file: file(), doing: "it can't", source }
        };
        for (error, expected) in [
            (
                ConfigError::ReadOnly { file: file(), uid: 1_000 },
                format!("allow it (chmod u+w '/h/my files/config.toml'), {otherwise}"),
            ),
            (
                ConfigError::ReadOnly { file: file(), uid: 0 },
                format!(
                    "make it yours (sudo chown \"$(id -u):$(id -g)\" '/h/my files/config.toml'), {otherwise}"
                ),
            ),
            (
                owner(1_000),
                "give it a group of yours: sudo chgrp \"$(id -g)\" '/h/my files/config.toml'"
                    .to_owned(),
            ),
            (owner(1_001), "do it as that account: sudo -u '#1001' codex proxy …".to_owned()),
            (
                ConfigError::Unreadable { file: file(), source: denied() },
                "look who may: ls -ld '/h/my files' '/h/my files/config.toml'".to_owned(),
            ),
            (
                unwritable(ErrorKind::PermissionDenied),
                "look who may: ls -ld '/h/my files' '/h/my files/config.toml'".to_owned(),
            ),
            (unwritable(ErrorKind::StorageFull), "make room there: df -h '/h/my files'".to_owned()),
        ] {
            assert_eq!(error.hint_for(1_000), expected, "{error}");
        }
    }
}
