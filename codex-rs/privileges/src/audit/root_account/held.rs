//! The ssh keys that an account has in its `~/.ssh`.
//!
//! The folder is the account's, which may be about to trick us: no link in it is followed, nothing but regular files is
//! read, and of those no more than a key needs.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::keys::{Private, private_file, public_file};

const LIMIT_BYTES: u64 = 64 * 1024;
const MOST_FILES: usize = 500;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What an account has there.
#[derive(Debug, Default)]
pub(super) struct HeldKeys {
    /// Each file, with the public half of its key as it goes over the wire.
    pub(super) keys: Vec<(PathBuf, Vec<u8>)>,
    /// What may be one as well, and why that can't be told.
    pub(super) unread: Vec<(PathBuf, String)>,
}

/// The keys in `.ssh` of this home.
pub(super) fn held_keys(home: &Path) -> HeldKeys {
    let mut held = HeldKeys::default();
    let path = home.join(".ssh");
    match open_folder(home).and_then(|folder| Ok((names(&folder)?, folder))) {
        Ok((names, folder)) => {
            for name in names {
                add(&mut held, &folder, &path, &name);
            }
        }
        Err(Errno::NOENT) => {}
        Err(error) => held.unread.push((path, words(error))),
    }
    // The private half of a key whose public one lies beside it says nothing new.
    let has_public = |path: &PathBuf| {
        let public = PathBuf::from(format!("{}.pub", path.display()));
        held.keys.iter().any(|(other, _)| *other == public)
    };
    let unread = std::mem::take(&mut held.unread);
    let unread = unread.into_iter().filter(|(path, _)| !has_public(path)).collect();
    HeldKeys { unread, ..held }
}

fn words(error: Errno) -> String {
    if error == Errno::LOOP || error == Errno::NOTDIR {
        "it is a link or no folder, and not followed".to_owned()
    } else {
        format!("it can't be read: {error}")
    }
}

fn open_folder(home: &Path) -> Result<OwnedFd, Errno> {
    // Only what is below the home is the account's to exchange.
    let home = openat(CWD, home, FOLDER, Mode::empty())?;
    openat(&home, ".ssh", FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

fn names(folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)?.take(MOST_FILES) {
        let entry = entry?;
        if matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    names.sort();
    Ok(names)
}

fn add(held: &mut HeldKeys, folder: &OwnedFd, path: &Path, name: &[u8]) {
    if matches!(name, b"." | b"..") {
        return;
    }
    let file = path.join(std::ffi::OsStr::from_bytes(name));
    let text = match read(folder, name) {
        Ok(Some(text)) => text,
        Ok(None) => return,
        Err(error) => return held.unread.push((file, words(error))),
    };
    match (file.extension().is_some_and(|extension| extension == "pub"), private_file(&text)) {
        (true, _) => held.keys.extend(public_file(&text).map(|blob| (file, blob))),
        (false, Private::Key(blob)) => held.keys.push((file, blob)),
        (false, Private::Hidden) => {
            held.unread.push((file, "a private key in a form that does not show which".to_owned()));
        }
        (false, Private::None) => {}
    }
}

/// The begin of a regular file. `None`: it is something else.
fn read(folder: &OwnedFd, name: &[u8]) -> Result<Option<String>, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(folder.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP | Errno::NOENT | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(LIMIT_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use rustix::fs::mknodat;

    use super::*;

    const HIDDEN: &str = "-----BEGIN RSA PRIVATE KEY-----\n";

    #[test]
    fn keys_are_read_and_nothing_is_followed_or_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        assert!(held_keys(home.path()).unread.is_empty(), "nothing is there");
        fs::create_dir(&ssh).unwrap();
        let blob = b"\0\0\0\x04test".to_vec();
        let line = format!("test {}\n", STANDARD.encode(&blob));
        fs::write(ssh.join("a.pub"), &line).unwrap();
        fs::write(ssh.join("a"), HIDDEN).unwrap(); // Its public half is there.
        fs::write(ssh.join("b"), HIDDEN).unwrap();
        fs::write(ssh.join("config"), &line).unwrap();
        symlink(ssh.join("a.pub"), ssh.join("link.pub")).unwrap();
        mknodat(CWD, ssh.join("fifo.pub"), FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::create_dir(ssh.join("folder.pub")).unwrap();
        let held = held_keys(home.path());
        assert_eq!(held.keys, [(ssh.join("a.pub"), blob)]);
        let unread: Vec<_> = held.unread.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(unread, [ssh.join("b")]);
    }

    #[test]
    fn a_folder_that_is_a_link_is_said_and_not_followed() {
        let home = tempfile::tempdir().unwrap();
        symlink("/root/.ssh", home.path().join(".ssh")).unwrap();
        let held = held_keys(home.path());
        assert!(held.keys.is_empty());
        assert_eq!(held.unread[0].1, "it is a link or no folder, and not followed");
    }
}
