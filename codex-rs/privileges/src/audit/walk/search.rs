//! The walk itself: what is looked at in each entry, and what is kept of it.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use ignore::{DirEntry, WalkBuilder, WalkState};

use super::area::{Area, Start};
use super::{FileFacts, Ground, Plant, Unread, Walked, in_steps};
use crate::audit::capabilities;
use crate::subject::Subject;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
/// Without the group's x the kernel does not heed the setgid bit: execve(2).
const SETGID_FOR_PROGRAMS: u32 = 0o2010;
const ANYBODY_RUNS: u32 = 0o111;

/// More threads wait for each other.
const THREADS_LIMIT: usize = 4;
/// Of each list.
const FOUND_LIMIT: usize = 100_000;
const UNREAD_LIMIT: usize = 50;
/// Each has a descriptor.
const TOO_LONG_LIMIT: usize = 256;
const TOLD_EVERY: u64 = 1_024;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    All,
    Plants,
}

/// What is looked for, and what has been found.
pub(super) struct Search<'a> {
    subject: &'a Subject,
    is_privileged: &'a (dyn Fn(u32) -> bool + Sync),
    progress: &'a (dyn Fn(u64) + Sync),
    /// Where file systems are mounted: each is searched on its own, or not at all.
    points: Arc<HashSet<PathBuf>>,
    wants: Wants,
    seen: AtomicU64,
    found: Mutex<Walked>,
    is_cut: AtomicBool,
    /// Folders that the account can go through and, being no root, we can't list: the first, and how many.
    unlisted: Mutex<Option<(PathBuf, u64)>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        subject: &'a Subject,
        is_privileged: &'a (dyn Fn(u32) -> bool + Sync),
        progress: &'a (dyn Fn(u64) + Sync),
        points: HashSet<PathBuf>,
        wants: Wants,
    ) -> Self {
        Self {
            subject,
            is_privileged,
            progress,
            points: Arc::new(points),
            wants,
            seen: AtomicU64::new(0),
            found: Mutex::default(),
            is_cut: AtomicBool::new(false),
            unlisted: Mutex::default(),
        }
    }

    /// A folder and all below, as far as its file system goes.
    pub(super) fn below(&self, folder: &Path, has_subvolumes: bool) {
        let tops = RwLock::default();
        let mut waiting = Vec::from_iter(self.noted(folder, Start::at(folder)));
        let mut begun = 0;
        while let Some(start) = waiting.pop() {
            let facts = fs::symlink_metadata(&start.opened);
            let Some(facts) = self.noted(&start.shown, facts) else { continue };
            let device = facts.dev();
            let (tops, too_long) = (&tops, Mutex::default());
            let area = Area { start, device, has_subvolumes, tops, too_long };
            self.walk(&area);
            let too_long = area.too_long.into_inner().unwrap_or_else(PoisonError::into_inner);
            for folder in too_long {
                let shown = area.start.shown(&folder);
                if begun == TOO_LONG_LIMIT {
                    self.unread(&shown, "it lies too deep");
                    continue;
                }
                begun += 1;
                waiting.extend(self.noted(&shown, area.start.below(&folder)));
            }
        }
    }

    /// One file by itself.
    pub(super) fn file(&self, path: &Path) {
        let facts = in_steps(path).and_then(|file| File::from(file).metadata());
        let Some(facts) = self.noted(path, facts) else { return };
        if facts.is_file() {
            self.judge_plant(path, &facts);
        }
    }

    /// All of it, in an order that stays the same.
    pub(super) fn found(self) -> Walked {
        let mut found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.plants.sort_by(|one, other| one.path.cmp(&other.path));
        let mut known = HashSet::new();
        // A file has as many names as it likes.
        found.plants.retain(|plant| known.insert((plant.device, plant.inode)));
        found.setuid.sort();
        found.setuid.dedup();
        found.capable.sort();
        found.capable.dedup();
        found.grounds.folders.sort();
        found.grounds.files.sort();
        found.grounds.files.dedup();
        found.unread.sort();
        found.unread.dedup();
        let unlisted = self.unlisted.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.unread.extend(unlisted.map(|(place, count)| {
            let because = match count {
                1 => "the account can go through it, and only root can list it".to_owned(),
                _ => format!(
                    "it and {} others the account can go through, and only root can list",
                    count - 1
                ),
            };
            Unread { place, because }
        }));
        if self.is_cut.into_inner() {
            let because =
                format!("more than {FOUND_LIMIT} things of one kind: the others are left out");
            found.unread.push(Unread { place: "/".into(), because });
        }
        found
    }

    fn walk(&self, area: &Area<'_>) {
        let points = Arc::clone(&self.points);
        let threads =
            thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_LIMIT));
        let walk = WalkBuilder::new(&area.start.opened)
            .standard_filters(false) // They would read files named by others, and leave things out.
            .follow_links(false)
            .threads(threads)
            // Before it is so much as opened: whoever serves it may never answer. (This is also why the walk does not
            // look after file systems by itself: it asks each folder once more.)
            .filter_entry(move |entry: &DirEntry| !points.contains(entry.path()))
            .build_parallel();
        walk.run(move || {
            let mut visitor = Visitor { search: self, area, asked: None };
            Box::new(move |entry| visitor.visit(entry))
        });
    }

    fn judge_plant(&self, path: &Path, facts: &Metadata) {
        let (uid, gid, mode) = (facts.uid(), facts.gid(), facts.mode());
        // Whatever its other bits: with a process that still has the group, the owner could set them, and keep this one.
        // Its setuid bit is no matter: that gives the account itself.
        if mode & SETGID == 0 || uid != self.subject.account.uid || !(self.is_privileged)(gid) {
            return;
        }
        let (device, inode) = (facts.dev(), facts.ino());
        let plant = Plant { path: path.to_owned(), device, inode, gid, mode: mode & 0o7777 };
        self.keep(plant, |found| &mut found.plants);
    }

    /// Setuid and setgid files of others, and capabilities of any.
    fn judge_program(&self, path: &Path, opened: &Path, facts: &Metadata) {
        let (uid, gid, mode) = (facts.uid(), facts.gid(), facts.mode());
        let is_own = uid == self.subject.account.uid;
        if mode & ANYBODY_RUNS == 0 && !is_own {
            return;
        }
        let lends_account = mode & SETUID != 0;
        let lends_group =
            mode & SETGID_FOR_PROGRAMS == SETGID_FOR_PROGRAMS && (self.is_privileged)(gid);
        if !is_own && (lends_account || lends_group) && self.may_run(opened, facts) {
            let program = FileFacts { path: path.to_owned(), uid, gid, mode: mode & 0o7777 };
            self.keep(program, |found| &mut found.setuid);
        }
        let lent = capabilities::of_file(opened);
        if lent != 0 && self.may_run(opened, facts) {
            self.keep((path.to_owned(), lent), |found| &mut found.capable);
        }
    }

    /// Now, or after a chmod(2) of what is its own.
    fn may_run(&self, opened: &Path, facts: &Metadata) -> bool {
        may_search(self.subject, opened, facts)
    }

    fn keep<T>(&self, thing: T, list: impl FnOnce(&mut Walked) -> &mut Vec<T>) -> bool {
        let mut found = self.lock();
        let list = list(&mut found);
        let has_room = list.len() < FOUND_LIMIT;
        if has_room {
            list.push(thing);
        } else {
            self.is_cut.store(true, Ordering::Relaxed);
        }
        has_room
    }

    fn noted<T>(&self, place: &Path, outcome: io::Result<T>) -> Option<T> {
        outcome.map_err(|error| self.failed(place, &error)).ok()
    }

    fn failed(&self, place: &Path, error: &io::Error) {
        match error.kind() {
            // It went while we looked.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
            // What the account can't come to gives it nothing; as root we see all of it.
            io::ErrorKind::PermissionDenied if !self.subject.is_root => self.closed(place),
            _ => self.unread(place, &error.to_string()),
        }
    }

    fn closed(&self, place: &Path) {
        let facts = fs::symlink_metadata(place);
        if !facts.is_ok_and(|facts| may_search(self.subject, place, &facts)) {
            return;
        }
        let mut unlisted = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, count) = unlisted.take().unwrap_or_else(|| (place.to_owned(), 0));
        *unlisted = Some((first.min(place.to_owned()), count + 1));
    }

    fn unread(&self, place: &Path, because: &str) {
        let mut found = self.lock();
        let because = short(because);
        if found.unread.len() < UNREAD_LIMIT {
            found.unread.push(Unread { place: place.to_owned(), because });
        } else if found.unread.len() == UNREAD_LIMIT {
            let because = "more folders than can be named here".to_owned();
            found.unread.push(Unread { place: "/".into(), because });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Walked> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's part.
struct Visitor<'a> {
    search: &'a Search<'a>,
    area: &'a Area<'a>,
    /// The folder that was asked about last, since most entries have neighbours; and whether it is in one in which the
    /// account may write.
    asked: Option<(PathBuf, bool)>,
}

impl Visitor<'_> {
    fn visit(&mut self, entry: Result<DirEntry, ignore::Error>) -> WalkState {
        match entry {
            Ok(entry) => self.entry(entry.path()),
            Err(error) => {
                let place = place(&error).unwrap_or(&self.area.start.opened);
                let shown = self.area.start.shown(place);
                match error.io_error() {
                    Some(error) => self.search.failed(&shown, error),
                    None => self.search.unread(&shown, &error.to_string()),
                }
                WalkState::Continue
            }
        }
    }

    fn entry(&mut self, opened: &Path) -> WalkState {
        let seen = self.search.seen.fetch_add(1, Ordering::Relaxed) + 1;
        if seen.is_multiple_of(TOLD_EVERY) {
            (self.search.progress)(seen);
        }
        let shown = self.area.start.shown(opened);
        match fs::symlink_metadata(opened) {
            Ok(facts) if facts.is_dir() => self.folder(&shown, opened, &facts),
            Ok(facts) if facts.is_file() => {
                self.file(&shown, opened, &facts);
                WalkState::Continue
            }
            Ok(_) => WalkState::Continue,
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                self.go_on_from(opened.parent());
                WalkState::Skip
            }
            Err(error) => {
                self.search.failed(&shown, &error);
                WalkState::Skip
            }
        }
    }

    fn folder(&mut self, shown: &Path, opened: &Path, facts: &Metadata) -> WalkState {
        if facts.dev() != self.area.device && !self.area.has_subvolumes {
            self.search.unread(shown, "a file system came there while all was searched");
            return WalkState::Skip;
        }
        if !may_search(self.search.subject, opened, facts) {
            return WalkState::Skip;
        }
        if self.search.wants == Wants::All
            && may_write(self.search.subject, opened, facts)
            && !self.is_on_grounds(shown.parent())
        {
            let has_subvolumes = self.area.has_subvolumes;
            let ground = Ground { folder: shown.to_owned(), has_subvolumes };
            if self.search.keep(ground, |found| &mut found.grounds.folders) {
                // Before anything below is seen: the walk reads a folder after it has been shown it.
                self.area
                    .tops
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(shown.to_owned());
            }
        }
        WalkState::Continue
    }

    fn file(&mut self, shown: &Path, opened: &Path, facts: &Metadata) {
        self.search.judge_plant(shown, facts);
        if self.search.wants == Wants::All {
            self.search.judge_program(shown, opened, facts);
            if facts.uid() == self.search.subject.account.uid && !self.is_on_grounds(shown.parent())
            {
                self.search.keep(shown.to_owned(), |found| &mut found.grounds.files);
            }
        }
    }

    /// Whether a folder is one in which the account may write, or is somewhere in such a one.
    fn is_on_grounds(&mut self, folder: Option<&Path>) -> bool {
        let Some(folder) = folder else { return false };
        if let Some((asked, answer)) = &self.asked
            && asked == folder
        {
            return *answer;
        }
        let tops = self.area.tops.read().unwrap_or_else(PoisonError::into_inner);
        let answer = !tops.is_empty() && folder.ancestors().any(|above| tops.contains(above));
        drop(tops);
        self.asked = Some((folder.to_owned(), answer));
        answer
    }

    fn go_on_from(&self, folder: Option<&Path>) {
        let mut too_long = self.area.too_long.lock().unwrap_or_else(PoisonError::into_inner);
        // One more than will be begun, so that it is said.
        if let Some(folder) = folder
            && too_long.len() <= TOO_LONG_LIMIT
        {
            too_long.insert(folder.to_owned());
        }
    }
}

/// Whether the account can go through a folder, or run a file: now, or after a chmod(2) of what is its own.
fn may_search(subject: &Subject, opened: &Path, facts: &Metadata) -> bool {
    facts.uid() == subject.account.uid || subject.may_at(0o1, opened, facts)
}

fn may_write(subject: &Subject, opened: &Path, facts: &Metadata) -> bool {
    facts.uid() == subject.account.uid || subject.may_at(0o2, opened, facts)
}

/// What an error of the walk is about.
fn place(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } => place(err),
        _ => None,
    }
}

/// Deep down, names are too long for people as well.
fn short(words: impl Display) -> String {
    const LIMIT: usize = 300;
    let words = words.to_string();
    match words.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}
