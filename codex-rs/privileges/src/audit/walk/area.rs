//! A part of a file system that is walked in one go, and where the walk goes on below names that are too long.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, RwLock};

use rustix::fs::{Mode, OFlags, open};

use super::{descriptor, in_steps};

/// The kernel takes no path of 4,096 bytes or more (PATH_MAX); whoever hides something goes deeper than that.
const LONG_BYTES: usize = 3_000;

/// A folder that a walk begins in.
#[derive(Debug)]
pub(super) struct Start {
    /// By this name it can be opened.
    pub(super) opened: PathBuf,
    /// And this is where it is.
    pub(super) shown: PathBuf,
    /// It keeps the name valid.
    folder: Option<OwnedFd>,
}

impl Start {
    pub(super) fn at(folder: &Path) -> io::Result<Self> {
        if folder.as_os_str().len() < LONG_BYTES {
            return Ok(Self { opened: folder.to_owned(), shown: folder.to_owned(), folder: None });
        }
        Ok(Self::of(in_steps(folder)?, folder.to_owned()))
    }

    /// A folder below, named as the walk named it.
    pub(super) fn below(&self, opened: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(opened, flags, Mode::empty())?;
        Ok(Self::of(folder, self.shown(opened).into_owned()))
    }

    fn of(folder: OwnedFd, shown: PathBuf) -> Self {
        // The dot, because the name itself is a link.
        Self { opened: descriptor(&folder).join("."), shown, folder: Some(folder) }
    }

    /// Where that is which the walk came upon.
    pub(super) fn shown<'a>(&self, opened: &'a Path) -> Cow<'a, Path> {
        if self.folder.is_none() {
            return Cow::Borrowed(opened);
        }
        match opened.strip_prefix(&self.opened) {
            Ok(rest) if rest.as_os_str().is_empty() => Cow::Owned(self.shown.clone()),
            Ok(rest) => Cow::Owned(self.shown.join(rest)),
            Err(_) => Cow::Borrowed(opened),
        }
    }
}

/// What is walked in one go.
#[derive(Debug)]
pub(super) struct Area<'a> {
    pub(super) start: Start,
    /// What has another number is another file system.
    pub(super) device: u64,
    /// Unless such numbers mean nothing here.
    pub(super) has_subvolumes: bool,
    /// Folders in which the account may write, as found so far, with those of the areas above.
    pub(super) tops: &'a RwLock<HashSet<PathBuf>>,
    /// Folders with names in them that became too long.
    pub(super) too_long: Mutex<HashSet<PathBuf>>,
}
