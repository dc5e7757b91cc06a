//! The dump of one exchange, as the exchange sees it: told what goes by, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use codex_request_log::{Outcome, Reason};
use http::{HeaderMap, StatusCode};

use crate::dump::document::{Ending, Side};
use crate::dump::dumper::Dumper;
use crate::dump::queue::Message;

/// A dump that is under way. The default one is told everything in vain. Clones share one document, which ends
/// when it is said to, or with the last of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dump(Option<Arc<OpenDump>>);

#[derive(Debug)]
struct OpenDump {
    id: u64,
    dumper: Dumper,
    // All sequentially consistent: different threads may tell of the two bodies.
    /// All of the request's body has gone by.
    request_ended: AtomicBool,
    /// A piece found no room, so what comes after it is left out too.
    lost: AtomicBool,
    ended: AtomicBool,
}

impl Dump {
    /// A dump of which the thread has heard.
    pub(crate) fn open(id: u64, dumper: Dumper) -> Self {
        Self(Some(Arc::new(OpenDump {
            id,
            dumper,
            request_ended: AtomicBool::default(),
            lost: AtomicBool::default(),
            ended: AtomicBool::default(),
        })))
    }

    /// A piece of the request's body goes up.
    pub(crate) fn request_data(&self, data: &Bytes) {
        self.data(Side::Request, data);
    }

    /// The request's body has ended, or there is none.
    pub(crate) fn request_ended(&self) {
        if let Some(open) = &self.0 {
            open.request_ended.store(true, Ordering::SeqCst);
        }
    }

    /// The answer begins. What of the request's body comes later is left out.
    pub(crate) fn answer_head(&self, status: StatusCode, fields: &HeaderMap) {
        let Some(open) = &self.0 else { return };
        let (id, request_is_whole) = (open.id, open.request_is_whole());
        let answered = |fields: HeaderMap| {
            let fields = Box::new(fields);
            Message::Answered { id, status, fields, request_is_whole }
        };
        if !open.dumper.offer(answered(fields.clone())) {
            open.lost.store(true, Ordering::SeqCst);
            open.dumper.force(answered(HeaderMap::new())); // The status at least.
        }
    }

    /// A piece of the answer's body goes down.
    pub(crate) fn answer_data(&self, data: &Bytes) {
        self.data(Side::Answer, data);
    }

    /// The exchange has ended. The first word stands; without one, the client has left.
    pub(crate) fn ended(&self, outcome: Outcome, reason: Option<Reason>) {
        if let Some(open) = &self.0 {
            open.end(outcome, reason);
        }
    }

