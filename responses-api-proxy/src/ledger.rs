//! The record of one exchange, with the facts that are known only when it ends.

use std::sync::atomic::Ordering;

use codex_key_custody::ApiKey;
use codex_request_log::{OpenRecord, Outcome, Reason};
use http::request::Parts;

use crate::exchange::Proxy;
use crate::request_body::{Phase, Progress};
use crate::stop::Stop;

/// An [`OpenRecord`] that, when dropped, also knows how much was read and whether we were stopped, and
/// lets go of what is left of the request.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) record: OpenRecord,
    progress: Progress,
    stop: Stop,
}

/// How much of a client's words a record keeps, in characters.
const KEPT_METHOD: usize = 16;
const KEPT_PATH: usize = 200;

impl Ledger {
    /// Opens the record of a request.
    pub(crate) fn open(proxy: &Proxy, head: &Parts, progress: &Progress) -> Self {
        let key = proxy.forwarder.key();
        let method = kept(key, head.method.as_str(), KEPT_METHOD);
        let path = kept(key, head.uri.path(), KEPT_PATH);
        let id = proxy.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        let record = OpenRecord::new(proxy.log.clone(), id, method, path);
        Self { record, progress: progress.clone(), stop: proxy.stop.clone() }
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
        self.progress.abandon();
        self.record.read(self.progress.bytes());
        if self.stop.is_aborting() {
            self.record.failed(Outcome::Cut, Reason::ProxyStopped, None);
        }
    }
}
