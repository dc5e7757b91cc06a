//! The record of one exchange, with the facts that are known only when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use codex_key_custody::ApiKey;
use codex_peer_identity::{Peer, Uid};
use codex_request_log::{Log, OpenRecord, Outcome, Reason};
use http::request::Parts;

use crate::dump::{Dump, Dumper};
use crate::exchange::Proxy;
use crate::link::Link;
use crate::request_body::{Phase, Progress};
use crate::stop::Stop;

/// Where exchanges leave what is to be known of them.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) log: Log,
    /// `None` without `--dump-dir`.
    pub(crate) dumper: Option<Dumper>,
}

/// An [`OpenRecord`] that, when dropped, also knows how much was read and whether we were stopped, and
/// lets go of what is left of the request.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) record: OpenRecord,
    pub(crate) dump: Dump,
    progress: Progress,
    link: Arc<Link>,
    stop: Stop,
}

/// How much of a client's words a record keeps, in characters.
const KEPT_METHOD: usize = 16;
const KEPT_PATH: usize = 200;

impl Ledger {
    /// Opens the record of a request.
    pub(crate) fn open(proxy: &Proxy, link: &Arc<Link>, head: &Parts, progress: &Progress) -> Self {
        let key = proxy.forwarder.key();
        let method = kept(key, head.method.as_str(), KEPT_METHOD);
        let path = kept(key, head.uri.path(), KEPT_PATH);
        let record = open(proxy, link.peer, method, path);
        let (link, stop) = (Arc::clone(link), proxy.stop.clone());
        Self { record, dump: Dump::default(), progress: progress.clone(), link, stop }
    }

    /// From here on the exchange is dumped, if the operator wants that.
    pub(crate) fn dump(&mut self, records: &Records, head: &Parts) {
        if let Some(dumper) = &records.dumper {
            let uid = self.link.peer.uid().map(Uid::as_raw);
            self.dump = dumper.exchange(self.record.id(), uid, head);
            self.progress.dump_to(self.dump.clone());
        }
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
fn kept(key: &ApiKey, words: &str, limit: usize) -> String {
    let end = words.char_indices().nth(limit).map_or(words.len(), |(at, _)| at);
    let mut kept = key.mask(&words[..end]).into_owned();
    if end < words.len() {
        kept.push('…');
    }
    kept
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.link.clock.rested(self.progress.phase() == Phase::Ended);
        self.progress.abandon();
        self.record.read(self.progress.bytes());
        if self.stop.is_aborting() {
            self.record.failed(Outcome::Cut, Reason::ProxyStopped, None);
        }
        let (outcome, reason) = self.record.ending();
        self.dump.ended(outcome, reason);
    }
}
