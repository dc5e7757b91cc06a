//! Living processes of the account with capabilities that lead to root.
//!
//! In a user namespace of its own a process has them all, over nothing but that namespace: those don't count.
//!
//! Source: proc_pid_status(5), user_namespaces(7).

use std::fs;
use std::path::{Path, PathBuf};

use super::names;
use crate::finding::Finding;
use crate::processes::{Capabilities, Credentials, Stat, pids, threads};
use crate::subject::Subject;

const PROCESS_CAPABILITY: &str = "process_capability";

/// Where a thread's capabilities count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ours,
    ItsOwn,
    Unknown,
}

/// One finding for each process.
pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let mut pids = match pids() {
        Ok(pids) => pids,
        Err(error) => {
            let why = "a process of the account may have capabilities, and none can be looked at";
            let finding = Finding::undecided(PROCESS_CAPABILITY, "/proc", why);
            return vec![finding.seen(error.to_string()).remedy("mount -t proc proc /proc")];
        }
    };
    let ours = fs::read_link("/proc/self/ns/user").ok();
    pids.sort_unstable();
    pids.into_iter().filter_map(|pid| of_process(subject, pid, ours.as_ref())).collect()
}

fn of_process(subject: &Subject, pid: u32, ours: Option<&PathBuf>) -> Option<Finding> {
    let name = Stat::of(pid)?.name;
    let process = Path::new("/proc").join(pid.to_string());
    // Threads have credentials of their own, and one user namespace.
    let mut threads = threads(pid).into_iter();
    threads.find_map(|thread| judge(subject, (pid, &name), &thread, || namespace(&process, ours)))
}

fn namespace(process: &Path, ours: Option<&PathBuf>) -> Namespace {
    match (fs::read_link(process.join("ns/user")).ok(), ours) {
        (Some(its), Some(ours)) if its == *ours => Namespace::Ours,
        (Some(_), Some(_)) => Namespace::ItsOwn,
        _ => Namespace::Unknown,
    }
}

fn judge(
    subject: &Subject,
    (pid, name): (u32, &str),
    thread: &Credentials,
    namespace: impl FnOnce() -> Namespace,
) -> Option<Finding> {
    let Capabilities { permitted, effective, ambient } = thread.capabilities;
    let [_real, effective_uid, saved_uid, _for_files] = thread.uids;
    let names = names(permitted | effective | ambient);
    // A setuid program that the account runs has another effective uid: it is judged as a file.
    if effective_uid != subject.account.uid || names.is_empty() {
        return None;
    }
    let what = format!("the process {pid} ({name}) with {}", names.join(", "));
    let finding = match namespace() {
        Namespace::ItsOwn => return None,
        Namespace::Unknown => {
            let why = "whether that counts outside of a namespace of its own could not be seen";
            Finding::undecided(PROCESS_CAPABILITY, what, why)
        }
        // It can be root again when it likes, and the kernel keeps the account's other processes away from it.
        Namespace::Ours if saved_uid == 0 => {
            let why = "it is a program of root's that acts as the account for now";
            Finding::undecided(PROCESS_CAPABILITY, what, why)
        }
        Namespace::Ours => {
            let why = "it runs as the account and can do what only root may";
            Finding::open(PROCESS_CAPABILITY, what, why)
        }
    };
    let evidence =
        format!("permitted {permitted:#x}, effective {effective:#x}, ambient {ambient:#x}");
    Some(finding.seen(evidence).remedy(format!("kill {pid}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::subject::testing::subject;

    #[test]
    fn a_process_counts_by_whose_it_is_what_it_has_and_where() {
        use Namespace::{ItsOwn, Ours, Unknown};
        let us = subject(61_500, &[61_500]);
        for (uids, capabilities, namespace, expected) in [
            ((61_500, 61_500), (0x80, 0, 0), Ours, Some(Grade::Open)),
            ((61_500, 61_500), (0, 0, 0x80), Ours, Some(Grade::Open)),
            ((61_500, 61_500), (u64::MAX, u64::MAX, 0), ItsOwn, None),
            ((61_500, 61_500), (0x80, 0x80, 0), Unknown, Some(Grade::Undecided)),
            ((61_500, 0), (0x80, 0, 0), Ours, Some(Grade::Undecided)),
            ((61_500, 61_500), (1 << 13, 1 << 13, 0), Ours, None),
            ((61_500, 61_500), (0, 0, 0), Ours, None),
            ((0, 0), (u64::MAX, u64::MAX, 0), Ours, None),
            ((61_509, 61_509), (u64::MAX, u64::MAX, 0), Ours, None),
        ] {
            let thread = Credentials {
                uids: [61_500, uids.0, uids.1, uids.0],
                gids: [61_500].into(),
                capabilities: Capabilities {
                    permitted: capabilities.0,
                    effective: capabilities.1,
                    ambient: capabilities.2,
                },
            };
            let found = judge(&us, (7, "x"), &thread, || namespace);
            assert_eq!(found.map(|found| found.grade), expected, "{thread:?} {namespace:?}");
        }
    }

    #[test]
    fn our_own_namespace_is_known() {
        let ours = fs::read_link("/proc/self/ns/user").unwrap();
        assert_eq!(namespace(Path::new("/proc/self"), Some(&ours)), Namespace::Ours);
        assert_eq!(namespace(Path::new("/proc/self"), Some(&"user:[1]".into())), Namespace::ItsOwn);
        assert_eq!(namespace(Path::new("/proc/nothing"), Some(&ours)), Namespace::Unknown);
    }
}
