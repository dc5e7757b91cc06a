//! Root's processes below the account's own: a root shell in a terminal that the account's programs serve is a way to
//! root, whatever the rules say, as long as it runs.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::sys::stat::major;

use super::{CHECK, used};
use crate::finding::Finding;
use crate::processes::{Stat, lineage, pids, threads, words};
use crate::subject::Subject;

/// They hand a terminal on, or wait for a password.
const CHANGERS: [&str; 5] = ["sudo", "su", "doas", "pkexec", "runuser"];

/// What counts of a process of root's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    pid: u32,
    name: String,
    /// Whether it is a shell that waits for what is typed.
    is_shell: bool,
    /// Whether it reads a terminal, a pipe or a socket, as far as that can be told.
    is_listening: bool,
    has_children: bool,
}

pub(super) fn look(subject: &Subject) -> Vec<Finding> {
    let own = std::process::id();
    let stats: HashMap<u32, Stat> = pids()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|pid| Some((pid, Stat::of(pid)?)))
        .collect();
    let mut uids: HashMap<u32, Option<u32>> = HashMap::new();
    let mut uid = |pid: u32| *uids.entry(pid).or_insert_with(|| real_uid(pid));
    let mut found = Vec::new();
    for (pid, stat) in &stats {
        // With the account's real uid it is a setuid program, which is another check's.
        if stat.is_kernel_thread || *pid == own || uid(*pid) != Some(0) {
            continue;
        }
        let above = lineage(*pid);
        let is_below = above.iter().any(|pid| uid(*pid) == Some(subject.account.uid));
        if above.contains(&own) || !(is_below || can_be_typed_to(subject, *pid)) {
            continue;
        }
        let has_children = stats.values().any(|stat| stat.parent == *pid);
        found.extend(judge(&Seen::at(*pid, &stat.name, has_children)));
    }
    found.sort_by(|a, b| a.what.cmp(&b.what));
    found
}

fn real_uid(pid: u32) -> Option<u32> {
    threads(pid).first().map(|thread| thread.uids[0])
}

impl Seen {
    fn at(pid: u32, name: &str, has_children: bool) -> Self {
        let input = fs::metadata(format!("/proc/{pid}/fd/0")).ok();
        Self {
            pid,
            name: name.to_owned(),
            is_shell: used::is_shell(name) && used::is_for_typing(&words(pid)),
            is_listening: input.is_none_or(|input| is_listening(&input)),
            has_children,
        }
    }
}

/// A terminal, a pipe with or without a name, a socket. What is read from a file is there already.
fn is_listening(input: &Metadata) -> bool {
    let kind = input.file_type();
    kind.is_fifo() || kind.is_socket() || (kind.is_char_device() && !is_of_memory(input))
}

/// `/dev/null` and its kin (major number 1).
fn is_of_memory(input: &Metadata) -> bool {
    major(input.rdev()) == 1
}

/// Whether the account could write to what a process reads, also where it is no child of its any more.
fn can_be_typed_to(subject: &Subject, pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/fd/0")).is_ok_and(|input| {
        is_listening(&input) && subject.may_write(input.uid(), input.gid(), input.mode())
    })
}

fn judge(seen: &Seen) -> Option<Finding> {
    let Seen { pid, name, is_shell, is_listening, has_children } = seen;
    if !is_listening || (*has_children && CHANGERS.contains(&name.as_str())) {
        return None;
    }
    let finding = if *is_shell {
        let what = format!("the root shell {name} (pid {pid}) that the account can type to");
        Finding::open(CHECK, what, "the account's own programs can type to it")
    } else {
        let what = format!("root's process {name} (pid {pid}) that the account can type to");
        let why =
            "the account's own programs can type to it, and many a program runs what it is told to";
        Finding::undecided(CHECK, what, why)
    };
    let finding = finding
        .seen("a process of the account's is above it, or what it reads is the account's to write");
    Some(finding.remedy(format!("end it: leave it, or kill {pid}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::processes::samples::{Holder, is_root, subject};

    #[test]
    fn a_root_shell_is_open_and_what_hands_a_terminal_on_is_not_told() {
        let seen = |name: &str, is_shell, is_listening, has_children| Seen {
            pid: 7,
            name: name.to_owned(),
            is_shell,
            is_listening,
            has_children,
        };
        for (seen, expected) in [
            (seen("bash", true, true, true), Some(Grade::Open)),
            (seen("bash", false, true, true), Some(Grade::Undecided)),
            (seen("bash", true, false, false), None),
            (seen("vim", false, true, false), Some(Grade::Undecided)),
            (seen("sudo", false, true, true), None),
            (seen("sudo", false, true, false), Some(Grade::Undecided)),
        ] {
            assert_eq!(judge(&seen).map(|finding| finding.grade), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_pipe_with_or_without_a_name_and_a_socket_can_be_typed_in() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::write(at("script"), "").unwrap();
        for (input, expected) in [
            (at("fifo"), true),
            (at("socket"), true),
            (at("script"), false),
            ("/dev/null".into(), false),
            ("/dev/zero".into(), false),
            ("/dev/ptmx".into(), true),
        ] {
            assert_eq!(is_listening(&fs::metadata(&input).unwrap()), expected, "{input:?}");
        }
    }

    #[test]
    fn our_own_children_are_not_told() {
        if is_root() {
            let child = Holder::spawn(&mut std::process::Command::new("cat"));
            let pid = format!("(pid {})", child.pid());
            assert!(look(&subject()).iter().all(|finding| !finding.what.contains(&pid)));
        }
    }
}
