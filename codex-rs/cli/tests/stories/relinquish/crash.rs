//! Stopped on the way: killed at a call that changes something, or refused one. No file is half, nobody else loses
//! anything, what it says is what is there, and the same command again finishes the job.
//!
//! strace(1) comes to the program as root, when that waits for the journals' lock just before its first change: one that
//! is traced from its start refuses to run. It counts the calls of the main thread, which makes them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::machine::*;
use crate::private_namespace;
use crate::support::*;

/// How many machines work side by side.
const MACHINES: usize = 2;

/// Something to do for every step.
const SCENE: &str = "rule 'tst_u ALL=(ALL:ALL) ALL'; join sudo; join docker; gpasswd -A tst_other,tst_u sudo; \
     install -o tst_u -g sudo -m 2755 /usr/bin/id /home/tst_u/id; ticket >/dev/null";
const STEPS: [&str; 6] = ["drop_in", "pam_lock", "groups", "group_admins", "tickets", "plants"];
const JOURNALS: &str = "/var/lib/codex-responses-api-proxy/relinquished";

/// Calls that change something, or wait for a tool that does (`ppoll`).
const CHANGING: &str = "trace=openat,fchown,fchmod,write,fsync,rename,unlink,chmod,ppoll";
/// Of these there are others, of folders that are looked at and of what is said: their number changes from run to run.
const OF_NEW_FILES: [&str; 2] = ["openat", "write"];
/// A shell's word for SIGKILL.
const KILLED: &str = "137";

/// One of those calls: which of its name, and how it looks.
#[derive(Debug)]
struct Call {
    name: String,
    number: usize,
    line: String,
}

/// A regular file: mode, owner, text.
type File = (u32, u32, String);

/// All that may have been changed, with `UID` for the account's number.
#[derive(Clone, Debug)]
struct Seen {
    files: BTreeMap<String, File>,
    group: String,
    gshadow: String,
    has_ticket: bool,
    is_planted: bool,
    others: String,
}

impl Seen {
    fn of(machine: &Machine) -> Self {
        let account = machine.account.to_string();
        let mut files = BTreeMap::new();
        for folder in ["/etc/sudoers.d", "/etc/pam.d", JOURNALS] {
            let entries = fs::read_dir(machine.path(folder)).into_iter().flatten();
            for path in entries.map(|entry| entry.unwrap().path()) {
                let found = fs::symlink_metadata(&path).unwrap();
                if !found.is_file() {
                    continue;
                }
                let text = text(&fs::read(&path).unwrap()).replace(&account, "UID");
                let name = path.file_name().unwrap().to_string_lossy().replace(&account, "UID");
                files.insert(format!("{folder}/{name}"), (found.mode(), found.uid(), text));
            }
        }
        let plant = fs::metadata(machine.path("/home/tst_u/id")).unwrap();
        Self {
            files,
            group: machine.read("/etc/group").replace(&account, "UID"),
            gshadow: machine.read("/etc/gshadow"),
            has_ticket: machine.path("/run/sudo/ts/tst_u").exists(),
            is_planted: plant.mode() & 0o2000 != 0,
            others: machine.ask(&["others"]).replace(&account, "UID"),
        }
    }

    /// The files that sudo and PAM read, and how each is.
    fn read_by_others(&self) -> impl Iterator<Item = (&String, &File)> {
        self.files.iter().filter(|(path, _)| path.starts_with("/etc/") && !is_stray(path))
    }

    /// For each thing of a step, whether it is done.
    fn done(&self, step: &str) -> Vec<bool> {
        let has_line = |service: &&str| {
            let file = self.files.get(&format!("/etc/pam.d/{service}"));
            file.is_some_and(|(_, _, text)| text.contains("uid ne UID"))
        };
        match step {
            "drop_in" => vec![self.files.contains_key("/etc/sudoers.d/zzzz-codex-UID")],
            "pam_lock" => ["sudo", "sudo-i"].iter().map(has_line).collect(),
            "groups" => ["sudo", "docker"].map(|name| !names(&self.group, name, 3)).to_vec(),
            "group_admins" => vec![!names(&self.gshadow, "sudo", 2)],
            "tickets" => vec![!self.has_ticket],
            "plants" => vec![!self.is_planted],
            _ => panic!("no step {step}"),
        }
    }

    /// The same for all that goes on from here. Journals have times in them.
    fn key(&self) -> String {
        let mut seen = self.clone();
        for (_, (_, _, text)) in seen.files.iter_mut().filter(|(path, _)| path.contains(JOURNALS)) {
            text.retain(|letter| !letter.is_ascii_digit());
        }
        format!("{seen:?}")
    }

    /// The same, whatever the journal says.
    fn key_without_journal(&self) -> String {
        let mut seen = self.clone();
        seen.files.retain(|path, _| !path.starts_with(JOURNALS));
        format!("{seen:?}")
    }
}

/// A temporary name: sudo and PAM pass it by.
fn is_stray(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with('.'))
}

