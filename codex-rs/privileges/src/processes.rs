//! Living processes of an account, and which groups they still hold; and ending those that hold one.
//!
//! A group is left on paper at once, but what runs keeps it in its credentials until it ends. Threads have credentials of
//! their own: each is looked at. Our own tools, which run below us while we look, are not told.
//!
//! Whoever forks fast can be missed by one look: who needs to be sure looks again until nothing new comes.
//!
//! Source: credentials(7), user_namespaces(7).

mod end;
mod facts;
mod kin;
#[cfg(test)]
pub(crate) mod samples;
mod waiting;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;

pub(crate) use end::{Ended, end_all};
pub(crate) use facts::{Capabilities, Credentials, Stat, pids, threads, words};
use kin::Kin;
pub(crate) use kin::lineage;
pub(crate) use waiting::{busy, unattributed, waiting};

/// Letters of a command line that are kept.
const COMMAND_LETTERS: usize = 200;

/// A process that holds a group which a fresh login would not get, or will not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StaleProcess {
    /// Its number.
    pub pid: u32,
    /// Whose it is.
    pub uid: u32,
    /// When it was started, in clock ticks since the boot: with the number, this is its identity.
    pub started: u64,
    /// What it is called.
    pub name: String,
    /// Its command line, or the beginning of it.
    pub command: String,
    /// The groups that it holds, of those that were asked for.
    pub gids: BTreeSet<u32>,
    /// Whether it is this process or one above it: it is never ended.
    pub is_ours: bool,
}

/// The account's processes that hold one of these groups, but for this program.
///
/// # Errors
///
/// `/proc` can't be listed.
pub(crate) fn holding(uid: u32, gids: &dyn Fn(u32) -> bool) -> io::Result<Vec<StaleProcess>> {
    let mut found = holding_but(&Kin::ours(), uid, gids)?;
    // We end by ourselves, and so does what has started us as root and waits.
    found.retain(|process| !process.is_ours || !is_this_program(process.pid));
    Ok(found)
}

/// By its file, not by its name.
fn is_this_program(pid: u32) -> bool {
    let file = |pid: &str| {
        let file = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        Some((file.dev(), file.ino()))
    };
    pid == std::process::id() || file("self").is_some_and(|own| file(&pid.to_string()) == Some(own))
}

/// Every group that a living process of the account has.
///
/// # Errors
///
/// `/proc` can't be listed.
pub(crate) fn gids_held(uid: u32) -> io::Result<BTreeSet<u32>> {
    let everything = holding_but(&Kin::ours(), uid, &|_| true)?;
    Ok(everything.into_iter().flat_map(|process| process.gids).collect())
}

fn holding_but(kin: &Kin, uid: u32, gids: &dyn Fn(u32) -> bool) -> io::Result<Vec<StaleProcess>> {
    let (mut found, whose) = (Vec::new(), Whose::account(uid));
    for pid in pids()? {
        let Some(stat) = Stat::of(pid) else { continue };
        let held: BTreeSet<u32> = whose.held_by(pid).into_iter().filter(|gid| gids(*gid)).collect();
        if held.is_empty() || kin.is_below(pid) {
            continue;
        }
        let (name, command) = (stat.name, command(pid));
        let is_ours = kin.has(pid);
        found.push(StaleProcess {
            pid,
            uid,
            started: stat.started,
            name,
            command,
            gids: held,
            is_ours,
        });
    }
    Ok(found)
}

/// The command line as one text.
fn command(pid: u32) -> String {
    let words: Vec<String> =
        words(pid).iter().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ").chars().take(COMMAND_LETTERS).collect()
}

/// Whose processes are meant.
struct Whose {
    uid: u32,
    /// How the accounts of this namespace are called outside: what another one is told by.
    own_map: Vec<u8>,
}

impl Whose {
    fn account(uid: u32) -> Self {
        Self { uid, own_map: facts::uid_map(std::process::id()).unwrap_or_default() }
    }

