//! Which files a key is read from.
//!
//! Nothing is believed of a path: it is opened once, and what was opened is asked for its kind, owner and mode
//! (fstat(2)) and then read, so that nothing can be exchanged in between. Opening waits for nothing.
//!
//! Source: open(2), fifo(7), inode(7), acl(5); systemd.exec(5) "Credentials".

use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{self, FcntlArg, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::{self, geteuid};
use thiserror::Error;

/// What nobody but a key file's owner may do: anything.
const OPEN_TO_OTHERS: u32 = 0o077;
/// systemd lets the service's account read by an access control list, whose mask then stands where the group's
/// permissions do (acl(5)).
const CREDENTIAL_OPEN_TO_OTHERS: u32 = 0o037;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why a file is not one to read a key from.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It can't be opened.
    #[error("it can't be opened")]
    Open(#[source] io::Error),
    /// A descriptor that nobody has handed down to this process.
    #[error("this process was given no such descriptor")]
    NotHandedDown,
    /// Reading it might do anything, or nothing for ever.
    #[error("it is {kind}, not a file or a pipe")]
    NotAFile {
        /// What it is.
        kind: &'static str,
    },
    /// Another account chooses what is in it, and can let others read it.
    #[error("it belongs to uid {owner}, and this runs as uid {uid}")]
    NotOurs {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        uid: u32,
    },
    /// Other accounts may read or change it.
    #[error("it is open to other accounts (mode {mode:03o})")]
    OpenToOthers {
        /// Its permissions.
        mode: u32,
    },
    /// The folder that the credential stands in is none of the service manager's.
    #[error("other accounts can change the folder of credentials that it stands in")]
    CredentialsOpen,
}

impl KeyFileError {
    /// What the person who started the proxy can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open(_) => {
                "name a file that is there and that this account may read, or a credential that is in $CREDENTIALS_DIRECTORY"
            }
            Self::NotHandedDown => {
                "sudo and service managers hand down standard input alone: pipe the key in, without --key-file"
            }
            Self::NotAFile { .. } => {
                "name a file or a pipe; to be asked at a terminal, leave --key-file out"
            }
            Self::NotOurs { .. } => {
                "give it to root or to the account that the proxy runs as, or pipe the key in, without --key-file"
            }
            Self::OpenToOthers { .. } => {
                "close it (`chmod 600`); whoever could read it may have the key, so have that replaced at the provider"
            }
            Self::CredentialsOpen => {
                "CREDENTIALS_DIRECTORY is for a service manager to set: unset it, or name the key file by its path"
            }
        }
    }
}

/// Without waiting (for a named pipe's writer, for a modem), and without making a terminal ours.
fn flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

pub(super) fn open(path: &Path) -> Result<File, KeyFileError> {
    match fcntl::open(path, flags(), Mode::empty()) {
        Ok(file) => checked(file.into(), OPEN_TO_OTHERS),
        Err(Errno::ENOENT) if handed_down(path).is_some() => Err(KeyFileError::NotHandedDown),
        Err(errno) => Err(not_opened(errno)),
    }
}

/// In the very folder that was checked.
pub(super) fn open_credential(path: &Path) -> Result<File, KeyFileError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(not_opened(Errno::ENOENT));
    };
    let folder_flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let folder = fcntl::open(folder, folder_flags, Mode::empty()).map_err(not_opened)?;
    let folder = File::from(folder);
    let facts = folder.metadata().map_err(KeyFileError::Open)?;
    if !is_trusted(facts.uid()) || facts.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(KeyFileError::CredentialsOpen);
    }
    let file = fcntl::openat(&folder, name, flags(), Mode::empty()).map_err(not_opened)?;
    checked(file.into(), CREDENTIAL_OPEN_TO_OTHERS)
}

fn not_opened(errno: Errno) -> KeyFileError {
    match errno {
        // A socket has no open(2); a device may have nothing behind it, as /dev/tty where there is no terminal.
        Errno::ENXIO => KeyFileError::NotAFile { kind: "a socket or a device" },
        errno => KeyFileError::Open(errno.into()),
    }
}

/// What was opened, if it is for root or us alone to fill. From here on a pipe is waited for, as any reader does.
fn checked(file: File, open_to_others: u32) -> Result<File, KeyFileError> {
    let facts = file.metadata().map_err(KeyFileError::Open)?;
    let kind = facts.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        let kind = if kind.is_dir() { "a folder" } else { "a device" };
        return Err(KeyFileError::NotAFile { kind });
    }
    if !is_trusted(facts.uid()) {
        return Err(KeyFileError::NotOurs { owner: facts.uid(), uid: geteuid().as_raw() });
    }
    let mode = facts.mode() & 0o7777;
    if mode & open_to_others != 0 {
        return Err(KeyFileError::OpenToOthers { mode });
    }
    // Of what this sets and clears (fcntl(2)), O_NONBLOCK is all that was set.
    match fcntl::fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())) {
        Ok(_) => Ok(file),
        Err(errno) => Err(not_opened(errno)),
    }
}

fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == geteuid().as_raw()
}

/// The descriptor that a path names: what shells put in the place of `<(…)`. Not standard input, output or error.
pub(crate) fn handed_down(path: &Path) -> Option<RawFd> {
    let folders = ["/dev/fd", "/proc/self/fd"].map(Path::new);
    let number: RawFd = path.file_name()?.to_str()?.parse().ok()?;
    (folders.contains(&path.parent()?) && number > 2).then_some(number)
}

