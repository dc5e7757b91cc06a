//! A bounded queue between threads, in two lanes: whoever puts something in never waits.
//!
//! Exchanges that are forwarded have a lane of their own, so that no flood of requests that are refused
//! takes their room. It is emptied first. What finds no room is counted, and the taker is told.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// Entries that may wait in a lane.
pub(crate) const LANE_ENTRIES: usize = 1_024;

/// Entries that are taken at once.
const BATCH_ENTRIES: usize = 256;

/// How long a taker rests that has emptied the queue. Meanwhile more comes together, and whoever gives need not
/// wake anybody, which costs several microseconds each time.
const REST: Duration = Duration::from_millis(2);

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// For exchanges that are forwarded.
    Admitted,
    /// For everything else.
    Other,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    state: Mutex<State<T>>,
    bell: Condvar,
}

#[derive(Debug)]
struct State<T> {
    admitted: VecDeque<T>,
    others: VecDeque<T>,
    lost: u64,
    nudged: bool,
    closed: bool,
    /// The last batch was all there was.
    emptied: bool,
}

/// What was taken at once.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) entries: Vec<(Lane, T)>,
    /// Records that found no room since the last batch.
    pub(crate) lost: u64,
    /// Somebody wants the taker to look up.
    pub(crate) nudged: bool,
}

impl<T> Lanes<T> {
    pub(crate) fn new() -> Self {
        let (admitted, others) = (VecDeque::new(), VecDeque::new());
        let state =
            State { admitted, others, lost: 0, nudged: false, closed: false, emptied: false };
        Self { state: Mutex::new(state), bell: Condvar::new() }
    }

    /// Puts an entry in, if there is room for it and the queue is not closed. Never waits. If not, the taker is told
    /// that the records that the entry stands for are lost.
    #[must_use = "what found no room is dropped, and to be counted"]
    pub(crate) fn offer(&self, lane: Lane, entry: T, stands_for: u64) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let waiting = match lane {
            Lane::Admitted => &mut state.admitted,
            Lane::Other => &mut state.others,
        };
        let fits = !state.closed && waiting.len() < LANE_ENTRIES;
        if fits {
            waiting.push_back(entry);
        } else {
            state.lost += stands_for;
        }
        drop(guard);
        self.bell.notify_one();
        fits
    }

    /// Records were lost on the way here: the taker is told.
    pub(crate) fn lose(&self, records: u64) {
        self.state().lost += records;
        self.bell.notify_one();
    }

    /// Makes the taker look up, also when there is nothing to take.
    pub(crate) fn nudge(&self) {
        self.state().nudged = true;
        self.bell.notify_one();
    }

    /// Nothing more finds room. What is there can still be taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.bell.notify_one();
    }

    /// Waits until there is something, then takes what is there, the admitted lane first. After `patience` the batch
    /// is empty. `None` when nothing more will come. Who emptied the queue last time rests first.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Option<Batch<T>> {
        let idle = |state: &mut State<T>| !state.closed && state.is_empty();
        let mut state = self.state();
        if take(&mut state.emptied) && !state.closed {
            drop(state);
            sleep(REST);
            state = self.state();
        }
        let mut state = match patience {
            None => self.bell.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.bell.wait_timeout_while(state, patience, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if state.closed && state.is_empty() {
            return None;
        }
        let first = state.admitted.len().min(BATCH_ENTRIES);
        let mut entries: Vec<(Lane, T)> =
            state.admitted.drain(..first).map(|entry| (Lane::Admitted, entry)).collect();
        let then = state.others.len().min(BATCH_ENTRIES - first);
        entries.extend(state.others.drain(..then).map(|entry| (Lane::Other, entry)));
        state.emptied = state.admitted.is_empty() && state.others.is_empty();
        Some(Batch { entries, lost: take(&mut state.lost), nudged: take(&mut state.nudged) })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn is_empty(&self) -> bool {
        self.admitted.is_empty() && self.others.is_empty() && self.lost == 0 && !self.nudged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lanes: &Lanes<usize>) -> (Vec<usize>, u64) {
        lanes.close();
        let (mut all, mut lost) = (Vec::new(), 0);
        while let Some(batch) = lanes.take(None) {
            assert!(batch.entries.len() <= BATCH_ENTRIES);
            all.extend(batch.entries.into_iter().map(|(_, entry)| entry));
            lost += batch.lost;
        }
        (all, lost)
    }

    #[test]
    fn a_flood_of_others_takes_no_room_of_the_admitted_and_comes_after_them() {
        let lanes = Lanes::new();
        let kept = (0..5_000).filter(|entry| lanes.offer(Lane::Other, *entry, 1)).count();
        assert_eq!(kept, LANE_ENTRIES);
        let kept = (5_000..10_000).filter(|entry| lanes.offer(Lane::Admitted, *entry, 1)).count();
        assert_eq!(kept, LANE_ENTRIES);
        let expected: Vec<usize> = (5_000..5_000 + LANE_ENTRIES).chain(0..LANE_ENTRIES).collect();
        let lost = 2 * (5_000 - LANE_ENTRIES as u64);
        assert_eq!(drain(&lanes), (expected, lost));
    }

    #[test]
    fn once_it_is_closed_nothing_finds_room_and_what_is_there_is_taken() {
        let lanes = Lanes::new();
        assert!(lanes.offer(Lane::Other, 1, 1));
        lanes.close();
        assert!(!lanes.offer(Lane::Admitted, 2, 3));
        assert_eq!(drain(&lanes), (vec![1], 3));
    }

    #[test]
    fn what_is_lost_is_told_although_nothing_comes_after_it() {
        let lanes = Lanes::<usize>::new();
        lanes.lose(2);
        lanes.lose(3);
        assert_eq!(drain(&lanes), (vec![], 5));
    }

    #[test]
    fn a_nudge_and_patience_end_the_waiting() {
        let lanes = Lanes::<usize>::new();
        let batch = lanes.take(Some(Duration::ZERO)).unwrap();
        assert!(batch.entries.is_empty() && !batch.nudged);
        lanes.nudge();
        assert!(lanes.take(None).unwrap().nudged);
        lanes.close();
        assert!(lanes.take(None).is_none());
    }
}
