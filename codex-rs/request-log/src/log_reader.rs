//! Reading a log's file, also while it grows, is rotated or truncated.
//!
//! A line counts once its end is there, and what has no end yet is read again next time, from its
//! beginning: so what was taken back, or torn, is never joined with what came after it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::mem::take;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use crate::line::MAX_LINE_BYTES;
use crate::lines_backwards::LinesBackwards;
use crate::log_file::{Identity, identity, open_regular};
use crate::{Filter, Line, LogFileError};

/// Reads a log's file.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: File,
    identity: Identity,
    /// What was read, and how much of it has been given.
    block: Vec<u8>,
    given: usize,
    /// Where the block begins in the file: at a line's beginning, unless that line is being skipped.
    start: u64,
    /// The line that is going on is too long to be ours.
    skipping: bool,
}

impl LogReader {
    /// Opens a file that belongs to root or to this account, following no link. Reading begins at its beginning.
    ///
    /// # Errors
    ///
    /// It is not such a file, or can't be opened.
    pub fn open(path: &Path) -> Result<Self, LogFileError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let (file, facts) = open_regular(&path, OFlag::O_RDONLY)?;
        let owner = facts.uid();
        if owner != 0 && owner != geteuid().as_raw() {
            return Err(LogFileError::Untrusted { path, owner });
        }
        let identity = identity(&facts);
        Ok(Self { path, file, identity, block: Vec::new(), given: 0, start: 0, skipping: false })
    }

    /// The last lines that are wanted, at most `limit` (none if that is 0), the oldest first: records that the filter
    /// accepts, and the gaps between them. [`LogReader::next`] then goes on after what is there now. Takes memory for
    /// those lines alone.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn last(&mut self, limit: usize, filter: &Filter) -> io::Result<Vec<Line>> {
        let (backwards, end) = LinesBackwards::of(&self.file)?;
        let mut wanted = VecDeque::new();
        // A gap has no time: it counts if a wanted record stands before it.
        let mut gaps = Vec::new();
        for line in backwards {
            if wanted.len() >= limit {
                break;
            }
            match parsed(&line?) {
                Some(Line::Record(record)) if filter.accepts(&record) => {
                    gaps.drain(..).for_each(|gap| wanted.push_front(gap));
                    wanted.push_front(Line::Record(record));
                }
                Some(gap @ Line::Gap { .. }) if gaps.len() < limit => gaps.push(gap),
                _ => {}
            }
        }
        if filter.since.is_none() {
            gaps.drain(..).for_each(|gap| wanted.push_front(gap));
        }
        let too_many = wanted.len().saturating_sub(limit);
        wanted.drain(..too_many);
        self.begin_at(end);
        Ok(wanted.into())
    }

    /// The next line after what has been read, whatever it is; torn lines and those of others are passed over.
    /// `None` when there is none yet: ask again. When the path has come to lead to another file and something
    /// stands in that, the old file is read to its end first. A file that was truncated is read from its
    /// beginning.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    #[expect(clippy::should_implement_trait, reason = "an end for now is no iterator's end")]
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            while let Some(line) = self.line_of_block() {
                if let Some(line @ (Line::Record(_) | Line::Gap { .. })) = line {
                    return Ok(Some(line));
                }
            }
            if !self.fill()? && !self.follow_path()? {
                return Ok(None);
            }
        }
    }

    /// The next whole line of the block, parsed.
    fn line_of_block(&mut self) -> Option<Option<Line>> {
        let rest = &self.block[self.given..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = if take(&mut self.skipping) { None } else { parsed(&rest[..end]) };
        self.given += end + 1;
        Some(line)
    }

    /// Reads on from the end of the last whole line. Whether there is something to go on with.
    fn fill(&mut self) -> io::Result<bool> {
        self.start += self.given as u64;
        if self.file.metadata()?.len() < self.start {
            self.begin_at(0);
        }
        self.given = 0;
        self.block.resize(MAX_LINE_BYTES, 0);
        let read = read_at(&self.file, &mut self.block, self.start)?;
        self.block.truncate(read);
        if self.block.contains(&b'\n') {
            return Ok(true);
        }
        self.block.clear();
        let is_too_long = read == MAX_LINE_BYTES;
        if is_too_long {
            self.skipping = true;
            self.start += read as u64;
        }
        Ok(is_too_long)
    }

    /// Goes on with the file that the path leads to, if that is another by now. Whether there is something to go
    /// on with.
    fn follow_path(&mut self) -> io::Result<bool> {
        // As long as nothing stands in it, the old one may still be written to.
        let is_begun = |facts: &fs::Metadata| identity(facts) != self.identity && facts.len() > 0;
        if !fs::symlink_metadata(&self.path).is_ok_and(|facts| is_begun(&facts)) {
            return Ok(false);
        }
        // What came to the old one since we last looked.
        if self.fill()? {
            return Ok(true);
        }
        match Self::open(&self.path) {
            Ok(reader) => *self = reader,
            Err(_) => return Ok(false), // What is there is no log: whoever writes does not use it either.
        }
        self.fill()
    }

    fn begin_at(&mut self, start: u64) {
        (self.start, self.given, self.skipping) = (start, 0, false);
        self.block.clear();
    }
}

