//! What waits for the thread that writes dumps, and how much of it may.
//!
//! The queue itself has no limit, so that the end of an exchange always reaches the thread and no document
//! stays open. The limits are kept before: an exchange is dumped if there are not too many, and then has room
//! for its beginning, its answer's head and its end; a piece of a body waits if there are not too many bytes.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::dump::document::{Beginning, Ending, Side};

/// Exchanges that are being dumped at once, each with an open file, or whose last words wait to be written.
pub(crate) const MAX_EXCHANGES: usize = 1_024;
/// Bytes that may wait.
pub(crate) const MAX_QUEUED_BYTES: usize = 16 << 20;
/// What a message costs besides the bytes in it: its place in the queue, and the odd allocation.
const MESSAGE_BYTES: usize = 256;

/// What the thread is told. Each is about the exchange of that number.
#[derive(Debug)]
pub(crate) enum Message {
    Begun(Box<Beginning>),
    Data { id: u64, side: Side, data: Bytes },
    Answered { id: u64, status: StatusCode, fields: Box<HeaderMap>, request_is_whole: bool },
    Ended { id: u64, ending: Ending },
}

impl Message {
    /// The memory that it keeps from being used otherwise, about.
    pub(crate) fn cost(&self) -> usize {
        let payload = match self {
            Self::Begun(beginning) => {
                let target = beginning.target.path_and_query();
                target.map_or(0, |target| target.as_str().len()) + fields_bytes(&beginning.fields)
            }
            Self::Data { data, .. } => data.len(),
            Self::Answered { fields, .. } => fields_bytes(fields),
            Self::Ended { .. } => 0,
        };
        MESSAGE_BYTES + payload
    }
}

fn fields_bytes(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// How much waits, and whether anything may.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    exchanges: AtomicUsize,
    /// Exchanges that are not dumped, since somebody asked.
    left_out: AtomicU64,
    over: AtomicBool,
}

impl Backlog {
    /// Takes a place for an exchange. Without one, it is left out.
    pub(crate) fn admit_exchange(&self) -> bool {
        let admitted = !self.is_over() && took(&self.exchanges, 1, MAX_EXCHANGES);
        if !admitted {
            self.leave_out();
        }
        admitted
    }

    /// The thread has heard of the exchange's end.
    pub(crate) fn exchange_ended(&self) {
        self.exchanges.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes room for a message, if there is any.
    pub(crate) fn admit(&self, cost: usize) -> bool {
        took(&self.bytes, cost, MAX_QUEUED_BYTES)
    }

    /// Takes room for a message that has to get through.
    pub(crate) fn force(&self, cost: usize) {
        self.bytes.fetch_add(cost, Ordering::Relaxed);
    }

    /// The thread has worked off a message.
    pub(crate) fn worked_off(&self, cost: usize) {
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
    }

    pub(crate) fn leave_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// How many exchanges were left out since this was asked last.
    pub(crate) fn take_left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }

    /// Nothing is dumped any more.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Adds to a counter unless that brings it over its limit. (Who comes at the same time as a loser may lose too.)
fn took(counter: &AtomicUsize, amount: usize, limit: usize) -> bool {
    let fits = counter.fetch_add(amount, Ordering::Relaxed).saturating_add(amount) <= limit;
    if !fits {
        counter.fetch_sub(amount, Ordering::Relaxed);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_given_back_and_never_more_than_the_limit() {
        let backlog = Backlog::default();
        for _ in 0..3 {
            assert!(backlog.admit(MAX_QUEUED_BYTES - 1));
            assert!(!backlog.admit(2));
            assert!(backlog.admit(1));
            backlog.force(5); // Gets through, and counts.
            backlog.worked_off(5);
            assert!(!backlog.admit(1));
            backlog.worked_off(MAX_QUEUED_BYTES);
        }
    }

    #[test]
    fn an_exchange_too_many_is_left_out_and_counted() {
        let backlog = Backlog::default();
        for _ in 0..MAX_EXCHANGES {
            assert!(backlog.admit_exchange());
        }
        assert!(!backlog.admit_exchange());
        assert_eq!((backlog.take_left_out(), backlog.take_left_out()), (1, 0));
        backlog.exchange_ended();
        assert!(backlog.admit_exchange());
        backlog.end();
        backlog.exchange_ended();
        assert!(!backlog.admit_exchange());
    }
}
