//! What this machine adds to what a proxy says of itself: whose number that is, and how many capabilities there are.

use std::env;
use std::ffi::OsString;
use std::fs;

use nix::unistd::{Uid, User, getuid};

/// Tests have one of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) name_of: fn(u32) -> Option<String>,
    /// The number of the last capability (capabilities(7)), if it is known.
    pub(crate) last_capability: Option<u32>,
}

impl Host {
    pub(crate) fn this() -> Self {
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
        Self { name_of, last_capability: last.and_then(|last| last.trim().parse().ok()) }
    }

    /// An account, with its name if it has one.
    pub(crate) fn account(self, uid: u32) -> String {
        account(uid, (self.name_of)(uid).as_deref())
    }

    /// A set of capabilities that is given in hexadecimal.
    pub(crate) fn capabilities(self, set: &str) -> String {
        let all = self.last_capability.and_then(|last| 63_u32.checked_sub(last));
        let all = all.map(|unused| u64::MAX >> unused);
        match u64::from_str_radix(set, 16) {
            Ok(0) => "none".to_owned(),
            Ok(bits) if Some(bits) == all => format!("all ({set})"),
            _ => set.to_owned(),
        }
    }
}

/// The home folder, as Codex finds it: what HOME says, or else passwd(5).
pub(crate) fn home() -> Option<OsString> {
    let named = env::var_os("HOME").filter(|home| !home.is_empty());
    named.or_else(|| User::from_uid(getuid()).ok().flatten().map(|user| user.dir.into()))
}

/// An account in words.
pub(crate) fn account(uid: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

fn name_of(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Host;

    fn name_of(uid: u32) -> Option<String> {
        [(0, "root"), (1_000, "alice")]
            .into_iter()
            .find_map(|(known, name)| (known == uid).then(|| name.to_owned()))
    }

    /// A machine that knows root and alice.
    pub(crate) const HOST: Host = Host { name_of, last_capability: Some(40) };
}

#[cfg(test)]
mod tests {
    use super::testing::HOST;
    use super::*;

    #[test]
    fn an_account_has_its_number_and_a_name_if_there_is_one() {
        assert_eq!(Host::this().account(0), "root (uid 0)");
        assert_eq!(HOST.account(1_000), "alice (uid 1000)");
        assert_eq!(HOST.account(61_234), "uid 61234");
    }

    #[test]
    fn capabilities_are_all_none_or_as_they_are() {
        for (set, expected) in [
            ("000001ffffffffff", "all (000001ffffffffff)"),
            ("0000000000000000", "none"),
            ("0000000000000400", "0000000000000400"),
            ("ffffffffffffffff", "ffffffffffffffff"),
            ("moon", "moon"),
            ("", ""),
        ] {
            assert_eq!(HOST.capabilities(set), expected);
        }
        for last_capability in [None, Some(64)] {
            let host = Host { last_capability, ..HOST };
            assert_eq!(host.capabilities("000001ffffffffff"), "000001ffffffffff");
        }
        let host = Host { last_capability: Some(63), ..HOST };
        assert_eq!(host.capabilities("ffffffffffffffff"), "all (ffffffffffffffff)");
    }
}
