//! Loops that the marker does not see, because a wrapper on the way clears the environment: told by the processes above
//! this one.
//!
//! exec(2) has put the program that we handed over to in our place. So what is counted are ancestors that run the very
//! program that is to be run now, itself or as an interpreter's script. A wrapper that clears the environment *and* execs
//! has no ancestors of its kind: it goes round in one process, and nothing here can see that.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::parent_id;
use std::path::Path;

use codex_config::FileId;

/// How far up is looked.
const MOST_ANCESTORS: usize = 64;
/// So many of one program are no agent within an agent any more.
const MOST_OF_ONE: u32 = 8;
/// An interpreter's script is among its first words, behind a flag or two (execve(2)).
const FIRST_WORDS: usize = 64;
/// What is read of a file in /proc.
const LIMIT_BYTES: u64 = 16 * 1024;

/// How many ancestors run this program, if they are too many. Without /proc none are seen.
pub(crate) fn too_many(program: FileId) -> Option<u32> {
    let (mut pid, mut count) = (parent_id(), 0);
    for _ in 0..MOST_ANCESTORS {
        if pid <= 1 {
            break;
        }
        count += u32::from(runs(pid, program));
        pid = parent_of(pid).unwrap_or(0);
    }
    (count >= MOST_OF_ONE).then_some(count)
}

fn runs(pid: u32, program: FileId) -> bool {
    let is_it = |path: &Path| path.is_absolute() && FileId::of(path).is_ok_and(|id| id == program);
    // Only of our own account's processes is it told what they run; what they were called with, of all.
    if is_it(Path::new(&format!("/proc/{pid}/exe"))) {
        return true;
    }
    let words = read(pid, "cmdline").unwrap_or_default();
    let mut words = words.split(|byte| *byte == 0).take(FIRST_WORDS);
    words.any(|word| is_it(Path::new(OsStr::from_bytes(word))))
}

/// From proc_pid_status(5): in `stat` a process could put what it likes before it.
fn parent_of(pid: u32) -> Option<u32> {
    let status = read(pid, "status")?;
    let mut lines = status.split(|byte| *byte == b'\n');
    let parent = lines.find_map(|line| line.strip_prefix(b"PPid:"))?;
    std::str::from_utf8(parent).ok()?.trim().parse().ok()
}

fn read(pid: u32, name: &str) -> Option<Vec<u8>> {
    let file = fs::File::open(format!("/proc/{pid}/{name}")).ok()?;
    let mut bytes = Vec::new();
    file.take(LIMIT_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn a_process_is_known_by_what_it_runs_and_has_a_parent() {
        let us = FileId::of_this_program().unwrap();
        assert!(runs(process::id(), us));
        assert!(!runs(process::id(), FileId { device: 0, inode: 0 }));
        assert_eq!(parent_of(process::id()), Some(parent_id()));
        assert_eq!(parent_of(0), None);
    }

    #[test]
    fn one_of_a_kind_is_no_loop() {
        assert_eq!(too_many(FileId::of_this_program().unwrap()), None);
    }
}
