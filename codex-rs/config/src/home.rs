//! Where Codex keeps its configuration.
//!
//! As measured with Codex 0.169.0: `CODEX_HOME` if it is set and not empty, which then has to name a folder that is
//! there; else `~/.codex`, which need not be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

use crate::ConfigError;
use crate::place::{follow, read_bytes};
use crate::shell_word;

/// How many other variables a `.env` may name: each could double what came before.
pub(crate) const MOST_REFERENCES: usize = 8;

/// The folder of a user's Codex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodexHome {
    folder: PathBuf,
}

/// Why it is not known where Codex keeps its configuration.
#[derive(Debug, Error)]
pub enum HomeError {
    /// The variable names something else, or nothing.
    #[error("CODEX_HOME={folder} is no folder", folder = folder.display())]
    NoFolder {
        /// What it says.
        folder: PathBuf,
        /// What the system said; `None` where something else is there.
        source: Option<io::Error>,
    },
    /// Neither variable says anything.
    #[error("neither CODEX_HOME nor HOME is set")]
    Nowhere,
}

impl HomeError {
    /// What helps.
    pub fn hint(&self) -> String {
        match self {
            Self::NoFolder { source: None, .. } => {
                "it is a file: name a folder, or unset CODEX_HOME".to_owned()
            }
            Self::NoFolder { folder, .. } => format!(
                "make it (mkdir -p {folder}), or unset CODEX_HOME to use ~/.codex",
                folder = shell_word(&folder.to_string_lossy())
            ),
            Self::Nowhere => "set HOME to your home folder".to_owned(),
        }
    }
}

impl CodexHome {
    /// What the two variables say.
    ///
    /// # Errors
    ///
    /// [`HomeError`].
    pub fn of(codex_home: Option<OsString>, home: Option<OsString>) -> Result<Self, HomeError> {
        let said = |value: Option<OsString>| value.filter(|value| !value.is_empty());
        if let Some(folder) = said(codex_home).map(PathBuf::from) {
            return match fs::metadata(&folder) {
                Ok(found) if found.is_dir() => Ok(Self::at(absolute(folder))),
                Ok(_) => Err(HomeError::NoFolder { folder, source: None }),
                Err(error) => Err(HomeError::NoFolder { folder, source: Some(error) }),
            };
        }
        let home = said(home).ok_or(HomeError::Nowhere)?;
        Ok(Self::at(absolute(Path::new(&home).join(".codex"))))
    }

    /// This folder, which need not be there.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The user's configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }

    /// What `codex -p NAME` lays over it.
    pub fn profile(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.config.toml"))
    }

    /// Variables that Codex sets for itself.
    pub fn env_file(&self) -> PathBuf {
        self.folder.join(".env")
    }

    /// What stands in [`CodexHome::env_file`]; `None` where Codex would find nothing to read. Neither a pipe nor a file
    /// without end holds this up.
    pub fn read_env_file(&self) -> Result<Option<String>, ConfigError> {
        let file = self.env_file();
        let Some((bytes, _)) = read_bytes(&follow(&file)?)? else { return Ok(None) };
        // Codex passes over a line that is no text, and takes the others.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.matches('$').count() > MOST_REFERENCES {
            return Err(ConfigError::TooManyReferences { file });
        }
        Ok(Some(text))
    }

    /// What Codex logged in with.
    pub fn auth_file(&self) -> PathBuf {
        self.folder.join("auth.json")
    }
}

/// Messages name a place that can be found from anywhere.
fn absolute(folder: PathBuf) -> PathBuf {
    std::path::absolute(&folder).unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn the_variable_comes_first_and_has_to_name_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let (there, gone) = (folder.path().to_owned(), folder.path().join("gone"));
        let of = |codex_home: Option<&Path>, home: &str| {
            CodexHome::of(codex_home.map(Into::into), Some(home.into()))
        };
        assert_eq!(of(Some(&there), "/home/a").unwrap().config(), there.join("config.toml"));
        assert_eq!(of(None, "/home/a").unwrap().folder(), Path::new("/home/a/.codex"));
        assert_eq!(
            of(Some(Path::new("")), "/home/a").unwrap().folder(),
            Path::new("/home/a/.codex")
        );
        let gone_hint =
            format!("make it (mkdir -p {}), or unset CODEX_HOME to use ~/.codex", gone.display());
        let file_hint = "it is a file: name a folder, or unset CODEX_HOME".to_owned();
        for (bad, hint) in [(gone, gone_hint), (file, file_hint)] {
            let error = of(Some(&bad), "/home/a").unwrap_err();
            assert_eq!(error.to_string(), format!("CODEX_HOME={} is no folder", bad.display()));
            assert_eq!(error.hint(), hint);
        }
        let error = of(Some(Path::new("/no such/it's")), "/home/a").unwrap_err();
        let hint = r"make it (mkdir -p '/no such/it'\''s'), or unset CODEX_HOME to use ~/.codex";
        assert_eq!(error.hint(), hint);
        for nothing in [None, Some(OsString::new())] {
            assert!(matches!(CodexHome::of(None, nothing), Err(HomeError::Nowhere)));
        }
    }

    #[test]
    fn variables_are_read_from_a_regular_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let home = CodexHome::at(folder.path().to_owned());
        let file = home.env_file();
        assert_eq!(home.read_env_file().unwrap(), None);
        let other = folder.path().join("dotfiles");
        fs::write(&other, b"A=\xff\nNO_PROXY=127.0.0.1\n").unwrap();
        std::os::unix::fs::symlink("dotfiles", &file).unwrap();
        assert_eq!(
            home.read_env_file().unwrap().as_deref(),
            Some("A=\u{fffd}\nNO_PROXY=127.0.0.1\n")
        );
        let doubling: String =
            (0..64).map(|line| format!("A{}=$A{line}$A{line}\n", line + 1)).collect();
        fs::write(&other, doubling).unwrap();
        let error = home.read_env_file().unwrap_err();
        assert!(matches!(error, ConfigError::TooManyReferences { .. }), "{error:?}");
        fs::write(&other, "#".repeat(5 << 20)).unwrap();
        assert!(home.read_env_file().is_err());
        // Whoever opened this in the usual way would wait for a writer.
        fs::remove_file(&other).unwrap();
        mknodat(CWD, &other, FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(home.read_env_file().is_err());
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        assert!(home.read_env_file().is_err());
    }
}