    fn data(&self, side: Side, data: &Bytes) {
        let Some(open) = &self.0 else { return };
        if open.wants_data() && !data.is_empty() {
            let message = Message::Data { id: open.id, side, data: data.clone() };
            if !open.dumper.offer(message) {
                open.lost.store(true, Ordering::SeqCst);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn is_in_vain(&self) -> bool {
        self.0.is_none()
    }
}

impl OpenDump {
    fn wants_data(&self) -> bool {
        let is_closed = self.ended.load(Ordering::SeqCst) || self.lost.load(Ordering::SeqCst);
        !is_closed && !self.dumper.is_over()
    }

    fn request_is_whole(&self) -> bool {
        self.request_ended.load(Ordering::SeqCst) && !self.lost.load(Ordering::SeqCst)
    }

    /// Has to get through, or the document would stay open for ever.
    fn end(&self, outcome: Outcome, reason: Option<Reason>) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            let request_is_whole = self.request_is_whole();
            let answer_is_whole = !self.lost.load(Ordering::SeqCst);
            let ending = Ending { outcome, reason, request_is_whole, answer_is_whole };
            self.dumper.force(Message::Ended { id: self.id, ending });
        }
    }
}

impl Drop for OpenDump {
    fn drop(&mut self) {
        self.end(Outcome::ClientLeft, None);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::dump::dumper::testing::*;
    use crate::dump::queue::MAX_QUEUED_BYTES;

    fn body(data: &str, truncated: bool) -> Value {
        json!({ "encoding": "text", "data": data, "bytes": data.len(), "truncated": truncated })
    }

    #[test]
    fn a_full_queue_costs_bodies_and_never_a_documents_end() {
        let folder = private_folder();
        let (dumper, stopped) = Stopped::new();
        let first = dumper.exchange(1, None, &head(), key());
        let second = dumper.exchange(2, None, &head(), key());
        second.request_data(&Bytes::from_static(b"small"));
        second.request_ended();
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        let backlog = Arc::clone(&stopped.backlog);
        assert!(backlog.admit(MAX_QUEUED_BYTES - 2 * piece.len())); // As if others had filled most of it.
        for _ in 0..4 {
            first.request_data(&piece);
        }
        first.request_data(&Bytes::from_static(b"would fit, but is not what comes next"));
        first.request_ended();
        while backlog.admit(64) {} // Not even a head finds room now.
        for dump in [&first, &second] {
            dump.answer_head(StatusCode::OK, &head().headers);
            dump.answer_data(&Bytes::from_static(b"data"));
            dump.ended(Outcome::Completed, None);
        }
        dumper.exchange(3, None, &head(), key()).ended(Outcome::Completed, None);
        drop((first, second, dumper));
        let told = stopped.write(folder.path());

        let documents = documents(folder.path());
        assert_eq!(documents.len(), 2);
        // Up to the first piece that found no room.
        let kept = "x".repeat(piece.len());
        assert_eq!(documents[0]["request"]["body"], body(&kept, true));
        assert_eq!(documents[1]["request"]["body"], body("small", false));
        for document in &documents {
            let answer = json!({ "status": 200, "headers": [], "body": body("", true) });
            assert_eq!(document["answer"], answer);
            assert_eq!(document["outcome"], "completed");
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("warning: exchanges are left out"), "{told:?}");
        assert!(told[1].starts_with("1 exchanges were left out"), "{told:?}");
    }

    #[test]
    fn an_answer_before_the_end_of_the_request_ends_the_requests_body() {
        let folder = private_folder();
        let (dumper, stopped) = Stopped::new();
        let dump = dumper.exchange(1, None, &head(), key());
        dump.request_data(&Bytes::from_static(b"early"));
        dump.answer_head(StatusCode::UNAUTHORIZED, &HeaderMap::new());
        let upload = dump.clone();
        upload.request_data(&Bytes::from_static(b"late"));
        upload.request_ended();
        dump.answer_data(&Bytes::from_static(b"no"));
        dump.ended(Outcome::Completed, None);
        upload.request_data(&Bytes::from_static(b"later"));
        dump.answer_data(&Bytes::from_static(b"after the end"));
        drop((dump, upload, dumper));
        let backlog = Arc::clone(&stopped.backlog);
        assert_eq!(stopped.write(folder.path()), [""; 0]);

        let document = documents(folder.path()).remove(0);
        assert_eq!(document["request"]["body"], body("early", true));
        assert_eq!(document["answer"]["body"], body("no", false));
        assert!(is_empty(&backlog), "a place was not given back");
    }

    #[test]
    fn a_dump_that_is_dropped_is_a_client_that_left() {
        let folder = private_folder();
        let (dumper, stopped) = Stopped::new();
        let dump = dumper.exchange(1, None, &head(), key());
        dump.request_ended();
        dump.answer_head(StatusCode::OK, &HeaderMap::new());
        dump.answer_data(&Bytes::from_static(b"half"));
        let clone = dump.clone();
        drop(dump);
        clone.answer_data(&Bytes::from_static(b" of it"));
        drop((clone, dumper));
        stopped.write(folder.path());
        let document = documents(folder.path()).remove(0);
        assert_eq!(document["request"]["body"], body("", false));
        assert_eq!(document["answer"]["body"], body("half of it", true));
        assert_eq!(document["outcome"], "client_left");
    }

    #[test]
    fn a_dump_in_vain_takes_everything() {
        let dump = Dump::default();
        dump.request_data(&Bytes::from_static(b"data"));
        dump.answer_head(StatusCode::OK, &HeaderMap::new());
        dump.ended(Outcome::Completed, None);
        assert!(dump.is_in_vain());
    }
}
