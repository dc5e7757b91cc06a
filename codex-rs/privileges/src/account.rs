//! The account that is to give sudo up.
//!
//! Source: getpwnam(3), getgrouplist(3).

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User};
use thiserror::Error;

/// An account, as this system knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home folder.
    pub home: PathBuf,
    /// Its shell.
    pub shell: PathBuf,
    /// The groups that a fresh login gives, the primary one first.
    pub groups: Vec<Membership>,
}

/// A group that a login gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Its number.
    pub gid: u32,
    /// Its name; `None` where the number has no entry.
    pub name: Option<String>,
    /// Whether it is the account's primary group.
    pub is_primary: bool,
}

/// Why there is no account to speak of.
#[derive(Debug, Error)]
pub enum AccountError {
    /// Nothing of that name or number.
    #[error("there is no account {account:?} on this system")]
    NoSuch {
        /// What was asked for.
        account: String,
    },
    /// Root has nothing to give up.
    #[error("{account} is root itself: it has no sudo to give up")]
    Root {
        /// What was asked for.
        account: String,
    },
    /// The list of accounts can't be asked.
    #[error("the account {account:?} can't be looked up")]
    Unreadable {
        /// What was asked for.
        account: String,
        /// Why.
        source: io::Error,
    },
}

impl AccountError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoSuch { .. } => {
                "name one that `getent passwd` shows: codex proxy relinquish-sudo --user NAME"
            }
            Self::Root { .. } => {
                "let the agent run as an account of its own, and name that one with --user"
            }
            Self::Unreadable { .. } => "see what `getent passwd` says",
        }
        .to_owned()
    }
}

impl Account {
    /// By name, or by number.
    ///
    /// # Errors
    ///
    /// There is none, it is root, or the system can't say.
    pub fn find(name_or_uid: &str) -> Result<Self, AccountError> {
        let account = || name_or_uid.to_owned();
        // A name first: useradd(8) refuses names that are numbers, a directory may have one.
        let entry = match User::from_name(name_or_uid) {
            Ok(None) => match name_or_uid.parse() {
                Ok(uid) => User::from_uid(Uid::from_raw(uid)),
                Err(_) => Ok(None),
            },
            entry => entry,
        };
        let entry = entry.map_err(|errno| AccountError::Unreadable {
            account: account(),
            source: errno.into(),
        })?;
        let entry = entry.ok_or_else(|| AccountError::NoSuch { account: account() })?;
        if entry.uid.is_root() {
            return Err(AccountError::Root { account: account() });
        }
        let groups = groups_of(&entry)
            .map_err(|source| AccountError::Unreadable { account: account(), source })?;
        let (uid, gid) = (entry.uid.as_raw(), entry.gid.as_raw());
        let User { name, dir: home, shell, .. } = entry;
        Ok(Self { name, uid, gid, home, shell, groups })
    }

    /// The groups that a fresh login gives, by number.
    pub fn gids(&self) -> BTreeSet<u32> {
        self.groups.iter().map(|group| group.gid).chain([self.gid]).collect()
    }

    /// For people.
    pub fn words(&self) -> String {
        format!("{} (uid {})", self.name, self.uid)
    }
}

fn groups_of(entry: &User) -> io::Result<Vec<Membership>> {
    let primary = entry.gid.as_raw();
    let mut gids = listed(entry)?;
    gids.retain(|gid| *gid != primary);
    gids.insert(0, primary);
    let membership = |gid| {
        let name = Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
        Membership { gid, name, is_primary: gid == primary }
    };
    Ok(gids.into_iter().map(membership).collect())
}

#[cfg(not(target_vendor = "apple"))]
fn listed(entry: &User) -> io::Result<Vec<u32>> {
    let name = std::ffi::CString::new(entry.name.as_str())?;
    let gids = nix::unistd::getgrouplist(&name, entry.gid)?;
    Ok(gids.into_iter().map(Gid::as_raw).collect::<BTreeSet<u32>>().into_iter().collect())
}

/// There nix does not ask for them.
#[cfg(target_vendor = "apple")]
fn listed(entry: &User) -> io::Result<Vec<u32>> {
    Ok(vec![entry.gid.as_raw()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_name_and_by_number_and_root_is_none_to_speak_of() {
        for wrong in ["no-such-account", "4294967296", "", "-1"] {
            assert!(matches!(Account::find(wrong), Err(AccountError::NoSuch { .. })), "{wrong:?}");
        }
        for root in ["root", "0"] {
            assert!(matches!(Account::find(root), Err(AccountError::Root { .. })), "{root:?}");
        }
        let by_name = Account::find("nobody").unwrap();
        assert_eq!(Account::find(&by_name.uid.to_string()).unwrap(), by_name);
        assert_eq!(by_name.groups[0].gid, by_name.gid);
        assert!(by_name.groups[0].is_primary && by_name.gids().contains(&by_name.gid));
    }
}
