//! Where exchanges leave their records.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Record;
use crate::lanes::{Lane, Lanes};

/// Called for every record, and whether its exchange was forwarded, before it waits anywhere.
pub type Observe = Box<dyn Fn(&Record, bool) + Send + Sync>;

/// Where exchanges leave their records. Cheap to clone; never blocks. The recorder ends once one of them has been
/// closed, or the last has been dropped.
#[derive(Clone)]
pub struct Log {
    entrance: Arc<Entrance>,
}

struct Entrance {
    lanes: Arc<Lanes<Record>>,
    observe: Observe,
    dropped: Arc<AtomicU64>,
}

impl Log {
    pub(crate) fn new(
        lanes: Arc<Lanes<Record>>,
        observe: Observe,
        dropped: Arc<AtomicU64>,
    ) -> Self {
        Self { entrance: Arc::new(Entrance { lanes, observe, dropped }) }
    }

    /// Nothing more is left, here or with any clone. What is there is carried on, then those who follow hear
    /// [`Missed::Ended`](crate::Missed::Ended) and the recorder ends. What is left later all the same counts as dropped.
    pub fn close(&self) {
        self.entrance.lanes.close();
    }

    /// Records that did not get to all the places that they were for, since the start: they came too fast for the
    /// log, for one of its sinks or for their account's allowance, came too late, or could not be written.
    pub fn dropped(&self) -> u64 {
        self.entrance.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn leave(&self, lane: Lane, record: Record) {
        let Entrance { lanes, observe, dropped } = &*self.entrance;
        observe(&record, lane == Lane::Admitted);
        if !lanes.offer(lane, record, 1) {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.lanes.close();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A log that nothing is taken from until the test wants it.

    use super::*;

    pub(crate) fn stopped() -> (Log, Arc<Lanes<Record>>) {
        let lanes = Arc::new(Lanes::new());
        let log = Log::new(Arc::clone(&lanes), Box::new(|_, _| ()), Arc::default());
        (log, lanes)
    }

    /// All that has been left. Closes the log.
    pub(crate) fn left(lanes: &Lanes<Record>) -> Vec<(Lane, Record)> {
        lanes.close();
        std::iter::from_fn(|| lanes.take(None)).flat_map(|batch| batch.entries).collect()
    }
}
