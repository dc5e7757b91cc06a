//! The parent's side: each child is traced, and its memory searched at each stop and in its last moment.
//!
//! Linux, and no root: a process may trace its own child.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::{DROPPED, MAIN_PANICS, MAIN_RETURNS, REFUSED, ROLE, THREAD_PANICS, say};

const KEY_BYTES: usize = 164;
const FRAGMENT_BYTES: usize = 16;

/// All fragments of one copy of the key.
const ONE_COPY: usize = KEY_BYTES - FRAGMENT_BYTES + 1;

/// Rust's exit code after a panic in `main`.
const PANICKED: i32 = 101;

/// How a child is to end, what it reads after the key, its exit code, and how often it stops before its end. From the second
/// stop on the key is gone.
const ENDS: [(&str, &[u8], i32, usize); 5] = [
    (DROPPED, b"\n", 0, 2),
    (MAIN_RETURNS, b"\n", 0, 1),
    (MAIN_PANICS, b"\n", PANICKED, 1),
    (THREAD_PANICS, b"\n", 0, 2),
    (REFUSED, b"\nand more", 0, 0),
];

pub(super) fn watch_all() -> ExitCode {
    // First in the best memory that there is, then where there is no memfd_secret(2).
    for (end, after_key, code, stops) in ENDS {
        watch(end, after_key, code, stops);
    }
    forbid_memfd_secret();
    for (end, after_key, code, stops) in ENDS {
        let page = watch(end, after_key, code, stops);
        assert!(["locked page", ""].contains(&page.as_str()), "{end}: {page}");
        // Or the zeros above would mean nothing.
        assert_eq!(page.is_empty(), stops == 0, "{end}");
    }
    // The words of the ordinary harness, for whoever counts.
    say(&format!("test result: ok. {} passed; 0 failed", 2 * ENDS.len()));
    ExitCode::SUCCESS
}

/// Sees a child to its end, and says in which memory it had the key.
#[expect(clippy::zombie_processes, reason = "waitpid(2) sees it to its end")]
fn watch(end: &str, after_key: &[u8], code: i32, stops: usize) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(ROLE, end)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null()) // What it says when it panics, as told.
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT).unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&key()).unwrap();
    input.write_all(after_key).unwrap();
    drop(input);

    let (found, exit_code) = fragments_until_the_end(&child, pid);
    let mut page = String::new();
    child.stdout.take().unwrap().read_to_string(&mut page).unwrap();
    let page = page.trim_end().to_owned();
    assert_eq!(exit_code, code, "{end}");
    assert_eq!(found.len(), stops + 1, "{end}: {found:?}");
    for (stop, fragments) in found.into_iter().enumerate() {
        // Nothing can be read in memfd_secret's memory.
        let is_there = stop == 0 && stops > 0 && page != "memfd_secret";
        let expected = if is_there { ONE_COPY } else { 0 };
        assert_eq!(fragments, expected, "{end}, in a {page}, at stop {stop}");
    }
    say(&format!("test {end}, {} ... ok", if page.is_empty() { "no page" } else { &page }));
    page
}

/// How many fragments of the key are there each time that the child stops to be seen, and in its main thread's last
/// moment; and its exit code.
fn fragments_until_the_end(child: &Child, pid: Pid) -> (Vec<usize>, i32) {
    let mut found = Vec::new();
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, Signal::SIGURG)
            | WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXIT) => {
                found.push(fragments(child.id()));
                ptrace::cont(pid, None).unwrap();
            }
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).unwrap(),
            WaitStatus::Exited(_, code) => return (found, code),
            status => panic!("{status:?}"),
        }
    }
}

/// How many places in a process's memory hold 16 bytes of the key in a row.
fn fragments(pid: u32) -> usize {
    let key = key();
    let wanted: HashSet<&[u8]> = key.windows(FRAGMENT_BYTES).collect();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut count = 0;
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        // Of a file that can't be written to there is what the file has: the program itself.
        let is_of_file = rest.contains(" /") && !rest.contains(" /secretmem");
        if !rest.starts_with('r') || (is_of_file && !rest.starts_with("rw")) {
            continue;
        }
        let (begin, end) = range.split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|digits| u64::from_str_radix(digits, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap()];
        // What the kernel has put there for itself, and what is secret, can't be read.
        if memory.read_exact_at(&mut bytes, begin).is_ok() {
            let is_wanted = |part: &&[u8]| part[0].is_ascii_lowercase() && wanted.contains(*part);
            count += bytes.windows(FRAGMENT_BYTES).filter(is_wanted).count();
        }
    }
    count
}

/// Letters in an order that nothing else has. Computed: a literal would stand in the child's program, too.
fn key() -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let states = std::iter::successors(Some(5), next);
    states.map(|state| b'a' + (state >> 24) as u8 % 26).take(KEY_BYTES).collect()
}

/// From here on this process and its children have no memfd_secret(2).
fn forbid_memfd_secret() {
    let denied = [(libc::SYS_memfd_secret, Vec::new())].into_iter().collect();
    let errno = SeccompAction::Errno(Errno::ENOSYS as u32);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(denied, SeccompAction::Allow, errno, architecture).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}
