//! Dumps: each exchange as a JSON file, for whoever has to see what went by (`--dump-dir`).
//!
//! An exchange never waits for its dump. What it has to say goes over a bounded queue to one thread
//! (`writer`). When the queue is full, the rest of that exchange's bodies is left out, and its document
//! says so; when the disk is full, dumping ends for good, and serving goes on.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::{Duration, SystemTime};

use codex_key_custody::ApiKey;
use http::HeaderName;
use http::request::Parts;

use crate::dump::document::Beginning;
use crate::dump::folder::DumpFolder;
use crate::dump::open_dump::Dump;
use crate::dump::queue::{Backlog, Message};
use crate::dump::secrets::Secrets;
use crate::dump::writer::DumpWriter;

/// Where exchanges have themselves dumped. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Dumper {
    queue: Sender<Message>,
    backlog: Arc<Backlog>,
    /// Fields besides the usual ones whose values are secrets.
    secret_fields: Arc<[HeaderName]>,
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct DumpThread {
    /// Disconnected once the thread has ended.
    running: Receiver<()>,
}

/// Starts the thread. It ends once every [`Dumper`] and [`Dump`] has been dropped, or something can't be
/// written. `tell` is called there with what the operator should know: seldom, and it may block. The folder's name is in
/// that, which may be anything.
///
/// # Errors
///
/// As [`std::thread::Builder::spawn`].
pub(crate) fn start(
    folder: DumpFolder,
    secret_fields: Arc<[HeaderName]>,
    tell: impl FnMut(&str) + Send + 'static,
) -> io::Result<(Dumper, DumpThread)> {
    let (queue, messages) = channel();
    let backlog = Arc::new(Backlog::default());
    let writer = DumpWriter::new(folder, Arc::clone(&backlog), tell);
    let (ended, running) = sync_channel(0);
    std::thread::Builder::new().name("dumps".to_owned()).spawn(move || {
        writer.run(messages);
        drop(ended);
    })?;
    Ok((Dumper { queue, backlog, secret_fields }, DumpThread { running }))
}

impl DumpThread {
    /// Waits until everything has been written, but no longer than `patience`: a disk may have stopped. Drop
    /// every [`Dumper`] and [`Dump`] first.
    pub(crate) fn finish(self, patience: Duration) {
        let _ = self.running.recv_timeout(patience); // Nothing is ever sent.
    }
}

impl Dumper {
    /// Begins the dump of an exchange whose request's head has been read. No other has its number.
    /// Nothing of its key will be in it.
    pub(crate) fn exchange(
        &self,
        id: u64,
        uid: Option<u32>,
        head: &Parts,
        key: &Arc<ApiKey>,
    ) -> Dump {
        if !self.backlog.admit_exchange() {
            return Dump::default();
        }
        let begun = self.offer(Message::Begun(Box::new(Beginning {
            id,
            started_at: SystemTime::now(),
            uid,
            method: head.method.clone(),
            target: head.uri.clone(),
            fields: head.headers.clone(),
            secrets: Secrets { masker: key.masker(), fields: Arc::clone(&self.secret_fields) },
        })));
        if !begun {
            self.backlog.exchange_ended();
            self.backlog.leave_out();
            return Dump::default();
        }
        Dump::open(id, self.clone())
    }

    /// Sends a message if there is room for it.
    pub(crate) fn offer(&self, message: Message) -> bool {
        let admitted = self.backlog.admit(message.cost());
        if admitted {
            self.send(message);
        }
        admitted
    }

    /// Sends what must not be lost.
    pub(crate) fn force(&self, message: Message) {
        self.backlog.force(message.cost());
        self.send(message);
    }

    fn send(&self, message: Message) {
        let _ = self.queue.send(message); // Fails when dumping has ended: then nobody wants it.
    }

