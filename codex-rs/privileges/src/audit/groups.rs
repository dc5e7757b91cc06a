//! Groups that lead to root: being in one, administering one, being able to join one.
//!
//! The kernel knows numbers: a group that shares the number of `sudo` under another name leads where that leads.
//!
//! Source: group(5), gshadow(5), gpasswd(1), newgrp(1).

use codex_config::shell_word;

use crate::account::{Account, Membership};
use crate::apply::Administered;
use crate::finding::{Closing, Finding, let_root_look};
use crate::group_file::{GSHADOW, Group, Lists, Password, SHADOW, ShadowedGroup};
use crate::leading::{Leading, leading};
use crate::subject::Subject;

const GROUP: &str = "group";
const GROUP_ADMIN: &str = "group_admin";
const GROUP_PASSWORD: &str = "group_password";
/// They lead to root by sudo's rules alone.
const BY_SUDO: &[&str] = &["sudo", "wheel", "admin", "google-sudoers"];

/// What an account has in the lists, and can give up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Groups that name it as a member, in `/etc/group` or only in `/etc/gshadow`.
    pub(crate) leave: Vec<String>,
    /// Groups that name it as an administrator, and who remains.
    pub(crate) administered: Vec<Administered>,
}

/// Groups that lead to root. `is_privileged_group`: others that count too, because a rule of sudo names them.
/// `has_sudo`: whether it is installed. (What a daemon such as polkit gives these groups is for its own check.)
pub(crate) fn look(
    subject: &Subject,
    is_privileged_group: &dyn Fn(&str) -> bool,
    has_sudo: bool,
) -> Vec<Finding> {
    let (account, lists) = (&subject.account, &Lists::read());
    Look { account, lists, is_named: is_privileged_group, has_sudo }.findings()
}

/// What there is to give up, now. The groups of [`look`], and those that `is_privileged_group` adds.
pub(crate) fn held(subject: &Subject, is_privileged_group: &dyn Fn(&str) -> bool) -> Held {
    let (account, lists) = (&subject.account, &Lists::read());
    Look { account, lists, is_named: is_privileged_group, has_sudo: true }.held()
}

/// All that is looked at.
struct Look<'a> {
    account: &'a Account,
    lists: &'a Lists,
    is_named: &'a dyn Fn(&str) -> bool,
    has_sudo: bool,
}

