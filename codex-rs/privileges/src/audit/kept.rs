//! What the account's processes keep open and could not open any more: files without a name that give a group, disks,
//! memory. A descriptor is handed on from process to process, and no group is needed to have it.
//!
//! Nothing is opened to look at it. Threads may have descriptors of their own, so each is looked at. What is on its way in
//! a socket, or is kept by io_uring, can't be seen: that something is there, can.
//!
//! Source: proc_pid_fd(5), proc_pid_fdinfo(5), unix(7), unshare(2).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use rustix::fs::{Mode, OFlags, open};

use crate::finding::{Closing, Finding, Grade, let_root_look};
use crate::processes::{StaleProcess, holding};
use crate::subject::{Subject, group_name};

const CHECK: &str = "kept";
/// So many descriptors are looked at.
const MOST: usize = 100_000;
/// So many findings are told one by one.
const MOST_TOLD: usize = 50;
const MOST_PIDS: usize = 20;
const INFO_BYTES: u64 = 256 * 1024;
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const BLOCK: u32 = 0o060_000;
const CHARACTER: u32 = 0o020_000;
const SOCKET: u32 = 0o140_000;
const SETGID: u32 = 0o2000;
const WITHOUT_SETUID_AND_SETGID: u32 = 0o1777;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    /// A file without a name that runs with this group.
    Nameless { gid: u32 },
    /// A disk, by its numbers.
    Disk { major: u64, minor: u64 },
    /// All that is in memory.
    Memory,
    /// Something that can't be seen.
    Unseen,
}

/// What counts of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    uid: u32,
    gid: u32,
    mode: u32,
    names: u64,
    major: u64,
    minor: u64,
}

impl Facts {
    fn of(found: &Metadata) -> Self {
        Self {
            uid: found.uid(),
            gid: found.gid(),
            mode: found.mode(),
            names: found.nlink(),
            major: major(found.rdev()),
            minor: minor(found.rdev()),
        }
    }

    fn kind(self) -> u32 {
        self.mode & KIND
    }

    fn is_nameless_plant(self, uid: u32, is_privileged: &dyn Fn(u32) -> bool) -> bool {
        let is_nameless = self.kind() == REGULAR && self.names == 0 && self.uid == uid;
        is_nameless && self.mode & SETGID != 0 && is_privileged(self.gid)
    }

    fn device(self) -> Option<Kept> {
        let Self { major, minor, .. } = self;
        match self.kind() {
            // Memory, floppies, optical discs: no system's files.
            BLOCK if !matches!(major, 1 | 2 | 11) => Some(Kept::Disk { major, minor }),
            CHARACTER if major == 1 && matches!(minor, 1 | 2 | 4) => Some(Kept::Memory),
            _ => None,
        }
    }
}

/// An open file of a process.
struct Opened<'p> {
    process: &'p StaleProcess,
    /// In `/proc`; it leads to the file itself, whatever it is called.
    place: PathBuf,
    facts: Facts,
}

/// How far one could look.
#[derive(Debug, Default)]
struct Reach {
    /// Whether there was more than is looked at.
    is_cut_short: bool,
    /// Processes that did not let us.
    unread: BTreeSet<u32>,
}

pub(crate) fn look(subject: &Subject, is_privileged: &dyn Fn(u32) -> bool) -> Vec<Finding> {
    match holding(subject.account.uid, &|_| true) {
        Ok(processes) => look_at(subject, &processes, is_privileged),
        Err(error) => {
            let seen = format!("/proc can't be listed: {error}");
            vec![unseen(subject, &seen).remedy("mount -t proc proc /proc")]
        }
    }
}

/// Takes the bits off each file without a name that gives a privileged group. A line for each.
pub(crate) fn sweep(uid: u32, is_privileged: &dyn Fn(u32) -> bool) -> Vec<String> {
    match holding(uid, &|_| true) {
        Ok(processes) => sweep_those(uid, &processes, is_privileged),
        Err(error) => vec![format!("files without a name can't be looked for: {error}")],
    }
}