/// Whether the line of this group has the person in this field.
fn names(list: &str, group: &str, field: usize) -> bool {
    let line = list.lines().find(|line| line.split(':').next() == Some(group)).unwrap();
    line.split(':').nth(field).unwrap().split(',').any(|name| name == PERSON)
}

/// A list of groups as far as it is about others.
fn without_person(list: &str) -> Vec<Vec<Vec<&str>>> {
    list.lines()
        .map(|line| {
            let fields = line.split(':');
            fields.map(|field| field.split(',').filter(|name| *name != PERSON).collect()).collect()
        })
        .collect()
}

/// Before anything, after everything, and the calls between.
struct Unhindered {
    before: Seen,
    after: Seen,
    calls: Vec<Call>,
}

/// Files under their temporary names.
fn new_files(machine: &Machine) -> [String; 4] {
    let account = machine.account;
    [
        format!("/etc/sudoers.d/.zzzz-codex-{account}.new"),
        "/etc/pam.d/.sudo.codex-new".to_owned(),
        "/etc/pam.d/.sudo-i.codex-new".to_owned(),
        format!("{JOURNALS}/.{account}.json.new"),
    ]
}

/// How the program ended with these flags for strace, in the shell's words.
fn traced(machine: &Machine, flags: &[&str]) -> String {
    machine.ask(&[&["traced"][..], flags].concat()).trim().to_owned()
}

/// With this done to one call; with `+` at its end, to all from that one on.
fn stopped(machine: &Machine, call: &Call, harm: &str, on: &str) -> String {
    let Call { name, number, .. } = call;
    let trace = format!("trace={name}");
    let inject = format!("inject={name}:{harm}:when={number}{on}");
    let paths = new_files(machine);
    let mut flags = vec!["-e", trace.as_str(), "-e", inject.as_str()];
    if OF_NEW_FILES.contains(&name.as_str()) {
        flags.extend(paths.iter().flat_map(|path| ["-P", path.as_str()]));
    }
    traced(machine, &flags)
}

fn unhindered(machine: &Machine) -> Unhindered {
    machine.lay(SCENE);
    let before = Seen::of(machine);
    let ended = traced(machine, &["-y", "-e", CHANGING]);
    assert_eq!(ended, "0", "{}", machine.read("/mnt/errors"));
    let after = Seen::of(machine);
    let mut counts = BTreeMap::new();
    let mut calls = Vec::new();
    for line in machine.read("/mnt/trace").lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_new = new_files(machine).iter().any(|path| line.contains(path));
        let is_other = OF_NEW_FILES.contains(&name) && !is_new;
        if is_name && !is_other {
            let number = counts.entry(name.to_owned()).or_insert(0);
            *number += 1;
            calls.push(Call { name: name.to_owned(), number: *number, line: line.to_owned() });
        }
    }
    for step in STEPS {
        let all = |seen: &Seen, is_done| seen.done(step).iter().all(|it| *it == is_done);
        assert!(all(&before, false) && all(&after, true), "{step} is not tried: {after:#?}");
    }
    Unhindered { before, after, calls }
}

/// Each of these on one of a few machines, as at the beginning.
pub(super) fn on_machines<C: Sync>(cases: &[C], try_one: impl Fn(&Machine, &C) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let Some(machine) = Machine::here() else { return };
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            machine.reset();
            try_one(&machine, case);
        }
    };
    thread::scope(|scope| {
        for _ in 0..MACHINES {
            scope.spawn(work);
        }
    });
}

/// What happens without any harm, where there are a machine and strace.
fn first_of_all() -> Option<Unhindered> {
    let machine = Machine::here()?;
    can_run(private_namespace::missing(&["strace"]).as_deref()).then(|| unhindered(&machine))
}

/// Whatever stopped it: sudo works for others, who have what they had, and each file is the old one or the new one. Says
/// the first way that is open.
fn nothing_is_half(machine: &Machine, all: &Unhindered, seen: &Seen, what: &str) -> Option<String> {
    let valid = machine.as_root("visudo").arg("-c").output().unwrap();
    assert!(valid.status.success(), "{what}: visudo: {}", text(&valid.stderr));
    // The judge fails where the other administrator can't use sudo.
    let way = machine.judge_first(&[]);
    assert_eq!(all.before.others, seen.others, "{what}: others have other rights");
    for (before, now) in [(&all.before.group, &seen.group), (&all.before.gshadow, &seen.gshadow)] {
        assert!(now.lines().all(|line| line.split(':').count() == 4), "{what}: {now}");
        assert_eq!(without_person(before), without_person(now), "{what}");
    }
    for (path, file) in seen.read_by_others() {
        let states = [all.before.files.get(path), all.after.files.get(path)];
        assert!(states.contains(&Some(file)), "{what}: {path} is {file:#?}");
    }
    for (path, _) in all.before.read_by_others() {
        assert!(seen.files.contains_key(path), "{what}: {path} is gone");
    }
    if let Some((_, _, journal)) = seen.files.get(&format!("{JOURNALS}/UID.json")) {
        let journal = journal.replace("UID", "0");
        assert!(serde_json::from_str::<Value>(&journal).is_ok(), "{what}: {journal}");
    }
    way
}

