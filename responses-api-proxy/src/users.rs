//! Which accounts of this machine are served.

use std::fmt;

use codex_peer_identity::{Peer, Uid};
use nix::unistd::User;

use crate::StartError;

/// The accounts that may use the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// Every one, also those that could not be told.
    Anyone,
    /// These alone. Who is unknown is none of them.
    Only(Vec<Account>),
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    /// As it was typed, if not by number.
    name: Option<String>,
}

impl Users {
    /// Looks names up; no names are everyone's.
    pub(crate) fn resolve(typed: &[String]) -> Result<Self, StartError> {
        if typed.is_empty() {
            return Ok(Self::Anyone);
        }
        typed.iter().map(|user| Account::resolve(user)).collect::<Result<_, _>>().map(Self::Only)
    }

    pub(crate) fn allow(&self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Anyone, _) => true,
            (Self::Only(accounts), Peer::User(uid)) => {
                accounts.iter().any(|account| account.uid == uid)
            }
            (Self::Only(_), Peer::Unknown) => false,
        }
    }
}

impl Account {
    /// Digits are a uid, anything else is a name.
    fn resolve(typed: &str) -> Result<Self, StartError> {
        let no_user = |source| StartError::NoSuchUser { user: typed.to_owned(), source };
        if typed.bytes().all(|byte| byte.is_ascii_digit()) {
            return match typed.parse() {
                // (uid_t)-1 means "no account" (chown(2), setreuid(2)).
                Ok(uid) if uid != u32::MAX => Ok(Self { uid: Uid::from_raw(uid), name: None }),
                _ => Err(no_user(None)),
            };
        }
        match User::from_name(typed) {
            Ok(Some(user)) => Ok(Self { uid: user.uid, name: Some(typed.to_owned()) }),
            Ok(None) => Err(no_user(None)),
            Err(errno) => Err(no_user(Some(errno.into()))),
        }
    }
}

impl fmt::Display for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => formatter.write_str("any account on this machine"),
            Self::Only(accounts) => {
                for (number, account) in accounts.iter().enumerate() {
                    let before = if number == 0 { "" } else { ", " };
                    write!(formatter, "{before}{account}")?;
                }
                formatter.write_str(" alone")
            }
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{name} (uid {})", self.uid),
            None => write!(formatter, "uid {}", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(typed: &[&str]) -> Result<Users, StartError> {
        Users::resolve(&typed.iter().map(|user| (*user).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn named_accounts_are_served_and_no_other_and_never_an_unknown_one() {
        let users = resolve(&["root", "4242"]).unwrap();
        assert_eq!(users.to_string(), "root (uid 0), uid 4242 alone");
        for (peer, allowed) in [
            (Peer::User(Uid::from_raw(0)), true),
            (Peer::User(Uid::from_raw(4_242)), true),
            (Peer::User(Uid::from_raw(4_243)), false),
            (Peer::Unknown, false),
        ] {
            assert_eq!(users.allow(peer), allowed, "{peer}");
            assert!(resolve(&[]).unwrap().allow(peer));
        }
    }

    #[test]
    fn who_is_no_account_is_told() {
        for user in ["no-such-account-here", "", "4294967295", "4294967296", "-1", "0x0", " root"] {
            let error = resolve(&["root", user]).unwrap_err();
            assert!(matches!(&error, StartError::NoSuchUser { user: found, .. } if found == user));
        }
    }
}
