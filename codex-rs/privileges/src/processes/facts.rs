//! What `/proc` says of a process and of its threads.
//!
//! Everything is bounded, and what ends while it is looked at is not there.
//!
//! Source: proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5), user_namespaces(7).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

/// `status` has all groups in it, and there may be 65,536 of them.
const STATUS_BYTES: u64 = 1024 * 1024;
const COMMAND_BYTES: u64 = 32 * 1024;
/// 340 lines at most (user_namespaces(7)).
const MAP_BYTES: u64 = 32 * 1024;
const STAT_BYTES: u64 = 4 * 1024;
/// `PF_KTHREAD` in the flags of `stat`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// A line about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) name: String,
    /// 0 where it is in another namespace.
    pub(crate) parent: u32,
    /// In clock ticks since the boot.
    pub(crate) started: u64,
    pub(crate) is_kernel_thread: bool,
    /// The first process of its session.
    pub(crate) session: u32,
    /// The number of its terminal, 0 where it has none.
    pub(crate) terminal: i32,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&read(&format!("/proc/{pid}/stat"), STAT_BYTES)?)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name stands in parentheses, and may have any bytes in it.
        let begin = stat.iter().position(|byte| *byte == b'(')?;
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let name = String::from_utf8_lossy(stat.get(begin + 1..end)?).into_owned();
        let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect(); // From the 3rd on.
        let field = |number: usize| fields.get(number - 3).copied();
        let flags: u32 = field(9)?.parse().ok()?;
        let (parent, started) = (field(4)?.parse().ok()?, field(22)?.parse().ok()?);
        let is_kernel_thread = flags & KERNEL_THREAD != 0;
        let (session, terminal) = (field(6)?.parse().ok()?, field(7)?.parse().ok()?);
        Some(Self { name, parent, started, is_kernel_thread, session, terminal })
    }
}

/// What a thread may act as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Real, effective, saved, and that for files.
    pub(crate) uids: [u32; 4],
    /// The same of the group, and the supplementary ones.
    pub(crate) gids: BTreeSet<u32>,
    pub(crate) capabilities: Capabilities,
}

/// Of a thread, by number: capabilities(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) permitted: u64,
    pub(crate) effective: u64,
    pub(crate) ambient: u64,
}

impl Credentials {
    pub(crate) fn of_thread(pid: u32, tid: u32) -> Option<Self> {
        Self::parse(&read(&format!("/proc/{pid}/task/{tid}/status"), STATUS_BYTES)?)
    }

    /// Nothing of a dead one.
    fn parse(status: &[u8]) -> Option<Self> {
        let status = String::from_utf8_lossy(status); // A newline in a name is escaped.
        let line = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        if line("State")?.trim_start().starts_with(['Z', 'X']) {
            return None;
        }
        let numbers = |line: &str| -> Vec<u32> {
            line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        let uids = numbers(line("Uid")?).try_into().ok()?;
        let mut gids: BTreeSet<u32> = numbers(line("Gid")?).into_iter().collect();
        gids.extend(numbers(line("Groups").unwrap_or_default()));
        let mask = |name: &str| {
            line(name).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
        };
        let (permitted, effective) = (mask("CapPrm"), mask("CapEff"));
        let capabilities = Capabilities { permitted, effective, ambient: mask("CapAmb") };
        Some(Self { uids, gids, capabilities })
    }
}

/// All processes that can be seen.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The living threads of a process.
pub(crate) fn threads(pid: u32) -> Vec<Credentials> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let tids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    tids.filter_map(|tid| Credentials::of_thread(pid, tid)).collect()
}