    /// The groups of all its threads that are the account's.
    fn held_by(&self, pid: u32) -> BTreeSet<u32> {
        let threads = threads(pid).into_iter().filter(|thread| self.has(pid, thread));
        threads.flat_map(|thread| thread.gids).collect()
    }

    fn has(&self, pid: u32, thread: &Credentials) -> bool {
        // A program that is root as well (sudo, su) is not for the account to use: ptrace(2) asks for all of the uids.
        let is_root_as_well = self.uid != 0 && thread.uids.contains(&0);
        (thread.uids.contains(&self.uid) && !is_root_as_well) || self.has_namespace_of(pid, thread)
    }

    /// In a user namespace of its own an account may act with other uids (subuid(5)) and has all power over whoever else
    /// is in there. Its groups it keeps.
    fn has_namespace_of(&self, pid: u32, thread: &Credentials) -> bool {
        !thread.uids.contains(&0) // Nobody's own namespace has the real root in it.
            && facts::uid_map(pid)
                .is_some_and(|map| map != self.own_map && facts::maps_uid(&map, self.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{GID, Holder, UID};
    use super::*;

    /// Nobody's kin: tests look at their own children.
    fn strangers() -> Kin {
        Kin::nobodys()
    }

    fn is_sample(gid: u32) -> bool {
        gid == GID
    }

    #[test]
    fn a_process_that_holds_a_group_is_found_and_one_that_does_not_is_not() {
        let Some(mut holder) = Holder::start(&["cat"]) else { return };
        let pid = holder.pid();
        let found = holding_but(&strangers(), UID, &is_sample).unwrap();
        let it = found.iter().find(|process| process.pid == pid).unwrap();
        assert_eq!((it.name.as_str(), it.command.as_str(), it.uid), ("cat", "cat", UID));
        assert_eq!((&it.gids, it.is_ours), (&[GID].into(), false));
        assert_eq!(it.started, Stat::of(pid).unwrap().started);

        let of = |uid, gids: &dyn Fn(u32) -> bool| {
            let found = holding_but(&strangers(), uid, gids).unwrap();
            found.iter().any(|process| process.pid == pid)
        };
        assert!(of(UID, &|gid| gid == UID), "the primary group counts too");
        assert!(!of(UID, &|gid| gid == GID + 1));
        assert!(!of(UID + 1, &is_sample));

        holder.become_zombie();
        assert!(!of(UID, &|_| true), "a zombie holds nothing");
    }

    #[test]
    fn what_runs_below_us_is_one_of_our_tools() {
        let Some(holder) = Holder::start(&["cat"]) else { return };
        let found = holding(UID, &is_sample).unwrap();
        assert!(found.iter().all(|process| process.pid != holder.pid()));
    }

    #[test]
    fn we_and_what_is_above_us_are_ours() {
        let [real, ..] =
            Credentials::of_thread(std::process::id(), std::process::id()).unwrap().uids;
        let found = holding_but(&Kin::ours(), real, &|_| true).unwrap();
        for pid in [std::process::id(), std::os::unix::process::parent_id()] {
            // What is above us may be another account's.
            let it = found.iter().find(|process| process.pid == pid);
            assert!(it.is_none_or(|process| process.is_ours), "{it:?}");
        }
        assert!(found.iter().any(|process| process.pid == std::process::id()));
        let told = holding(real, &|_| true).unwrap();
        assert!(told.iter().all(|process| process.pid != std::process::id()));
    }

    #[test]
    fn this_program_is_known_by_its_file() {
        let Some(holder) = Holder::start(&["cat"]) else { return };
        assert!(is_this_program(std::process::id()));
        assert!(!is_this_program(holder.pid()) && !is_this_program(0));
    }

    #[test]
    fn all_groups_of_an_account_are_those_of_all_its_processes() {
        let own = Credentials::of_thread(std::process::id(), std::process::id()).unwrap();
        assert!(gids_held(own.uids[0]).unwrap().is_superset(&own.gids));
        assert_eq!(gids_held(61_517).unwrap(), BTreeSet::new());
    }
}
