//! Through what an account may use a file, a socket or a device: owner, group, everyone, or an access control list.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use codex_config::shell_word;

use crate::subject::{Subject, account_name, group_name};

/// A file, as far as it matters who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

/// Through what the account may use something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Through {
    Owner,
    Group(u32),
    Everyone,
    /// An access control list.
    List,
}

impl Owned {
    pub(super) fn at(path: PathBuf, found: &fs::Metadata) -> Self {
        Self { path, uid: found.uid(), gid: found.gid(), mode: found.mode() }
    }

    /// Through what the account has these rights, going by owner, group and mode.
    pub(super) fn through(&self, subject: &Subject, bits: u32) -> Option<Through> {
        if !subject.may(bits, self.uid, self.gid, self.mode) {
            return None;
        }
        Some(if self.uid == subject.account.uid {
            Through::Owner
        } else if self.mode & bits == bits {
            Through::Everyone
        } else {
            Through::Group(self.gid)
        })
    }

    /// The same, but where there is an access control list, that decides.
    pub(super) fn through_now(&self, subject: &Subject, bits: u16) -> Option<Through> {
        let wanted = u32::from(bits);
        if self.uid == subject.account.uid {
            return self.through(subject, wanted);
        }
        match subject.by_list(&self.path, bits) {
            None => self.through(subject, wanted),
            Some(false) => None,
            Some(true) if self.mode & wanted == wanted => Some(Through::Everyone),
            Some(true) => Some(Through::List),
        }
    }

    pub(super) fn words(&self) -> String {
        let (owner, group) = (account_name(self.uid), group_name(self.gid));
        format!("{} {owner} {group} {:04o}", self.path.display(), self.mode & 0o7777)
    }
}

impl Through {
    pub(super) fn words(self, subject: &Subject) -> String {
        let account = &subject.account.name;
        match self {
            Self::Owner => format!("it belongs to {account}"),
            Self::Group(gid) if subject.fresh.contains(&gid) => {
                format!("{account} is in the group {}", group_name(gid))
            }
            Self::Group(gid) => {
                format!("processes of {account} still have the group {}", group_name(gid))
            }
            Self::Everyone => "any account may use it".to_owned(),
            Self::List => format!("an access control list lets {account} use it"),
        }
    }
}

/// How a group is left.
pub(super) fn leave_remedy(subject: &Subject, gid: u32) -> String {
    let (account, group) = (shell_word(&subject.account.name), group_name(gid));
    if subject.account.gid == gid {
        format!(
            "give {account} another primary group (usermod -g GROUP {account}), and end what runs as {account}"
        )
    } else if subject.fresh.contains(&gid) {
        format!("gpasswd -d {account} {}, and end what runs as {account}", shell_word(&group))
    } else {
        format!("end what runs as {account} and still has the group {group}")
    }
}

/// Whether the account may search every folder on the way.
pub(super) fn is_reachable(subject: &Subject, path: &Path) -> bool {
    let may_search = |folder: &Path| {
        let found = fs::metadata(folder);
        found.is_ok_and(|found| subject.may_at(0o1, folder, &found))
    };
    path.ancestors().skip(1).all(may_search)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Closing;
    use crate::subject::left_by;
    use crate::subject::testing::{subject, writable_by};

    #[test]
    fn a_group_is_left_if_it_is_known_to_lead_to_root_and_not_the_primary_one() {
        let mut us = subject(61_500, &[61_500, 61_501, 61_502]);
        us.account.groups[0].name = Some("disk".to_owned());
        us.account.groups[1].name = Some("docker".to_owned());
        us.stale.insert(61_503);
        for (gid, expected) in [
            (61_500, None),
            (61_501, Some(Closing::Groups)),
            (61_502, None),
            (61_503, None),
            (61_504, None),
        ] {
            assert_eq!(left_by(&us, gid), expected, "{gid}");
        }
        assert!(leave_remedy(&us, 61_500).contains("usermod -g"));
        assert!(leave_remedy(&us, 61_501).starts_with("gpasswd -d tst_u "));
        assert!(leave_remedy(&us, 61_503).starts_with("end what runs as tst_u"));
    }

    #[test]
    fn whoever_cannot_search_a_folder_does_not_reach_what_is_in_it() {
        let us = subject(61_500, &[61_500]);
        assert!(is_reachable(&us, Path::new("/etc/passwd")));
        assert!(!is_reachable(&us, Path::new("/no-such-folder/x")));
    }

    #[test]
    fn a_list_decides_who_may_use_a_thing() {
        if !crate::processes::samples::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let us = subject(61_500, &[61_500]);
        for (uid, expected) in [(61_500, Some(Through::List)), (61_509, None)] {
            let path = folder.path().join(uid.to_string());
            fs::write(&path, "").unwrap();
            let flags = rustix::fs::XattrFlags::empty();
            let list = writable_by(uid);
            if rustix::fs::setxattr(&path, c"system.posix_acl_access", &list, flags).is_err() {
                return; // A file system without lists.
            }
            let owned = Owned::at(path.clone(), &fs::symlink_metadata(&path).unwrap());
            assert_eq!(owned.through_now(&us, 0o2), expected);
        }
    }
}
