//! Where the key comes from: standard input, a file, or a credential of the service manager's.
//!
//! Whatever it is, it is read once, and then standard input leads nowhere. Which files are good enough is said in
//! `key_file`. No message has a byte of what is in one.
//!
//! Source: systemd.exec(5) "Credentials".

mod key_file;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use codex_key_custody::{ApiKey, CustodyError, KeyInput};
use nix::unistd::dup2_stdin;

pub(crate) use key_file::{KeyFileError, handed_down};

use crate::StartError;

/// What a terminal on standard input shows.
const PROMPT: &str = "API key (it will not be shown): ";

/// Where the key is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// At a terminal it is asked for.
    StandardInput,
    /// A file or a pipe with a name. The path is absolute.
    File(PathBuf),
    /// What systemd has put there for the service that we are.
    Credential { name: String, path: PathBuf },
}

/// What the person can do whose file holds something else than a key.
pub(crate) fn content_hint(error: &CustodyError) -> &'static str {
    match error {
        CustodyError::Empty => "write the key into it, and nothing else",
        CustodyError::TooLong | CustodyError::MoreThanOneLine => {
            "it is to hold the key alone, with at most one line end after it"
        }
        CustodyError::BadByte { .. } => {
            "a key has only A-Z a-z 0-9 - . _ ~ + / and = at its end: no quotes, no blanks, no byte order mark, no name before it"
        }
        CustodyError::Read(_) => "see whether it, and the disk that it stands on, can be read",
        error => error.hint(),
    }
}

impl KeySource {
    /// `--key-file` as it was typed. The name of a credential (or its path, as units write it) is that credential,
    /// anything else is a path.
    ///
    /// # Errors
    ///
    /// The current folder can't be told.
    pub(crate) fn resolve(
        key_file: Option<PathBuf>,
        credentials: Option<&Path>,
    ) -> Result<Self, StartError> {
        let Some(typed) = key_file else { return Ok(Self::StandardInput) };
        if let Some(credential) = credentials.and_then(|folder| Self::credential(&typed, folder)) {
            return Ok(credential);
        }
        match std::path::absolute(&typed) {
            Ok(path) => Ok(Self::File(path)),
            Err(error) => {
                Err(StartError::KeyFile { path: typed, source: KeyFileError::Open(error) })
            }
        }
    }

    /// The credential that is meant, if one is.
    fn credential(typed: &Path, folder: &Path) -> Option<Self> {
        let name = typed.file_name()?;
        let path = std::path::absolute(folder.join(name)).ok()?;
        let is_bare = typed.as_os_str() == name; // Without any folder, be it `./`.
        let is_meant = (is_bare && path.symlink_metadata().is_ok()) || typed == path;
        is_meant.then(|| Self::Credential { name: name.to_string_lossy().into_owned(), path })
    }

    /// Takes the key into custody. Blocks until it has come: a named pipe is waited for until somebody has written
    /// to it. Standard input leads nowhere from then on, whatever the source, and the descriptor that it was read from is closed.
    ///
    /// # Errors
    ///
    /// There is no key, or others could have read it, or there is no memory for it.
    pub(crate) fn read(&self, allow_unlocked: bool) -> Result<ApiKey, StartError> {
        let lacking = |error| StartError::lacking("an empty standard input", error);
        let nowhere = File::open("/dev/null").map_err(lacking)?;
        let file = self.open()?;
        let stdin = io::stdin();
        let input = file.as_ref().map_or(stdin.as_fd(), |file| file.as_fd());
        let from = KeyInput { prompt: PROMPT, allow_unlocked, ..KeyInput::of(input) };
        let key = ApiKey::read(from).map_err(|error| self.holds_no_key(error))?;
        if let Self::File(path) = self {
            key_file::close_if_handed_down(path);
        }
        dup2_stdin(&nowhere).map_err(|errno| lacking(errno.into()))?;
        Ok(key)
    }

    /// The file to read; `None` for standard input.
    fn open(&self) -> Result<Option<File>, StartError> {
        let (path, opened) = match self {
            Self::StandardInput => return Ok(None),
            Self::File(path) => (path, key_file::open(path)),
            Self::Credential { path, .. } => (path, key_file::open_credential(path)),
        };
        opened.map(Some).map_err(|source| StartError::KeyFile { path: path.clone(), source })
    }

    /// What is wrong with a file is said of the file; a lack of memory is none of its faults.
    fn holds_no_key(&self, error: CustodyError) -> StartError {
        match error {
            CustodyError::Page(_) | CustodyError::Lock(_) => StartError::Key(error),
            _ if *self == Self::StandardInput => StartError::Key(error),
            source => StartError::KeyFileContent { place: self.to_string(), source },
        }
    }
}

/// As in "the API key in …".
impl fmt::Display for KeySource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardInput => formatter.write_str("standard input"),
            Self::File(path) => write!(formatter, "the file {}", path.display()),
            Self::Credential { name, .. } => write!(formatter, "the systemd credential {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_name_is_a_credential_where_there_is_one_and_else_a_path() {
        let credentials = tempfile::tempdir().unwrap();
        let folder = credentials.path();
        fs::write(folder.join("openai"), "").unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
        let here = std::env::current_dir().unwrap();
        let resolve = |typed: &str, credentials: Option<&Path>| {
            KeySource::resolve(Some(typed.into()), credentials).unwrap()
        };
        let credential =
            |name: &str| KeySource::Credential { name: name.to_owned(), path: folder.join(name) };
        let by_path = folder.join("openai");
        for (typed, expected) in [
            ("openai", credential("openai")),
            (by_path.to_str().unwrap(), credential("openai")),
            ("dangling", credential("dangling")), // Nothing else takes its place.
            ("./openai", KeySource::File(here.join("openai"))),
            ("other", KeySource::File(here.join("other"))),
            ("..", KeySource::File(here.join(".."))),
            ("/etc/openai", KeySource::File("/etc/openai".into())),
        ] {
            assert_eq!(resolve(typed, Some(folder)), expected, "{typed}");
        }
        assert_eq!(resolve("openai", None), KeySource::File(here.join("openai")));
        let none = KeySource::resolve(None, Some(folder)).unwrap();
        assert_eq!(none, KeySource::StandardInput);
        assert_eq!(credential("openai").to_string(), "the systemd credential openai");
        assert_eq!(resolve("/a", None).to_string(), "the file /a");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_of_the_file_and_a_lack_of_memory_is_not() {
        let file = KeySource::File("/etc/openai".into());
        let said = |source: &KeySource, error| source.holds_no_key(error).to_string();
        assert_eq!(
            said(&file, CustodyError::Empty),
            "the API key in the file /etc/openai can't be used"
        );
        let lock = CustodyError::Lock(Errno::ENOMEM);
        assert_eq!(said(&file, lock), lock.to_string());
        let input = KeySource::StandardInput;
        assert_eq!(said(&input, CustodyError::Empty), CustodyError::Empty.to_string());
    }
}
