//! The thread that writes the log's file: whole lines, or none.
//!
//! A disk that is full costs records, which are counted and told; it never costs service. What stands at
//! the file's path is looked at while writing, so that a log that was rotated or deleted goes on in a new
//! file.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::append::{Shortfall, append_lines};
use crate::entry::Entry;
use crate::lanes::{Batch, Lane, Lanes};
use crate::sink::{TOO_FAST, unwritten};
use crate::{Format, LogFile, LogFileError, line};

/// The path is looked at no more often.
const LOOKING: Duration = Duration::from_secs(1);

/// What the thread has.
pub(crate) struct FileSink {
    file: LogFile,
    say: Box<dyn Fn(String) + Send>,
    dropped: Arc<AtomicU64>,
    looked_at: Option<Instant>,
    /// The path leads to something that can't be used, and that has been told.
    astray: bool,
    /// Why the file can't be written; it has been told.
    failure: Option<String>,
    /// Records that could not be written and are not told in the file yet.
    unwritten: u64,
}

/// Lines that go out with one write.
#[derive(Default)]
struct Lines {
    text: String,
    /// For each line where it ends, how many records it stands for, and how many of them are lost with it.
    ends: Vec<(usize, u64, u64)>,
}

impl FileSink {
    pub(crate) fn new(
        file: LogFile,
        say: impl Fn(String) + Send + 'static,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        Self {
            file,
            say: Box::new(say),
            dropped,
            looked_at: None,
            astray: false,
            failure: None,
            unwritten: 0,
        }
    }

    /// The thread's whole work.
    pub(crate) fn run(mut self, queue: &Lanes<Entry>) {
        while let Some(batch) = queue.take(None) {
            self.handle(&batch, Instant::now());
        }
        self.write(0, &[]); // How many are missing, if that could not be written yet.
    }

    fn handle(&mut self, batch: &Batch<Entry>, now: Instant) {
        if batch.nudged {
            self.reopen();
        } else if self.looked_at.is_none_or(|at| now.duration_since(at) >= LOOKING) {
            self.looked_at = Some(now);
            self.look();
        }
        self.write(batch.lost, &batch.entries);
    }

    /// The operator wants the file opened anew.
    fn reopen(&mut self) {
        match self.file.reopen() {
            Ok(()) => self.astray = false,
            Err(error) => self.tell_astray(&error),
        }
    }

    /// Goes where the path leads, if that is elsewhere by now.
    fn look(&mut self) {
        if self.file.is_at_its_path() {
            self.astray = false;
            return;
        }
        match self.file.reopen() {
            Ok(()) => self.astray = false,
            Err(_) if self.astray => {}
            Err(error) => self.tell_astray(&error),
        }
    }

    fn tell_astray(&mut self, error: &LogFileError) {
        self.astray = true;
        let error = error.in_full();
        (self.say)(format!("warning: {error}; it goes on in the file that was there before"));
    }

    fn write(&mut self, too_late: u64, entries: &[(Lane, Entry)]) {
        let lines = self.lines(too_late, entries);
        if lines.text.is_empty() {
            return;
        }
        let path = self.file.path().display().to_string();
        match append_lines(self.file.file(), lines.text.as_bytes()) {
            Ok(()) => {
                let missing = take(&mut self.unwritten);
                if self.failure.take().is_some() {
                    (self.say)(format!(
                        "the request log {path} is written again; {missing} records are missing in it"
                    ));
                }
            }
            Err(Shortfall { kept_bytes, cause }) => {
                let (unwritten, lost) = lines.after(kept_bytes);
                self.unwritten = unwritten;
                self.dropped.fetch_add(lost, Ordering::Relaxed);
                let cause = cause.to_string();
                if self.failure.is_none() {
                    (self.say)(format!(
                        "warning: the request log {path} can't be written: {cause}; serving goes on without it"
                    ));
                }
                self.failure = Some(cause);
            }
        }
    }

    fn lines(&self, too_late: u64, entries: &[(Lane, Entry)]) -> Lines {
        let mut lines = Lines::default();
        if self.unwritten > 0 {
            let cause = self.failure.as_deref().unwrap_or("unknown");
            let gap = line::gap_to_json(self.unwritten, &unwritten(cause));
            lines.push(&gap, self.unwritten, 0);
        }
        if too_late > 0 {
            lines.push(&line::gap_to_json(too_late, TOO_FAST), too_late, 0);
        }
        for (_, entry) in entries {
            lines.push(&entry.to_line(Format::Json), entry.records(), entry.new_records());
        }
        lines
    }
}

