//! What life is like for somebody who has no sudo any more.

use crate::audit::{Administrators, Audit};

/// Groups whose members start containers or virtual machines.
const CONTAINERS: [&str; 5] = ["docker", "podman", "lxd", "incus-admin", "libvirt"];

pub(super) fn sentences(audit: &Audit) -> Vec<String> {
    told(&audit.account.name, &audit.leave, &audit.others)
}

fn told(name: &str, leave: &[String], others: &Administrators) -> Vec<String> {
    let mut told = vec![format!(
        "{name} can't become root any more, and no program that runs as {name} can, with or without its password"
    )];
    told.extend(match helper(others) {
        Some(who) => [
            format!("a proxy that runs goes on; after a reboot there is none until {who} starts it"),
            format!("a new key (`codex proxy rotate-key`) can be given by who started the proxy, and by {who}"),
            format!("updates and new packages are installed by {who}"),
            format!("only {who} can give sudo back; the journal says which commands do it"),
        ],
        None => [
            "a proxy that runs goes on; after a reboot nobody on this system can start it as root".to_owned(),
            "a new key (`codex proxy rotate-key`) can be given by who started the proxy alone".to_owned(),
            "nobody on this system can install updates or new packages".to_owned(),
            "sudo can be given back only from outside: a rescue system, or a console of the host's".to_owned(),
        ],
    });
    let of_containers = leave.iter().filter(|group| CONTAINERS.contains(&group.as_str()));
    told.extend(of_containers.map(|group| format!("{name} can't use what the group {group} is for any more: containers, machines and their files")));
    told
}

/// Who is left that can do what root does; `None`: nobody.
fn helper(others: &Administrators) -> Option<String> {
    let mut all: Vec<String> = others.others.iter().take(3).cloned().collect();
    if others.others.len() > all.len() {
        all.push(format!("{} more", others.others.len() - all.len()));
    }
    if others.root_has_password {
        all.push("who knows root's password".to_owned());
    }
    if others.root_has_keys {
        all.push("who has a key to root's login".to_owned());
    }
    let last = all.pop()?;
    Some(if all.is_empty() { last } else { format!("{} or {last}", all.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(names: &[&str], root_has_password: bool) -> Administrators {
        let others = names.iter().map(|&name| name.to_owned()).collect();
        Administrators { others, root_has_password, ..Administrators::default() }
    }

    #[test]
    fn whoever_is_left_is_named() {
        for (names, root_has_password, expected) in [
            (&["bob"][..], false, Some("bob")),
            (&["bob"], true, Some("bob or who knows root's password")),
            (&["a", "b", "c", "d", "e"], false, Some("a, b, c or 2 more")),
            (&[], true, Some("who knows root's password")),
            (&[], false, None),
        ] {
            assert_eq!(helper(&others(names, root_has_password)).as_deref(), expected, "{names:?}");
        }
    }

    #[test]
    fn a_sole_administrator_reads_that_nobody_is_left() {
        let told = told("alice", &["sudo".to_owned(), "docker".to_owned()], &others(&[], false));
        assert!(told[1].contains("nobody on this system"), "{told:?}");
        assert!(told[5].contains("the group docker"), "{told:?}");
        assert_eq!(told.len(), 6);
    }
}
