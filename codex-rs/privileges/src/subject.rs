//! Whom an audit is about, and what they could act with.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use codex_config::shell_word;
use codex_path_trust::{Groups, Sticky, Trust, WayIn, Who, ways_in};
use nix::unistd::{Gid, Group, Uid, User};

use crate::account::Account;
use crate::audit::walk::is_sealed;
use crate::finding::{Closing, Finding};
use crate::leading::leading;

mod access_list;

use access_list::{AccessList, Asking};

const WRITE: u16 = 0o2;
const READ_WRITE_RUN: u32 = 0o7;

/// Whom an audit is about, and what they could act with.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) account: Account,
    /// The groups of a fresh login.
    pub(crate) fresh: BTreeSet<u32>,
    /// Those that only living processes of the account still have.
    pub(crate) stale: BTreeSet<u32>,
    /// Whether we are root; else much can't be seen.
    pub(crate) is_root: bool,
}

impl Subject {
    /// All groups, fresh and stale.
    pub(crate) fn gids(&self) -> BTreeSet<u32> {
        self.fresh.union(&self.stale).copied().collect()
    }

    fn has(&self, gid: u32) -> bool {
        self.fresh.contains(&gid) || self.stale.contains(&gid)
    }

    /// Whether it could write, now or after a chmod(2) of what is its own. Access control lists are not seen.
    pub(crate) fn may_write(&self, uid: u32, gid: u32, mode: u32) -> bool {
        uid == self.account.uid || self.may(0o2, uid, gid, mode)
    }

    /// Whether the kernel would let it: by the owner's bits, else the group's, else everybody's. `bits`: 4 read, 2
    /// write, 1 execute or search.
    ///
    /// Source: path_resolution(7).
    pub(crate) fn may(&self, bits: u32, uid: u32, gid: u32, mode: u32) -> bool {
        let class = if uid == self.account.uid {
            mode >> 6
        } else if self.has(gid) {
            mode >> 3
        } else {
            mode
        };
        class & READ_WRITE_RUN & bits == bits
    }

    /// What an access control list (acl(5)) says of these rights, which it alone decides; `None`: there is no list.
    pub(crate) fn by_list(&self, place: &Path, bits: u16) -> Option<bool> {
        let list = AccessList::read(place)?;
        let found = fs::symlink_metadata(place).ok()?;
        let has = |gid: u32| self.has(gid);
        let (owner, group) = (found.uid(), found.gid());
        Some(list.gives(bits, Asking { uid: self.account.uid, has: &has, owner, group }))
    }

    /// As [`Self::may`], for something that is there: where there is an access control list, that decides.
    pub(crate) fn may_at(&self, bits: u16, place: &Path, found: &Metadata) -> bool {
        let (uid, gid, mode) = (found.uid(), found.gid(), found.mode());
        let wanted = u32::from(bits);
        // A list gives nobody more than the group's bits or everybody's show.
        let may_be = |class: u32| class & wanted == wanted;
        let is_owner = uid == self.account.uid;
        if !is_owner && !may_be(mode >> 3) && !may_be(mode) {
            return false;
        }
        let by_list = if is_owner { None } else { self.by_list(place, bits) };
        by_list.unwrap_or_else(|| self.may(wanted, uid, gid, mode))
    }

    /// The ways in that this account has to what a path leads to. What is not there is one only where the account could
    /// make it; on a file system that nobody can write to there is none.
    pub(crate) fn ways_in(&self, path: &Path) -> Vec<WayIn> {
        let trust = Trust { accounts: [0].into(), groups: Groups::None, sticky: Sticky::OnTheWay };
        let is_ours = |way: &WayIn| self.has_way(way) && !is_sealed(&way.place);
        ways_in(path, &trust).into_iter().filter(is_ours).collect()
    }

    fn has_way(&self, way: &WayIn) -> bool {
        match &way.who {
            Who::Owner => way.owner == self.account.uid || self.may_write_at(&way.place),
            Who::Group { gid, .. } => {
                self.by_list(&way.place, WRITE).unwrap_or_else(|| self.has(*gid))
            }
            Who::Everyone => self.by_list(&way.place, WRITE).unwrap_or(true),
            Who::Unknown { .. } => {
                let missing = fs::symlink_metadata(&way.place).is_err();
                missing && way.place.parent().is_some_and(|folder| self.may_write_at(folder))
            }
        }
    }

    /// A place of somebody else's, who is not root.
    fn may_write_at(&self, place: &Path) -> bool {
        let Ok(found) = fs::symlink_metadata(place) else { return false };
        let is_place = !found.file_type().is_symlink() && !found.file_type().is_socket();
        let is_own = found.uid() == self.account.uid;
        is_place && (is_own || self.may_at(WRITE, place, &found))
    }

