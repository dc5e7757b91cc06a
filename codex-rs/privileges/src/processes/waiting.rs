//! Programs that give root and wait for a password: they have read their rules already, and what is written afterwards
//! does not reach them.
//!
//! A process is known by its file. Whose it is shows in its terminal, in what it reads and writes, in who started it, and
//! in what the login left on it: with sudo all its uids are root's.
//!
//! Source: proc_pid_stat(5), proc_pid_loginuid(5), sudo(8), systemd's `user-UID.slice`.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use super::facts::{Credentials, Stat, pids, read, threads, words};
use super::kin::{Kin, lineage};
use super::{StaleProcess, Whose, command};
use crate::account::Account;
use crate::tools;

/// The programs, by all names that they are installed under.
const NAMES: [&str; 7] = ["sudo", "sudo.ws", "sudo-rs", "su", "su-rs", "doas", "pkexec"];
/// Where they are when the administrator has built them.
const LOCAL: &str = "/usr/local/bin";
/// pkexec asks for the password through it.
const HELPER: &str = "polkit-agent-helper-1";
const SETUID: u32 = 0o4000;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const SMALL_BYTES: u64 = 4 * 1024;
const CGROUP_BYTES: u64 = 64 * 1024;
/// Nobody has logged in.
const NO_LOGIN: u32 = u32::MAX;

/// The account's.
///
/// # Errors
///
/// `/proc` can't be listed.
pub(crate) fn waiting(account: &Account) -> io::Result<Vec<StaleProcess>> {
    those_of(account.uid, Owner::Account)
}

/// Those that nothing says whose they are: neither the account's nor certainly another one's.
///
/// # Errors
///
/// `/proc` can't be listed.
pub(crate) fn unattributed(account: &Account) -> io::Result<Vec<StaleProcess>> {
    those_of(account.uid, Owner::Unknown)
}

/// Those of the account's that have run something, or hide behind what looks like that.
///
/// # Errors
///
/// `/proc` can't be listed.
pub(crate) fn busy(account: &Account) -> io::Result<Vec<StaleProcess>> {
    let uid = account.uid;
    let mut found = all(&Programs::installed(), &Kin::ours(), uid, /*has_run*/ true)?;
    found.retain(|process| Owner::of(&signs(process.pid, uid), uid) == Owner::Account);
    Ok(found)
}

/// Whether it still is such a program. (That it is the same process is told by when it was started.)
pub(crate) fn is_still_waiting(process: &StaleProcess) -> bool {
    Programs::installed().name_of(process.pid).is_some()
}

fn those_of(uid: u32, owner: Owner) -> io::Result<Vec<StaleProcess>> {
    let mut found = all(&Programs::installed(), &Kin::ours(), uid, /*has_run*/ false)?;
    found.retain(|process| Owner::of(&signs(process.pid, uid), uid) == owner);
    Ok(found)
}

/// Everybody's that wait, or that have run something.
fn all(programs: &Programs, kin: &Kin, uid: u32, has_run: bool) -> io::Result<Vec<StaleProcess>> {
    let seen = Seen::now(programs, uid)?;
    let mut found = Vec::new();
    for (pid, name) in &seen.programs {
        if kin.has(*pid) || kin.is_below(*pid) || seen.has_run(*pid, 0) != has_run {
            continue;
        }
        let Some(stat) = Stat::of(*pid) else { continue };
        found.push(StaleProcess {
            pid: *pid,
            uid: 0,
            started: stat.started,
            name: (*name).to_owned(), // What it calls itself is for whoever starts it to choose.
            command: command(*pid),
            gids: [].into(),
            is_ours: false,
        });
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// The programs by their files.
#[derive(Debug, Default)]
struct Programs {
    known: Vec<(&'static str, u64, u64)>,
}

impl Programs {
    fn installed() -> Self {
        let mut programs = Self::default();
        for name in NAMES {
            let local = Path::new(LOCAL).join(name);
            for path in [tools::find(name), Some(local)].into_iter().flatten() {
                programs.add(name, &path);
            }
        }
        programs
    }

    fn add(&mut self, name: &'static str, path: &Path) {
        // The first name counts: one may be a link to another.
        let found = fs::metadata(path).ok().filter(is_setuid_root);
        let Some(found) = found.map(|found| (found.dev(), found.ino())) else { return };
        if !self.known.iter().any(|(_, device, inode)| (*device, *inode) == found) {
            self.known.push((name, found.0, found.1));
        }
    }

    fn name_of(&self, pid: u32) -> Option<&'static str> {
        let exe = format!("/proc/{pid}/exe");
        let found = fs::metadata(&exe).ok()?;
        let mut known = self.known.iter();
        let known =
            known.find(|(_, device, inode)| (*device, *inode) == (found.dev(), found.ino()));
        known.map(|(name, ..)| *name).or_else(|| replaced(&found, &exe))
    }
}

fn is_setuid_root(found: &Metadata) -> bool {
    found.is_file() && found.uid() == 0 && found.mode() & SETUID != 0
}

/// One that waits since before an upgrade: its file has no name any more.
fn replaced(found: &Metadata, exe: &str) -> Option<&'static str> {
    if found.nlink() > 0 || !is_setuid_root(found) {
        return None;
    }
    let path = fs::read_link(exe).ok()?.to_string_lossy().into_owned();
    let name = path.trim_end_matches(" (deleted)").rsplit('/').next()?.to_owned();
    NAMES.into_iter().find(|known| name == *known || name == format!("{known}.dpkg-new"))
}

/// All such programs, and what is below each process.
struct Seen {
    account: Whose,
    programs: HashMap<u32, &'static str>,
    children: HashMap<u32, Vec<u32>>,
}

impl Seen {
    fn now(programs: &Programs, uid: u32) -> io::Result<Self> {
        let (mut found, mut children) = (HashMap::new(), HashMap::<u32, Vec<u32>>::new());
        for pid in pids()? {
            let Some(stat) = Stat::of(pid) else { continue };
            children.entry(stat.parent).or_default().push(pid);
            if let Some(name) = programs.name_of(pid).filter(|_| !threads(pid).is_empty()) {
                found.insert(pid, name);
            }
        }
        Ok(Self { account: Whose::account(uid), programs: found, children })
    }

    /// Whether it has come as far as to run what it was asked to. `above`: how many such programs are above.
    fn has_run(&self, pid: u32, above: usize) -> bool {
        let children = self.children.get(&pid).map(Vec::as_slice).unwrap_or_default();
        children.iter().any(|child| {
            if self.programs.contains_key(child) {
                // sudo's own second process (use_pty) has its command line. Another one was there before its parent
                // became such a program, and what that has run says nothing of the parent.
                above < NAMES.len()
                    && words(*child) == words(pid)
                    && self.has_run(*child, above + 1)
            } else {
                // What the account runs gives it nothing: `sudo -A` asks through such a program, and sudoedit waits for
                // one to write as root afterwards. A child may also be older than the program that its parent is now.
                !self.is_nothing(*child) && !is_helper(*child)
            }
        })
    }

    /// Whether a child is the account's, or is dead and only not asked for.
    fn is_nothing(&self, pid: u32) -> bool {
        let of_account = |thread: &Credentials| {
            thread.uids[0] == self.account.uid || self.account.has(pid, thread)
        };
        threads(pid).first().is_none_or(of_account)
    }
}

fn is_helper(pid: u32) -> bool {
    let exe = fs::read_link(format!("/proc/{pid}/exe"));
    exe.is_ok_and(|exe| exe.file_name().is_some_and(|name| name == HELPER))
}

/// Whose a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Account,
    Another,
    Unknown,
}

