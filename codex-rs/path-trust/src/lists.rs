//! The system's lists of accounts and groups, as text.
//!
//! They say who is in a group; of accounts that come from elsewhere (LDAP) they know only those that they name.
//!
//! Source: passwd(5), group(5).

use std::collections::BTreeSet;

/// The system's lists of accounts and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists {
    /// What `/etc/passwd` says.
    pub passwd: String,
    /// What `/etc/group` says.
    pub group: String,
}

impl Lists {
    /// The name of a group, and whether none but these accounts are in it. A group that is not listed may have any
    /// members.
    pub(crate) fn look_up(&self, gid: u32, accounts: &BTreeSet<u32>) -> (Option<String>, bool) {
        let number = gid.to_string();
        let mut groups = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let Some(group) = groups.find(|fields| fields.get(2) == Some(&&*number)) else {
            return (None, false);
        };
        let named = group.get(3).unwrap_or(&"").split(',').filter(|name| !name.is_empty());
        let named: Vec<&str> = named.collect();
        let (mut known, mut strangers) = (BTreeSet::new(), false);
        for line in self.passwd.lines() {
            let [name, _, uid, of, ..] = line.split(':').collect::<Vec<_>>()[..] else { continue };
            if named.contains(&name) || of == number {
                known.insert(name);
                strangers |= !uid.parse::<u32>().is_ok_and(|uid| accounts.contains(&uid));
            }
        }
        let all_known = named.iter().all(|name| known.contains(name));
        (Some(group[0].to_owned()), all_known && !strangers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_as_open_as_its_members() {
        let passwd = "root:x:0:0\nalice:x:1000:1000\nbob:x:1001:1001\ncarol:x:1002:100\nbroken\n";
        let group = "root:x:0:\nstaff:x:50:\nalice:x:1000:\ntwo:x:60:alice,root\nall:x:70:alice,bob\n\
                     far:x:80:dora\nusers:x:100:\nbroken\nempty:x:90\n";
        let lists = Lists { passwd: passwd.to_owned(), group: group.to_owned() };
        for (gid, name, is_closed) in [
            (0, Some("root"), true),
            (50, Some("staff"), true), // Nobody is in it.
            (1_000, Some("alice"), true),
            (60, Some("two"), true),
            (90, Some("empty"), true),
            (70, Some("all"), false),
            (80, Some("far"), false),    // Somebody who is listed elsewhere.
            (100, Some("users"), false), // The primary group of carol.
            (61_234, None, false),
        ] {
            let found = lists.look_up(gid, &[0, 1_000].into());
            assert_eq!(found, (name.map(str::to_owned), is_closed), "{gid}");
        }
    }
}