impl Look<'_> {
    fn findings(&self) -> Vec<Finding> {
        let mut found: Vec<Finding> =
            self.account.groups.iter().filter_map(|group| self.membership(group)).collect();
        found.extend(self.administered().map(|(group, line)| self.administration(group, line)));
        found.extend(self.privileged().filter_map(|group| self.by_newgrp(group)));
        found.extend(self.privileged().filter_map(|group| self.by_password(group)));
        found.extend(self.lists.unread.iter().filter(|unread| unread.file != SHADOW).map(
            |unread| {
                let why = "who administers a group or could join it can't be told without it";
                Finding::undecided(GROUP_ADMIN, unread.file, why)
                    .seen(unread.because.clone())
                    .remedy(let_root_look(self.account))
            },
        ));
        found
    }

    fn held(&self) -> Held {
        let mut held = Held::default();
        for group in self.privileged() {
            let is_listed = names(&group.members, self.account) || self.is_shadow_member(group);
            if is_listed && !held.leave.contains(&group.name) {
                held.leave.push(group.name.clone());
            }
        }
        held.administered = self
            .administered()
            .map(|(group, line)| Administered {
                group: group.name.clone(),
                remaining: self.others(line),
            })
            .collect();
        held
    }

    fn leading(&self, name: &str) -> Option<&'static Leading> {
        leading(name).filter(|leading| self.has_sudo || !BY_SUDO.contains(&leading.group))
    }

    /// Why a number leads to root, if it does.
    fn leads(&self, gid: u32) -> Option<&'static Leading> {
        self.lists.names_of(gid).find_map(|name| self.leading(name))
    }

    /// The lines of groups that lead to root, or that a rule names.
    fn privileged(&self) -> impl Iterator<Item = &Group> {
        let counts = move |name: &str| leading(name).is_some() || (self.is_named)(name);
        self.lists.groups.iter().filter(move |group| self.lists.names_of(group.gid).any(counts))
    }

    /// The ones among them that the account administers. A line of gshadow alone is no group.
    fn administered(&self) -> impl Iterator<Item = (&Group, &ShadowedGroup)> {
        self.privileged().filter_map(move |group| {
            let line = self.lists.shadowed_group(&group.name)?;
            names(&line.administrators, self.account).then_some((group, line))
        })
    }

    fn others(&self, line: &ShadowedGroup) -> Vec<String> {
        let others = line.administrators.iter().filter(|name| **name != self.account.name);
        others.cloned().collect()
    }

    fn is_shadow_member(&self, group: &Group) -> bool {
        let line = self.lists.shadowed_group(&group.name);
        line.is_some_and(|line| names(&line.members, self.account))
    }

    fn why(&self, group: &Group) -> &'static str {
        self.leads(group.gid).map_or("a rule of sudo names it", |leading| leading.why)
    }

    fn membership(&self, membership: &Membership) -> Option<Finding> {
        let gid = membership.gid;
        let leading = membership
            .name
            .as_deref()
            .and_then(|name| self.leading(name))
            .or_else(|| self.leads(gid))?;
        let finding = Finding::open(GROUP, format!("the group {}", leading.group), leading.why);
        let name = shell_word(&self.account.name);
        let listed: Vec<&str> = (self.lists.groups.iter())
            .filter(|group| group.gid == gid && names(&group.members, self.account))
            .map(|group| group.name.as_str())
            .collect();
        Some(if membership.is_primary {
            let has_own = self
                .lists
                .groups
                .iter()
                .any(|group| group.name == self.account.name && group.gid != gid);
            let make = if has_own { String::new() } else { format!("groupadd {name} && ") };
            finding
                .seen(format!("gid {gid} is the primary group of {}", self.account.words()))
                .remedy(format!("{make}usermod -g {name} {name}"))
        } else if listed.is_empty() {
            finding
                .seen(format!("a login gives gid {gid}, and /etc/group does not name the account"))
                .remedy(format!(
                    "the administrator of the directory that accounts come from takes {} out of \
                     the group",
                    self.account.name
                ))
        } else {
            let leaving: Vec<String> = listed
                .iter()
                .map(|group| format!("gpasswd -d {name} {}", shell_word(group)))
                .collect();
            finding
                .seen(format!(
                    "/etc/group, {} (gid {gid}), names {}",
                    listed.join(" and "),
                    self.account.name
                ))
                .remedy(leaving.join(" && "))
                .closed_by(Closing::Groups)
        })
    }

    fn administration(&self, group: &Group, line: &ShadowedGroup) -> Finding {
        let what = format!("administering the group {}", group.name);
        let joins = "its administrator can join it with gpasswd -a";
        let finding = if self.leads(group.gid).is_some() || self.has_sudo {
            Finding::open(GROUP_ADMIN, what, format!("{joins}, and {}", self.why(group)))
        } else {
            let why = format!("{joins}, and other programs than sudo may trust its members");
            Finding::undecided(GROUP_ADMIN, what, why)
        };
        finding
            .seen(format!(
                "{GSHADOW}, {}: its administrators are {}",
                group.name,
                line.administrators.join(",")
            ))
            .remedy(format!(
                "gpasswd -A {} {}",
                shell_word(&self.others(line).join(",")),
                shell_word(&group.name)
            ))
            .closed_by(Closing::GroupAdmins)
    }

    /// A member that only gshadow names has nothing at a login, but newgrp(1) takes its list before that of group(5)
    /// and asks for no password. (deluser(8) leaves such a line as it is; gpasswd -d does not.)
    /// Where a rule of sudo is all that a group has, the locks close it for the account, whichever groups it has.
    fn by_newgrp(&self, group: &Group) -> Option<Finding> {
        let leading = self.leads(group.gid)?;
        if !self.is_shadow_member(group) || names(&group.members, self.account) {
            return None;
        }
        let (name, of) = (shell_word(&self.account.name), shell_word(&group.name));
        let why = format!("newgrp(1) gives it without a password, and {}", leading.why);
        let finding =
            Finding::open(GROUP_PASSWORD, format!("joining the group {}", group.name), why)
                .seen(format!(
                    "{GSHADOW}, {}, has {} among its members",
                    group.name, self.account.name
                ))
                .remedy(format!("gpasswd -d {name} {of}"))
                .closed_by(Closing::Groups);
        Some(finding)
    }

    /// One that is empty lets nobody in: newgrp(1).
    fn by_password(&self, group: &Group) -> Option<Finding> {
        let leading = self.leads(group.gid)?;
        if self.lists.group_password(group) != Password::Set {
            return None;
        }
        let why =
            format!("whoever knows its password can join it with newgrp(1), and {}", leading.why);
        let what = format!("the password of the group {}", group.name);
        Some(
            Finding::undecided(GROUP_PASSWORD, what, why)
                .seen("it has one; who knows it can't be told")
                .remedy(format!("gpasswd -r {}", shell_word(&group.name))),
        )
    }
}

fn names(list: &[String], account: &Account) -> bool {
    list.contains(&account.name)
}

#[cfg(test)]
mod tests;
