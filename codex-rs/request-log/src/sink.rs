//! The way into a sink: a queue of its own, so that a sink that stands still stops no other.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::Entry;
use crate::lanes::{Lane, Lanes};

/// Why a sink did not get records: said with its next line.
pub(crate) const TOO_FAST: &str = "they came faster than they could be written";

/// Why it could not keep those that it got: said likewise.
pub(crate) fn unwritten(cause: impl Display) -> String {
    format!("they could not be written: {cause}")
}

/// The recorder's end of a sink's queue. Dropped, the sink comes to its end.
#[derive(Debug)]
pub(crate) struct Sink {
    queue: Arc<Lanes<Entry>>,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    pub(crate) fn new(queue: Arc<Lanes<Entry>>, dropped: Arc<AtomicU64>) -> Self {
        Self { queue, dropped }
    }

    /// Never waits.
    pub(crate) fn give(&self, lane: Lane, entry: Entry) {
        let (records, new_records) = (entry.records(), entry.new_records());
        if !self.queue.offer(lane, entry, records) {
            self.dropped.fetch_add(new_records, Ordering::Relaxed);
        }
    }

    /// So many records never came here, and have been counted.
    pub(crate) fn miss(&self, records: u64) {
        self.queue.lose(records);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.queue.close();
    }
}
