//! An exchange that has not ended: the guard that makes sure of its record.

use std::mem::replace;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::lanes::Lane;
use crate::{Client, Log, Outcome, Reason, Record, Usage, time};

/// How much is kept of words that are not ours, in characters. (The caller says how much of a method and a path.)
const KEPT_NAME: usize = 200;
/// How much is kept of our own, which may have a system's in them.
const KEPT_DETAIL: usize = 2_000;

/// The record of an exchange that is under way.
///
/// Dropped, it hands exactly one [`Record`] to the log. Until something else is said, that record
/// reads [`Outcome::ClientLeft`]: nothing but the client's leaving drops an exchange early.
#[derive(Debug)]
pub struct OpenRecord {
    record: Record,
    began: Instant,
    ended: bool,
    lane: Lane,
    log: Log,
}

impl OpenRecord {
    /// Opens the record of a request whose head has just been read.
    pub fn new(log: Log, id: u64, uid: Option<u32>, method: String, path: String) -> Self {
        let record = Record {
            id,
            started_at: time::in_millis(SystemTime::now()),
            peer: Client { uid, user: None },
            method,
            path,
            ..blank()
        };
        Self { record, began: Instant::now(), ended: false, lane: Lane::Other, log }
    }

    /// The exchange's number.
    pub fn id(&self) -> u64 {
        self.record.id
    }

    /// How it has ended, as far as that is known by now.
    pub fn ending(&self) -> (Outcome, Option<Reason>) {
        (self.record.outcome, self.record.reason)
    }

