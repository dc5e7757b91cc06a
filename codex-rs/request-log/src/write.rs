//! Records on their way out: a bounded queue and one thread that prints them.
//!
//! An exchange never waits for the log. When the queue is full, because whoever reads our standard
//! error has stopped, records are dropped and counted, and the count is told with the next line.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::{Outcome, Record};

/// Records that may wait for the writer.
const QUEUED_RECORDS: usize = 1_024;

/// Where exchanges leave their records. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// Leaves a record, or counts it as dropped when the queue is full or the writer has ended.
    pub fn write(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread that prints a line for each exchange that did not complete.
#[derive(Debug)]
pub struct Writer {
    /// Disconnected once the thread has ended.
    running: Receiver<()>,
}

impl Writer {
    /// Starts the thread. It ends once every [`Log`] has been dropped.
    ///
    /// # Errors
    ///
    /// As [`std::thread::Builder::spawn`].
    pub fn start(sink: impl Write + Send + 'static) -> std::io::Result<(Log, Self)> {
        let (queue, records) = sync_channel(QUEUED_RECORDS);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Log { queue, dropped: Arc::clone(&dropped) };
        let (ended, running) = sync_channel(0);
        std::thread::Builder::new().name("request-log".to_owned()).spawn(move || {
            print(&records, &dropped, sink);
            drop(ended);
        })?;
        Ok((log, Self { running }))
    }

    /// Waits until every record has been printed, but no longer than `patience`: whoever reads the
    /// sink may have stopped. Drop every [`Log`] first.
    pub fn finish(self, patience: Duration) {
        let _ = self.running.recv_timeout(patience); // Nothing is ever sent.
    }
}

fn print(records: &Receiver<Record>, dropped: &AtomicU64, mut sink: impl Write) {
    // A closed standard error is the operator's choice: serving goes on without it.
    for record in records {
        tell_drops(dropped, &mut sink);
        if record.outcome != Outcome::Completed {
            let _ = writeln!(sink, "{record}");
        }
    }
    tell_drops(dropped, &mut sink);
}

fn tell_drops(dropped: &AtomicU64, sink: &mut impl Write) {
    match dropped.swap(0, Ordering::Relaxed) {
        0 => {}
        count => {
            let _ = writeln!(sink, "{count} records were dropped: whoever reads this was too slow");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::{OpenRecord, Reason};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn open(log: &Log, id: u64) -> OpenRecord {
        OpenRecord::new(log.clone(), id, Some(1_000), "POST".to_owned(), "/v1/responses".to_owned())
    }

    #[test]
    fn each_exchange_that_did_not_complete_leaves_one_line() {
        let sink = Shared::default();
        let (log, writer) = Writer::start(sink.clone()).unwrap();
        let mut whole = open(&log, 1);
        whole.completed();
        whole.failed(Outcome::Cut, Reason::ProxyStopped, None); // Too late: the first word stands.
        drop(whole);
        open(&log, 2).failed(Outcome::Refused, Reason::RouteNotAllowed, None);
        let mut cut = open(&log, 3);
        cut.relayed(10);
        cut.failed(Outcome::Cut, Reason::UpstreamCut, None);
        cut.failed(Outcome::Cut, Reason::ProxyStopped, None); // Too late: the first word stands.
        drop(cut);
        drop(open(&log, 4));
        drop(log);
        writer.finish(Duration::MAX);

        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let told: Vec<&str> = text.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
        assert_eq!(told, ["refused", "cut", "client_left"], "{text}");
        assert!(text.contains("upstream_cut") && !text.contains("proxy_stopped"), "{text}");
    }

    #[test]
    fn a_log_that_nobody_reads_costs_lines_and_never_waits() {
        /// Stands still in its first write until the test says go.
        struct Stuck(std::sync::mpsc::Receiver<()>, Shared);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                self.1.write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (go, stuck) = channel();
        let sink = Shared::default();
        let (log, writer) = Writer::start(Stuck(stuck, sink.clone())).unwrap();
        for id in 0..5_000 {
            drop(open(&log, id)); // Would hang here if a full queue made it wait.
        }
        drop(go);
        drop(log);
        writer.finish(Duration::MAX);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("records were dropped"), "{text}");
    }
}
