//! Whom the doctor trusts with what a path leads to, and how a way in is closed. [`codex_path_trust`] finds them.

use std::fmt;
use std::path::Path;

use codex_config::regular::read_regular;
use codex_path_trust::{Groups, Lists, Sticky, Trust, WayIn, Who};

use crate::listing::quoted;

/// Of `passwd` and `group` each, in bytes.
const LISTS_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// These accounts, and groups that none but they are in, as the lists in this folder (`/etc`) have it. On the way the
/// sticky bit will do; but at the end something could be added.
pub(crate) fn trusting(accounts: impl IntoIterator<Item = u32>, lists: &Path) -> Trust {
    let list = |name: &str| {
        let bytes = read_regular(&lists.join(name), LISTS_LIMIT_BYTES).ok().flatten();
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    Trust {
        accounts: accounts.into_iter().collect(),
        groups: Groups::OfTrusted(Lists { passwd: list("passwd"), group: list("group") }),
        sticky: Sticky::OnTheWay,
    }
}

/// An account and its group, as chown(1) takes them. With the account alone a file keeps a group that is another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.uid, self.gid)
    }
}

/// What `uid` types to close a way in, where `owner` ought to own the place.
pub(crate) fn remedy(way: &WayIn, uid: u32, owner: Owner) -> String {
    let place = quoted(&way.place);
    match way.who {
        Who::Owner => format!("sudo chown -h {owner} {place}"),
        Who::Group { .. } | Who::Everyone => {
            let sudo = if way.owner == uid || uid == 0 { "" } else { "sudo " };
            format!("{sudo}chmod go-w {place}")
        }
        Who::Unknown { .. } => format!("look at it by hand: ls -ld {place}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use codex_path_trust::ways_in;
    use nix::unistd::{getegid, geteuid};

    use super::*;

    /// Where the ways in to a folder below it are, by the lists in it.
    fn ways(top: &Path) -> Vec<WayIn> {
        ways_in(&top.join("shared"), &trusting([0, geteuid().as_raw()], top))
    }

    #[test]
    fn a_group_is_trusted_if_the_lists_say_who_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::create_dir(top.join("shared")).unwrap();
        fs::set_permissions(top.join("shared"), fs::Permissions::from_mode(0o775)).unwrap();
        let (uid, gid) = (geteuid(), getegid().as_raw());
        let group = |name: Option<&str>| Who::Group { gid, name: name.map(str::to_owned) };
        let way = |who| vec![WayIn { place: top.join("shared"), owner: uid.as_raw(), who }];
        assert_eq!(ways(&top), way(group(None)), "there are no lists");
        fs::write(top.join("group"), format!("team:x:{gid}:me\n")).unwrap();
        assert_eq!(ways(&top), way(group(Some("team"))), "nobody knows who `me` is");
        fs::write(top.join("passwd"), format!("me:x:{uid}:{gid}:Me:/home/me:/bin/sh\n")).unwrap();
        assert!(ways(&top).is_empty());
        fs::set_permissions(top.join("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(ways(&top), way(Who::Everyone), "something could be added");
    }

    #[test]
    fn each_way_in_has_a_remedy() {
        let group = || Who::Group { gid: 7, name: None };
        let unknown = Who::Unknown { because: "gone".to_owned() };
        for (owner, who, expected) in [
            (7, Who::Owner, "sudo chown -h 0:0 '/opt/a b'"),
            (1_000, Who::Everyone, "chmod go-w '/opt/a b'"),
            (1_000, group(), "chmod go-w '/opt/a b'"),
            (0, group(), "sudo chmod go-w '/opt/a b'"),
            (0, unknown, "look at it by hand: ls -ld '/opt/a b'"),
        ] {
            let way = WayIn { place: "/opt/a b".into(), owner, who };
            assert_eq!(remedy(&way, 1_000, Owner::ROOT), expected, "{way:?}");
        }
        let way = WayIn { place: "/opt".into(), owner: 7, who: Who::Owner };
        let us = Owner { uid: 1_000, gid: 100 };
        assert_eq!(remedy(&way, 1_000, us), "sudo chown -h 1000:100 /opt");
    }
}
