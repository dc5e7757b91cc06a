//! What a connection is doing, and how long that may take before its next request has to be there.
//!
//! hyper has one limit for both: how long a head takes, and how long a connection rests between requests. The
//! first should be short; the second longer than clients keep a connection, so that it is they who close it: a
//! request that crosses our close on its way is lost.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a head may take to arrive, the first from the connection's beginning.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may rest between requests. reqwest, and with it Codex, closes it after 90 s.
const REST_TIMEOUT: Duration = Duration::from_secs(100);
/// How long a head may still take when nobody new comes in.
const LAST_HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// How late the end of a limit may be seen: a wake-up a second is cheaper than one a request.
const STEP: Duration = Duration::from_secs(1);

/// The clock of one connection.
#[derive(Debug)]
pub(crate) struct HeadClock(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Whether a request has come before.
    is_proven: bool,
    /// Something of an answer waits for the client to read on.
    is_full: bool,
    hurried_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of a head has come.
    Resting,
    /// A part of one has.
    Reading,
    /// An exchange is under way.
    Busy,
    /// One is over whose request was not read whole: what comes is the rest of it, and no head comes any more.
    Closing,
}

impl HeadClock {
    pub(crate) fn started() -> Self {
        let phase = Phase::Resting;
        let since = Instant::now();
        Self(Mutex::new(State { phase, since, is_proven: false, is_full: false, hurried_at: None }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    pub(crate) fn heard(&self) {
        let mut state = self.state();
        if state.phase == Phase::Resting {
            state.phase = Phase::Reading;
            if state.is_proven {
                state.since = Instant::now();
            }
        }
    }

    /// A head was complete: an exchange begins.
    pub(crate) fn busy(&self) {
        let mut state = self.state();
        state.phase = Phase::Busy;
        state.is_proven = true;
    }

    /// The exchange is over.
    pub(crate) fn rested(&self, request_was_read: bool) {
        let mut state = self.state();
        state.phase = if request_was_read { Phase::Resting } else { Phase::Closing };
        state.since = Instant::now();
    }

    /// The socket takes nothing more, or takes something again. hyper has let an answer's body go before its last bytes
    /// are in the socket: until then the connection does not rest.
    pub(crate) fn writes(&self, is_full: bool) {
        let mut state = self.state();
        if state.is_full != is_full {
            state.is_full = is_full;
            if matches!(state.phase, Phase::Resting | Phase::Closing) {
                state.since = Instant::now();
            }
        }
    }

    /// From now on a head that is on its way has a last moment to arrive.
    pub(crate) fn hurry(&self) {
        self.state().hurried_at.get_or_insert_with(Instant::now);
    }

    /// Whether what comes belongs to a request that has a record.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.state().phase, Phase::Busy | Phase::Closing)
    }

    /// Whether a part of a head has come, and not all of it.
    pub(crate) fn is_reading(&self) -> bool {
        self.state().phase == Phase::Reading
    }

    /// Ready once a limit has passed. Cancel safe.
    pub(crate) async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let left = self.state().deadline().map(|deadline| deadline.duration_since(now));
            match left {
                Some(Duration::ZERO) => return,
                Some(left) => sleep(left.min(STEP)).await,
                None => sleep(STEP).await,
            }
        }
    }
}

impl State {
    fn deadline(&self) -> Option<Instant> {
        let limit = match self.phase {
            Phase::Busy => return None,
            _ if self.is_full => return None,
            Phase::Resting if self.is_proven => REST_TIMEOUT,
            Phase::Resting | Phase::Reading | Phase::Closing => HEAD_TIMEOUT,
        };
        let deadline = self.since + limit;
        Some(
            self.hurried_at
                .map_or(deadline, |at| deadline.min(at.max(self.since) + LAST_HEAD_TIMEOUT)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many seconds after `from` the clock says that it is too late, at most `limit`.
    async fn overdue_after(clock: &HeadClock, from: Instant, limit: u64) -> Option<u64> {
        let waited = tokio::time::timeout(Duration::from_secs(limit), clock.overdue()).await;
        waited.ok().map(|()| from.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_head_has_ten_seconds_from_the_connections_beginning() {
        let (clock, from) = (HeadClock::started(), Instant::now());
        assert_eq!(overdue_after(&clock, from, 5).await, None);
        clock.heard(); // Starts nothing anew.
        assert!(clock.is_reading());
        assert_eq!(overdue_after(&clock, from, 60).await, Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_has_no_limit_and_a_rest_a_long_one() {
        let clock = HeadClock::started();
        clock.heard();
        clock.busy();
        assert_eq!(overdue_after(&clock, Instant::now(), 10_000).await, None);
        clock.rested(true);
        assert_eq!(overdue_after(&clock, Instant::now(), 1_000).await, Some(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_ten_seconds_from_its_first_byte() {
        let clock = HeadClock::started();
        clock.busy();
        clock.rested(true);
        assert_eq!(overdue_after(&clock, Instant::now(), 50).await, None);
        clock.heard();
        let from = Instant::now();
        clock.heard(); // More of it does not give it more time.
        assert_eq!(overdue_after(&clock, from, 1_000).await, Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_request_is_no_head() {
        let clock = HeadClock::started();
        clock.busy();
        clock.rested(false);
        clock.heard();
        assert!(!clock.is_reading() && clock.is_busy());
        assert_eq!(overdue_after(&clock, Instant::now(), 1_000).await, Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_not_at_rest_before_it_has_read() {
        let clock = HeadClock::started();
        clock.busy();
        clock.writes(true);
        clock.rested(true);
        clock.hurry();
        assert_eq!(overdue_after(&clock, Instant::now(), 10_000).await, None);
        clock.writes(false);
        assert_eq!(overdue_after(&clock, Instant::now(), 1_000).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_a_head_that_is_on_its_way_has_a_second() {
        let clock = HeadClock::started();
        clock.heard();
        clock.hurry();
        assert_eq!(overdue_after(&clock, Instant::now(), 1_000).await, Some(1));
        clock.busy();
        assert_eq!(overdue_after(&clock, Instant::now(), 1_000).await, None);
    }
}
