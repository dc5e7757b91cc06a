//! Who else could administer this machine, once one account can't any more.
//!
//! Only those count of whom it is sure: whoever is left out costs a warning too many, and nobody their machine.
//!
//! Source: sudoers(5), passwd(5), nologin(8).

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::root_account::RootKeys;
use crate::account::Account;
use crate::group_file::{Entry, Lists, Password};
use crate::subject::Subject;
use crate::sudo::rules::{Rule, Who};

const ALL: &str = "ALL";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// Shells that let nobody in.
const NO_SHELLS: [&str; 3] = ["nologin", "false", "true"];

/// Who could still become root when the account can't.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Administrators {
    /// Accounts that may run everything as root by sudo, and can log in.
    pub others: Vec<String>,
    /// Whether root has a password.
    pub root_has_password: bool,
    /// Whether there are keys to log in as root with.
    pub root_has_keys: bool,
    /// Why there may be more, or fewer.
    pub unknown: Option<String>,
}

impl Administrators {
    /// Whether nobody else is known, and root can't log in either.
    pub fn is_sole(&self) -> bool {
        self.others.is_empty() && !self.root_has_password && !self.root_has_keys
    }
}

/// Who there is, by these rules of sudo.
pub(crate) fn look(subject: &Subject, rules: &[Rule]) -> Administrators {
    let lists = Lists::read();
    let host = fs::read_to_string(HOST_NAME).unwrap_or_default();
    let facts = Facts { account: &subject.account, lists: &lists, rules, host: host.trim() };
    let mut found = facts.judge(&has_keys);
    found.root_has_keys = RootKeys::read(&lists).is_any();
    found
}

/// Only looked at: it is somebody else's home.
fn has_keys(home: &Path) -> bool {
    let keys = fs::symlink_metadata(home.join(".ssh/authorized_keys"));
    keys.is_ok_and(|keys| keys.is_file() && keys.len() > 0)
}

/// All that is looked at.
struct Facts<'a> {
    account: &'a Account,
    lists: &'a Lists,
    rules: &'a [Rule],
    host: &'a str,
}

