//! Reading files that anybody may have put there: nothing is opened that could hang, and nothing is read without end.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Whether a link at the end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It is.
    Followed,
    /// It is an error.
    Refused,
}

/// At most this much of a file. `None`: there is no such file.
///
/// # Errors
///
/// It can't be read, or is something other than a regular file: a pipe would hang, and a device may do anything. Links
/// are followed.
pub fn read_regular(path: &Path, limit_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open_regular(path, Links::Followed)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The same, opened only.
///
/// # Errors
///
/// As [`read_regular`]; an error of the kind `InvalidInput` means that it is no regular file.
pub fn open_regular(path: &Path, links: Links) -> io::Result<Option<File>> {
    let (looked, flags) = match links {
        Links::Followed => (fs::metadata(path), OFlags::empty()),
        Links::Refused => (fs::symlink_metadata(path), OFlags::NOFOLLOW),
    };
    // Looked at before it is opened, because whoever waits for a pipe's other end would notice.
    let opened = looked.and_then(is_regular).and_then(|()| {
        // And again afterwards: it may have been exchanged. O_CLOEXEC is std's habit.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | flags).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        is_regular(file.metadata()?)?;
        Ok(file)
    });
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_nothing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_regular(metadata: Metadata) -> io::Result<()> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn a_file_is_read_as_far_as_the_limit_and_links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "12345").unwrap();
        symlink(&file, folder.path().join("link")).unwrap();
        for (limit, expected) in [(0, ""), (3, "123"), (5, "12345"), (100, "12345")] {
            for name in ["file", "link"] {
                let read = read_regular(&folder.path().join(name), limit).unwrap().unwrap();
                assert_eq!(read, expected.as_bytes());
            }
        }
    }

    #[test]
    fn a_link_is_refused_where_the_file_itself_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "12345").unwrap();
        symlink(&file, &link).unwrap();
        assert!(open_regular(&file, Links::Refused).unwrap().is_some());
        assert!(open_regular(&link, Links::Refused).is_err());
        assert!(open_regular(&link, Links::Followed).unwrap().is_some());
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        symlink("nowhere", folder.path().join("link")).unwrap();
        for name in ["none", "file/none", "link"] {
            assert!(read_regular(&folder.path().join(name), 10).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_nobody_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        symlink(at("fifo"), at("link")).unwrap();
        for path in [at("fifo"), at("socket"), at("link"), at(""), "/dev/zero".into()] {
            let error = read_regular(&path, 10).unwrap_err();
            assert_eq!(error.to_string(), "it is no regular file", "{}", path.display());
        }
    }
}