impl Lines {
    fn push(&mut self, line: &str, records: u64, new_records: u64) {
        self.text.push_str(line);
        self.text.push('\n');
        self.ends.push((self.text.len(), records, new_records));
    }

    /// The records of the lines that end after so many bytes, and those of them that are lost now.
    fn after(&self, kept_bytes: usize) -> (u64, u64) {
        let missing = self.ends.iter().filter(|(end, ..)| *end > kept_bytes);
        missing.fold((0, 0), |(all, new), (_, records, new_records)| {
            (all + records, new + new_records)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    use nix::sys::stat::Mode;
    use tempfile::TempDir;

    use super::*;
    use crate::record::testing::record;
    use crate::{Line, Record};

    struct Test {
        folder: TempDir,
        sink: FileSink,
        said: Arc<Mutex<Vec<String>>>,
        now: Instant,
    }

    impl Test {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = LogFile::open(&folder.path().join("log")).unwrap();
            Self::with(folder, file)
        }

        fn with(folder: TempDir, file: LogFile) -> Self {
            let said = Arc::new(Mutex::new(Vec::new()));
            let saying = Arc::clone(&said);
            let say = move |sentence| saying.lock().unwrap().push(sentence);
            let sink = FileSink::new(file, say, Arc::default());
            Self { folder, sink, said, now: Instant::now() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("log")
        }

        fn write(&mut self, ids: &[u64]) {
            self.handle(ids, 0, false);
        }

        fn handle(&mut self, ids: &[u64], lost: u64, nudged: bool) {
            let entry = |id: &u64| Entry::Record(Arc::new(Record { id: *id, ..record() }));
            let entries = ids.iter().map(|id| (Lane::Admitted, entry(id))).collect();
            self.sink.handle(&Batch { entries, lost, nudged }, self.now);
        }

        fn said(&self) -> Vec<String> {
            take(&mut *self.said.lock().unwrap())
        }
    }

    /// The numbers of the records in a file; a gap is what it stands for, negated.
    fn told(path: &Path) -> Vec<i64> {
        let text = fs::read_to_string(path).unwrap();
        let number = |line: &str| match Line::parse(line).unwrap() {
            Line::Record(record) => i64::try_from(record.id).unwrap(),
            Line::Gap { records, .. } => -i64::try_from(records).unwrap(),
            Line::Heartbeat => panic!("a heartbeat in a file"),
        };
        text.lines().map(number).collect()
    }

    #[test]
    fn what_came_too_fast_is_told_before_what_comes_next() {
        let mut test = Test::new();
        test.write(&[1, 2]);
        test.handle(&[3], 7, false);
        assert_eq!(told(&test.path()), [1, 2, -7, 3]);
        assert!(fs::read_to_string(test.path()).unwrap().contains(TOO_FAST));
        assert!(test.said().is_empty());
    }

    #[test]
    fn a_disk_that_is_full_is_told_once_and_so_is_its_recovery() {
        let Ok(full) = File::options().read(true).append(true).open("/dev/full") else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut test = Test::with(folder, LogFile::elsewhere(full, path.clone()));
        test.sink.looked_at = Some(test.now);
        test.write(&[1, 2]);
        let said = test.said();
        let expected = format!(
            "warning: the request log {} can't be written: No space left on device (os error 28); serving goes on without it",
            path.display()
        );
        assert_eq!(said, [expected]);
        test.handle(&[3], 4, false);
        assert!(test.said().is_empty());
        assert_eq!(test.sink.dropped.load(Ordering::Relaxed), 3, "four were counted elsewhere");

        test.handle(&[9], 0, true); // Opened anew, on a disk with room.
        assert_eq!(told(&path), [-7, 9]);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("could not be written: No space left on device"), "{text}");
        let said = test.said();
        assert_eq!(said.len(), 1);
        assert!(said[0].ends_with("is written again; 7 records are missing in it"), "{said:?}");
    }

    #[test]
    fn what_is_missing_in_the_end_is_told_in_the_end() {
        let Ok(full) = File::options().read(true).append(true).open("/dev/full") else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut test = Test::with(folder, LogFile::elsewhere(full, path.clone()));
        test.sink.looked_at = Some(test.now);
        test.write(&[1]);
        test.sink.file.reopen().unwrap();
        let queue = Lanes::new();
        queue.close();
        let Test { folder: _folder, sink, .. } = test;
        sink.run(&queue);
        assert_eq!(told(&path), [-1]);
    }

    #[test]
    fn a_log_that_was_renamed_or_deleted_goes_on_in_a_new_file_within_a_second() {
        let mut test = Test::new();
        let old = test.folder.path().join("log.1");
        test.write(&[1]);
        fs::rename(test.path(), &old).unwrap();
        test.write(&[2]); // Not looked at again yet.
        test.now += LOOKING;
        test.write(&[3]);
        assert_eq!((told(&old), told(&test.path())), (vec![1, 2], vec![3]));
        fs::remove_file(test.path()).unwrap();
        test.now += LOOKING;
        test.write(&[4]);
        assert_eq!(told(&test.path()), [4]);
        assert!(test.said().is_empty());
    }

    #[test]
    fn told_to_it_opens_the_file_anew_at_once() {
        let mut test = Test::new();
        test.write(&[1]);
        fs::rename(test.path(), test.folder.path().join("log.1")).unwrap();
        test.handle(&[], 0, true);
        assert!(test.path().exists(), "although nothing was to be written");
        test.write(&[2]);
        assert_eq!(told(&test.path()), [2]);
    }

    #[test]
    fn a_link_or_a_fifo_in_its_place_is_not_used_and_the_log_goes_on() {
        let mut test = Test::new();
        let (old, victim) = (test.folder.path().join("log.1"), test.folder.path().join("victim"));
        fs::write(&victim, "").unwrap();
        test.write(&[1]);
        fs::rename(test.path(), &old).unwrap();
        symlink(&victim, test.path()).unwrap();
        test.now += LOOKING;
        test.write(&[2]);
        let said = test.said();
        assert!(said.len() == 1 && said[0].contains("is a symbolic link"), "{said:?}");
        test.now += LOOKING;
        test.write(&[3]);
        assert!(test.said().is_empty(), "it was told twice");

        fs::remove_file(test.path()).unwrap();
        nix::unistd::mkfifo(&test.path(), Mode::S_IRWXU).unwrap();
        test.handle(&[4], 0, true); // Told to, it says why not.
        let said = test.said();
        assert!(said.len() == 1 && said[0].contains("is not a regular file"), "{said:?}");
        assert_eq!(told(&old), [1, 2, 3, 4]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "");

        fs::remove_file(test.path()).unwrap();
        test.now += LOOKING;
        test.write(&[5]);
        assert_eq!(told(&test.path()), [5]);
    }

    #[test]
    fn a_log_whose_last_line_was_torn_goes_on_with_a_line_of_its_own() {
        let mut test = Test::new();
        fs::write(test.path(), r#"{"id":1,"star"#).unwrap();
        test.write(&[2]);
        let text = fs::read_to_string(test.path()).unwrap();
        let lines: Vec<_> = text.lines().map(Line::parse).collect();
        assert!(matches!(lines[..], [None, Some(Line::Record(_))]), "{text}");
    }

    #[test]
    fn lines_that_found_no_room_are_told_apart_from_those_that_did() {
        let mut lines = Lines::default();
        lines.push("gap", 5, 0); // Ends at 4,
        lines.push("one", 1, 1); // at 8
        lines.push("two", 1, 1); // and at 12.
        assert_eq!(lines.after(0), (7, 2));
        assert_eq!(lines.after(4), (2, 2));
        assert_eq!(lines.after(8), (1, 1));
        assert_eq!(lines.after(12), (0, 0));
    }
}
