//! Appending whole lines: what can't be written whole leaves no torn line behind.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;

/// What is asked of a file that is open for appending.
pub(crate) trait Target {
    fn length(&self) -> io::Result<u64>;
    /// The byte at an offset; `None` if there is none.
    fn byte_at(&self, offset: u64) -> Option<u8>;
    /// One write(2).
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;
    fn cut_to(&self, length: u64) -> io::Result<()>;
}

impl Target for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn byte_at(&self, offset: u64) -> Option<u8> {
        let mut byte = [0];
        (self.read_at(&mut byte, offset).ok()? == 1).then_some(byte[0])
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        file.write(bytes)
    }

    fn cut_to(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Not everything was written.
#[derive(Debug)]
pub(crate) struct Shortfall {
    /// So many bytes were: whole lines.
    pub(crate) kept_bytes: usize,
    pub(crate) cause: io::Error,
}

/// Appends whole lines with one write. If the file's last line has no end, because whoever wrote it was killed, it
/// gets one first. What does not fit is taken back to the end of the last line that does.
pub(crate) fn append_lines(target: &impl Target, lines: &[u8]) -> Result<(), Shortfall> {
    let nothing = |cause| Shortfall { kept_bytes: 0, cause };
    let before = target.length().map_err(nothing)?;
    let is_torn = before > 0 && target.byte_at(before - 1).is_some_and(|byte| byte != b'\n');
    let bytes = match is_torn {
        true => Cow::Owned([b"\n".as_slice(), lines].concat()),
        false => Cow::Borrowed(lines),
    };
    let written = loop {
        match target.append(&bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => break other.map_err(nothing)?,
        }
    };
    if written == bytes.len() {
        return Ok(());
    }
    let whole = bytes[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    // If somebody else has written meanwhile, that is not ours to take back; the torn line gets its end next time.
    if target.length().is_ok_and(|length| length == before + written as u64) {
        let _ = target.cut_to(before + whole as u64);
    }
    let cause = format!("only {written} of {} bytes found room", bytes.len());
    Err(Shortfall {
        kept_bytes: whole.saturating_sub(bytes.len() - lines.len()),
        cause: io::Error::other(cause),
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! A disk with little room.

    use std::cell::RefCell;

    use super::*;

    pub(crate) struct SmallDisk {
        pub(crate) content: RefCell<Vec<u8>>,
        pub(crate) room: usize,
        pub(crate) can_cut: bool,
    }

    impl Target for SmallDisk {
        fn length(&self) -> io::Result<u64> {
            Ok(self.content.borrow().len() as u64)
        }

        fn byte_at(&self, offset: u64) -> Option<u8> {
            self.content.borrow().get(usize::try_from(offset).unwrap()).copied()
        }

        fn append(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut content = self.content.borrow_mut();
            let fits = bytes.len().min(self.room - content.len());
            if fits == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            content.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn cut_to(&self, length: u64) -> io::Result<()> {
            if !self.can_cut {
                return Err(ErrorKind::PermissionDenied.into());
            }
            self.content.borrow_mut().truncate(usize::try_from(length).unwrap());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;

    use super::testing::SmallDisk;
    use super::*;

    fn disk(content: &str, room: usize) -> SmallDisk {
        SmallDisk { content: RefCell::new(content.into()), room, can_cut: true }
    }

    fn text(disk: &SmallDisk) -> String {
        String::from_utf8(disk.content.borrow().clone()).unwrap()
    }

    #[test]
    fn a_torn_last_line_gets_its_end_first() {
        for (before, after) in [("", "a\n"), ("x\n", "x\na\n"), ("{\"to", "{\"to\na\n")] {
            let disk = disk(before, 100);
            append_lines(&disk, b"a\n").unwrap();
            assert_eq!(text(&disk), after);
        }
    }

    #[test]
    fn what_does_not_fit_leaves_whole_lines_only() {
        // Room for so many bytes after "old\n"; what stands there then; how many bytes of the lines were kept.
        for (room, after, kept_bytes) in [
            (0, "old\n", 0),
            (1, "old\n", 0),
            (2, "old\n", 0),
            (3, "old\nab\n", 3),
            (5, "old\nab\n", 3),
            (6, "old\nab\ncd\n", 6),
            (7, "old\nab\ncd\n", 6),
        ] {
            let disk = disk("old\n", 4 + room);
            let shortfall = append_lines(&disk, b"ab\ncd\nef\n").unwrap_err();
            assert_eq!((text(&disk).as_str(), shortfall.kept_bytes), (after, kept_bytes), "{room}");
        }
    }

    #[test]
    fn the_end_that_a_torn_line_gets_is_not_counted_as_kept() {
        let disk = disk("to", 4);
        let shortfall = append_lines(&disk, b"ab\n").unwrap_err();
        assert_eq!((text(&disk).as_str(), shortfall.kept_bytes), ("to\n", 0));
        assert_eq!(shortfall.cause.to_string(), "only 2 of 4 bytes found room");
    }

    #[test]
    fn what_cannot_be_taken_back_gets_its_end_as_soon_as_there_is_room() {
        let mut disk = SmallDisk { can_cut: false, ..disk("", 4) };
        append_lines(&disk, b"ab\ncd\n").unwrap_err();
        assert_eq!(text(&disk), "ab\nc");
        disk.room = 100;
        append_lines(&disk, b"ef\n").unwrap();
        assert_eq!(text(&disk), "ab\nc\nef\n");
    }

    #[test]
    fn a_real_file_is_appended_to_and_a_full_device_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "torn").unwrap();
        let file = File::options().read(true).append(true).open(&path).unwrap();
        append_lines(&file, b"a\n").unwrap();
        append_lines(&file, b"b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "torn\na\nb\n");

        if let Ok(full) = File::options().read(true).append(true).open("/dev/full") {
            let shortfall = append_lines(&full, b"a\n").unwrap_err();
            assert_eq!(shortfall.cause.kind(), ErrorKind::StorageFull);
        }
    }
}
