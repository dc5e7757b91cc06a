//! The search: what below some folders the account could change, going by owners, modes and access control lists.
//!
//! It is done here and not by a find(1) that runs as the account, which the account could stop or alter. What is found
//! before the time is over is kept.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ignore::{DirEntry, WalkBuilder, WalkState};

use crate::audit::reach::{Owned, is_reachable};
use crate::audit::walk;
use crate::subject::Subject;

/// More than a disk that has much to do needs for all of /usr, and less than a check has.
const TIME: Duration = Duration::from_secs(40);
const THREADS_LIMIT: usize = 2;
const FOUND_LIMIT: usize = 10_000;
const COMPLAINTS_LIMIT: usize = 5;

/// Something that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) owned: Owned,
    pub(super) is_folder: bool,
    /// Whether it is open by an access control list.
    pub(super) is_listed: bool,
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Searched {
    pub(super) open: BTreeMap<PathBuf, Entry>,
    pub(super) missed: Vec<String>,
    missed_more: usize,
}

impl Searched {
    fn miss(&mut self, what: impl Display) {
        if self.missed.len() < COMPLAINTS_LIMIT {
            self.missed.push(what.to_string());
        } else {
            self.missed_more += 1;
        }
    }

    /// All that could not be looked at, or a part of it and how much more; `None`: nothing.
    pub(super) fn missed_words(&self) -> Option<String> {
        let more = (self.missed_more > 0).then(|| format!("and {} more", self.missed_more));
        let words: Vec<String> = self.missed.iter().cloned().chain(more).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// Everything below these folders, which are no links. Below what is open nothing is looked at.
pub(super) fn search(subject: &Subject, tops: &[PathBuf]) -> Searched {
    search_until(subject, tops, Instant::now() + TIME)
}

fn search_until(subject: &Subject, tops: &[PathBuf], until: Instant) -> Searched {
    let found = Mutex::new(Searched::default());
    let mut reached = tops.iter().filter(|top| is_reachable(subject, top));
    if let Some(first) = reached.next() {
        let mut builder = WalkBuilder::new(first);
        reached.for_each(|top| {
            builder.add(top);
        });
        // Never so much as asked: whoever serves them may never answer.
        let others: HashSet<PathBuf> = walk::not_searched();
        let threads =
            thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_LIMIT));
        let walk = builder
            .standard_filters(false) // They would read files named by others, and leave things out.
            .follow_links(false)
            .threads(threads)
            .filter_entry(move |entry: &DirEntry| !others.contains(entry.path()))
            .build_parallel();
        let found = &found;
        walk.run(move || {
            Box::new(move |entry| {
                if Instant::now() > until {
                    return WalkState::Quit;
                }
                match entry {
                    Ok(entry) => visit(subject, entry.path(), found),
                    Err(error) => {
                        if !is_expected(subject, error.io_error().map(io::Error::kind)) {
                            lock(found).miss(&error);
                        }
                        WalkState::Continue
                    }
                }
            })
        });
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if Instant::now() > until {
        // First: it matters most.
        found.missed.insert(0, format!("not all was searched in {} s", TIME.as_secs()));
    }
    found
}

fn visit(subject: &Subject, path: &Path, found: &Mutex<Searched>) -> WalkState {
    let facts = match fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(error) => {
            if !is_expected(subject, Some(error.kind())) {
                lock(found).miss(format!("{}: {error}", path.display()));
            }
            return WalkState::Skip;
        }
    };
    let kind = facts.file_type();
    // Sockets and devices have checks of their own, and a link has nothing to write to.
    let is_other = kind.is_symlink() || kind.is_socket() || kind.is_block_device();
    if is_other || kind.is_char_device() {
        return WalkState::Continue;
    }
    if let Some(entry) = open_entry(subject, path, &facts) {
        // Where nobody can write, what lies below may be of another file system.
        if walk::is_sealed(path) {
            return WalkState::Continue;
        }
        let mut found = lock(found);
        if found.open.len() < FOUND_LIMIT {
            found.open.insert(path.to_owned(), entry);
        } else {
            found.miss(path.display());
        }
        return WalkState::Skip;
    }
    // The account gets no further either.
    if kind.is_dir() && !subject.may_at(0o1, path, &facts) {
        return WalkState::Skip;
    }
    WalkState::Continue
}