/// The same command again does what is missing, and tidies up.
fn it_is_finished(machine: &Machine, all: &Unhindered, what: &str) {
    let ended = machine.give_up();
    assert_eq!(ended.code, Some(0), "{what}, and once more: {ended:?}");
    ended.assert_gone();
    let seen = Seen::of(machine);
    let way = nothing_is_half(machine, all, &seen, &format!("{what}, and once more"));
    assert_eq!(way, None, "{what}, and once more");
    for step in STEPS {
        assert!(seen.done(step).iter().all(|is_done| *is_done), "{what}, once more: no {step}");
    }
    let strays: Vec<&String> = seen.files.keys().filter(|path| is_stray(path)).collect();
    assert!(strays.is_empty(), "{what}, and once more: {strays:?}");
}

/// Whether nobody has seen this yet. What is as it was in another case comes out as there.
fn is_new(known: &Mutex<BTreeSet<String>>, key: String) -> bool {
    known.lock().unwrap().insert(key)
}

#[test]
fn killed_at_any_call_it_leaves_nothing_half_and_is_finished_by_the_next_run() {
    /// Each of these: they are the boundaries of all steps, and of what is in them.
    const EACH: [&str; 3] = ["rename", "unlink", "chmod"];
    /// Of the others one in so many.
    const SAMPLE: usize = 20;
    let Some(all) = first_of_all() else { return };
    let (each, others): (Vec<&Call>, Vec<&Call>) =
        all.calls.iter().partition(|call| EACH.contains(&call.name.as_str()));
    // A journal for each step before and after it, two files of PAM's and the rule.
    assert!(each.len() > 2 * STEPS.len() + 3, "{each:#?}");
    let cases: Vec<&Call> = each.into_iter().chain(others.into_iter().step_by(SAMPLE)).collect();
    let known = Mutex::new(BTreeSet::new());
    on_machines(&cases, |machine, call| {
        let what = format!("killed at {call:?}");
        machine.lay(SCENE);
        assert_eq!(stopped(machine, call, "signal=KILL", ""), KILLED, "{what}");
        let seen = Seen::of(machine);
        nothing_is_half(machine, &all, &seen, &what);
        if is_new(&known, seen.key()) {
            it_is_finished(machine, &all, &what);
        }
    });
}

#[test]
fn refused_a_call_it_takes_back_what_it_did_and_says_what_is_there() {
    const MAY_FAIL: [&str; 4] = ["openat", "write", "fsync", "rename"];
    /// Of those at the journal one in so many.
    const SAMPLE: usize = 5;
    let Some(all) = first_of_all() else { return };
    let may_fail = all.calls.iter().filter(|call| MAY_FAIL.contains(&call.name.as_str()));
    let (of_journal, others): (Vec<&Call>, Vec<&Call>) =
        may_fail.partition(|call| call.line.contains(JOURNALS));
    let calls = others.into_iter().chain(of_journal.into_iter().step_by(SAMPLE));
    // Once, or from then on: a disk that is full stays it, and then not all can be taken back.
    let errors = [("error=ENOSPC", ""), ("error=EIO", ""), ("error=ENOSPC", "+")];
    let cases: Vec<_> = calls.zip(errors.into_iter().cycle()).collect();
    let known = Mutex::new(BTreeSet::new());
    on_machines(&cases, |machine, (call, (error, on))| {
        let what = format!("{error}{on} at {call:?}");
        machine.lay(SCENE);
        let code = stopped(machine, call, error, on);
        let report: Value = serde_json::from_str(&machine.read("/mnt/said")).unwrap();
        let seen = Seen::of(machine);
        nothing_is_half(machine, &all, &seen, &what);
        let is_gone = report["result"] == "gone";
        let is_failed = report["result"] == "failed" && report["error"].is_object();
        assert!(code == "0" && is_gone || code == "1" && is_failed, "{what}: {code} {report:#}");
        says_what_is_there(&report, &seen, &what);
        let strays: Vec<&String> = seen.files.keys().filter(|path| is_stray(path)).collect();
        assert!(strays.is_empty(), "{what}: {strays:?}");
        if is_new(&known, seen.key_without_journal()) {
            it_is_finished(machine, &all, &what);
        }
    });
}

/// The last word on each step is so, or what could not be taken back is named.
fn says_what_is_there(report: &Value, seen: &Seen, what: &str) {
    for step in STEPS {
        let mut steps = report["steps"].as_array().unwrap().iter().rev();
        let said = steps.find(|said| said["step"] == step).map(|said| &said["outcome"]);
        let is_said = said.is_some_and(|said| said == "done" || said == "already");
        if seen.done(step).iter().any(|is_done| *is_done != is_said) {
            let left = report["left"].as_array().is_some_and(|left| !left.is_empty());
            assert!(
                left,
                "{what}: {step} is {said:?}, and there is {:?}: {report:#}",
                seen.done(step)
            );
        }
    }
}
