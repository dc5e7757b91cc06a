//! Groups that lead to root: who is in one can take the key from a proxy that runs as root, and so can an agent that
//! runs as this account.
//!
//! Both the groups of this process and those that a new login, or `sg`, would give. Names are all it goes by: what
//! sudoers, polkit or a socket's mode say is not looked at, so it never says that there is no way.

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User};

use crate::check::blocking;
use crate::finding::Finding;
use crate::host::Host;

const ID: &str = "sudo";

const SUDO: &str = "sudo lets its members become root, as systems are usually set up";
const CONTAINERS: &str =
    "whoever may use its socket can start a container that has the machine's files as root";

/// Groups by name, and how each leads to root.
const LEADING: [(&str, &str); 14] = [
    ("root", "what root leaves open to its own group can be changed"),
    ("sudo", SUDO),
    ("wheel", SUDO),
    ("admin", SUDO),
    ("google-sudoers", SUDO),
    ("docker", CONTAINERS),
    ("podman", CONTAINERS),
    ("lxd", CONTAINERS),
    ("incus-admin", CONTAINERS),
    ("libvirt", "a virtual machine can be given the machine's disks"),
    ("disk", "the disks can be written past all modes"),
    ("kmem", "the kernel's memory can be read"),
    ("shadow", "the hashes of all passwords can be read, and tried"),
    ("staff", "it may write to /usr/local, where root looks for programs first"),
];

/// The groups of an account.
#[derive(Debug)]
struct Account {
    is_root: bool,
    name: Option<String>,
    /// Of its groups, those that have a name.
    groups: Vec<String>,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    blocking(move || judge(&gather(&host))).await
}

fn gather(host: &Host) -> Account {
    let user = User::from_uid(Uid::from_raw(host.uid)).ok().flatten();
    let mut gids: BTreeSet<u32> = host.gids.iter().copied().collect();
    gids.extend(user.iter().flat_map(groups_of));
    let name = |gid: u32| Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name);
    Account {
        is_root: host.uid == 0,
        name: user.map(|user| user.name),
        groups: gids.into_iter().filter_map(name).collect(),
    }
}

/// Those that a login gives.
#[cfg(not(target_vendor = "apple"))]
fn groups_of(user: &User) -> Vec<u32> {
    let name = std::ffi::CString::new(user.name.as_str()).unwrap_or_default();
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
    groups.into_iter().map(Gid::as_raw).collect()
}

/// There nix does not ask for them.
#[cfg(target_vendor = "apple")]
fn groups_of(user: &User) -> Vec<u32> {
    vec![user.gid.as_raw()]
}

fn judge(account: &Account) -> Vec<Finding> {
    if account.is_root {
        let evidence =
            "this is root: an agent that runs as root can read every key on this machine";
        let remedy = "let the agent run as an account of its own, and name that to the proxy with --allow-user";
        return vec![Finding::warn(ID, evidence, remedy)];
    }
    let user =
        account.name.as_deref().map_or_else(|| "\"$USER\"".to_owned(), codex_config::shell_word);
    let is_in = |group: &str| account.groups.iter().any(|name| name == group);
    let leading = LEADING.into_iter().filter(|(group, _)| is_in(group));
    let findings: Vec<Finding> = leading
        .map(|(group, why)| {
            let remedy = format!(
                "sudo gpasswd -d {user} {group}, and end what runs as {user}: a process keeps the groups that it has; \
                 or let the agent run as another account"
            );
            Finding::warn(ID, format!("this account is in the group {group}: {why}"), remedy)
        })
        .collect();
    if findings.is_empty() {
        let evidence = "no group of this account is one that is known to lead to root; what sudoers says was not looked at";
        return vec![Finding::pass(ID, evidence)];
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;

    fn judged(groups: &str) -> Vec<(Grade, String)> {
        let groups = groups.split_whitespace().map(str::to_owned).collect();
        let account = Account { is_root: false, name: Some("alice".to_owned()), groups };
        let findings = judge(&account).into_iter();
        findings.map(|finding| (finding.grade, finding.evidence)).collect()
    }

    #[test]
    fn each_group_that_leads_to_root_is_a_warning_with_its_reason() {
        for (groups, expected) in [
            ("alice docker users", vec![("docker", CONTAINERS)]),
            ("wheel", vec![("wheel", SUDO)]),
            ("podman adm sudo", vec![("sudo", SUDO), ("podman", CONTAINERS)]),
        ] {
            let expected: Vec<(Grade, String)> = expected
                .into_iter()
                .map(|(name, why)| format!("this account is in the group {name}: {why}"))
                .map(|evidence| (Grade::Warn, evidence))
                .collect();
            assert_eq!(judged(groups), expected, "{groups}");
        }
        assert!(LEADING.into_iter().all(|(name, _)| judged(name).len() == 1));
    }

    #[test]
    fn where_none_does_nothing_more_than_that_is_claimed() {
        for groups in ["", "alice users adm kvm", "sudoers dockers", "Sudo"] {
            let claim = "no group of this account is one that is known to lead to root; what sudoers says was not looked at";
            assert_eq!(judged(groups), [(Grade::Pass, claim.to_owned())], "{groups}");
        }
    }

    #[test]
    fn root_needs_no_group_and_a_remedy_names_the_account() {
        let account = |is_root, name: Option<&str>| Account {
            is_root,
            name: name.map(str::to_owned),
            groups: vec!["sudo".to_owned()],
        };
        let root = judge(&account(true, Some("root")));
        assert!(root.len() == 1 && root[0].evidence.starts_with("this is root"), "{root:?}");
        for (name, begin) in [
            (Some("alice"), "sudo gpasswd -d alice sudo, and"),
            (None, "sudo gpasswd -d \"$USER\" sudo, and"),
        ] {
            let remedy = judge(&account(false, name)).remove(0).remedy.unwrap();
            assert!(remedy.starts_with(begin), "{remedy}");
        }
    }

    /// A process that was started before the account was put into a group does not have it, and what starts next will.
    #[test]
    fn what_a_login_would_give_counts_besides_what_this_process_has() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::for_tests(folder.path());
        // Root is on every machine; nobody has this group.
        (host.uid, host.gids) = (0, vec![61_235]);
        let roots = Group::from_gid(Gid::from_raw(0)).unwrap().unwrap().name;
        assert!(gather(&host).groups.contains(&roots), "{:?}", gather(&host));
    }

    #[tokio::test]
    async fn this_process_has_groups_and_they_have_names() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::for_tests(folder.path());
        assert!(gather(&host).groups.len() <= host.gids.len() + 64, "{:?}", gather(&host));
        assert!(!look(Arc::new(host)).await.is_empty());
        // Nobody has these numbers.
        let mut host = Host::for_tests(folder.path());
        (host.uid, host.gids) = (61_234, vec![61_235]);
        assert!(gather(&host).groups.is_empty());
    }
}