    /// How long ago the request's head was read.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// From here on the exchange is one that is forwarded: no flood of refused ones costs its record.
    pub fn forwarded(&mut self) {
        self.lane = Lane::Admitted;
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

    /// A byte of the upstream's answer's body is there. Only the first counts.
    pub fn first_byte(&mut self) {
        if self.record.first_byte_ms.is_none() {
            self.record.first_byte_ms = Some(self.elapsed_ms());
        }
    }

    /// What the request, or later the answer, says of its model and of being a stream. What is `None` leaves
    /// the earlier word standing.
    pub fn modelled(&mut self, model: Option<String>, stream: Option<bool>) {
        if let Some(model) = model {
            self.record.model = Some(beginning(model, KEPT_NAME));
        }
        self.record.stream = stream.or(self.record.stream);
    }

    /// What the upstream says that it took.
    pub fn used(&mut self, usage: Usage) {
        self.record.usage = Some(usage);
    }

    /// The upstream's own name for the exchange.
    pub fn identified(&mut self, upstream_request_id: Option<String>) {
        self.record.upstream_request_id = upstream_request_id.map(|id| beginning(id, KEPT_NAME));
    }

    /// The code in the upstream's error.
    pub fn upstream_erred(&mut self, code: String) {
        self.record.upstream_error = Some(beginning(code, KEPT_NAME));
    }

    /// The answer has gone through whole.
    pub fn completed(&mut self) {
        self.end(Outcome::Completed, None, None);
    }

    /// The answer has gone through whole, and says this of itself.
    pub fn completed_with(&mut self, reason: Reason) {
        self.end(Outcome::Completed, Some(reason), None);
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
            self.record.detail = detail.map(|detail| beginning(detail, KEPT_DETAIL));
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        self.record.duration_ms = self.elapsed_ms();
        self.log.leave(self.lane, replace(&mut self.record, blank()));
    }
}

/// Of an exchange about which nothing is known.
fn blank() -> Record {
    Record {
        id: 0,
        started_at: UNIX_EPOCH,
        peer: Client::default(),
        method: String::new(),
        path: String::new(),
        outcome: Outcome::ClientLeft,
        reason: None,
        detail: None,
        status: None,
        model: None,
        stream: None,
        bytes_in: 0,
        bytes_out: 0,
        first_byte_ms: None,
        duration_ms: 0,
        usage: None,
        upstream_request_id: None,
        upstream_error: None,
    }
}

/// No more than so many characters.
fn beginning(mut words: String, limit: usize) -> String {
    if let Some((end, _)) = words.char_indices().nth(limit) {
        words.truncate(end);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::Line;
    use crate::line::MAX_LINE_BYTES;
    use crate::log::testing::{left, stopped};

    fn open(log: &Log, id: u64) -> OpenRecord {
        OpenRecord::new(log.clone(), id, Some(1_000), "POST".to_owned(), "/v1/responses".to_owned())
    }

    #[test]
    fn however_an_exchange_ends_it_leaves_one_record_and_the_first_word_stands() {
        let (log, lanes) = stopped();
        let mut whole = open(&log, 1);
        whole.completed();
        whole.failed(Outcome::Cut, Reason::ProxyStopped, None); // Too late.
        assert_eq!(whole.ending(), (Outcome::Completed, None));
        drop(whole);
        open(&log, 2).failed(Outcome::Refused, Reason::RouteNotAllowed, None);
        let mut cut = open(&log, 3);
        cut.failed(Outcome::Cut, Reason::UpstreamCut, None);
        cut.completed(); // Too late.
        drop(cut);
        drop(open(&log, 4));
        open(&log, 5).completed_with(Reason::ResponseFailed);
        let panicking = catch_unwind(AssertUnwindSafe(|| {
            let _open = open(&log, 6);
            panic!("in the middle of an exchange");
        }));
        assert!(panicking.is_err());

        let ends: Vec<_> =
            left(&lanes).into_iter().map(|(_, it)| (it.id, it.outcome, it.reason)).collect();
        let expected = [
            (1, Outcome::Completed, None),
            (2, Outcome::Refused, Some(Reason::RouteNotAllowed)),
            (3, Outcome::Cut, Some(Reason::UpstreamCut)),
            (4, Outcome::ClientLeft, None),
            (5, Outcome::Completed, Some(Reason::ResponseFailed)),
            (6, Outcome::ClientLeft, None),
        ];
        assert_eq!(ends, expected);
    }

    #[test]
    fn everything_that_is_said_stands_in_the_record() {
        let (log, lanes) = stopped();
        let mut open = open(&log, 9);
        open.forwarded();
        open.modelled(Some("gpt-5".to_owned()), Some(true));
        open.modelled(Some("gpt-5-2027".to_owned()), None);
        open.answered(200);
        open.read(400);
        open.relayed(0);
        open.first_byte();
        let first = open.record.first_byte_ms;
        open.relayed(1_000);
        open.relayed(200);
        open.first_byte();
        assert!(first.is_some() && open.record.first_byte_ms == first);
        let usage = Usage { input_tokens: Some(1), ..Usage::default() };
        open.used(usage);
        open.identified(Some("req_1".to_owned()));
        open.upstream_erred("rate_limit_exceeded".to_owned());
        open.failed(Outcome::Cut, Reason::UpstreamCut, Some("why".to_owned()));
        drop(open);

        let (lane, record) = left(&lanes).remove(0);
        assert_eq!(lane, Lane::Admitted);
        assert_eq!((record.bytes_in, record.bytes_out, record.status), (400, 1_200, Some(200)));
        assert_eq!((record.model.as_deref(), record.stream), (Some("gpt-5-2027"), Some(true)));
        assert_eq!(record.usage, Some(usage));
        assert_eq!(record.upstream_request_id.as_deref(), Some("req_1"));
        assert_eq!(record.upstream_error.as_deref(), Some("rate_limit_exceeded"));
        assert_eq!(record.detail.as_deref(), Some("why"));
        assert_eq!(record.peer, Client { uid: Some(1_000), user: None });
        // Also the time: what is written is what is read.
        let json = Line::Record(Box::new(record.clone())).to_json();
        assert_eq!(Line::parse(&json), Some(Line::Record(Box::new(record))));
    }

    #[test]
    fn what_others_say_at_length_makes_no_line_too_long() {
        let (log, lanes) = stopped();
        let long = || "\u{1}".repeat(100_000);
        let mut open = open(&log, 1);
        open.modelled(Some(long()), None);
        open.identified(Some(long()));
        open.upstream_erred(long());
        open.failed(Outcome::Cut, Reason::UpstreamCut, Some(long()));
        drop(open);
        let (_, record) = left(&lanes).remove(0);
        assert!(record.model.as_ref().is_some_and(|model| model.ends_with("\u{1}…")));
        assert!(Line::Record(Box::new(record)).to_json().len() < MAX_LINE_BYTES / 2);
    }
}
