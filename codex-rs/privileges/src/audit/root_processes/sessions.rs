//! Root's processes below the account's own: a root shell in a terminal that the account's programs serve is a way to
//! root, whatever the rules say, as long as it runs.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

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
        if above.contains(&own) || !above.iter().any(|pid| uid(*pid) == Some(subject.account.uid)) {
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
        let input = fs::read_link(format!("/proc/{pid}/fd/0")).ok();
        Self {
            pid,
            name: name.to_owned(),
            is_shell: used::is_shell(name) && used::is_for_typing(&words(pid)),
            is_listening: input.is_none_or(|input| is_listening(&input)),
            has_children,
        }
    }
}

fn is_listening(input: &Path) -> bool {
    let input = input.to_string_lossy();
    ["/dev/pts/", "/dev/tty", "/dev/console", "pipe:", "socket:"]
        .iter()
        .any(|one| input.starts_with(one))
}

fn judge(seen: &Seen) -> Option<Finding> {
    let Seen { pid, name, is_shell, is_listening, has_children } = seen;
    if !is_listening || (*has_children && CHANGERS.contains(&name.as_str())) {
        return None;
    }
    let finding = if *is_shell {
        let what = format!("the root shell {name} (pid {pid}) in a session of the account");
        Finding::open(CHECK, what, "the account's own programs can type in its terminal")
    } else {
        let what = format!("root's process {name} (pid {pid}) in a session of the account");
        let why = "the account's own programs can type in its terminal, and many a program runs what it is told to";
        Finding::undecided(CHECK, what, why)
    };
    let finding = finding.seen("a process of the account's is above it");
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
    fn a_terminal_a_pipe_and_a_socket_can_be_typed_in() {
        for (input, expected) in [
            ("/dev/pts/3", true),
            ("/dev/tty1", true),
            ("pipe:[123]", true),
            ("socket:[123]", true),
            ("/dev/null", false),
            ("/root/script", false),
        ] {
            assert_eq!(is_listening(Path::new(input)), expected, "{input}");
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
