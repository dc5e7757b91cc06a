//! An exchange that has not ended: the guard that makes sure of its record.

use std::time::{Instant, SystemTime};

use crate::{Log, Outcome, Reason, Record};

/// The record of an exchange that is under way.
///
/// Dropped, it hands exactly one [`Record`] to the log. Until something else is said, that record
/// reads [`Outcome::ClientLeft`]: nothing but the client's leaving drops an exchange early.
#[derive(Debug)]
pub struct OpenRecord {
    record: Record,
    began: Instant,
    ended: bool,
    log: Log,
}

impl OpenRecord {
    /// Opens the record of a request whose head has just been read.
    pub fn new(log: Log, id: u64, uid: Option<u32>, method: String, path: String) -> Self {
        let record = Record {
            id,
            started_at: SystemTime::now(),
            uid,
            method,
            path,
            outcome: Outcome::ClientLeft,
            reason: None,
            detail: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: std::time::Duration::ZERO,
        };
        Self { record, began: Instant::now(), ended: false, log }
    }

    /// The exchange's number.
    pub fn id(&self) -> u64 {
        self.record.id
    }

    /// How it has ended, as far as that is known by now.
    pub fn ending(&self) -> (Outcome, Option<Reason>) {
        (self.record.outcome, self.record.reason)
    }

    /// The client is being answered with this status.
    pub fn answered(&mut self, status: u16) {
        self.record.status = Some(status);
    }

    /// The request's body has been read up to here, in bytes.
    pub fn read(&mut self, bytes: u64) {
        self.record.bytes_in = bytes;
    }

    /// So many more bytes of the answer's body go to the client.
    pub fn relayed(&mut self, bytes: u64) {
        self.record.bytes_out += bytes;
    }

    /// The answer has gone through whole.
    pub fn completed(&mut self) {
        self.end(Outcome::Completed, None, None);
    }

    /// The exchange ends otherwise.
    pub fn failed(&mut self, outcome: Outcome, reason: Reason, detail: Option<String>) {
        self.end(outcome, Some(reason), detail);
    }

    /// The first word about the end stands.
    fn end(&mut self, outcome: Outcome, reason: Option<Reason>, detail: Option<String>) {
        if !self.ended {
            self.ended = true;
            self.record.outcome = outcome;
            self.record.reason = reason;
            self.record.detail = detail;
        }
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        self.record.duration = self.began.elapsed();
        self.log.write(self.record.clone());
    }
}
