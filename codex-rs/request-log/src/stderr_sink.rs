//! The thread that writes records to standard error, for people or for a collector.
//!
//! Whoever reads it may have stopped: then this thread stands still, alone. What it can't write is counted, and told
//! with the next line; but if standard error is closed, that is the operator's choice and no loss.

use std::io::{self, ErrorKind, Write};
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use crate::entry::Entry;
use crate::lanes::{Lane, Lanes};
use crate::sink::{TOO_FAST, unwritten};

/// No write is longer unless its line is: a pipe takes so much whole, between what others write (PIPE_BUF of Linux).
const WRITE_BYTES: usize = 4_096;

/// The form of records on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line for people.
    #[default]
    Pretty,
    /// One line of JSON, as in the file.
    Json,
}

/// What the thread has.
pub(crate) struct StderrSink {
    format: Format,
    out: Box<dyn Write + Send>,
    dropped: Arc<AtomicU64>,
    /// What was not taken since that was last told, and why not.
    untaken: u64,
    because: String,
    /// What was taken last may have no end.
    torn: bool,
    /// What goes out with the next write, and the records in it.
    text: String,
    records: u64,
    new_records: u64,
}

impl StderrSink {
    pub(crate) fn new(format: Format, out: Box<dyn Write + Send>, dropped: Arc<AtomicU64>) -> Self {
        Self {
            format,
            out,
            dropped,
            untaken: 0,
            because: String::new(),
            torn: false,
            text: String::new(),
            records: 0,
            new_records: 0,
        }
    }

    /// The thread's whole work.
    pub(crate) fn run(mut self, queue: &Lanes<Entry>) {
        while let Some(batch) = queue.take(None) {
            self.write(batch.lost, &batch.entries);
        }
        self.write(0, &[]); // How many are missing, if that could not be said yet.
    }

    fn write(&mut self, too_late: u64, entries: &[(Lane, Entry)]) {
        let (untaken, because) = (take(&mut self.untaken), take(&mut self.because));
        if untaken > 0 {
            self.push(&Entry::Gap { records: untaken, because: because.into() });
        }
        if too_late > 0 {
            self.push(&Entry::Gap { records: too_late, because: TOO_FAST.into() });
        }
        entries.iter().for_each(|(_, entry)| self.push(entry));
        self.flush();
    }

    fn push(&mut self, entry: &Entry) {
        let line = entry.to_line(self.format);
        if self.text.len() + line.len() >= WRITE_BYTES {
            self.flush();
        }
        self.text.push_str(&line);
        self.text.push('\n');
        self.records += entry.records();
        self.new_records += entry.new_records();
    }

    fn flush(&mut self) {
        let mut text = take(&mut self.text);
        let (records, new_records) = (take(&mut self.records), take(&mut self.new_records));
        if text.is_empty() {
            return;
        }
        if take(&mut self.torn) {
            text.insert(0, '\n');
        }
        let Err(error) = self.out.write_all(text.as_bytes()) else { return };
        if is_closed(&error) {
            return;
        }
        self.torn = true;
        self.untaken += records;
        self.because = match error.kind() {
            // Somebody who shares it has made it non-blocking, and nobody reads.
            ErrorKind::WouldBlock => TOO_FAST.to_owned(),
            _ => unwritten(error),
        };
        self.dropped.fetch_add(new_records, Ordering::Relaxed);
    }
}

/// Nobody is to read it: serving goes on without it.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe || error.raw_os_error() == Some(Errno::EBADF as i32)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::record::testing::record;
    use crate::{Line, Record};

    /// Keeps each write apart; refuses while it is told to.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<(Vec<String>, Option<Errno>)>>);

    impl Writes {
        fn refuse(&self, errno: Option<Errno>) {
            self.0.lock().unwrap().1 = errno;
        }

        fn concat(&self) -> String {
            self.0.lock().unwrap().0.concat()
        }
    }

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            if let Some(errno) = state.1 {
                return Err(errno.into());
            }
            state.0.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn entries(count: u64) -> Vec<(Lane, Entry)> {
        let entry = |id| Entry::Record(Arc::new(Record { id, ..record() }));
        (1..=count).map(|id| (Lane::Admitted, entry(id))).collect()
    }

    #[test]
    fn lines_that_wait_are_joined_and_never_cut() {
        let writes = Writes::default();
        let out = Box::new(writes.clone());
        let mut sink = StderrSink::new(Format::Json, out, Arc::default());
        sink.write(0, &entries(100));
        let state = writes.0.lock().unwrap();
        let written = &state.0;
        assert!((2..50).contains(&written.len()), "{} writes", written.len());
        for write in written {
            assert!(write.len() <= WRITE_BYTES && write.ends_with('\n'));
        }
        let records = written.concat().lines().filter_map(Line::parse).count();
        assert_eq!(records, 100);
    }

    #[test]
    fn what_is_missing_is_told_in_the_form_that_was_asked_for() {
        for (format, expected) in [
            (
                Format::Pretty,
                "3 records were dropped: they came faster than they could be written\n",
            ),
            (
                Format::Json,
                "{\"gap\":{\"records\":3,\"because\":\"they came faster than they could be written\"}}\n",
            ),
        ] {
            let writes = Writes::default();
            StderrSink::new(format, Box::new(writes.clone()), Arc::default()).write(3, &[]);
            assert_eq!(writes.0.lock().unwrap().0, [expected]);
        }
    }

    #[test]
    fn what_is_not_taken_now_is_told_later_with_its_cause() {
        for (errno, because) in [
            (Errno::EAGAIN, TOO_FAST),
            (Errno::ENOSPC, "they could not be written: No space left on device (os error 28)"),
        ] {
            let (writes, dropped) = (Writes::default(), Arc::new(AtomicU64::new(0)));
            let out = Box::new(writes.clone());
            let mut sink = StderrSink::new(Format::Pretty, out, Arc::clone(&dropped));
            writes.refuse(Some(errno));
            sink.write(0, &entries(2));
            sink.write(3, &[]); // Counted elsewhere, but not told either.
            writes.refuse(None);
            sink.write(4, &entries(1));
            let written = writes.concat();
            let lines: Vec<&str> = written.lines().collect();
            let expected = [
                "", // What was taken last may have no end.
                &format!("5 records were dropped: {because}"),
                &format!("4 records were dropped: {TOO_FAST}"),
            ];
            assert_eq!(lines[..3], expected);
            assert_eq!((lines.len(), dropped.load(Ordering::Relaxed)), (4, 2));
        }
    }

    #[test]
    fn what_is_closed_is_let_be() {
        for errno in [Errno::EPIPE, Errno::EBADF] {
            let (writes, dropped) = (Writes::default(), Arc::new(AtomicU64::new(0)));
            let out = Box::new(writes.clone());
            let mut sink = StderrSink::new(Format::Pretty, out, Arc::clone(&dropped));
            writes.refuse(Some(errno));
            sink.write(0, &entries(2));
            assert_eq!((sink.untaken, dropped.load(Ordering::Relaxed)), (0, 0), "{errno}");
        }
    }
}
