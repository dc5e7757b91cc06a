//! The records of the last while, and whoever follows them live.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::{self, error::RecvError};

use crate::Record;
use crate::lanes::Lane;

/// Records that are kept of each lane.
const KEPT_RECORDS: usize = 512;
/// Records that may wait for a follower.
const FOLLOWED_RECORDS: usize = 1_024;

/// Recent records, and those who follow them. Cheap to clone; never blocks: a follower that is too slow
/// misses records, and is told how many.
#[derive(Clone, Debug)]
pub struct Hub {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    admitted: VecDeque<Arc<Record>>,
    others: VecDeque<Arc<Record>>,
    /// `None` once nothing more comes.
    live: Option<broadcast::Sender<Result<Arc<Record>, Missed>>>,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// So many records went by: whoever follows was too slow.
    TooSlow(u64),
    /// So many never came here: more came at once than find room.
    Lost(u64),
    /// Nothing more comes: the recorder has ended.
    Ended,
}

/// Somebody who is given every record from a certain one on.
#[derive(Debug)]
pub struct Follower {
    records: broadcast::Receiver<Result<Arc<Record>, Missed>>,
}

impl Default for Hub {
    fn default() -> Self {
        let live = Some(broadcast::Sender::new(FOLLOWED_RECORDS));
        let shelf = Shelf { admitted: VecDeque::new(), others: VecDeque::new(), live };
        Self { shelf: Arc::new(Mutex::new(shelf)) }
    }
}

impl Hub {
    /// The last 512 records of exchanges that were forwarded, and the last 512 others, by number.
    pub fn recent(&self) -> Vec<Arc<Record>> {
        self.shelf().recent()
    }

    /// The recent records, and everything that comes after them: nothing is lost or doubled in between.
    pub fn follow(&self) -> (Vec<Arc<Record>>, Follower) {
        let shelf = self.shelf();
        let records = match &shelf.live {
            Some(live) => live.subscribe(),
            None => broadcast::channel(1).1, // Without a sender: at its end at once.
        };
        (shelf.recent(), Follower { records })
    }

    pub(crate) fn push(&self, lane: Lane, record: &Arc<Record>) {
        let mut shelf = self.shelf();
        let kept = match lane {
            Lane::Admitted => &mut shelf.admitted,
            Lane::Other => &mut shelf.others,
        };
        if kept.len() == KEPT_RECORDS {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(record));
        shelf.send(Ok(Arc::clone(record)));
    }

    /// Some never came here.
    pub(crate) fn miss(&self, records: u64) {
        self.shelf().send(Err(Missed::Lost(records)));
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        self.shelf().live = None;
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn recent(&self) -> Vec<Arc<Record>> {
        let mut records: Vec<_> = self.admitted.iter().chain(&self.others).cloned().collect();
        records.sort_by_key(|record| record.id);
        records
    }

    fn send(&self, word: Result<Arc<Record>, Missed>) {
        if let Some(live) = &self.live {
            let _ = live.send(word); // Fails when nobody follows.
        }
    }
}

impl Follower {
    /// Waits for the next record. Cancel safe: a record that was not handed over comes next time.
    ///
    /// # Errors
    ///
    /// Some were missed, or nothing more comes.
    pub async fn next(&mut self) -> Result<Arc<Record>, Missed> {
        match self.records.recv().await {
            Ok(word) => word,
            Err(RecvError::Lagged(records)) => Err(Missed::TooSlow(records)),
            Err(RecvError::Closed) => Err(Missed::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::record::testing::record;

    fn push(hub: &Hub, lane: Lane, id: u64) {
        hub.push(lane, &Arc::new(Record { id, ..record() }));
    }

    fn ids(records: &[Arc<Record>]) -> Vec<u64> {
        records.iter().map(|record| record.id).collect()
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn both_lanes_are_kept_apart_and_shown_by_number() {
        let hub = Hub::default();
        push(&hub, Lane::Admitted, 2);
        push(&hub, Lane::Other, 3);
        push(&hub, Lane::Admitted, 1);
        assert_eq!(ids(&hub.recent()), [1, 2, 3]);
        for id in 1_000..3_000 {
            push(&hub, Lane::Other, id);
        }
        let expected: Vec<u64> = [1, 2].into_iter().chain(3_000 - 512..3_000).collect();
        assert_eq!(ids(&hub.recent()), expected);
    }

    #[test]
    fn nothing_is_lost_or_doubled_between_recent_and_follow() {
        const LAST: u64 = 500;
        let hub = Hub::default();
        let pushing = {
            let hub = hub.clone();
            thread::spawn(move || (1..=LAST).for_each(|id| push(&hub, Lane::Admitted, id)))
        };
        // In the middle of it all, again and again.
        let followers: Vec<_> = (0..20).map(|_| hub.follow()).collect();
        pushing.join().unwrap();
        let all: Vec<u64> = (1..=LAST).collect();
        for (recent, mut follower) in followers {
            let mut seen = ids(&recent);
            while seen.last() != Some(&LAST) {
                seen.push(wait(follower.next()).unwrap().id);
            }
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn a_follower_that_is_too_slow_is_told_how_many_it_missed() {
        let hub = Hub::default();
        let (_, mut follower) = hub.follow();
        let sent = FOLLOWED_RECORDS as u64 + 10;
        (1..=sent).for_each(|id| push(&hub, Lane::Other, id));
        assert_eq!(wait(follower.next()), Err(Missed::TooSlow(10)));
        for id in 11..=sent {
            assert_eq!(wait(follower.next()).unwrap().id, id);
        }
        hub.miss(7);
        assert_eq!(wait(follower.next()), Err(Missed::Lost(7)));
    }

    #[test]
    fn the_end_is_told_after_the_last_record() {
        let hub = Hub::default();
        let (_, mut follower) = hub.follow();
        push(&hub, Lane::Admitted, 1);
        hub.end();
        assert_eq!(wait(follower.next()).unwrap().id, 1);
        assert_eq!(wait(follower.next()), Err(Missed::Ended));
        let (recent, mut late) = hub.follow();
        assert_eq!(ids(&recent), [1]);
        assert_eq!(wait(late.next()), Err(Missed::Ended));
    }
}
