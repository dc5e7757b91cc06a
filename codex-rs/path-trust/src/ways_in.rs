//! The ways in to what a path leads to.

use std::path::{Path, PathBuf};

use crate::Trust;
use crate::walk::walk;

/// One way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayIn {
    /// What could be changed or exchanged, by the name that it has without links.
    pub place: PathBuf,
    /// Whose it is: a uid. (Of what could not be looked at, root's.)
    pub owner: u32,
    /// Who could do it.
    pub who: Who,
}

/// Who could do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Its owner.
    Owner,
    /// The accounts in a group.
    Group {
        /// Its number.
        gid: u32,
        /// Its name, if that is known.
        name: Option<String>,
    },
    /// Any account.
    Everyone,
    /// Nobody can say.
    Unknown {
        /// This came instead.
        because: String,
    },
}

/// All ways in that are not trusted, from the root on, each once. What leads nowhere is one of them.
pub fn ways_in(path: &Path, trust: &Trust) -> Vec<WayIn> {
    let mut found: Vec<WayIn> = Vec::new();
    let walked = walk(path, |step| {
        if let Some(who) = trust.opened_to(step.facts, step.is_end) {
            let way = WayIn { place: step.place.to_owned(), owner: step.facts.uid, who };
            if !found.contains(&way) {
                found.push(way);
            }
        }
    });
    if let Err(lost) = walked {
        let who = Who::Unknown { because: lost.because };
        found.push(WayIn { place: lost.place, owner: 0, who });
    }
    found
}

/// Whether there is no way in. Not so for what is not there.
pub fn is_closed(path: &Path, trust: &Trust) -> bool {
    ways_in(path, trust).is_empty()
}

impl WayIn {
    /// In words: `/opt belongs to bob (uid 1001)`. `account` says how an account is called.
    pub fn words(&self, account: impl Fn(u32) -> String) -> String {
        let place = self.place.display();
        match &self.who {
            Who::Owner => format!("{place} belongs to {}", account(self.owner)),
            Who::Group { gid, name: Some(name) } => {
                format!("{place} can be changed by the group {name} (gid {gid})")
            }
            Who::Group { gid, name: None } => {
                format!("{place} can be changed by the group with gid {gid}")
            }
            Who::Everyone => format!("{place} can be changed by everyone"),
            Who::Unknown { because } => format!("{place} can't be looked at: {because}"),
        }
    }
}

#[cfg(test)]
mod tests;
