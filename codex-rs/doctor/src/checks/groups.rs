//! Groups that lead to root: who is in one can take the key from a proxy that runs as root, and so can an agent that
//! runs as this account.
//!
//! Both the groups of this process and those that a new login, or `sg`, would give. Names are all it goes by: what
//! sudoers, polkit or a socket's mode say is not looked at, so it never says that there is no way.

use std::collections::BTreeSet;
use std::sync::Arc;

use codex_privileges::{LEADING, Leading};
use nix::unistd::{Gid, Group, Uid, User};

use crate::check::blocking;
use crate::finding::Finding;
use crate::host::Host;

const ID: &str = "sudo";

const REMEDY: &str = "codex proxy relinquish-sudo, which also ends what still has the group, and tries whether sudo is really gone; \
    or let the agent run as another account";

/// The groups of an account.
#[derive(Debug)]
struct Account {
    is_root: bool,
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
    Account { is_root: host.uid == 0, groups: gids.into_iter().filter_map(name).collect() }
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
    let is_in = |group: &str| account.groups.iter().any(|name| name == group);
    let leading = LEADING.iter().filter(|leading| is_in(leading.group));
    let findings: Vec<Finding> = leading
        .map(|Leading { group, why }| {
            Finding::warn(ID, format!("this account is in the group {group}: {why}"), REMEDY)
        })
        .collect();
    if findings.is_empty() {
        let evidence = "no group of this account is one that is known to lead to root; what else leads there: codex proxy relinquish-sudo --plan";
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
        let account = Account { is_root: false, groups };
        let findings = judge(&account).into_iter();
        findings.map(|finding| (finding.grade, finding.evidence)).collect()
    }

    #[test]
    fn each_group_that_leads_to_root_is_a_warning_with_its_reason() {
        for (groups, expected) in [
            ("alice docker users", vec!["docker"]),
            ("wheel", vec!["wheel"]),
            ("podman adm sudo", vec!["sudo", "podman"]),
        ] {
            let why = |name| codex_privileges::leading(name).unwrap().why;
            let expected: Vec<(Grade, String)> = expected
                .into_iter()
                .map(|name| format!("this account is in the group {name}: {}", why(name)))
                .map(|evidence| (Grade::Warn, evidence))
                .collect();
            assert_eq!(judged(groups), expected, "{groups}");
        }
        assert!(LEADING.iter().all(|leading| judged(leading.group).len() == 1));
    }

    #[test]
    fn where_none_does_nothing_more_than_that_is_claimed() {
        for groups in ["", "alice users adm kvm", "sudoers dockers", "Sudo"] {
            let claim = "no group of this account is one that is known to lead to root; what else leads there: codex proxy relinquish-sudo --plan";
            assert_eq!(judged(groups), [(Grade::Pass, claim.to_owned())], "{groups}");
        }
    }

    #[test]
    fn root_needs_no_group_and_for_others_there_is_a_remedy() {
        let account = |is_root| Account { is_root, groups: vec!["sudo".to_owned()] };
        let root = judge(&account(true));
        assert!(root.len() == 1 && root[0].evidence.starts_with("this is root"), "{root:?}");
        let one = judge(&account(false)).remove(0);
        assert!(one.remedy.is_some_and(|remedy| remedy.starts_with("codex proxy relinquish-sudo")));
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
