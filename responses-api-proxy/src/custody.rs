//! The key in use: where it came from, and how another one takes its place.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codex_key_custody::{ApiKey, CustodyError, KeyInput, KeyRing, PageKind};
use codex_peer_identity::Uid;
use codex_proxy_client::status;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::key_source::KeySource;
use crate::published::unix_seconds;

/// The keys in use, and what is told of the current one.
#[derive(Debug)]
pub(crate) struct Custody {
    keys: Arc<KeyRing>,
    allow_unlocked: bool,
    origin: Mutex<Origin>,
}

/// Where the current key came from.
#[derive(Debug)]
struct Origin {
    source: String,
    /// Unix time in seconds.
    since: u64,
    rotations: u64,
    rotated_by: Option<Uid>,
}

impl Custody {
    /// Of the first key, which `source` gave. Later ones get such memory as this one may have.
    pub(crate) fn new(key: ApiKey, source: &KeySource, allow_unlocked: bool) -> Self {
        let (source, since) = (source.to_string(), unix_seconds());
        let origin = Origin { source, since, rotations: 0, rotated_by: None };
        Self { keys: Arc::new(KeyRing::new(key)), allow_unlocked, origin: Mutex::new(origin) }
    }

    pub(crate) fn keys(&self) -> &Arc<KeyRing> {
        &self.keys
    }

    /// Dropped, it lets go of the keys, be it that some thread hangs which still has a part of the proxy.
    pub(crate) fn end(&self) -> CustodyEnd {
        CustodyEnd(Arc::clone(&self.keys))
    }

    /// Reads another key to the input's end; exchanges that begin from then on get it. Blocks meanwhile.
    ///
    /// # Errors
    ///
    /// Nothing is changed then: it is no key, there is no memory for it, or nobody waits for it any more, which is so
    /// once `given_up` is readable or hung up.
    pub(crate) fn replace(
        &self,
        input: BorrowedFd<'_>,
        given_up: BorrowedFd<'_>,
        by: Uid,
    ) -> Result<(), CustodyError> {
        let allow_unlocked = self.allow_unlocked;
        let from = KeyInput { given_up: Some(given_up), allow_unlocked, ..KeyInput::of(input) };
        let key = ApiKey::read(from)?;
        // Who is killed takes those along that write to it: what has ended with it may be half a key.
        if is_given_up(given_up) {
            return Err(CustodyError::Interrupted);
        }
        let mut origin = self.origin();
        self.keys.replace(key);
        *origin = Origin {
            source: "rotate-key".to_owned(),
            since: unix_seconds(),
            rotations: origin.rotations + 1,
            rotated_by: Some(by),
        };
        Ok(())
    }

    /// What is known of the key, and no byte of it.
    pub(crate) fn facts(&self) -> status::Key {
        let origin = self.origin(); // Held, so that all of it is told of the same key.
        status::Key {
            page: self.keys.page().map_or("none", PageKind::as_str).to_owned(),
            source: origin.source.clone(),
            since: origin.since,
            rotations: origin.rotations,
            rotated_by_uid: origin.rotated_by.map(Uid::as_raw),
            retired: self.keys.retired() as u64,
        }
    }

    fn origin(&self) -> MutexGuard<'_, Origin> {
        self.origin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of custody, however it comes about.
#[derive(Debug)]
pub(crate) struct CustodyEnd(Arc<KeyRing>);

impl Drop for CustodyEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn is_given_up(end: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(end, PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Write, pipe};
    use std::os::fd::AsFd;

    use super::*;

    fn current(custody: &Custody) -> Arc<ApiKey> {
        Arc::clone(custody.keys().lend().unwrap().key())
    }

    /// A pipe that this comes out of.
    fn piped(text: &str) -> PipeReader {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        reader
    }

    fn custody() -> Custody {
        let key = ApiKey::read(KeyInput::of(piped("sk-the-first-key\n").as_fd())).unwrap();
        Custody::new(key, &KeySource::StandardInput, /*allow_unlocked*/ false)
    }

    fn replace(custody: &Custody, text: &str) -> Result<(), CustodyError> {
        let (given_up, _waiting) = pipe().unwrap();
        custody.replace(piped(text).as_fd(), given_up.as_fd(), Uid::from_raw(7))
    }

    #[test]
    fn a_new_key_is_current_and_the_old_one_is_counted_while_it_is_held() {
        let custody = custody();
        let before = custody.facts();
        assert_eq!((before.source.as_str(), before.rotations), ("standard input", 0));
        assert_eq!((before.rotated_by_uid, before.retired), (None, 0));
        let old = current(&custody);
        replace(&custody, "sk-the-second-key").unwrap();
        let after = custody.facts();
        assert_eq!((after.source.as_str(), after.rotations), ("rotate-key", 1));
        assert_eq!((after.rotated_by_uid, after.retired), (Some(7), 1));
        assert!(after.since >= before.since);
        assert_eq!(custody.keys().mask("sk-the-second-key"), "[key]");
        drop(old);
        assert_eq!(custody.facts().retired, 0);
    }

    #[test]
    fn what_is_no_key_changes_nothing() {
        let custody = custody();
        let (before, key) = (custody.facts(), current(&custody));
        for text in ["", "\n", "two\nlines", "with a blank", &"k".repeat(5_000)] {
            assert!(replace(&custody, text).is_err(), "{text:?}");
            assert_eq!(custody.facts(), before, "{text:?}");
            assert!(Arc::ptr_eq(&current(&custody), &key), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_nobody_waits_for_any_more_changes_nothing_although_it_is_whole() {
        let custody = custody();
        let (given_up, waiting) = pipe().unwrap();
        drop(waiting);
        let whole = piped("sk-the-second-key");
        let replaced = custody.replace(whole.as_fd(), given_up.as_fd(), Uid::from_raw(7));
        assert_eq!(replaced, Err(CustodyError::Interrupted));
        assert_eq!(custody.facts().rotations, 0);
    }
}