    /// A finding of what this account can change, with its ways in, what closes them, and whether we do.
    pub(crate) fn told(&self, finding: Finding, ways: &[WayIn]) -> Finding {
        let words: Vec<String> = ways.iter().map(|way| self.way_words(way)).collect();
        let mut remedies: Vec<String> = Vec::new();
        for remedy in ways.iter().map(|way| self.close_remedy(way)) {
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
        let finding = finding.seen(words.join("; ")).remedy(remedies.join(" && "));
        if !ways.is_empty() && ways.iter().all(|way| self.leaves(way)) {
            finding.closed_by(Closing::Groups)
        } else {
            finding
        }
    }

    /// Whether a way is closed when the account leaves its groups.
    fn leaves(&self, way: &WayIn) -> bool {
        match way.who {
            Who::Group { gid, .. } => {
                left_by(self, gid).is_some() && self.by_list(&way.place, WRITE).is_none()
            }
            _ => false,
        }
    }

    /// Whether the account has a way because of an access control list.
    fn is_by_list(&self, way: &WayIn) -> bool {
        let may_be = way.owner != self.account.uid && !matches!(way.who, Who::Unknown { .. });
        may_be && self.by_list(&way.place, WRITE) == Some(true)
    }

    /// A way in, for people.
    pub(crate) fn way_words(&self, way: &WayIn) -> String {
        let (place, account) = (way.place.display(), &self.account.name);
        if self.is_by_list(way) {
            return format!("{place} can be changed by {account} (an access control list lets it)");
        }
        match &way.who {
            Who::Owner if way.owner != self.account.uid => {
                let owner = account_name(way.owner);
                format!("{place} belongs to {owner} and can be changed by {account}")
            }
            Who::Group { gid, name: None } => {
                format!("{place} can be changed by the group {}", group_name(*gid))
            }
            Who::Unknown { .. } => {
                format!("{place} is not there, and this account can put it there")
            }
            _ => way.words(account_name),
        }
    }

    /// What root types to close it.
    pub(crate) fn close_remedy(&self, way: &WayIn) -> String {
        let place = shell_word(&way.place.to_string_lossy());
        if self.is_by_list(way) {
            return format!("setfacl -b {place} && chmod go-w {place}");
        }
        match way.who {
            Who::Owner if way.owner == self.account.uid => format!("chown -h 0:0 {place}"),
            Who::Owner | Who::Group { .. } | Who::Everyone => format!("chmod go-w {place}"),
            Who::Unknown { .. } => format!("look at what names it, and at {place}"),
        }
    }
}

/// What closes a way that a group is: we do, if the account can leave it.
pub(crate) fn left_by(subject: &Subject, gid: u32) -> Option<Closing> {
    let mut groups = subject.account.groups.iter();
    let membership = groups.find(|group| group.gid == gid && !group.is_primary)?;
    let is_leading = membership.name.as_deref().and_then(leading).is_some();
    (is_leading && subject.fresh.contains(&gid)).then_some(Closing::Groups)
}

/// An account by its name, else its number.
pub(crate) fn account_name(uid: u32) -> String {
    let entry = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    entry.map_or_else(|| format!("uid {uid}"), |entry| entry.name)
}

/// A group by its name, else its number.
pub(crate) fn group_name(gid: u32) -> String {
    let entry = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    entry.map_or_else(|| format!("gid {gid}"), |entry| entry.name)
}

#[cfg(test)]
pub(crate) mod testing {
    pub(crate) use super::access_list::testing::writable_by;
    use super::*;
    use crate::account::Membership;

