//! The record of one exchange, with the facts that are known only when it ends.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use codex_key_custody::{ApiKey, KeyRing};
use codex_peer_identity::{Peer, Uid};
use codex_request_log::{Log, OpenRecord, Outcome, Reason};
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::dump::{Dump, Dumper};
use crate::exchange::Proxy;
use crate::fault::Fault;
use crate::in_flight::{Listed, UnderWay};
use crate::link::Link;
use crate::meter::{AnswerMeter, StreamEnd};
use crate::metrics::Metrics;
use crate::request_body::{Phase, Progress};

/// Where exchanges leave what is to be known of them.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) log: Log,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) under_way: UnderWay,
    /// `None` without `--dump-dir`.
    pub(crate) dumper: Option<Dumper>,
}

/// An [`OpenRecord`] that, when dropped, also knows what was read, what the answer said of itself and whether we
/// were stopped, and lets go of what is left of the request.
#[derive(Debug)]
pub(crate) struct Ledger {
    record: OpenRecord,
    dump: Dump,
    proxy: Arc<Proxy>,
    link: Arc<Link>,
    progress: Progress,
    meter: Option<AnswerMeter>,
    listed: Listed,
    first_output: Option<Duration>,
}

/// How much of others' words a record keeps, in characters.
const KEPT_METHOD: usize = 16;
const KEPT_PATH: usize = 200;
const KEPT_REQUEST_ID: usize = 128;

/// The upstream's own number for an exchange: what its operator asks for.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl Ledger {
    /// Opens the record of a request.
    pub(crate) fn open(
        proxy: &Arc<Proxy>,
        link: &Arc<Link>,
        head: &Parts,
        progress: &Progress,
    ) -> Self {
        let keys = proxy.custody.keys();
        let method = kept(keys, head.method.as_str(), KEPT_METHOD);
        let path = kept(keys, head.uri.path(), KEPT_PATH);
        let uid = link.peer.uid().map(Uid::as_raw);
        let record = open(proxy, link.peer, method, path.clone());
        let listed = proxy.records.under_way.list(record.id(), uid, path, progress.clone());
        Self {
            listed,
            record,
            dump: Dump::default(),
            proxy: Arc::clone(proxy),
            link: Arc::clone(link),
            progress: progress.clone(),
            meter: None,
            first_output: None,
        }
    }

    /// From here on it goes to the upstream. (Who is told to come back later costs nobody's record its room.)
    pub(crate) fn forwarded(&mut self) {
        self.record.forwarded();
    }

    /// From here on the exchange, which has this key, is dumped, if the operator wants that.
    pub(crate) fn dump(&mut self, head: &Parts, key: &Arc<ApiKey>) {
        if let Some(dumper) = &self.proxy.records.dumper {
            let uid = self.link.peer.uid().map(Uid::as_raw);
            self.dump = dumper.exchange(self.record.id(), uid, head, key);
            self.progress.dump_to(self.dump.clone());
        }
    }

    /// The upstream answers, with this head.
    pub(crate) fn answer_head(&mut self, status: StatusCode, fields: &HeaderMap) {
        self.answered(status);
        self.dump.answer_head(status, fields);
        self.meter = Some(AnswerMeter::of(status, fields));
        let id = fields.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let id = id.filter(|id| id.len() <= KEPT_REQUEST_ID);
        self.record.identified(id.and_then(|id| self.without_key(id)));
    }

    fn answered(&mut self, status: StatusCode) {
        self.record.answered(status.as_u16());
        self.listed.answered(status.as_u16());
    }

    /// A piece of the upstream's answer goes to the client.
    pub(crate) fn relayed(&mut self, data: &Bytes) {
        self.dump.answer_data(data);
        if !data.is_empty() {
            self.record.first_byte();
        }
        let bytes = data.len() as u64;
        self.record.relayed(bytes);
        self.listed.relayed(bytes);
        if let Some(meter) = &mut self.meter {
            meter.observe(data);
            if self.first_output.is_none() && meter.has_output() {
                self.first_output = Some(self.record.elapsed());
            }
        }
    }

    /// The upstream's answer has gone through whole.
    pub(crate) fn completed(&mut self) {
        let lacks_end = self.meter.as_ref().is_some_and(AnswerMeter::lacks_end);
        match self.meter.as_ref().and_then(AnswerMeter::end) {
            Some(StreamEnd::Completed) => self.record.completed(),
            Some(StreamEnd::Failed) => self.record.completed_with(Reason::ResponseFailed),
            Some(StreamEnd::Incomplete) => self.record.completed_with(Reason::ResponseIncomplete),
            None if lacks_end => self.record.completed_with(Reason::ResponseUnfinished),
            None => self.record.completed(),
        }
    }

    /// The proxy itself answers, with nothing but this status.
    pub(crate) fn done(&mut self, status: StatusCode) {
        self.answered(status);
        self.record.completed();
    }

    /// The client reads of a fault, in so many bytes.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        self.answered(fault.status());
        let keys = self.proxy.custody.keys();
        let detail = fault.detail().map(|detail| keys.mask(&detail).into_owned());
        self.record.failed(fault.outcome(), fault.reason(), detail);
    }

    /// So many bytes of our own go to the client.
    pub(crate) fn said(&mut self, bytes: u64) {
        self.record.relayed(bytes);
    }

    /// The answer has been cut. Where the client's own body was the cause, that is said.
    pub(crate) fn cut(&mut self) {
        let (outcome, reason) = match self.progress.phase() {
            Phase::Broken => (Outcome::ClientLeft, Reason::BodyIncomplete),
            Phase::Malformed => (Outcome::Cut, Reason::BodyMalformed),
            Phase::TooLarge => (Outcome::Cut, Reason::BodyTooLarge),
            Phase::UpstreamsTurn | Phase::ClientsTurn | Phase::Ended => {
                (Outcome::Cut, Reason::UpstreamCut)
            }
        };
        self.record.failed(outcome, reason, None);
    }

    /// Others' words, if no part of the key is in them.
    fn without_key(&self, words: &str) -> Option<String> {
        let masked = self.proxy.custody.keys().mask(words);
        matches!(masked, Cow::Borrowed(_)).then(|| masked.into_owned())
    }

    /// What request and answer have said of themselves.
    fn settle(&mut self) {
        self.record.read(self.progress.bytes());
        let request = self.progress.facts();
        let answer = self.meter.as_ref().map(AnswerMeter::facts).unwrap_or_default();
        let model = answer.model.or(request.model).and_then(|model| self.without_key(&model));
        if let Some(after) = self.first_output {
            // A model that the client alone names would make a series of its choosing.
            let confirmed = model.as_deref().filter(|_| answer.usage.is_some());
            self.proxy.records.metrics.first_token(confirmed, after);
        }
        self.record.modelled(model, answer.stream.or(request.stream));
        if let Some(usage) = answer.usage {
            self.record.used(usage);
        }
        if let Some(code) = answer.error.and_then(|code| self.without_key(&code)) {
            self.record.upstream_erred(code);
        }
        if answer.end.is_some() {
            self.completed(); // Who leaves after the last event has it all.
        } else if self.proxy.stop.is_aborting() {
            self.record.failed(Outcome::Cut, Reason::ProxyStopped, None);
        }
    }
}