/// Closes a descriptor that `path` names. Never one of our own, which is closed on execve(2): one that was handed down
/// is not, or it would not be here.
pub(super) fn close_if_handed_down(path: &Path) {
    let Some(number) = handed_down(path) else { return };
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")); // In octal (proc(5)).
    let flags = flags.and_then(|flags| RawFd::from_str_radix(flags.trim(), 8).ok());
    if flags.is_some_and(|flags| flags & OFlag::O_CLOEXEC.bits() == 0) {
        let _ = unistd::close(number); // What it led to has been read.
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// An account that need not exist.
    const ANOTHER: u32 = 61_234;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.at(name);
            let _ = fs::remove_file(&path); // One that was there may be closed to writers.
            fs::write(&path, "key-1234\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        fn folder(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.at(name);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    fn refusal(opened: Result<File, KeyFileError>) -> String {
        let error = opened.unwrap_err();
        assert!(!error.hint().is_empty());
        error.to_string()
    }

    #[test]
    fn a_file_that_is_for_its_owner_alone_is_opened_also_by_a_link() {
        let place = Place::new();
        for mode in [0o600, 0o400, 0o700] {
            assert!(open(&place.file("key", mode)).is_ok(), "{mode:o}");
        }
        symlink("key", place.at("link")).unwrap();
        assert!(open(&place.at("link")).is_ok());
    }

    #[test]
    fn a_file_that_others_may_use_is_refused_also_by_a_link_that_is_ours() {
        let place = Place::new();
        symlink("key", place.at("link")).unwrap();
        for mode in [0o640, 0o644, 0o604, 0o610, 0o620, 0o602, 0o666] {
            let path = place.file("key", mode);
            let expected = format!("it is open to other accounts (mode {mode:o})");
            for path in [path, place.at("link")] {
                assert_eq!(refusal(open(&path)), expected);
            }
        }
        // Only root can give a file away; anyone else has this proven in CI.
        if geteuid().is_root() {
            let path = place.file("given", 0o600);
            chown(&path, Some(ANOTHER), None).unwrap();
            let expected = "it belongs to uid 61234, and this runs as uid 0";
            assert_eq!(refusal(open(&path)), expected);
        }
    }

    #[test]
    fn what_is_no_file_and_no_pipe_is_refused_at_once() {
        let place = Place::new();
        let _socket = UnixListener::bind(place.at("socket")).unwrap();
        for (path, expected) in [
            (place.folder("folder", 0o700), "it is a folder, not a file or a pipe"),
            (PathBuf::from("/dev/null"), "it is a device, not a file or a pipe"),
            (place.at("socket"), "it is a socket or a device, not a file or a pipe"),
            (place.at("nothing"), "it can't be opened"),
            (place.at("nothing/at/all"), "it can't be opened"),
            (PathBuf::from("/dev/fd/7654321"), "this process was given no such descriptor"),
        ] {
            assert_eq!(refusal(open(&path)), expected, "{path:?}");
        }
    }

    #[test]
    fn a_named_pipe_is_opened_before_anybody_writes_to_it_and_is_then_waited_for() {
        let place = Place::new();
        let pipe = place.at("pipe");
        unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
        let file = open(&pipe).unwrap();
        let set = OFlag::from_bits_retain(fcntl::fcntl(&file, FcntlArg::F_GETFL).unwrap());
        assert!(!set.contains(OFlag::O_NONBLOCK), "{set:?}");
        fs::set_permissions(&pipe, fs::Permissions::from_mode(0o622)).unwrap();
        assert_eq!(refusal(open(&pipe)), "it is open to other accounts (mode 622)");
    }

    #[test]
    fn a_credential_may_be_its_accounts_by_a_list_but_nobody_elses() {
        let place = Place::new();
        let folder = place.folder("credentials", 0o750);
        for (mode, opened) in
            [(0o400, true), (0o440, true), (0o600, true), (0o460, false), (0o444, false)]
        {
            let path = place.file("credentials/openai", mode);
            assert_eq!(open_credential(&path).is_ok(), opened, "{mode:o}");
        }
        let path = place.file("credentials/openai", 0o400);
        for mode in [0o770, 0o777, 0o1777] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            let expected = "other accounts can change the folder of credentials that it stands in";
            assert_eq!(refusal(open_credential(&path)), expected);
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        if geteuid().is_root() {
            chown(&path, Some(ANOTHER), None).unwrap();
            assert!(refusal(open_credential(&path)).starts_with("it belongs to uid 61234"));
            chown(&path, Some(0), None).unwrap();
            chown(&folder, Some(ANOTHER), None).unwrap();
            assert!(refusal(open_credential(&path)).starts_with("other accounts can change"));
        }
    }

    #[test]
    fn a_descriptor_is_known_by_its_path() {
        for (path, expected) in [
            ("/dev/fd/63", Some(63)),
            ("/proc/self/fd/3", Some(3)),
            ("/dev/fd/0", None),
            ("/dev/fd/-1", None),
            ("/dev/fd/x", None),
            ("/tmp/63", None),
            ("63", None),
        ] {
            assert_eq!(handed_down(Path::new(path)), expected, "{path}");
        }
    }
}
