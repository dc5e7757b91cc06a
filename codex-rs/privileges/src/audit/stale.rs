//! Living processes that hold a group which leads to root: leaving the group takes nothing from them.
//!
//! Whoever acts as the account can use them: through a terminal that they serve (tmux), or by ptrace.

use std::io;

use crate::finding::{Closing, Finding};
use crate::processes::StaleProcess;
use crate::subject::{Subject, group_name};

/// Its id.
pub(crate) const CHECK: &str = "stale_process";
/// So many are told one by one.
const MOST: usize = 50;
const WHY: &str = "it keeps its groups until it ends, and the account's other programs can use it";

/// One for each process; those that nobody ends come first.
pub(crate) fn findings(processes: &[StaleProcess]) -> Vec<Finding> {
    let mut sorted: Vec<&StaleProcess> = processes.iter().collect();
    sorted.sort_by_key(|process| (!process.is_ours, process.pid));
    let (told, rest) = sorted.split_at(sorted.len().min(MOST));
    let mut findings: Vec<Finding> = told.iter().map(|process| finding(process)).collect();
    if !rest.is_empty() {
        let pids: Vec<String> = rest.iter().map(|process| process.pid.to_string()).collect();
        let more = Finding::open(CHECK, format!("… and {} more processes", rest.len()), WHY);
        let more = more.seen(format!("pids {}", pids.join(" ")));
        findings.push(more.remedy("kill them").closed_by(Closing::Processes));
    }
    findings
}

fn finding(process: &StaleProcess) -> Finding {
    let StaleProcess { pid, name, command, gids, is_ours, .. } = process;
    let groups: Vec<String> = gids.iter().map(|gid| called(*gid)).collect();
    let what = format!("the process {name} (pid {pid})");
    let seen = format!("it holds {}; its command line is: {command}", groups.join(", "));
    let finding = Finding::open(CHECK, what, WHY).seen(seen);
    if *is_ours {
        finding.remedy("log out of the session that this runs in, and in again")
    } else {
        finding.remedy(format!("kill {pid}")).closed_by(Closing::Processes)
    }
}

fn called(gid: u32) -> String {
    let (name, number) = (group_name(gid), format!("gid {gid}"));
    if name == number { number } else { format!("{name} ({number})") }
}

/// Nothing is known of them.
pub(crate) fn unseen(subject: &Subject, error: &io::Error) -> Finding {
    let what = format!("the processes of {}", subject.account.name);
    let finding =
        Finding::undecided(CHECK, what, "one of them may hold a group that leads to root");
    finding.seen(format!("/proc can't be listed: {error}")).remedy("mount -t proc proc /proc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::processes::samples;

    fn process(pid: u32, gids: &[u32], is_ours: bool) -> StaleProcess {
        StaleProcess {
            pid,
            uid: samples::UID,
            started: 7,
            name: "bash".to_owned(),
            command: "-bash".to_owned(),
            gids: gids.iter().copied().collect(),
            is_ours,
        }
    }

    #[test]
    fn each_process_is_told_and_whether_we_end_it() {
        let held = [0, samples::GID];
        let found = findings(&[process(12, &held, false), process(40, &[0], true)]);
        let [ours, other] = &found[..] else { panic!("{found:#?}") };
        assert_eq!(ours.what, "the process bash (pid 40)");
        assert_eq!((ours.grade, ours.closed_by), (Grade::Open, None));
        assert!(ours.remedy.starts_with("log out"), "{ours:?}");
        assert_eq!(other.what, "the process bash (pid 12)");
        assert_eq!((other.grade, other.closed_by), (Grade::Open, Some(Closing::Processes)));
        assert_eq!(other.evidence, "it holds root (gid 0), gid 61511; its command line is: -bash");
        assert_eq!(other.remedy, "kill 12");
        assert_eq!(findings(&[]), []);
    }

    #[test]
    fn many_are_counted_and_ours_is_never_among_the_rest() {
        let mut many: Vec<StaleProcess> =
            (100..151).map(|pid| process(pid, &[27], false)).collect();
        assert_eq!(findings(&many[..MOST]).len(), MOST);
        many.push(process(900, &[27], true));
        let found = findings(&many);
        assert_eq!(found.len(), MOST + 1);
        assert_eq!(found[0].what, "the process bash (pid 900)");
        assert_eq!(found[MOST].what, "… and 2 more processes");
        assert_eq!(found[MOST].evidence, "pids 149 150");
    }
}