fn parsed(line: &[u8]) -> Option<Line> {
    Line::parse(std::str::from_utf8(line).ok()?)
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::os::unix::fs::{chown, symlink};
    use std::time::Duration;

    use nix::sys::stat::Mode;
    use tempfile::TempDir;

    use super::*;
    use crate::record::testing::record;
    use crate::{Outcome, Record};

    fn json(id: u64) -> String {
        Line::Record(Box::new(Record { id, ..record() })).to_json() + "\n"
    }

    fn gap(records: u64) -> String {
        Line::Gap { records, because: "of this".to_owned() }.to_json() + "\n"
    }

    /// The numbers of records; a gap is what it stands for, negated.
    fn number(line: &Line) -> i64 {
        match line {
            Line::Record(record) => i64::try_from(record.id).unwrap(),
            Line::Gap { records, .. } => -i64::try_from(*records).unwrap(),
            Line::Heartbeat => panic!("a heartbeat in a file"),
        }
    }

    fn last(reader: &mut LogReader, limit: usize, filter: &Filter) -> Vec<i64> {
        reader.last(limit, filter).unwrap().iter().map(number).collect()
    }

    fn next(reader: &mut LogReader) -> Vec<i64> {
        std::iter::from_fn(|| reader.next().unwrap()).map(|line| number(&line)).collect()
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn log(text: &str) -> (TempDir, PathBuf, LogReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&path, text);
        let reader = LogReader::open(&path).unwrap();
        (folder, path, reader)
    }

    fn mixed() -> String {
        let torn = &json(3)[..100];
        let foreign = "warning: something else\n\u{1b}[2J\n\n{\"heartbeat\":{\"at\":\"2027-01-15T08:00:00Z\"}}\n";
        [json(1).as_str(), &gap(9), &json(2), foreign, torn, "\n", &json(4), &json(5)[..50]]
            .concat()
    }

    #[test]
    fn whole_lines_of_ours_are_read_and_no_others() {
        let (_folder, path, mut reader) = log(&mixed());
        assert_eq!(next(&mut reader), [1, -9, 2, 4]);
        assert!(next(&mut reader).is_empty());
        append(&path, &json(5)[50..]);
        assert_eq!(next(&mut reader), [5]);
        fs::write(&path, [json(1).as_bytes(), b"\xff\xfe\n", json(2).as_bytes()].concat()).unwrap();
        assert_eq!(next(&mut reader), [1, 2]);
    }

    #[test]
    fn the_last_lines_come_first_and_following_goes_on_after_them() {
        let any = Filter::default();
        for (limit, expected) in [
            (0, vec![]),
            (1, vec![4]),
            (2, vec![2, 4]),
            (3, vec![-9, 2, 4]),
            (9, vec![1, -9, 2, 4]),
        ] {
            let (_folder, path, mut reader) = log(&mixed());
            assert_eq!(last(&mut reader, limit, &any), expected);
            append(&path, &(json(5)[50..].to_owned() + &json(6)));
            assert_eq!(next(&mut reader), [5, 6], "after {limit}");
        }
    }

    #[test]
    fn the_last_lines_that_a_filter_accepts_are_looked_for_from_the_end() {
        let of = |id, outcome, after| {
            let started_at = record().started_at + Duration::from_secs(after);
            Line::Record(Box::new(Record { id, outcome, started_at, ..record() })).to_json() + "\n"
        };
        let (_folder, _, mut reader) = log(&[
            gap(7),
            of(1, Outcome::Cut, 1),
            of(2, Outcome::Completed, 2),
            gap(8),
            of(3, Outcome::Cut, 3),
            of(4, Outcome::Completed, 4),
            gap(9),
        ]
        .concat());
        let cut = Filter { outcome: Some(Outcome::Cut), ..Filter::default() };
        assert_eq!(last(&mut reader, 9, &cut), [-7, 1, -8, 3, -9]);
        assert_eq!(last(&mut reader, 2, &cut), [3, -9]);
        assert!(last(&mut reader, 0, &cut).is_empty());
        let since = Some(record().started_at + Duration::from_secs(3));
        let recent = Filter { since, ..Filter::default() };
        assert_eq!(last(&mut reader, 9, &recent), [3, 4, -9]);
        let never = Some(record().started_at + Duration::from_secs(9));
        assert!(last(&mut reader, 9, &Filter { since: never, ..Filter::default() }).is_empty());
    }

    #[test]
    fn rotation_is_followed_after_the_old_file_was_read_to_its_end() {
        let (folder, path, mut reader) = log(&json(1));
        let old = folder.path().join("log.1");
        assert_eq!(next(&mut reader), [1]);
        append(&path, &json(2));
        fs::rename(&path, &old).unwrap();
        assert_eq!(next(&mut reader), [2]);
        append(&path, ""); // There is a new one, and whoever writes has not seen it yet.
        append(&old, &json(3));
        assert_eq!(next(&mut reader), [3]);
        append(&old, &json(4));
        append(&path, &json(5));
        assert_eq!(next(&mut reader), [4, 5]);
        append(&path, &json(6));
        assert_eq!(next(&mut reader), [6]);
    }

    #[test]
    fn a_truncated_file_is_read_from_its_beginning() {
        let (_folder, path, mut reader) = log(&(json(1) + &json(2)));
        assert_eq!(next(&mut reader), [1, 2]);
        fs::write(&path, "").unwrap();
        assert!(next(&mut reader).is_empty());
        append(&path, &json(3));
        assert_eq!(next(&mut reader), [3]);
    }

    #[test]
    fn what_was_written_in_part_and_taken_back_is_not_joined_with_what_comes_after() {
        let (_folder, path, mut reader) = log(&json(1));
        assert_eq!(next(&mut reader), [1]);
        append(&path, &json(2)[..60]);
        assert!(next(&mut reader).is_empty());
        let whole = json(1).len() as u64;
        OpenOptions::new().write(true).open(&path).unwrap().set_len(whole).unwrap();
        append(&path, &(gap(1) + &json(3)));
        assert_eq!(next(&mut reader), [-1, 3]);
    }

    #[test]
    fn a_giant_line_is_passed_over_in_constant_memory() {
        let giant = "x".repeat(10 * MAX_LINE_BYTES);
        let (_folder, path, mut reader) = log(&(json(1) + &giant));
        assert_eq!(next(&mut reader), [1]);
        append(&path, &(giant + "\n" + &json(2)));
        assert_eq!(next(&mut reader), [2]);
        assert!(reader.block.capacity() <= 2 * MAX_LINE_BYTES);
        assert_eq!(last(&mut reader, 9, &Filter::default()), [1, 2]);
    }

    #[test]
    fn what_is_no_log_to_believe_is_not_read() {
        let (folder, path, _reader) = log("");
        let at = |name: &str| folder.path().join(name);
        symlink(&path, at("link")).unwrap();
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        assert!(matches!(LogReader::open(&at("none")), Err(LogFileError::Unopenable { .. })));
        assert!(matches!(LogReader::open(&at("link")), Err(LogFileError::Link { .. })));
        assert!(matches!(LogReader::open(&at("fifo")), Err(LogFileError::NotAFile { .. })));
        assert!(matches!(LogReader::open(folder.path()), Err(LogFileError::NotAFile { .. })));
        // Only root can make a file of somebody else's; anyone else has this proven in CI.
        if geteuid().is_root() {
            chown(&path, Some(61_234), None).unwrap();
            let error = LogReader::open(&path).unwrap_err();
            assert!(matches!(error, LogFileError::Untrusted { owner: 61_234, .. }), "{error}");
        }
    }
}
