//! One walk over all that the account can reach: files that lend an account, a group or capabilities, and where the
//! account may write.
//!
//! A folder that the account can't search is not entered: what is below is out of its reach. Links are never followed,
//! nothing is opened but folders, and a name that is too long for the kernel is reached in steps.

mod area;
mod mounts;
mod search;

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};

use crate::subject::Subject;
pub(crate) use mounts::is_sealed;
pub(super) use mounts::{foreign, not_searched};
use search::{Search, Wants};

const SETUID_AND_SETGID: u32 = 0o6000;
const WITHOUT_THEM: u32 = 0o1777;

/// A file of the account's that gives whoever runs it a group that leads to root.
///
/// (Its own setuid files give it nothing: it is that account already.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plant {
    /// Where it is.
    pub path: PathBuf,
    /// The file system that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// The group that it gives.
    pub gid: u32,
    /// Its mode, when it was looked at.
    pub mode: u32,
}

/// A file as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileFacts {
    pub(crate) path: PathBuf,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// Where the account may write: what it could plant now, it can only plant there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grounds {
    /// The topmost folders.
    pub(crate) folders: Vec<Ground>,
    /// Its own files outside of them: their modes are its to change.
    pub(crate) files: Vec<PathBuf>,
}

/// A folder in which the account may write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ground {
    pub(crate) folder: PathBuf,
    /// Whether folders below have device numbers of their own without being mounts, as on Btrfs.
    pub(crate) has_subvolumes: bool,
}

/// What a walk has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) plants: Vec<Plant>,
    /// Files that lend another account, or a group that leads to root, and that the account may run.
    pub(crate) setuid: Vec<FileFacts>,
    /// Files with capabilities (permitted or inheritable, by number) that the account may run.
    pub(crate) capable: Vec<(PathBuf, u64)>,
    pub(crate) grounds: Grounds,
    /// File systems that were not searched, and what could not be looked at.
    pub(crate) unread: Vec<Unread>,
}

/// A place that was not searched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unread {
    pub(crate) place: PathBuf,
    pub(crate) because: String,
}

/// All that is mounted here, local and lends anything at all. `progress` is told how many files have been seen.
pub(crate) fn walk(
    subject: &Subject,
    is_privileged: &(dyn Fn(u32) -> bool + Sync),
    progress: &(dyn Fn(u64) + Sync),
) -> Walked {
    let mounted = match mounts::read() {
        Ok(mounted) => mounted,
        Err(error) => {
            let because = format!("without /proc/self/mountinfo nothing was searched: {error}");
            let unread = vec![Unread { place: "/".into(), because }];
            return Walked { unread, ..Walked::default() };
        }
    };
    let plan = mounts::plan(&mounted, &|folder| is_searchable(subject, folder));
    let search = Search::new(subject, is_privileged, progress, plan.points, Wants::All);
    for mount in &plan.searched {
        search.below(&mount.point, mount.has_subvolumes());
    }
    let mut walked = search.found();
    walked.unread.extend(plan.unread);
    walked
}

/// The plants that are there now, looked for where the account may write.
pub(crate) fn walk_again(
    subject: &Subject,
    is_privileged: &(dyn Fn(u32) -> bool + Sync),
    grounds: &Grounds,
) -> Vec<Plant> {
    // Without the list, other file systems are told by their numbers alone.
    let mounted = mounts::read().unwrap_or_default();
    let points: HashSet<PathBuf> = mounted.into_iter().map(|mount| mount.point).collect();
    let nobody = |_: u64| {};
    let search = Search::new(subject, is_privileged, &nobody, points, Wants::Plants);
    for ground in &grounds.folders {
        search.below(&ground.folder, ground.has_subvolumes);
    }
    for file in &grounds.files {
        search.file(file);
    }
    search.found().plants
}

/// Takes both bits off a plant, so that it lends nothing any more.
///
/// # Errors
///
/// It is not there, it is another file by now, or its mode can't be changed.
pub(crate) fn close(plant: &Plant) -> io::Result<()> {
    // A descriptor that only names the file: opening for reading would wait for a lease that the account may hold on it.
    let file = File::from(in_steps(&plant.path)?);
    let found = file.metadata()?;
    let is_same = (found.dev(), found.ino()) == (plant.device, plant.inode);
    // Root's can never have been the account's: nobody can give files away.
    if !found.is_file() || !is_same || found.uid() == 0 {
        return Err(io::Error::other("another file is there by now"));
    }
    // fchmod(2) takes no such descriptor; this names the same file, whatever happens to its path.
    let name = descriptor(&file);
    fs::set_permissions(name, Permissions::from_mode(found.mode() & WITHOUT_THEM))?;
    if file.metadata()?.mode() & SETUID_AND_SETGID == 0 {
        Ok(())
    } else {
        Err(io::Error::other("the bits were set again at once"))
    }
}

fn is_searchable(subject: &Subject, folder: &Path) -> bool {
    // What can't be looked at may well be searchable: the walk will say.
    fs::symlink_metadata(folder).map_or(true, |facts| {
        subject.may_at(0o1, folder, &facts) || facts.uid() == subject.account.uid
    })
}

/// What a path names, link by link never: each name is opened below the one before. No length is too long for it.
fn in_steps(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut place = open("/", flags, Mode::empty())?;
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => place = openat(&place, name, flags, Mode::empty())?,
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path that goes back"));
            }
        }
    }
    Ok(place)
}

/// A short name for what a descriptor is about.
fn descriptor(opened: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

#[cfg(test)]
mod tests;
