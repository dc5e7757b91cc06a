//! What the kernel shows root of another process: its mappings, and the process itself while it stands still.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::LIMIT;

/// One line of `/proc/PID/maps` (proc_pid_maps(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) addresses: Range<u64>,
    /// As in `rw-p`.
    pub(crate) permissions: String,
    /// A path, or a name like `[heap]`; empty for anonymous memory.
    pub(crate) name: String,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let address = |digits| u64::from_str_radix(digits, 16).ok();
        let permissions = words.next()?.to_owned();
        let name = words.nth(3).unwrap_or("").trim_start().to_owned();
        Some(Self { addresses: address(start)?..address(end)?, permissions, name })
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.addresses;
        write!(formatter, "{start:x}-{end:x} {} {}", self.permissions, self.name)
    }
}

/// All mappings of a process, in the order of their addresses.
pub(crate) fn mappings(pid: u32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().map(|line| Mapping::parse(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

/// What the kernel has noted about a mapping, two letters each (`VmFlags` in proc_pid_smaps(5)): `lo` is
/// locked in memory, `dd` is left out of core dumps, `wf` is empty in a forked child.
pub(crate) fn vm_flags(pid: u32, mapping: &Mapping) -> Vec<String> {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut lines = smaps.lines();
    lines.find(|line| Mapping::parse(line).as_ref() == Some(mapping)).unwrap();
    let flags = lines.find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
    flags.split_whitespace().map(str::to_owned).collect()
}

/// A process that stands still until this is dropped: nothing can be moved from what is not yet read into
/// what has been read, and no mapping can come or go.
pub(crate) struct Stopped {
    pid: u32,
}

impl Stopped {
    pub(crate) fn stop(pid: u32) -> Self {
        let stopped = Self { pid };
        stopped.send(Signal::SIGSTOP).unwrap();
        let deadline = Instant::now() + LIMIT;
        while !stopped.all_threads_stand() {
            assert!(Instant::now() < deadline, "process {pid} does not stop");
            std::thread::yield_now();
        }
        stopped
    }

    fn send(&self, signal: Signal) -> nix::Result<()> {
        kill(Pid::from_raw(self.pid.try_into().unwrap()), signal)
    }

    fn all_threads_stand(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap();
        threads.map(|thread| thread.unwrap().path().join("stat")).all(|stat| {
            // One that has ended meanwhile is not there at the next look.
            fs::read_to_string(stat).is_ok_and(|stat| {
                let state = stat.rsplit(") ").next().unwrap();
                state.starts_with('T')
            })
        })
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.send(Signal::SIGCONT); // It may have ended.
    }
}
