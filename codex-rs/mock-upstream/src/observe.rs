//! What reached the mock, and what became of it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::{Semaphore, watch};

use crate::{Options, Scenario};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The request target, as it was sent.
    pub target: String,
    /// All header fields.
    pub headers: HeaderMap,
    /// The fields after a chunked body.
    pub trailers: HeaderMap,
    /// The body, or its first mebibyte.
    pub body: Bytes,
    /// Which connection it came on, counted from 1.
    pub connection: u64,
}

/// How often something has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Connections that have ended.
    pub disconnections: u64,
    /// Requests whose head was read.
    pub requests: u64,
    /// Bytes of request bodies that were read.
    pub body_bytes: u64,
    /// Answers that were sent to their end, or to where the scenario ends them.
    pub answered: u64,
    /// Answers that the client did not wait for.
    pub cancelled: u64,
    /// Requests with another bearer than the expected one.
    pub wrong_bearer: u64,
}

/// All that the mock's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) counts: watch::Sender<Counts>,
    /// A permit an event for [`Scenario::Gated`].
    pub(crate) gate: Semaphore,
    script: Mutex<VecDeque<Scenario>>,
    seen: Mutex<Vec<Seen>>,
    sent: Mutex<Vec<Instant>>,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            counts: watch::Sender::default(),
            gate: Semaphore::new(0),
            script: Mutex::default(),
            seen: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(change);
    }

    /// The next scenario of the script, or the one for requests beyond it.
    pub(crate) fn next_scenario(&self) -> Scenario {
        locked(&self.script).pop_front().unwrap_or_else(|| self.options.scenario.clone())
    }

    pub(crate) fn script(&self, scenarios: impl IntoIterator<Item = Scenario>) {
        locked(&self.script).extend(scenarios);
    }

    pub(crate) fn saw(&self, seen: Seen) {
        locked(&self.seen).push(seen);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        locked(&self.seen).clone()
    }

    pub(crate) fn sent_event(&self) {
        locked(&self.sent).push(Instant::now());
    }

    pub(crate) fn sent(&self) -> Vec<Instant> {
        locked(&self.sent).clone()
    }
}

/// A panic elsewhere leaves these lists whole.
fn locked<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
