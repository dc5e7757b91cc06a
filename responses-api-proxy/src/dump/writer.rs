//! The one thread that writes dumps: many documents, one message after the other.
//!
//! It alone waits for the disk. What it can't write ends dumping for good, and nothing else.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use nix::errno::Errno;

use crate::dump::document::Document;
use crate::dump::folder::DumpFolder;
use crate::dump::queue::{Backlog, Message};

/// The documents that are open, by the number of their exchange, and where new ones go.
#[derive(Debug)]
pub(crate) struct DumpWriter<T> {
    folder: Arc<DumpFolder>,
    backlog: Arc<Backlog>,
    documents: HashMap<u64, Document>,
    /// How the operator is told something.
    tell: T,
    /// Exchanges that were left out so far.
    left_out: u64,
}

impl<T: FnMut(&str)> DumpWriter<T> {
    pub(crate) fn new(folder: DumpFolder, backlog: Arc<Backlog>, tell: T) -> Self {
        let folder = Arc::new(folder);
        Self { folder, backlog, documents: HashMap::new(), tell, left_out: 0 }
    }

    /// Writes until nobody can send anything any more, or something can't be written.
    pub(crate) fn run(mut self, messages: Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            let cost = message.cost();
            let written = self.write(message);
            self.backlog.worked_off(cost);
            if let Err(error) = written {
                self.backlog.end();
                drop(messages); // What waits is freed before the operator is told, which may take a while.
                self.documents.clear(); // That removes the files that are not complete.
                let folder = self.folder.path().display();
                let text = format!(
                    "warning: nothing more is dumped to {folder}: {error}; requests are served as before"
                );
                (self.tell)(&text);
                return;
            }
            self.count_left_out();
        }
        self.count_left_out();
        if self.left_out > 0 {
            let (count, folder) = (self.left_out, self.folder.path().display());
            let text = format!("{count} exchanges were left out of the dumps in {folder}");
            (self.tell)(&text);
        }
    }

    fn write(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Begun(beginning) => {
                let id = beginning.id;
                match Document::begin(&self.folder, *beginning) {
                    Ok(document) => {
                        self.documents.insert(id, document);
                    }
                    // The connections of many clients may have taken them all, and give them back.
                    Err(error) if is_out_of_files(&error) => self.backlog.leave_out(),
                    Err(error) => return Err(error),
                }
            }
            Message::Data { id, side, data } => {
                if let Some(document) = self.documents.get_mut(&id) {
                    document.data(side, &data)?;
                }
            }
            Message::Answered { id, status, fields, request_is_whole } => {
                if let Some(document) = self.documents.get_mut(&id) {
                    document.answer(status, &fields, request_is_whole)?;
                }
            }
            Message::Ended { id, ending } => {
                self.backlog.exchange_ended();
                if let Some(document) = self.documents.remove(&id) {
                    document.end(ending)?;
                }
            }
        }
        Ok(())
    }

    /// Counts the exchanges that were left out; the first time, it is told.
    fn count_left_out(&mut self) {
        let left_out = self.backlog.take_left_out();
        if left_out > 0 && self.left_out == 0 {
            let folder = self.folder.path().display();
            let text = format!(
                "warning: exchanges are left out of the dumps in {folder}: more are under way, or wait for the disk, than can be kept"
            );
            (self.tell)(&text);
        }
        self.left_out += left_out;
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}