impl Owner {
    /// By the accounts that it has to do with. Root says nothing.
    fn of(signs: &[u32], uid: u32) -> Self {
        if signs.contains(&uid) {
            Self::Account
        } else if signs.iter().any(|sign| *sign != 0) {
            Self::Another
        } else {
            Self::Unknown
        }
    }
}

/// The accounts that a process has to do with.
fn signs(pid: u32, uid: u32) -> Vec<u32> {
    let mut signs: Vec<u32> = (0..=2).filter_map(|fd| owner_of_file(pid, fd, uid)).collect();
    signs.extend(threads(pid).iter().flat_map(|thread| thread.uids));
    signs.extend(read(&format!("/proc/{pid}/stat"), SMALL_BYTES).and_then(|it| terminal(&it)));
    signs.extend(read(&format!("/proc/{pid}/loginuid"), SMALL_BYTES).and_then(|it| login(&it)));
    let cgroup = read(&format!("/proc/{pid}/cgroup"), CGROUP_BYTES).unwrap_or_default();
    signs.extend(slices(&String::from_utf8_lossy(&cgroup)));
    // Of those above, only the account's: a service of another's may run things for it.
    let has = |above: &u32| threads(*above).iter().any(|thread| thread.uids.contains(&uid));
    signs.extend(lineage(pid).iter().any(has).then_some(uid));
    signs
}

/// Pipes and sockets belong to whoever made them.
fn owner_of_file(pid: u32, fd: u32, uid: u32) -> Option<u32> {
    let found = fs::metadata(format!("/proc/{pid}/fd/{fd}")).ok()?;
    let kind = found.file_type();
    let may_be_shared = kind.is_fifo() || kind.is_file();
    let is_shared = may_be_shared && found.mode() & WRITABLE_BY_OTHERS != 0;
    // The account may use another's that others can write to.
    (found.uid() == uid || !is_shared).then_some(found.uid())
}

/// The owner of the terminal that it can be typed at.
fn terminal(stat: &[u8]) -> Option<u32> {
    let (path, number) = terminal_path(terminal_number(stat)?)?;
    let found = fs::metadata(path).ok()?;
    let is_it = (major(found.rdev()), minor(found.rdev())) == number;
    is_it.then_some(found.uid())
}

/// The 7th field.
fn terminal_number(stat: &[u8]) -> Option<u32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let number: i32 = rest.split_ascii_whitespace().nth(4)?.parse().ok()?;
    Some(number.cast_unsigned()).filter(|number| *number != 0)
}

/// Where it is, and its major and minor number.
fn terminal_path(number: u32) -> Option<(PathBuf, (u64, u64))> {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    let path = match (major, minor) {
        (136..=143, _) => format!("/dev/pts/{}", ((major - 136) << 8) + minor),
        (4, 0..64) => format!("/dev/tty{minor}"),
        (4, _) => format!("/dev/ttyS{}", minor - 64),
        _ => return None,
    };
    Some((path.into(), (major.into(), minor.into())))
}

fn login(loginuid: &[u8]) -> Option<u32> {
    let login = std::str::from_utf8(loginuid).ok()?.trim().parse().ok()?;
    (login != NO_LOGIN).then_some(login)
}

/// The accounts whose part of the tree it is in.
fn slices(cgroup: &str) -> Vec<u32> {
    let uid = |part: &str| {
        let slice = part.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".slice"));
        let number =
            slice.or_else(|| part.strip_prefix("user@").and_then(|it| it.strip_suffix(".service")));
        number?.parse().ok()
    };
    cgroup.lines().flat_map(|line| line.split('/')).filter_map(uid).collect()
}

#[cfg(test)]
mod tests;