impl Facts<'_> {
    fn judge(&self, has_keys: &dyn Fn(&Path) -> bool) -> Administrators {
        let is_other = |entry: &&Entry| entry.uid != 0 && entry.uid != self.account.uid;
        let others = self.lists.entries.iter().filter(is_other);
        let others = others.filter(|entry| self.may_all(entry));
        let others = others.filter(|entry| self.can_log_in(entry, has_keys));
        let root = self.lists.entry("root");
        Administrators {
            others: others.map(|entry| entry.name.clone()).collect(),
            root_has_password: root.is_some_and(|root| self.has_password(root)),
            root_has_keys: false,
            unknown: self.unknown(),
        }
    }

    fn unknown(&self) -> Option<String> {
        if let Some(unread) = self.lists.unread.first() {
            return Some(format!("{} can't be read: {}", unread.file, unread.because));
        }
        let whole = self.rules.iter().filter(|rule| self.allows_all(rule) == Some(true));
        let mut users = whole.flat_map(|rule| &rule.users);
        users.find_map(|(who, _)| match who {
            Who::Other(name) => {
                Some(format!("a rule of sudo is about {name}, and who that is can't be told"))
            }
            _ => None,
        })
    }

    fn has_password(&self, entry: &Entry) -> bool {
        self.lists.password(entry) == Password::Set
    }

    fn can_log_in(&self, entry: &Entry, has_keys: &dyn Fn(&Path) -> bool) -> bool {
        let shell = entry.shell.file_name().unwrap_or_default();
        !NO_SHELLS.iter().any(|none| shell == *none)
            && (self.has_password(entry) || has_keys(&entry.home))
    }

    /// Whether it may run everything as root: the last rule that says so, or not, counts.
    fn may_all(&self, entry: &Entry) -> bool {
        let applying = self.rules.iter().rev().filter(|rule| self.is_about(rule, entry));
        applying.filter_map(|rule| self.allows_all(rule)).next().unwrap_or_default()
    }

    /// `None`: it is about single commands, about other hosts or about becoming somebody else.
    fn allows_all(&self, rule: &Rule) -> Option<bool> {
        let short = self.host.split('.').next().unwrap_or_default();
        let is_here = |host: &String| {
            host == ALL || (!host.is_empty() && (host == self.host || host == short))
        };
        // With groups alone it is as oneself; with nothing it is as root.
        let as_root = match &rule.runas_users[..] {
            [] => rule.runas_groups.is_empty(),
            users => users.iter().any(|user| matches!(user.as_str(), ALL | "root" | "0" | "#0")),
        };
        let all = rule.commands.iter().rev().find(|(command, _)| command == ALL);
        let all = all.filter(|_| as_root && rule.hosts.iter().any(is_here));
        all.map(|(_, is_forbidden)| !is_forbidden)
    }

    /// Of several that fit, the last one counts.
    fn is_about(&self, rule: &Rule, entry: &Entry) -> bool {
        let fits = rule.users.iter().rev().find(|(who, _)| self.is(who, entry));
        fits.is_some_and(|(_, is_excepted)| !is_excepted)
    }

    fn is(&self, who: &Who, entry: &Entry) -> bool {
        match who {
            Who::All => true,
            Who::User(name) => *name == entry.name,
            Who::Uid(uid) => *uid == entry.uid,
            Who::Gid(gid) => self.lists.is_in(entry, *gid),
            Who::Group(name) => {
                let mut groups = self.lists.groups.iter();
                groups.any(|group| group.name == *name && self.lists.is_in(entry, group.gid))
            }
            Who::Other(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;

    const GROUP: &str = "sudo:x:27:bob,tst_u,locked,robot\nadmins:x:70:\n";
    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n\
                          tst_u:x:61500:61500::/home/tst_u:/bin/sh\n\
                          twin:x:61500:27::/home/twin:/bin/sh\n\
                          bob:x:61501:61501::/home/bob:/bin/bash\n\
                          carol:x:61502:70::/home/carol:/bin/sh\n\
                          locked:x:61503:61503::/home/locked:/bin/sh\n\
                          keys:x:61504:27::/home/keys:/bin/sh\n\
                          robot:x:61505:61505::/home/robot:/usr/sbin/nologin\n";
    const SHADOW: &str = "root:*:1::::::\ntst_u:$6$s$h:1::::::\ntwin:$6$s$h:1::::::\nbob:$6$s$h:1::::::\n\
                          carol:$6$s$h:1::::::\nlocked:!:1::::::\nkeys:!:1::::::\nrobot:$6$s$h:1::::::\n";

    fn rule(users: &[(Who, bool)], runas: &str, commands: &[(&str, bool)]) -> Rule {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        Rule {
            users: users.to_vec(),
            hosts: words("ALL"),
            runas_users: words(runas),
            runas_groups: Vec::new(),
            commands: commands.iter().map(|(command, not)| ((*command).to_owned(), *not)).collect(),
        }
    }

    fn group(name: &str) -> (Who, bool) {
        (Who::Group(name.to_owned()), false)
    }

    fn user(name: &str) -> (Who, bool) {
        (Who::User(name.to_owned()), false)
    }

    fn others(rules: &[Rule]) -> String {
        let lists = Lists::of(GROUP, "", PASSWD, SHADOW);
        let us = subject(61_500, &[61_500]);
        let facts = Facts { account: &us.account, lists: &lists, rules, host: "box.example" };
        facts.judge(&|home| home == Path::new("/home/keys")).others.join(" ")
    }

    #[test]
    fn those_count_who_may_everything_and_can_log_in() {
        let all = &[(ALL, false)][..];
        let sudo = || rule(&[group("sudo")], ALL, all);
        let none = |users: &[(Who, bool)]| rule(users, ALL, &[(ALL, true)]);
        for (rules, expected) in [
            (vec![], ""),
            (vec![sudo()], "bob keys"),
            (vec![rule(&[group("admins")], "root", all)], "carol"),
            (vec![rule(&[(Who::Gid(70), false), user("bob")], "", all)], "bob carol"),
            (vec![rule(&[(Who::Uid(61_501), false)], "0", all)], "bob"),
            (vec![rule(&[(Who::All, false)], ALL, all)], "bob carol keys"),
            (
                vec![rule(&[(Who::All, false), (Who::User("bob".to_owned()), true)], ALL, all)],
                "carol keys",
            ),
            (vec![rule(&[user("bob")], "postgres", all)], ""),
            (vec![rule(&[user("bob")], ALL, &[("/bin/ls", false)])], ""),
            (vec![rule(&[user("bob")], ALL, &[(ALL, false), ("/bin/su", true)])], "bob"),
            (vec![sudo(), none(&[user("bob")])], "keys"),
            (vec![none(&[user("bob")]), sudo()], "bob keys"),
            (vec![sudo(), none(&[(Who::Uid(61_500), false)])], "bob keys"),
            (
                vec![rule(&[user("robot"), user("locked"), user("tst_u"), user("twin")], ALL, all)],
                "",
            ),
        ] {
            assert_eq!(others(&rules), expected, "{rules:?}");
        }
    }

    #[test]
    fn a_rule_for_another_host_or_for_groups_alone_makes_no_administrator() {
        let bob = || rule(&[user("bob")], "", &[(ALL, false)]);
        for (hosts, runas_groups, expected) in [
            ("box", "", "bob"),
            ("box.example", "", "bob"),
            ("elsewhere", "", ""),
            (ALL, "adm", ""),
        ] {
            let groups: Vec<String> = runas_groups.split_whitespace().map(str::to_owned).collect();
            let rule = Rule { hosts: vec![hosts.to_owned()], runas_groups: groups, ..bob() };
            assert_eq!(others(&[rule]), expected, "{hosts} {runas_groups}");
        }
    }

    #[test]
    fn whoever_is_alone_is_the_sole_one() {
        let nobody = Administrators::default();
        assert!(nobody.is_sole());
        assert!(!Administrators { others: vec!["bob".to_owned()], ..nobody.clone() }.is_sole());
        assert!(!Administrators { root_has_password: true, ..nobody.clone() }.is_sole());
        assert!(!Administrators { root_has_keys: true, ..nobody }.is_sole());
    }

    #[test]
    fn what_cant_be_told_is_said() {
        let us = subject(61_500, &[61_500]);
        let lists = Lists::of(GROUP, "", PASSWD, "root:$6$s$h:1::::::\n");
        let netgroup = (Who::Other("+ops".to_owned()), false);
        let rules = [rule(&[netgroup], ALL, &[(ALL, false)])];
        let facts = Facts { account: &us.account, lists: &lists, rules: &rules, host: "" };
        let found = facts.judge(&|_| false);
        assert!(found.root_has_password && found.unknown.is_some_and(|it| it.contains("+ops")));
    }
}
