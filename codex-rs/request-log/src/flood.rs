//! How many records of requests that are not forwarded each account may leave: a token bucket for each.
//!
//! A refusal costs its client nothing, so a loop could fill the disk and push out every record that
//! matters. What is too much is counted and told in one line. Exchanges that are forwarded are never held
//! back here.

use std::collections::HashMap;
use std::mem::take;
use std::time::{Duration, Instant};

/// Records that an account may leave at once.
const BURST_RECORDS: u32 = 2_000;
/// After that, one each 20 ms: 50 a second.
const INTERVAL: Duration = Duration::from_millis(20);
/// Accounts that are told apart. Further ones, and those that could not be told, share one bucket.
const MAX_BUCKETS: usize = 1_024;
/// What was withheld is told when it has been collected for so long.
pub(crate) const COLLECTING: Duration = Duration::from_secs(1);

/// The buckets.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    buckets: HashMap<Option<u32>, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Each record moves this on by [`INTERVAL`]; it may be so far ahead as a burst is long.
    full_at: Instant,
    withheld: u64,
    withheld_since: Option<Instant>,
}

/// How many records of an account were withheld.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Withheld {
    /// `None` for those that share a bucket.
    uid: Option<u32>,
    pub(crate) records: u64,
}

impl Withheld {
    /// As a gap says it.
    pub(crate) fn because(&self) -> String {
        let whose = match self.uid {
            Some(uid) => format!("uid {uid}"),
            None => "unknown or too many accounts".to_owned(),
        };
        format!("refused requests of {whose} came faster than 50 a second")
    }
}

impl Flood {
    /// Whether a record of this account is kept; if not, it is counted. `now` never goes back.
    pub(crate) fn admits(&mut self, uid: Option<u32>, now: Instant) -> bool {
        let uid = self.bucket_of(uid, now);
        let new = Bucket { full_at: now, withheld: 0, withheld_since: None };
        let bucket = self.buckets.entry(uid).or_insert(new);
        let full_at = bucket.full_at.max(now) + INTERVAL;
        let fits = full_at.duration_since(now) <= INTERVAL * BURST_RECORDS;
        if fits {
            bucket.full_at = full_at;
        } else {
            bucket.withheld += 1;
            bucket.withheld_since.get_or_insert(now);
        }
        fits
    }

    /// Whether something was withheld that has not been told.
    pub(crate) fn is_owing(&self) -> bool {
        self.buckets.values().any(|bucket| bucket.withheld > 0)
    }

    /// What is to be told by now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Withheld> {
        self.told(|since| now.duration_since(since) >= COLLECTING)
    }

    /// All that has not been told.
    pub(crate) fn rest(&mut self) -> Vec<Withheld> {
        self.told(|_| true)
    }

    fn told(&mut self, is_due: impl Fn(Instant) -> bool) -> Vec<Withheld> {
        let mut told = Vec::new();
        for (uid, bucket) in &mut self.buckets {
            if bucket.withheld_since.is_some_and(&is_due) {
                bucket.withheld_since = None;
                told.push(Withheld { uid: *uid, records: take(&mut bucket.withheld) });
            }
        }
        told
    }

    /// The account itself if it has a bucket or there is room for one, else the shared one.
    fn bucket_of(&mut self, uid: Option<u32>, now: Instant) -> Option<u32> {
        let room = MAX_BUCKETS - 1; // One is the shared one's.
        if self.buckets.len() >= room && !self.buckets.contains_key(&uid) {
            // A full bucket is like a new one.
            self.buckets.retain(|_, bucket| bucket.full_at > now || bucket.withheld > 0);
            if self.buckets.len() >= room {
                return None;
            }
        }
        uid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Option<u32> = Some(1_000);
    const BOB: Option<u32> = Some(1_001);

    fn kept(flood: &mut Flood, uid: Option<u32>, records: usize, now: Instant) -> usize {
        (0..records).filter(|_| flood.admits(uid, now)).count()
    }

    #[test]
    fn a_burst_is_kept_then_fifty_a_second() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        assert_eq!(kept(&mut flood, ALICE, 3_000, start), 2_000);
        let later = start + Duration::from_secs(1);
        assert_eq!(kept(&mut flood, ALICE, 3_000, later), 50);
        let an_hour_later = start + Duration::from_secs(3_600);
        assert_eq!(kept(&mut flood, ALICE, 3_000, an_hour_later), 2_000);
    }

    #[test]
    fn one_account_takes_nothing_from_another() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        kept(&mut flood, ALICE, 3_000, start);
        assert_eq!(kept(&mut flood, BOB, 10, start), 10);
        assert_eq!(kept(&mut flood, None, 3_000, start), 2_000);
    }

    #[test]
    fn what_is_withheld_is_collected_for_a_second_and_told_once() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        assert!(!flood.is_owing());
        kept(&mut flood, ALICE, 2_003, start);
        assert!(flood.is_owing());
        assert!(flood.due(start).is_empty());
        let told = flood.due(start + COLLECTING);
        assert_eq!(told, [Withheld { uid: ALICE, records: 3 }]);
        assert_eq!(told[0].because(), "refused requests of uid 1000 came faster than 50 a second");
        assert!(!flood.is_owing());
        assert!(flood.rest().is_empty());
        kept(&mut flood, None, 2_001, start + COLLECTING);
        assert_eq!(flood.rest(), [Withheld { uid: None, records: 1 }]);
    }

    #[test]
    fn so_many_accounts_share_that_memory_is_bounded() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        let kept_at = |flood: &mut Flood, now| {
            (0..10_000).filter(|uid| flood.admits(Some(*uid), now)).count()
        };
        assert_eq!(kept_at(&mut flood, start), 1_023 + 2_000);
        assert_eq!(flood.buckets.len(), MAX_BUCKETS);
        // Once a bucket is full again it makes room, but for what has to be told.
        let later = start + Duration::from_secs(3_600);
        assert!(flood.admits(Some(70_000), later));
        assert_eq!(flood.buckets.len(), 2);
    }
}
