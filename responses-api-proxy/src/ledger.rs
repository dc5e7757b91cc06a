//! The record of one exchange, with the facts that are known only when it ends.

use std::sync::atomic::Ordering;

use codex_request_log::{OpenRecord, Outcome, Reason};
use http::Request;

use crate::exchange::Proxy;
use crate::request_body::Progress;
use crate::stop::Stop;

/// An [`OpenRecord`] that, when dropped, also knows how much was read and whether we were stopped.
#[derive(Debug)]
pub(crate) struct Ledger {
    record: OpenRecord,
    progress: Progress,
    stop: Stop,
}

impl Ledger {
    /// Opens the record of a request; what it shows of the target holds no part of the key.
    pub(crate) fn open<Body>(proxy: &Proxy, request: &Request<Body>, progress: &Progress) -> Self {
        let key = proxy.forwarder.key();
        let method = key.mask(request.method().as_str()).into_owned();
        let path = key.mask(request.uri().path()).into_owned();
        let id = proxy.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        let record = OpenRecord::new(proxy.log.clone(), id, method, path);
        Self { record, progress: progress.clone(), stop: proxy.stop.clone() }
    }

    /// The client is being answered with this status.
    pub(crate) fn answered(&mut self, status: u16) {
        self.record.answered(status);
    }

    /// So many more bytes of the answer go to the client.
    pub(crate) fn relayed(&mut self, bytes: u64) {
        self.record.relayed(bytes);
    }

    /// The answer has gone through whole.
    pub(crate) fn completed(&mut self) {
        self.record.completed();
    }

    /// The exchange ends otherwise.
    pub(crate) fn failed(&mut self, outcome: Outcome, reason: Reason, detail: Option<String>) {
        self.record.failed(outcome, reason, detail);
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.record.read(self.progress.bytes());
        if self.stop.is_aborting() {
            self.record.failed(Outcome::Cut, Reason::ProxyStopped, None);
        }
    }
}
