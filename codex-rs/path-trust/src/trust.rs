//! What counts as closed. A decision from an owner, a group and a mode; but for the name of a group it asks nobody.
//!
//! Source: inode(7), unlink(2) for the sticky bit. Where there is an access control list (acl(5)) that lets anybody write,
//! the group's bits show that, whoever it is; no group is trusted there.

use std::collections::BTreeSet;

use nix::unistd::{Gid, Group};

use crate::walk::Facts;
use crate::{Lists, Who};

const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// What counts as closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Accounts whose changes are no surprise. Root is one of them only where it is named.
    pub accounts: BTreeSet<u32>,
    /// Groups that may write.
    pub groups: Groups,
    /// Where the sticky bit will do.
    pub sticky: Sticky,
}

/// Groups that may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// None, whoever is in it.
    None,
    /// These, whoever is in them.
    These {
        /// By number.
        gids: Vec<u32>,
        /// By the name that this system has for a number (getgrgid(3)).
        names: Vec<String>,
    },
    /// Those in which, as these lists have it, there are none but trusted accounts.
    OfTrusted(Lists),
}

/// Where a folder that others may write to counts as closed if it has the sticky bit, as /tmp has: others can add what
/// is theirs there, but can't move or remove what is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// Nowhere.
    Nowhere,
    /// On the way, but not at the end of it: for who asks for all that lies in a folder.
    OnTheWay,
    /// At the end too: for who makes one thing in a folder, and does not mind what others add.
    Everywhere,
}

impl Trust {
    /// To whom else something is open, on the way or at the end of it.
    pub(crate) fn opened_to(&self, facts: Facts, is_end: bool) -> Option<Who> {
        if !self.accounts.contains(&facts.uid) {
            return Some(Who::Owner);
        }
        let is_sticky = facts.is_folder && facts.mode & STICKY != 0; // On a file the bit means nothing.
        // The bits of a link mean nothing at all: nobody can change what it says.
        if facts.is_link || (is_sticky && self.sticky.will_do(is_end)) {
            return None;
        }
        if facts.mode & OTHERS_WRITE != 0 {
            return Some(Who::Everyone);
        }
        if facts.mode & GROUP_WRITES == 0 {
            return None;
        }
        if facts.has_acl {
            return Some(Who::Group { gid: facts.gid, name: None });
        }
        let (name, may_write) = self.groups.look_up(facts.gid, &self.accounts);
        (!may_write).then_some(Who::Group { gid: facts.gid, name })
    }
}

impl Groups {
    /// A group's name, if it was looked for, and whether it may write.
    fn look_up(&self, gid: u32, accounts: &BTreeSet<u32>) -> (Option<String>, bool) {
        match self {
            Self::None => (None, false),
            Self::These { gids, .. } if gids.contains(&gid) => (None, true),
            Self::These { names, .. } => {
                let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
                let name = group.map(|group| group.name);
                let is_named = name.as_ref().is_some_and(|name| names.contains(name));
                (name, is_named)
            }
            Self::OfTrusted(lists) => lists.look_up(gid, accounts),
        }
    }
}

impl Sticky {
    fn will_do(self, is_end: bool) -> bool {
        match self {
            Self::Nowhere => false,
            Self::OnTheWay => !is_end,
            Self::Everywhere => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(groups: Groups, sticky: Sticky) -> Trust {
        Trust { accounts: [0, 1_000].into(), groups, sticky }
    }

    fn facts(uid: u32, mode: u32) -> Facts {
        Facts { uid, gid: 7, mode, is_folder: false, is_link: false, has_acl: false }
    }

    fn folder(mode: u32) -> Facts {
        Facts { is_folder: true, ..facts(0, mode) }
    }

    fn group(gid: u32) -> Who {
        Who::Group { gid, name: None }
    }

    #[test]
    fn the_bits_count_and_a_link_has_none() {
        let link = |uid| Facts { is_link: true, ..facts(uid, 0o777) };
        let trust = trust(Groups::None, Sticky::OnTheWay);
        for (facts, is_end, expected) in [
            (facts(0, 0o755), true, None),
            (facts(1_000, 0o644), true, None),
            (facts(1_001, 0o400), true, Some(Who::Owner)),
            (facts(0, 0o664), true, Some(group(7))),
            (facts(0, 0o666), true, Some(Who::Everyone)),
            (facts(0, 0o1666), false, Some(Who::Everyone)),
            (folder(0o775), false, Some(group(7))),
            (Facts { has_acl: true, ..folder(0o755) }, false, None),
            (link(0), true, None),
            (link(1_001), false, Some(Who::Owner)),
        ] {
            assert_eq!(trust.opened_to(facts, is_end), expected, "{facts:?}");
        }
    }

    #[test]
    fn the_sticky_bit_will_do_where_that_is_said() {
        let (everyone, group) = (Some(Who::Everyone), Some(group(7)));
        for (sticky, way, end) in [
            (Sticky::Nowhere, false, false),
            (Sticky::OnTheWay, true, false),
            (Sticky::Everywhere, true, true),
        ] {
            let trust = trust(Groups::None, sticky);
            for (is_end, will_do) in [(false, way), (true, end)] {
                for (mode, who) in [(0o1777, &everyone), (0o1770, &group)] {
                    let expected = who.clone().filter(|_| !will_do);
                    assert_eq!(trust.opened_to(folder(mode), is_end), expected, "{sticky:?}");
                }
                // Whose it is counts in any case.
                let strangers = Facts { uid: 1_001, ..folder(0o1777) };
                assert_eq!(trust.opened_to(strangers, is_end), Some(Who::Owner));
                assert_eq!(trust.opened_to(folder(0o777), is_end), everyone);
            }
        }
    }

    #[test]
    fn a_group_may_write_that_is_named_and_then_not_everybody() {
        let named = Group::from_gid(Gid::from_raw(0)).unwrap();
        let names = named.iter().map(|group| group.name.clone()).collect();
        let these = Groups::These { gids: vec![7], names };
        let lists = Lists { passwd: String::new(), group: "few:x:8:\n".to_owned() };
        for (groups, gid, expected) in [
            (Groups::None, 7, false),
            (these.clone(), 7, true),
            (these.clone(), 0, named.is_some()),
            (these, 61_234, false),
            (Groups::OfTrusted(lists.clone()), 8, true),
            (Groups::OfTrusted(lists), 7, false),
        ] {
            let trust = trust(groups, Sticky::Everywhere);
            let opened_to = |mode| trust.opened_to(Facts { gid, ..folder(mode) }, true);
            assert_eq!(opened_to(0o775).is_none(), expected, "{gid}, {trust:?}");
            assert_eq!(opened_to(0o777), Some(Who::Everyone));
        }
    }

    /// What a list grants shows in the group's bits, whoever the group is.
    #[test]
    fn no_group_is_trusted_where_there_is_a_list() {
        let trusted = Groups::These { gids: vec![7], names: Vec::new() };
        let trust = trust(trusted, Sticky::OnTheWay);
        assert_eq!(trust.opened_to(folder(0o775), true), None);
        assert_eq!(trust.opened_to(Facts { has_acl: true, ..folder(0o775) }, true), Some(group(7)));
    }
}