fn look_at(
    subject: &Subject,
    processes: &[StaleProcess],
    is_privileged: &dyn Fn(u32) -> bool,
) -> Vec<Finding> {
    // Where each was seen first, by process and thing: a thing may be open many times.
    let mut found: BTreeMap<(u32, Kept), (&StaleProcess, PathBuf)> = BTreeMap::new();
    let reach = each(processes, &mut |opened| {
        if let Some(kept) = kept(&opened, subject.account.uid, is_privileged) {
            let key = (opened.process.pid, kept);
            found.entry(key).or_insert((opened.process, opened.place));
        }
    });
    let mut findings: Vec<Finding> = found
        .iter()
        .map(|((_, kept), (process, place))| finding(*kept, process, place, is_privileged))
        .collect();
    // Those that nobody closes come first.
    findings
        .sort_by_key(|finding| (finding.grade == Grade::Undecided, finding.closed_by.is_some()));
    if findings.len() > MOST_TOLD {
        let rest = findings.split_off(MOST_TOLD);
        let what = format!("… and {} more things that are kept open", rest.len());
        let finding = Finding::undecided(CHECK, what, "each may lead to root");
        findings.push(finding.remedy("end the account's processes, and look again"));
    }
    findings.extend(reach.told(subject));
    findings
}

fn kept(opened: &Opened<'_>, uid: u32, is_privileged: &dyn Fn(u32) -> bool) -> Option<Kept> {
    let Opened { facts, place, .. } = opened;
    if facts.is_nameless_plant(uid, is_privileged) {
        return Some(Kept::Nameless { gid: facts.gid });
    }
    if let Some(device) = facts.device() {
        // A descriptor that only names it lets nobody read.
        return (!info(place).is_some_and(|info| only_names(&info))).then_some(device);
    }
    let may_keep = facts.kind() == SOCKET || (facts.kind() == 0 && is_ring(place));
    (may_keep && info(place).is_some_and(|info| keeps_files(&info))).then_some(Kept::Unseen)
}

fn is_ring(place: &Path) -> bool {
    fs::read_link(place).is_ok_and(|target| target.as_os_str() == "anon_inode:[io_uring]")
}

