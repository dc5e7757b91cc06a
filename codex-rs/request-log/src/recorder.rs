//! From an exchange to every place that its record goes to, without ever holding the exchange up.
//!
//! ```text
//! exchange ── two lanes ──▶ recorder ──┬──▶ hub, those who follow
//!                           names,     ├── queue ──▶ the file's thread
//!                           floods     └── queue ──▶ standard error's thread
//! ```
//!
//! Each queue is bounded. Whoever puts something in never waits, so a disk or a reader of standard error
//! that stands still stops its own thread alone. What the file's thread has to say to the operator goes
//! through a queue and a thread as well.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::file_sink::FileSink;
use crate::flood::{COLLECTING, Flood};
use crate::lanes::{Batch, Lane, Lanes};
use crate::sink::Sink;
use crate::stderr_sink::StderrSink;
use crate::{Format, Hub, Log, LogFile, Observe, Record};

/// Accounts whose names are kept.
const KEPT_NAMES: usize = 1_024;
/// Sentences that may wait for the operator.
const WAITING_WORDS: usize = 64;

/// Everything that becomes of a record.
pub struct Sinks {
    /// Where it is kept for a while, and followed.
    pub hub: Hub,
    /// Standard error, as a line of this form.
    pub stderr: Option<(Format, Box<dyn Write + Send>)>,
    /// The file, as a line of JSON.
    pub file: Option<LogFile>,
    /// The name of an account. It may block: it is asked on the recorder's thread, once for each account.
    pub name: fn(u32) -> Option<String>,
    /// Called by the exchange itself, for every record, before that waits anywhere, with whether the exchange was
    /// forwarded. It must not block.
    pub observe: Observe,
    /// Says one line to the operator. It may block: it is called on a thread of its own.
    pub tell: fn(&str),
}

/// The threads that carry records on.
#[derive(Debug)]
pub struct Recorder {
    /// Disconnected once all threads have ended.
    running: Receiver<()>,
    reopener: Option<Reopener>,
}

/// Has the log's file opened anew. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reopener {
    queue: Arc<Lanes<Entry>>,
}

impl Recorder {
    /// Starts the threads. They end once the [`Log`] has been closed or its last clone dropped, and everything has been
    /// carried on.
    ///
    /// # Errors
    ///
    /// As [`std::thread::Builder::spawn`].
    pub fn start(sinks: Sinks) -> io::Result<(Log, Self)> {
        let Sinks { hub, stderr, file, name, observe, tell } = sinks;
        let dropped = Arc::new(AtomicU64::new(0));
        // Each thread has one end of this, and nothing is ever sent.
        let (ended, running) = sync_channel(0);
        let mut desk = Desk {
            hub,
            sinks: Vec::new(),
            name,
            names: HashMap::new(),
            flood: Flood::default(),
            dropped: Arc::clone(&dropped),
        };
        let mut reopener = None;
        if let Some(file) = file {
            let (words, sentences) = sync_channel::<String>(WAITING_WORDS);
            spawn("log-words", &ended, move || sentences.iter().for_each(|said| tell(&said)))?;
            let queue = desk.add_sink();
            reopener = Some(Reopener { queue: Arc::clone(&queue) });
            let say = move |sentence| drop(words.try_send(sentence)); // So many wait: nobody listens.
            let sink = FileSink::new(file, say, Arc::clone(&dropped));
            spawn("log-file", &ended, move || sink.run(&queue))?;
        }
        if let Some((format, out)) = stderr {
            let queue = desk.add_sink();
            let sink = StderrSink::new(format, out, Arc::clone(&dropped));
            spawn("log-stderr", &ended, move || sink.run(&queue))?;
        }
        let lanes = Arc::new(Lanes::new());
        let log = Log::new(Arc::clone(&lanes), observe, dropped);
        spawn("request-log", &ended, move || desk.run(&lanes))?;
        Ok((log, Self { running, reopener }))
    }

    /// What has the log's file opened anew, if there is one.
    pub fn reopener(&self) -> Option<Reopener> {
        self.reopener.clone()
    }

    /// Waits until everything has been carried on, but no longer than `patience`: whoever reads standard error may
    /// have stopped, or the disk. Whether it has been. Close the [`Log`] first.
    pub fn finish(self, patience: Duration) -> bool {
        // Nothing is ever sent.
        self.running.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Reopener {
    /// Has the file opened anew by the thread that writes it. Never blocks.
    pub fn reopen(&self) {
        self.queue.nudge();
    }
}

fn spawn(
    name: &str,
    ended: &SyncSender<()>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let ended = ended.clone();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        work();
        drop(ended);
    })?;
    Ok(())
}

/// What the recorder's thread has.
struct Desk {
    hub: Hub,
    sinks: Vec<Sink>,
    name: fn(u32) -> Option<String>,
    names: HashMap<u32, Option<String>>,
    flood: Flood,
    dropped: Arc<AtomicU64>,
}

impl Desk {
    /// Another sink, and the queue that it takes from.
    fn add_sink(&mut self) -> Arc<Lanes<Entry>> {
        let queue = Arc::new(Lanes::new());
        self.sinks.push(Sink::new(Arc::clone(&queue), Arc::clone(&self.dropped)));
        queue
    }

    /// The thread's whole work.
    fn run(mut self, lanes: &Lanes<Record>) {
        loop {
            // What was withheld is told in time, although nothing comes after it.
            let patience = self.flood.is_owing().then_some(COLLECTING);
            let Some(batch) = lanes.take(patience) else { break };
            self.handle(batch, Instant::now());
        }
        let rest = self.flood.rest();
        rest.into_iter().for_each(|withheld| self.gap(withheld.records, &withheld.because()));
        self.hub.end();
    }

    fn handle(&mut self, batch: Batch<Record>, now: Instant) {
        if batch.lost > 0 {
            self.sinks.iter().for_each(|sink| sink.miss(batch.lost));
            self.hub.miss(batch.lost);
        }
        for (lane, record) in batch.entries {
            if lane == Lane::Admitted || self.flood.admits(record.peer.uid, now) {
                self.keep(lane, record);
            } else {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        let due = self.flood.due(now);
        due.into_iter().for_each(|withheld| self.gap(withheld.records, &withheld.because()));
    }

    fn keep(&mut self, lane: Lane, mut record: Record) {
        record.peer.user = record.peer.uid.and_then(|uid| self.name_of(uid));
        let record = Arc::new(record);
        self.hub.push(lane, &record);
        self.sinks.iter().for_each(|sink| sink.give(lane, Entry::Record(Arc::clone(&record))));
    }

    fn gap(&self, records: u64, because: &str) {
        let gap = Entry::Gap { records, because: because.into() };
        self.sinks.iter().for_each(|sink| sink.give(Lane::Other, gap.clone()));
    }

    fn name_of(&mut self, uid: u32) -> Option<String> {
        if self.names.len() >= KEPT_NAMES && !self.names.contains_key(&uid) {
            self.names.clear();
        }
        self.names.entry(uid).or_insert_with(|| (self.name)(uid)).clone()
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stderr = self.stderr.as_ref().map(|(format, _)| format);
        formatter
            .debug_struct("Sinks")
            .field("hub", &self.hub)
            .field("stderr", &stderr)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