    /// Somebody with these groups, the first of them primary.
    pub(crate) fn subject(uid: u32, gids: &[u32]) -> Subject {
        let membership = |gid: &u32| Membership {
            gid: *gid,
            name: Some(format!("g{gid}")),
            is_primary: *gid == gids[0],
        };
        let account = Account {
            name: "tst_u".to_owned(),
            uid,
            gid: gids[0],
            home: "/home/tst_u".into(),
            shell: "/bin/sh".into(),
            groups: gids.iter().map(membership).collect(),
        };
        let fresh = account.gids();
        let is_root = nix::unistd::geteuid().is_root();
        Subject { account, fresh, stale: BTreeSet::new(), is_root }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::testing::subject;
    use super::*;

    #[test]
    fn bits_count_as_the_kernel_counts_them() {
        let us = Subject { stale: [70].into(), ..subject(61_500, &[61_500, 60]) };
        for (bits, uid, gid, mode, expected) in [
            (0o4, 61_500, 1, 0o400, true),
            (0o4, 61_500, 60, 0o044, false), // The owner's bits alone.
            (0o2, 0, 60, 0o020, true),
            (0o2, 0, 60, 0o002, false),
            (0o2, 0, 70, 0o020, true),
            (0o2, 0, 80, 0o020, false),
            (0o6, 0, 80, 0o006, true),
            (0o6, 0, 80, 0o004, false),
            (0o1, 0, 80, 0o701, true),
        ] {
            assert_eq!(us.may(bits, uid, gid, mode), expected, "{bits:o} {uid} {gid} {mode:o}");
        }
        assert!(us.may_write(61_500, 1, 0o000), "it can chmod what is its own");
        assert!(!us.may_write(0, 80, 0o755));
    }

    #[test]
    fn a_way_in_is_one_that_this_account_has() {
        if !crate::processes::samples::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        let us = subject(61_500, &[61_500, 61_501]);
        let made = |name: &str, uid, gid, mode| {
            let path = top.join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(uid), Some(gid)).unwrap();
            path
        };
        for (name, uid, gid, mode, expected) in [
            ("roots", 0, 0, 0o644, None),
            ("ours", 61_500, 0, 0o600, Some("belongs to uid 61500")),
            ("groups", 0, 61_501, 0o664, Some("can be changed by the group gid 61501")),
            ("another groups", 0, 61_502, 0o664, None),
            ("everybodys", 0, 0, 0o666, Some("can be changed by everyone")),
            ("strangers", 61_509, 0, 0o644, None),
        ] {
            let ways = us.ways_in(&made(name, uid, gid, mode));
            let words: Vec<String> = ways.iter().map(|way| us.way_words(way)).collect();
            let place = top.join(name).display().to_string();
            let expected = expected.map(|expected| format!("{place} {expected}"));
            assert_eq!(words, Vec::from_iter(expected), "{name}");
        }
        symlink(top.join("ours"), top.join("link")).unwrap();
        assert_eq!(us.ways_in(&top.join("link")).len(), 1);
        assert!(us.ways_in(&top.join("nothing")).is_empty());
        chown(&top, Some(61_500), None).unwrap();
        let ways = us.ways_in(&top.join("nothing"));
        assert!(!ways.is_empty());
        assert!(us.close_remedy(&ways[0]).starts_with("chown -h 0:0 /"));
    }

    /// Of the same mode, and only the list tells them apart.
    #[test]
    fn a_list_counts_for_whom_it_names() {
        if !crate::processes::samples::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        let us = subject(61_500, &[61_500, 61_501]);
        for (uid, expected) in [(61_500, true), (61_509, false)] {
            let path = top.join(uid.to_string());
            fs::write(&path, "").unwrap();
            chown(&path, Some(0), Some(61_501)).unwrap();
            let list = testing::writable_by(uid);
            let flags = rustix::fs::XattrFlags::empty();
            if rustix::fs::setxattr(&path, c"system.posix_acl_access", &list, flags).is_err() {
                return; // A file system without lists.
            }
            let ways = us.ways_in(&path);
            assert_eq!((us.by_list(&path, 0o2), !ways.is_empty()), (Some(expected), expected));
            if let [way] = ways.as_slice() {
                assert!(us.way_words(way).contains("tst_u (an access control list lets it)"));
                assert!(us.close_remedy(way).starts_with("setfacl -b /"));
            }
        }
    }

    #[test]
    fn what_is_told_is_closed_by_leaving_groups_only_if_each_way_is_one() {
        let mut us = subject(61_500, &[61_500, 61_501, 61_502]);
        us.account.groups[1].name = Some("docker".to_owned());
        us.stale.insert(61_503);
        let way = |place: &str, who| WayIn { place: place.into(), owner: 0, who };
        let of = |gid| way("/no-such-folder/a b", Who::Group { gid, name: None });
        let everyone = || way("/no-such-folder/x", Who::Everyone);
        let left = Some(Closing::Groups);
        for (ways, expected) in [
            (vec![of(61_501)], left),
            (vec![of(61_501), of(61_501)], left),
            (vec![of(61_501), of(61_502)], None),
            (vec![of(61_503)], None),
            (vec![of(61_501), everyone()], None),
            (vec![], None),
        ] {
            let finding = us.told(Finding::open("x", "y", "z"), &ways);
            assert_eq!(finding.closed_by, expected, "{ways:?}");
        }
        let finding = us.told(Finding::open("x", "y", "z"), &[of(61_501), everyone()]);
        assert_eq!(
            finding.remedy,
            "chmod go-w '/no-such-folder/a b' && chmod go-w /no-such-folder/x"
        );
        assert!(finding.evidence.ends_with("; /no-such-folder/x can be changed by everyone"));
    }
}