/// What the kernel tells of an open file.
fn info(place: &Path) -> Option<String> {
    let (number, task) = (place.file_name()?, place.parent()?.parent()?);
    let mut bytes = Vec::new();
    let file = File::open(task.join("fdinfo").join(number)).ok()?;
    file.take(INFO_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// O_PATH.
fn only_names(info: &str) -> bool {
    let flags = field(info, "flags").and_then(|flags| u32::from_str_radix(flags, 8).ok());
    flags.is_some_and(|flags| flags & OFlags::PATH.bits() != 0)
}

/// Sent and not received, or given to io_uring.
fn keeps_files(info: &str) -> bool {
    ["scm_fds", "UserFiles"]
        .into_iter()
        .filter_map(|name| field(info, name)?.parse::<u64>().ok())
        .any(|count| count > 0)
}

fn finding(
    kept: Kept,
    process: &StaleProcess,
    place: &Path,
    is_privileged: &dyn Fn(u32) -> bool,
) -> Finding {
    let StaleProcess { pid, name, command, gids, is_ours, .. } = process;
    let holder = format!("open in {name} (pid {pid})");
    let (what, why) = match kept {
        Kept::Nameless { gid } => {
            let group = group_name(gid);
            let why =
                format!("whoever it is handed to can run it, and then has the group {group} again");
            (format!("a file without a name that runs with the group {group}, {holder}"), why)
        }
        Kept::Disk { major, minor } => {
            let why = "a disk holds all files, whatever their modes say";
            (format!("the block device {major}:{minor}, {holder}"), why.to_owned())
        }
        Kept::Memory => {
            let why = "whatever programs have in memory can be read or changed there";
            (format!("the system's memory, {holder}"), why.to_owned())
        }
        Kept::Unseen => {
            let what = format!("open files that {name} (pid {pid}) has not received or not shown");
            let why = "one of them may be a disk, or a file that gives a group: they can't be seen";
            (what, why.to_owned())
        }
    };
    let seen = format!("{}; its command line is: {command}", place.display());
    let finding = match kept {
        Kept::Unseen => Finding::undecided(CHECK, what, why),
        _ => Finding::open(CHECK, what, why),
    };
    let finding = finding.seen(seen);
    if matches!(kept, Kept::Nameless { .. }) {
        let place = place.display();
        return finding.remedy(format!("chmod u-s,g-s {place}")).closed_by(Closing::Plants);
    }
    if *is_ours {
        return finding.remedy("log out of the session that this runs in, and in again");
    }
    let finding = finding.remedy(format!("kill {pid}"));
    let is_ended = kept != Kept::Unseen && gids.iter().any(|gid| is_privileged(*gid));
    if is_ended { finding.closed_by(Closing::Processes) } else { finding }
}

impl Reach {
    fn told(&self, subject: &Subject) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.is_cut_short {
            let finding = unseen(subject, &format!("only the first {MOST} were looked at"));
            findings.push(finding.remedy("end the account's processes, and look again"));
        }
        if !self.unread.is_empty() {
            let pids = self.unread.iter().take(MOST_PIDS).map(u32::to_string);
            let pids = pids.collect::<Vec<_>>().join(" ");
            let seen = format!("{} processes don't show them: pids {pids}", self.unread.len());
            findings.push(unseen(subject, &seen).remedy(let_root_look(&subject.account)));
        }
        findings
    }
}

fn unseen(subject: &Subject, seen: &str) -> Finding {
    let what = format!("all files that the processes of {} have open", subject.account.name);
    Finding::undecided(CHECK, what, "one may be a disk, or a file that gives a group").seen(seen)
}

/// Everything that these processes have open or run: first what all threads of a process share as a rule.
fn each<'p>(processes: &'p [StaleProcess], see: &mut dyn FnMut(Opened<'p>)) -> Reach {
    let mut reach = Reach::default();
    let mut tasks: Vec<(&StaleProcess, u32)> = Vec::new();
    for process in processes {
        tasks.extend(threads(process.pid).into_iter().map(|thread| (process, thread)));
    }
    tasks.sort_by_key(|(process, thread)| process.pid != *thread);
    let mut left = MOST;
    for (process, thread) in tasks {
        let task = PathBuf::from(format!("/proc/{}/task/{thread}", process.pid));
        let mut places = vec![task.join("exe")];
        match fs::read_dir(task.join("fd")) {
            Ok(entries) => {
                // One more than may be seen, to know that it was too much.
                places.extend(entries.filter_map(|it| Some(it.ok()?.path())).take(left + 1));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                reach.unread.insert(process.pid);
            }
            Err(_) => {} // It has ended.
        }
        for place in places {
            if left == 0 {
                reach.is_cut_short = true;
                return reach;
            }
            left -= 1;
            if let Ok(found) = fs::metadata(&place) {
                see(Opened { process, place, facts: Facts::of(&found) });
            }
        }
    }
    reach
}

fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn sweep_those(
    uid: u32,
    processes: &[StaleProcess],
    is_privileged: &dyn Fn(u32) -> bool,
) -> Vec<String> {
    let (mut lines, mut failed) = (Vec::new(), BTreeSet::new());
    let reach = each(processes, &mut |opened| {
        if !opened.facts.is_nameless_plant(uid, is_privileged) {
            return;
        }
        let StaleProcess { pid, name, .. } = opened.process;
        match close(&opened.place, uid, is_privileged) {
            Ok(true) => lines.push(format!(
                "took the setgid bit off a file without a name, open in {name} (pid {pid})"
            )),
            Ok(false) => {} // Another one is open there by now.
            Err(error) => {
                failed.insert(format!(
                    "a file without a name, open in {name} (pid {pid}), keeps its setgid bit: {error}"
                ));
            }
        }
    });
    lines.extend(failed);
    if reach.is_cut_short {
        lines.push(format!("of the account's open files only {MOST} were looked at"));
    }
    lines
}

/// Whether it still was such a file, and is none any more.
fn close(place: &Path, uid: u32, is_privileged: &dyn Fn(u32) -> bool) -> io::Result<bool> {
    // A descriptor that only names the file: nothing is opened, whatever the place leads to by now.
    let file = match open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(opened) => File::from(opened),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let found = file.metadata()?;
    if !Facts::of(&found).is_nameless_plant(uid, is_privileged) {
        return Ok(false);
    }
    // fchmod(2) takes no such descriptor; this names the same file.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(name, Permissions::from_mode(found.mode() & WITHOUT_SETUID_AND_SETGID))?;
    if Facts::of(&file.metadata()?).is_nameless_plant(uid, is_privileged) {
        return Err(io::Error::other("it was set again at once"));
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