/// A command line, or the beginning of a long one.
pub(crate) fn words(pid: u32) -> Vec<OsString> {
    let line = read(&format!("/proc/{pid}/cmdline"), COMMAND_BYTES).unwrap_or_default();
    let line = line.strip_suffix(b"\0").unwrap_or(&line);
    if line.is_empty() {
        return Vec::new();
    }
    line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

pub(super) fn uid_map(pid: u32) -> Option<Vec<u8>> {
    read(&format!("/proc/{pid}/uid_map"), MAP_BYTES)
}

/// Whether an account of ours is one in the namespace that has this map.
pub(super) fn maps_uid(map: &[u8], uid: u32) -> bool {
    String::from_utf8_lossy(map).lines().any(|line| {
        let numbers: Vec<u64> =
            line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [_, outside, count] = numbers[..] else { return false };
        (outside..outside.saturating_add(count)).contains(&u64::from(uid))
    })
}

pub(super) fn read(path: &str, limit_bytes: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(limit_bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_name_is() {
        let rest = "S 41 1 1 34816 -1 FLAGS 0 0 0 0 0 0 0 0 20 0 1 0 123456 7 8 9";
        let user = rest.replace("FLAGS", "4194560");
        let kernel = rest.replace("FLAGS", "69238880");
        let expected = |name: &str, is_kernel_thread| {
            let (name, session) = (name.to_owned(), 1);
            Some(Stat {
                name,
                parent: 41,
                started: 123_456,
                is_kernel_thread,
                session,
                terminal: 34_816,
            })
        };
        for (stat, expected) in [
            (format!("42 (cat) {user}\n"), expected("cat", false)),
            (format!("42 (kthreadd) {kernel}"), expected("kthreadd", true)),
            (format!("42 (a) Z 1) {user}"), expected("a) Z 1", false)),
            (format!("42 (a\nb) {user}"), expected("a\nb", false)),
            (format!("42 () {user}"), expected("", false)),
            ("42 (cat) S 41 1".to_owned(), None),
            ("42 )cat( S".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Stat::parse(stat.as_bytes()), expected, "{stat:?}");
        }
        let stat = [b"42 (\xff) ", user.as_bytes()].concat();
        assert_eq!(Stat::parse(&stat), expected("\u{fffd}", false));
    }

    #[test]
    fn credentials_are_read_and_the_dead_have_none() {
        let status =
            |state: &str, ids: &str| format!("Name:\tcat\nState:\t{state}\nPPid:\t1\n{ids}");
        let ids = "Uid:\t1 2 3 4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t27 999 \nCapPrm:\t0000000000000080\n\
            CapEff:\t0000000000002000\nCapAmb:\t0000000000000001\n";
        let gids = [5, 6, 7, 8, 27, 999].into();
        let capabilities = Capabilities { permitted: 0x80, effective: 0x2000, ambient: 1 };
        let expected = Some(Credentials { uids: [1, 2, 3, 4], gids, capabilities });
        let alone = "Uid:\t1\t2\t3\t4\nGid:\t5\t5\t5\t5\nGroups:\t \n";
        let capabilities = Capabilities::default();
        let bare = Some(Credentials { uids: [1, 2, 3, 4], gids: [5].into(), capabilities });
        for (status, expected) in [
            (status("S (sleeping)", ids), expected.clone()),
            (status("T (stopped)", ids), expected),
            (status("R (running)", alone), bare),
            (status("Z (zombie)", ids), None),
            (status("X (dead)", ids), None),
            (status("S (sleeping)", "Gid:\t1\t1\t1\t1\n"), None),
            (status("S (sleeping)", "Uid:\t1\t1\nGid:\t1\t1\t1\t1\n"), None),
            (String::new(), None),
        ] {
            assert_eq!(Credentials::parse(status.as_bytes()), expected, "{status:?}");
        }
    }

    #[test]
    fn a_namespace_has_an_account_in_it_or_not() {
        for (map, expected) in [
            ("         0       1000          1\n         1     100000      65536\n", true),
            ("0 1000 1", true),
            ("1 0 4294967295", true),
            ("0 990 11", true),
            ("0 990 10", false),
            ("1000 100000 65536", false),
            ("0 18446744073709551615 18446744073709551615", false),
            ("0 1000", false),
            ("", false),
        ] {
            assert_eq!(maps_uid(map.as_bytes(), 1_000), expected, "{map:?}");
        }
    }

    #[test]
    fn this_process_is_seen() {
        let own = std::process::id();
        assert!(pids().unwrap().contains(&own));
        assert!(!threads(own).is_empty());
        assert!(!words(own).is_empty());
        assert!(!Stat::of(own).unwrap().is_kernel_thread);
        assert_eq!(Stat::of(own).unwrap().parent, std::os::unix::process::parent_id());
        assert_eq!((Stat::of(0), threads(0), words(0)), (None, Vec::new(), Vec::new()));
    }
}