fn open(proxy: &Proxy, peer: Peer, method: String, path: String) -> OpenRecord {
    let id = proxy.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
    OpenRecord::new(proxy.records.log.clone(), id, peer.uid().map(Uid::as_raw), method, path)
}

/// What stands for the method and the path of a request whose head nobody could read.
const UNREAD: &str = "-";

/// Records a connection on which no head, or not another one, could be read.
pub(crate) fn bad_head(proxy: &Proxy, peer: Peer, detail: String) {
    let mut record = open(proxy, peer, UNREAD.to_owned(), UNREAD.to_owned());
    record.failed(Outcome::Refused, Reason::BadHead, Some(detail));
}

/// Records a connection that was closed at once, because there were too many.
pub(crate) fn turned_away(proxy: &Proxy, peer: Peer) {
    let mut record = open(proxy, peer, UNREAD.to_owned(), UNREAD.to_owned());
    record.failed(Outcome::Refused, Reason::TooManyConnections, None);
}

/// The beginning of a client's words, with no part of the key in it.
fn kept(keys: &KeyRing, words: &str, limit: usize) -> String {
    let end = words.char_indices().nth(limit).map_or(words.len(), |(at, _)| at);
    let mut kept = keys.mask(&words[..end]).into_owned();
    if end < words.len() {
        kept.push('…');
    }
    kept
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.link.clock.rested(self.progress.phase() == Phase::Ended);
        self.progress.abandon();
        self.settle();
        let (outcome, reason) = self.record.ending();
        self.dump.ended(outcome, reason);
    }
}
