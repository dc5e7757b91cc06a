//! Keys in environments: ours, and those of the other processes of this account.
//!
//! Both are failures: an agent that is started here has the variable, and whatever runs as this account reads it in
//! `/proc/PID/environ` of any process that has not shut its own. That is what the proxy is there to prevent. Of a
//! variable only the name is told. The kernel shows what a process was started with, not what it has set since.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use codex_config::regular::read_regular;

use crate::check::blocking;
use crate::finding::Finding;
use crate::host::Host;
use crate::listing::and;
use crate::looks_like_key::{KEY_VARIABLES, could_be_key};

const ID: &str = "environment";
/// How many processes are looked at, the oldest numbers first.
const MOST_PROCESSES: usize = 8_192;
/// Of one environment, in bytes: an ordinary one has a few thousand.
const ENVIRONMENT_LIMIT_BYTES: u64 = 1024 * 1024;
const STATUS_LIMIT_BYTES: u64 = 64 * 1024;
/// How far up it is asked who has started a process.
const MOST_ANCESTORS: usize = 64;
/// How many processes are named.
const MOST_NAMED: usize = 5;

/// What was seen. Names alone.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    here: Vec<&'static str>,
    /// `None`: this system does not show other processes.
    others: Option<Others>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Others {
    holders: Vec<Holder>,
    looked_at: usize,
    unreadable: usize,
    /// There are more processes than are looked at.
    is_cut: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    program: String,
    variables: Vec<&'static str>,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    blocking(move || judge(&gather(&host))).await
}

fn gather(host: &Host) -> Seen {
    let is_here =
        |name: &&str| host.variable(name).is_some_and(|value| could_be_key(value.as_bytes()));
    let here = KEY_VARIABLES.into_iter().filter(is_here).collect();
    let us = std::process::id();
    Seen { here, others: others(&host.proc_folder, host.uid, us, MOST_PROCESSES) }
}

/// What `/proc/PID/status` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    program: String,
    /// The real one.
    uid: u32,
    parent: u32,
}

/// The processes of this account but us and those that we have started. Of all that run, only so many are looked at.
fn others(proc_folder: &Path, uid: u32, us: u32, most: usize) -> Option<Others> {
    let numbers = fs::read_dir(proc_folder).ok()?.flatten();
    let mut pids: Vec<u32> =
        numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    if pids.is_empty() {
        return None; // A /proc of another kind.
    }
    let is_cut = pids.len() > most;
    pids.truncate(most);
    let read = |pid: u32, name: &str, limit| {
        read_regular(&proc_folder.join(pid.to_string()).join(name), limit)
    };
    // What ends meanwhile is none.
    let process = |pid: u32| {
        let status = read(pid, "status", STATUS_LIMIT_BYTES).ok()??;
        Some((pid, Process::in_status(&String::from_utf8_lossy(&status))?))
    };
    let processes: BTreeMap<u32, Process> = pids.into_iter().filter_map(process).collect();
    let mut others = Others { is_cut, ..Others::default() };
    for (pid, process) in &processes {
        if process.uid != uid || is_of(us, *pid, &processes) {
            continue;
        }
        match read(*pid, "environ", ENVIRONMENT_LIMIT_BYTES) {
            Ok(Some(environment)) => {
                others.looked_at += 1;
                let variables = key_variables(&environment);
                if !variables.is_empty() {
                    let program = process.program.clone();
                    others.holders.push(Holder { pid: *pid, program, variables });
                }
            }
            Ok(None) => {}
            Err(_) => others.unreadable += 1,
        }
    }
    Some(others)
}

/// Whether it is that process or comes from it. (What is asked for its version starts others.)
fn is_of(ancestor: u32, pid: u32, processes: &BTreeMap<u32, Process>) -> bool {
    let parent = |pid: &u32| processes.get(pid).map(|process| process.parent);
    // Numbers change hands meanwhile, and could lead round in a circle.
    std::iter::successors(Some(pid), parent).take(MOST_ANCESTORS).any(|pid| pid == ancestor)
}

impl Process {
    /// As proc(5) has it.
    fn in_status(status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let program = field("Name:")?.trim().to_owned();
        let uid = field("Uid:")?.split_whitespace().next()?.parse().ok()?;
        let parent = field("PPid:")?.trim().parse().ok()?;
        Some(Self { program, uid, parent })
    }
}

/// The names of those variables that hold a key.
fn key_variables(environment: &[u8]) -> Vec<&'static str> {
    let holds = |name: &&str| {
        environment.split(|byte| *byte == 0).any(|variable| {
            let value = variable.strip_prefix(name.as_bytes());
            value.and_then(|rest| rest.strip_prefix(b"=")).is_some_and(could_be_key)
        })
    };
    KEY_VARIABLES.into_iter().filter(holds).collect()
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings: Vec<Finding> = seen.here.iter().map(|name| set_here(name)).collect();
    let none = Others::default();
    let others = seen.others.as_ref().unwrap_or(&none);
    for name in KEY_VARIABLES {
        let holders = others.holders.iter().filter(|holder| holder.variables.contains(&name));
        let holders: Vec<String> =
            holders.map(|holder| format!("pid {} ({})", holder.pid, holder.program)).collect();
        if !holders.is_empty() {
            findings.push(set_elsewhere(name, &holders));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::pass(ID, nothing(seen.others.as_ref())));
    }
    findings
}

fn set_here(name: &str) -> Finding {
    let evidence =
        format!("{name} is set in this environment: an agent that is started from here reads it");
    let remedy = format!(
        "unset {name}, and start agents from a shell that never had it; if it comes back, one of the files that are \
         looked at under `files` sets it, or whoever started this shell"
    );
    Finding::fail(ID, evidence, remedy)
}

fn set_elsewhere(name: &str, holders: &[String]) -> Finding {
    let evidence = format!(
        "{name} is in the environment of {}, where everything that runs as this account can read it",
        and(holders, MOST_NAMED)
    );
    let remedy = format!(
        "end what has it, or start it again after `unset {name}` (Codex's background server: `codex app-server daemon stop`)"
    );
    Finding::fail(ID, evidence, remedy)
}

/// No wider than what was looked at.
fn nothing(others: Option<&Others>) -> String {
    let Some(others) = others else {
        return "no key in this environment; other processes can't be looked at here".to_owned();
    };
    let mut seen = vec![format!("{} looked at", others.looked_at)];
    if others.unreadable > 0 {
        let word = if others.unreadable == 1 { "keeps its own" } else { "keep theirs" };
        seen.push(format!("{} {word} shut", others.unreadable));
    }
    if others.is_cut {
        seen.push(format!("given up after {MOST_PROCESSES} processes"));
    }
    let seen = seen.join(", ");
    format!("no key in this environment, nor in those of this account's other processes ({seen})")
}

#[cfg(test)]
mod tests;
