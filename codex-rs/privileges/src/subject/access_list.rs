//! What an access control list lets an account do.
//!
//! Source: acl(5) "ACCESS CHECK ALGORITHM"; the kernel's `include/uapi/linux/posix_acl_xattr.h`.

use std::path::Path;

use rustix::fs::lgetxattr;
use rustix::io::Errno;

const NAME: &std::ffi::CStr = c"system.posix_acl_access";
/// Before the entries there is a version.
const HEAD_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
/// Nearly all lists.
const SHORT_BYTES: usize = 512;
/// No attribute is longer.
const LONG_BYTES: usize = 64 * 1024;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// One line of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessList(Vec<Entry>);

/// Whom a list is asked about, and whose the thing is.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) uid: u32,
    pub(super) has: &'a dyn Fn(u32) -> bool,
    pub(super) owner: u32,
    pub(super) group: u32,
}

impl AccessList {
    /// Of what a path names; a link has none.
    pub(super) fn read(place: &Path) -> Option<Self> {
        let mut short = [0_u8; SHORT_BYTES];
        match lgetxattr(place, NAME, &mut short) {
            Ok(length) => Self::parse(short.get(..length)?),
            Err(Errno::RANGE) => {
                let mut long = vec![0_u8; LONG_BYTES];
                let length = lgetxattr(place, NAME, long.as_mut_slice()).ok()?;
                Self::parse(long.get(..length)?)
            }
            Err(_) => None,
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let entries = bytes.get(HEAD_BYTES..)?.chunks_exact(ENTRY_BYTES);
        let entries: Vec<Entry> = entries.filter_map(Entry::parse).collect();
        (!entries.is_empty()).then_some(Self(entries))
    }

    /// Whether it gives all of these rights.
    pub(super) fn gives(&self, bits: u16, asking: Asking<'_>) -> bool {
        let of = |tag: u16| self.0.iter().filter(move |entry| entry.tag == tag);
        let mask = of(MASK).next().map_or(u16::MAX, |entry| entry.permissions);
        let has_all = |permissions: u16| permissions & bits == bits;
        if asking.owner == asking.uid {
            return of(USER_OBJ).any(|entry| has_all(entry.permissions));
        }
        if let Some(named) = of(USER).find(|entry| entry.id == asking.uid) {
            return has_all(named.permissions & mask);
        }
        let owning = of(GROUP_OBJ).filter(|_| (asking.has)(asking.group));
        let mut groups = owning.chain(of(GROUP).filter(|entry| (asking.has)(entry.id))).peekable();
        if groups.peek().is_some() {
            return groups.any(|entry| has_all(entry.permissions & mask));
        }
        of(OTHER).any(|entry| has_all(entry.permissions))
    }
}

impl Entry {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let short = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let id = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
        Some(Self { tag: short(0)?, permissions: short(2)?, id })
    }
}

/// For tests: as the kernel takes it.
#[cfg(test)]
pub(crate) mod testing {
    /// Each: a tag, its rights, and whom it names.
    pub(crate) fn bytes(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// One that lets this account write, and nobody else.
    pub(crate) fn writable_by(uid: u32) -> Vec<u8> {
        let nobody = u32::MAX;
        bytes(&[
            (super::USER_OBJ, 6, nobody),
            (super::USER, 6, uid),
            (super::GROUP_OBJ, 4, nobody),
            (super::MASK, 6, nobody),
            (super::OTHER, 4, nobody),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u32 = 61_500;
    const NOBODY: u32 = u32::MAX;

    #[test]
    fn a_list_gives_what_the_kernel_gives() {
        let base = [(USER_OBJ, 7, NOBODY), (GROUP_OBJ, 4, NOBODY), (OTHER, 4, NOBODY)];
        let mask = |permissions| (MASK, permissions, NOBODY);
        for (entries, group, bits, expected) in [
            (vec![(USER, 6, US), mask(7)], 0, 2, true),
            (vec![(USER, 6, US), mask(5)], 0, 2, false),
            (vec![(USER, 6, 61_599), mask(7)], 0, 2, false), // Another account's.
            (vec![(USER, 0, US), (GROUP, 7, 61_501), mask(7)], 0, 2, false), // Its own entry alone.
            (vec![(GROUP, 6, 61_501), mask(7)], 0, 2, true),
            (vec![(GROUP, 6, 61_599), mask(7)], 0, 2, false),
            (vec![(GROUP, 2, 61_501), mask(7)], 61_502, 6, false), // No single entry gives both.
            (vec![(GROUP, 6, 61_501), mask(6)], 61_502, 6, true),
            (vec![mask(7)], 61_502, 4, true),
            (vec![mask(7)], 0, 4, true),
            (vec![mask(7)], 0, 2, false),
        ] {
            let all: Vec<_> = base.iter().copied().chain(entries).collect();
            let list = AccessList::parse(&testing::bytes(&all)).unwrap();
            let has = |gid: u32| [61_501, 61_502].contains(&gid);
            let asking = Asking { uid: US, has: &has, owner: 0, group };
            assert_eq!(list.gives(bits, asking), expected, "{all:?} {group} {bits}");
            assert!(list.gives(7, Asking { owner: US, ..asking }));
        }
        for wrong in [&[][..], &[2, 0, 0], &[2, 0, 0, 0], &[2, 0, 0, 0, 1, 0]] {
            assert_eq!(AccessList::parse(wrong), None);
        }
    }
}
