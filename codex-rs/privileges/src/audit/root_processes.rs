//! What root's processes run: a program, a script or a library that the account can change is the account's way to root.
//!
//! Only names and owners are looked at; nothing of a process's is opened but what the kernel tells of it.
//!
//! Source: proc_pid_exe(5), proc_pid_maps(5), proc_pid_cmdline(5), proc_pid_ns(5).

mod sessions;
mod used;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use codex_path_trust::WayIn;
use used::{Use, Used};

use crate::audit::own_program;
use crate::finding::{Finding, let_root_look};
use crate::processes::{Stat, pids, threads};
use crate::subject::Subject;

const CHECK: &str = "root_process";
/// So many are told one by one.
const MOST: usize = 50;
/// Names of processes in one finding.
const MOST_NAMES: usize = 8;

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let pids = match pids() {
        Ok(pids) => pids,
        Err(error) => {
            let why = "what they run may be the account's to change";
            let finding = Finding::undecided(CHECK, "root's processes", why);
            let finding = finding.seen(format!("/proc can't be listed: {error}"));
            return vec![finding.remedy("mount -t proc proc /proc")];
        }
    };
    let mut look = Look::new(subject);
    for pid in pids {
        if let Some(stat) = Stat::of(pid)
            && !stat.is_kernel_thread
            && threads(pid).iter().any(|thread| thread.uids[..3].contains(&0))
        {
            look.at(pid, &stat.name);
        }
    }
    let mut findings = look.findings();
    findings.extend(sessions::look(subject));
    findings
}

/// One look at all of them. Many share their libraries: each path is asked about once.
struct Look<'s> {
    subject: &'s Subject,
    own_namespace: Option<PathBuf>,
    ways: HashMap<PathBuf, Vec<WayIn>>,
    is_same: HashMap<(PathBuf, PathBuf), bool>,
    /// What the account can change, and who uses it.
    open: BTreeMap<(Use, PathBuf), Open>,
    /// Names of processes that can't be looked at, and of those that see other files than we do.
    unseen: Vec<String>,
    elsewhere: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Open {
    ways: Vec<WayIn>,
    used_by: BTreeSet<String>,
}

impl<'s> Look<'s> {
    fn new(subject: &'s Subject) -> Self {
        Self {
            subject,
            // Of this thread: another one may have a view of its own.
            own_namespace: fs::read_link("/proc/thread-self/ns/mnt").ok(),
            ways: HashMap::new(),
            is_same: HashMap::new(),
            open: BTreeMap::new(),
            unseen: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    fn at(&mut self, pid: u32, name: &str) {
        let Used { files, is_unseen } = used::used(pid);
        if is_unseen {
            self.unseen.push(name.to_owned());
        }
        let namespace = fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let namespace =
            namespace.filter(|namespace| Some(namespace) != self.own_namespace.as_ref());
        let mut is_elsewhere = false;
        for (how, path) in files {
            if matches!(how, Use::Program | Use::Word) && own_program::is_looked_at(&path) {
                continue;
            }
            if let Some(namespace) = &namespace
                && !self.is_same(namespace, pid, &path)
            {
                is_elsewhere = true;
                continue;
            }
            self.take(how, path, format!("{name} (pid {pid})"));
        }
        if is_elsewhere {
            self.elsewhere.push(name.to_owned());
        }
    }

    fn take(&mut self, how: Use, path: PathBuf, used_by: String) {
        let subject = self.subject;
        // Of the libraries in one folder one will do.
        let folder = path.parent().filter(|_| how == Use::Code);
        let key = (how, folder.unwrap_or(&path).to_owned());
        let ways = self.ways.entry(path).or_insert_with_key(|path| subject.ways_in(path));
        if !ways.is_empty() {
            let new = || Open { ways: ways.clone(), used_by: BTreeSet::new() };
            self.open.entry(key).or_insert_with(new).used_by.insert(used_by);
        }
    }

    /// Whether a file in another mount namespace is the one that we know by this name: services often have a namespace of
    /// their own with the same files in it.
    fn is_same(&mut self, namespace: &Path, pid: u32, path: &Path) -> bool {
        let key = (namespace.to_owned(), path.to_owned());
        *self.is_same.entry(key).or_insert_with(|| {
            let Ok(below) = path.strip_prefix("/") else { return false };
            let theirs = Path::new("/proc").join(pid.to_string()).join("root").join(below);
            let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
            id(path).is_some_and(|ours| id(&theirs) == Some(ours))
        })
    }

    fn findings(self) -> Vec<Finding> {
        // What root runs is not told again as a word of somebody's command line.
        let is_run = |path: &Path| {
            let runs = [Use::Program, Use::Script].map(|how| (how, path.to_owned()));
            runs.iter().any(|key| self.open.contains_key(key))
        };
        let told = self.open.iter().filter(|((how, path), _)| *how != Use::Word || !is_run(path));
        let mut findings: Vec<Finding> =
            told.map(|((how, path), open)| finding(self.subject, *how, path, open)).collect();
        let rest = findings.len().saturating_sub(MOST);
        findings.truncate(MOST); // What is open stands first.
        if rest > 0 {
            let what = format!("… and {rest} more files that root's processes use");
            let more = Finding::undecided(CHECK, what, "the account can change them");
            findings.push(more.remedy("close those that are listed, and look again"));
        }
        findings.extend(self.unseen());
        findings.extend(self.elsewhere());
        findings
    }

    fn unseen(&self) -> Option<Finding> {
        let why = "what they run may be the account's to change";
        let what = "root's processes that can't be looked at";
        let seen = format!("{}: {}", self.unseen.len(), some_of(&self.unseen));
        let finding = Finding::undecided(CHECK, what, why).seen(seen);
        let remedy = if self.subject.is_root {
            "look at them where nothing keeps root from it (ls -l /proc/PID/exe)".to_owned()
        } else {
            let_root_look(&self.subject.account)
        };
        (!self.unseen.is_empty()).then(|| finding.remedy(remedy))
    }

    fn elsewhere(&self) -> Option<Finding> {
        let count = self.elsewhere.len();
        let what = "root's processes that see other files than this one (containers)";
        let why = "what they run there may be the account's to change";
        let seen = format!("{count}: {}", some_of(&self.elsewhere));
        let finding = Finding::undecided(CHECK, what, why).seen(seen);
        (count > 0).then(|| finding.remedy("look at their files through /proc/PID/root"))
    }
}

fn finding(subject: &Subject, how: Use, path: &Path, open: &Open) -> Finding {
    let path = path.display();
    let finding = match how {
        Use::Program => Finding::open(
            CHECK,
            format!("{path}, a program that root runs"),
            "its next start, as root, is of what the account put there",
        ),
        Use::Script => Finding::open(
            CHECK,
            format!("{path}, a script that root runs"),
            "the account decides what its next lines do as root",
        ),
        Use::Code => Finding::open(
            CHECK,
            format!("{path}, a folder that root's processes have code from"),
            "whoever changes that code decides what they do as root",
        ),
        Use::Word => Finding::undecided(
            CHECK,
            format!("{path}, a file that a process of root's was started with"),
            "what the account writes there may decide what that process does",
        ),
    };
    let used_by: Vec<String> = open.used_by.iter().cloned().collect();
    let mut finding = subject.told(finding, &open.ways);
    finding.evidence += &format!("; used by {}", some_of(&used_by));
    finding
}

/// Names, each once, and not too many.
fn some_of(names: &[String]) -> String {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let some: Vec<&str> = names.iter().copied().take(MOST_NAMES).collect();
    let rest = names.len() - some.len();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", some.join(", "))
}

#[cfg(test)]
mod tests;