    /// Whether dumping has ended for good.
    pub(crate) fn is_over(&self) -> bool {
        self.backlog.is_over()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of dumps share: a key, a queue that stands still, and what is in the folder in the end.

    use std::fs::{self, Permissions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::OnceLock;

    use codex_key_custody::{KeyInput, Masker};
    use http::Request;
    use serde_json::Value;

    use super::*;
    use crate::dump::queue::{MAX_EXCHANGES, MAX_QUEUED_BYTES};

    pub(crate) const KEY: &str = "sk-proj-0aZ9_-K3yUnderTest.7f~2+b/Qx==";

    /// [`KEY`], which came the way that every key comes.
    pub(crate) fn key() -> &'static Arc<ApiKey> {
        static MADE: OnceLock<Arc<ApiKey>> = OnceLock::new();
        MADE.get_or_init(|| {
            let (input, output) = nix::unistd::pipe().unwrap();
            nix::unistd::write(&output, KEY.as_bytes()).unwrap();
            drop(output);
            Arc::new(ApiKey::read(KeyInput::of(input.as_fd())).unwrap())
        })
    }

    pub(crate) fn masker() -> Masker {
        key().masker()
    }

    /// A temporary folder that dumps may go to.
    pub(crate) fn private_folder() -> tempfile::TempDir {
        tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
    }

    pub(crate) fn secrets() -> Secrets {
        Secrets { masker: masker(), fields: [].into() }
    }

    pub(crate) fn head() -> Parts {
        let request = Request::post("/v1/responses").header("cookie", "secret").header("x-a", KEY);
        request.body(()).unwrap().into_parts().0
    }

    /// A dumper whose messages wait until [`Stopped::write`], as with a disk that stands still.
    pub(crate) struct Stopped {
        messages: Receiver<Message>,
        pub(crate) backlog: Arc<Backlog>,
    }

    impl Stopped {
        pub(crate) fn new() -> (Dumper, Self) {
            let (queue, messages) = channel();
            let backlog = Arc::new(Backlog::default());
            (
                Dumper { queue, backlog: Arc::clone(&backlog), secret_fields: [].into() },
                Self { messages, backlog },
            )
        }

        /// Writes all that waits; returns what was told. Every dumper and dump has been dropped.
        pub(crate) fn write(self, folder: &Path) -> Vec<String> {
            let mut told = Vec::new();
            let opened = DumpFolder::open(folder).unwrap();
            let tell = |text: &str| told.push(text.to_owned());
            DumpWriter::new(opened, Arc::clone(&self.backlog), tell).run(self.messages);
            told
        }
    }

    /// Everybody has given back the room that they took.
    pub(crate) fn is_empty(backlog: &Backlog) -> bool {
        backlog.admit(MAX_QUEUED_BYTES) && (0..MAX_EXCHANGES).all(|_| backlog.admit_exchange())
    }

    /// The documents in the folder, in order. Every file there is one, and shows nothing of the key.
    pub(crate) fn documents(folder: &Path) -> Vec<Value> {
        let mut paths: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let mut documents = Vec::new();
        for path in paths {
            let text = fs::read_to_string(path).unwrap();
            for at in 0..=KEY.len() - 8 {
                assert!(!text.contains(&KEY[at..at + 8]), "{text}");
            }
            assert!(!text.contains("secret"), "{text}");
            documents.push(serde_json::from_str(&text).unwrap());
        }
        documents
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use codex_request_log::{Outcome, Reason};
    use http::{HeaderMap, StatusCode};
    use serde_json::{Value, json};

    use super::testing::*;
    use super::*;

    #[test]
    fn exchanges_that_go_on_at_once_are_a_document_each() {
        let folder = private_folder();
        let opened = DumpFolder::open(folder.path()).unwrap();
        let quiet = |text: &str| assert!(text.is_empty(), "{text}");
        let (dumper, thread) = start(opened, [].into(), quiet).unwrap();
        let begin = |id| dumper.exchange(id, Some(1_000), &head(), key());
        let dumps: Vec<Dump> = (1..=3).map(begin).collect();
        for dump in &dumps {
            dump.request_data(&Bytes::from_static(&KEY.as_bytes()[..10]));
        }
        for dump in &dumps {
            dump.request_data(&Bytes::from_static(&KEY.as_bytes()[10..]));
            dump.request_ended();
            dump.answer_head(StatusCode::OK, &HeaderMap::new());
            dump.answer_data(&Bytes::from_static(b"data"));
        }
        dumps[0].ended(Outcome::Completed, None);
        dumps[0].ended(Outcome::Cut, Some(Reason::ProxyStopped)); // Too late: the first word stands.
        dumps[1].ended(Outcome::Cut, Some(Reason::UpstreamCut));
        drop(dumps); // The third says nothing.
        drop(dumper);
        thread.finish(Duration::MAX);

        let documents = documents(folder.path());
        let ends = |document: &Value| {
            json!([document["id"], document["uid"], document["outcome"], document["reason"]])
        };
        let expected = [
            json!([1, 1_000, "completed", null]),
            json!([2, 1_000, "cut", "upstream_cut"]),
            json!([3, 1_000, "client_left", null]),
        ];
        assert_eq!(documents.iter().map(ends).collect::<Vec<_>>(), expected);
        for document in &documents {
            let body = &document["request"]["body"];
            assert_eq!(body["data"], "*".repeat(KEY.len()));
            assert_eq!(body["truncated"], false);
            assert_eq!(document["answer"]["body"]["data"], "data");
        }
    }

    #[test]
    fn what_cannot_be_written_ends_dumping_and_is_told_once() {
        let parent = private_folder();
        let path = parent.path().join("dumps");
        let folder = DumpFolder::open(&path).unwrap();
        fs::remove_dir(&path).unwrap();
        let (told, telling) = channel();
        let tell = move |text: &str| told.send(text.to_owned()).unwrap();
        let (dumper, thread) = start(folder, [].into(), tell).unwrap();
        let dump = dumper.exchange(1, None, &head(), key());
        let sentence = telling.recv().unwrap();
        assert!(sentence.contains(path.to_str().unwrap()), "{sentence}");
        assert!(sentence.contains("No such file or directory"), "{sentence}");
        assert!(sentence.ends_with("requests are served as before"), "{sentence}");

        for _ in 0..3 {
            dump.request_data(&Bytes::from_static(b"data"));
            dump.answer_head(StatusCode::OK, &HeaderMap::new());
            dump.ended(Outcome::Completed, None);
            assert!(dumper.exchange(2, None, &head(), key()).is_in_vain());
        }
        thread.finish(Duration::MAX); // Although a dump and the dumper are still there.
        assert!(telling.recv().is_err(), "something more was told");
        assert!(!path.exists());
    }

    #[test]
    fn a_failure_takes_the_files_that_are_not_complete_away() {
        let folder = private_folder();
        let (dumper, stopped) = Stopped::new();
        dumper.exchange(1, None, &head(), key()).ended(Outcome::Completed, None);
        let open = dumper.exchange(2, None, &head(), key());
        // Twice the same name: the second finds the first's file there.
        for _ in 0..2 {
            let begun = Beginning {
                id: 3,
                started_at: SystemTime::UNIX_EPOCH,
                uid: None,
                method: head().method,
                target: head().uri,
                fields: HeaderMap::new(),
                secrets: secrets(),
            };
            assert!(dumper.offer(Message::Begun(Box::new(begun))));
        }
        let told = stopped.write(folder.path());
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("File exists"), "{told:?}");
        let documents = documents(folder.path());
        assert_eq!(documents.len(), 1);
        assert_eq!(documents[0]["id"], 1);
        assert!(dumper.is_over());
        drop(open);
    }
}