fn open_entry(subject: &Subject, path: &Path, facts: &Metadata) -> Option<Entry> {
    let is_own = facts.uid() == subject.account.uid;
    if !is_own && !subject.may_at(0o2, path, facts) {
        return None;
    }
    let is_listed = !is_own && subject.by_list(path, 0o2) == Some(true);
    Some(Entry { owned: Owned::at(path.to_owned(), facts), is_folder: facts.is_dir(), is_listed })
}

/// What went while we looked; and where we are not root, what is closed to us.
fn is_expected(subject: &Subject, kind: Option<io::ErrorKind>) -> bool {
    match kind {
        Some(io::ErrorKind::NotFound) => true,
        Some(io::ErrorKind::PermissionDenied) => !subject.is_root,
        _ => false,
    }
}

fn lock(found: &Mutex<Searched>) -> MutexGuard<'_, Searched> {
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::subject::testing::{subject, writable_by};

    fn names(found: &Searched, top: &Path) -> Vec<String> {
        let name = |path: &PathBuf| Some(path.strip_prefix(top).ok()?.to_str()?.to_owned());
        found.open.keys().filter_map(name).collect()
    }

    #[test]
    fn what_the_account_could_change_is_found_and_what_lies_below_it_is_not_told() {
        if !crate::processes::samples::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(top.join("ours/below")).unwrap();
        fs::create_dir_all(top.join("closed")).unwrap();
        for (name, uid, gid, mode) in [
            ("roots", 0, 0, 0o644),
            ("groups", 0, 61_501, 0o664),
            ("stales", 0, 61_502, 0o664),
            ("strange groups", 0, 61_503, 0o664),
            ("everybodys", 0, 0, 0o666),
            ("closed/everybodys", 0, 0, 0o666),
        ] {
            fs::write(top.join(name), "").unwrap();
            fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
            chown(top.join(name), Some(uid), Some(gid)).unwrap();
        }
        chown(top.join("ours"), Some(61_500), None).unwrap();
        fs::set_permissions(top.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("everybodys", top.join("link")).unwrap();
        let mut us = subject(61_500, &[61_500, 61_501]);
        us.stale.insert(61_502);
        let mut expected = vec!["everybodys", "groups", "ours", "stales"];
        let found = search(&us, std::slice::from_ref(&top));
        assert_eq!(names(&found, &top), expected);
        assert_eq!(found.missed_words(), None);

        for (name, uid) in [("listed", 61_500), ("of another", 61_509)] {
            fs::write(top.join(name), "").unwrap();
            let flags = rustix::fs::XattrFlags::empty();
            let list = writable_by(uid);
            let set =
                rustix::fs::setxattr(top.join(name), c"system.posix_acl_access", &list, flags);
            if set.is_err() {
                return; // A file system without lists.
            }
        }
        expected.insert(2, "listed");
        let found = search(&us, std::slice::from_ref(&top));
        assert_eq!(names(&found, &top), expected);
        assert!(found.open[&top.join("listed")].is_listed);
    }

    #[test]
    fn when_the_time_is_over_that_is_said() {
        let us = subject(61_500, &[61_500]);
        let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let found = search_until(&us, &["/etc".into()], late);
        assert!(found.missed_words().unwrap().starts_with("not all was searched in "));
    }

    #[test]
    fn each_complaint_counts_and_not_only_the_first() {
        let mut us = subject(61_500, &[61_500]);
        for (is_root, kind, expected) in [
            (true, Some(io::ErrorKind::NotFound), true),
            (true, Some(io::ErrorKind::PermissionDenied), false),
            (false, Some(io::ErrorKind::PermissionDenied), true),
            (false, Some(io::ErrorKind::TimedOut), false),
            (false, None, false),
        ] {
            us.is_root = is_root;
            assert_eq!(is_expected(&us, kind), expected, "{is_root} {kind:?}");
        }
        let mut found = Searched::default();
        (0..7).for_each(|number| found.miss(number));
        assert_eq!(found.missed_words().unwrap(), "0; 1; 2; 3; 4; and 2 more");
    }
}
