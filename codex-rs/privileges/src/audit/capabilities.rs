//! Capabilities that lead to root: on files that the account may run, and in its living processes.
//!
//! Source: capabilities(7); `struct vfs_cap_data` of linux/capability.h.

mod processes;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use codex_config::shell_word;
use rustix::fs::lgetxattr;

pub(crate) use self::processes::look as processes;
use super::setuid::obedient::Obedient;
use super::walk::Walked;
use crate::finding::Finding;
use crate::subject::Subject;

const CAPABILITY: &str = "capability";

/// Those that lead to root, by number: capabilities(7).
const LEADING: [(u32, &str); 15] = [
    (0, "cap_chown"),
    (1, "cap_dac_override"),
    (2, "cap_dac_read_search"),
    (3, "cap_fowner"),
    (6, "cap_setgid"),
    (7, "cap_setuid"),
    (8, "cap_setpcap"),
    (16, "cap_sys_module"),
    (17, "cap_sys_rawio"),
    (19, "cap_sys_ptrace"),
    (21, "cap_sys_admin"),
    (27, "cap_mknod"),
    (31, "cap_setfcap"),
    (38, "cap_perfmon"),
    (39, "cap_bpf"),
];

/// These two map ids as /etc/subuid and /etc/subgid allow, and do nothing else with what they have: newuidmap(1).
const KNOWN: [(&str, u64); 2] = [("/usr/bin/newuidmap", 1 << 7), ("/usr/bin/newgidmap", 1 << 6)];

const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_1: u32 = 0x0100_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;

/// Files with capabilities.
pub(crate) fn look(subject: &Subject, walked: &Walked) -> Vec<Finding> {
    let leading: Vec<&(PathBuf, u64)> =
        walked.capable.iter().filter(|(_, lent)| !names(*lent).is_empty()).collect();
    if leading.is_empty() {
        return Vec::new();
    }
    let obedient = Obedient::of_this_system();
    let look = |(path, lent): &(PathBuf, u64)| {
        let facts = fs::symlink_metadata(path).ok()?; // It went while we looked.
        let owner = (facts.uid(), facts.gid(), facts.mode());
        judge(subject, path, *lent, owner, obedient.like(path).as_deref())
    };
    leading.into_iter().filter_map(look).collect()
}

/// What a file lends to whoever runs it, permitted or inheritable, by number; 0: nothing.
pub(super) fn of_file(path: &Path) -> u64 {
    let mut bytes = [0_u8; 64];
    let length = lgetxattr(path, c"security.capability", &mut bytes).unwrap_or(0);
    bytes.get(..length).and_then(lent).unwrap_or(0)
}

/// `None`: the kernel would not heed it either.
fn lent(attribute: &[u8]) -> Option<u64> {
    let (words, rest) = attribute.as_chunks::<4>();
    let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let is_whole = rest.is_empty();
    let revision = words.first()? & REVISION_MASK;
    // After the first word: what is permitted and what is inheritable, of the lower half, then of the upper half.
    match (revision, words.get(1..)?) {
        (REVISION_1, [permitted, inheritable]) if is_whole => {
            Some(u64::from(permitted | inheritable))
        }
        (REVISION_2, [permitted, inheritable, upper_permitted, upper_inheritable])
        // The last one is whose user namespace it counts in; ours is root's.
        | (REVISION_3, [permitted, inheritable, upper_permitted, upper_inheritable, 0])
            if is_whole =>
        {
            let (lower, upper) =
                (permitted | inheritable, upper_permitted | upper_inheritable);
            Some((u64::from(upper) << 32) | u64::from(lower))
        }
        _ => None,
    }
}

/// Of those that lead to root.
fn names(capabilities: u64) -> Vec<&'static str> {
    let has = |number: u32| (capabilities >> number) & 1 == 1;
    LEADING.iter().filter(|(number, _)| has(*number)).map(|(_, name)| *name).collect()
}

/// `like`: the program of the system that it is, or is a copy of, and that does whatever it is told.
fn judge(
    subject: &Subject,
    path: &Path,
    lent: u64,
    (uid, gid, mode): (u32, u32, u32),
    like: Option<&Path>,
) -> Option<Finding> {
    let is_known =
        uid == 0 && KNOWN.iter().any(|known| (Path::new(known.0), known.1) == (path, lent));
    let may_change = subject.may_write(uid, gid, mode);
    if is_known && !may_change {
        return None;
    }
    let (names, place) = (names(lent).join(", "), path.display());
    let what = format!("{place}, which lends {names}");
    let finding = if let Some(like) = like {
        let why = format!("it is what {} is, and does whatever it is told", like.display());
        Finding::open(CAPABILITY, what, why)
    } else if may_change {
        // A write takes them away, a shared mapping of the file does not.
        Finding::open(CAPABILITY, what, "the account can change what it does")
    } else {
        let why =
            "whoever runs it has them, and what it lets them be used for can't be told from here";
        Finding::undecided(CAPABILITY, what, why)
    };
    let evidence = format!("it belongs to uid {uid}, gid {gid}, its mode is {:04o}", mode & 0o7777);
    let remedy = format!("setcap -r {}", shell_word(&path.to_string_lossy()));
    Some(finding.seen(evidence).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::subject::testing::subject;

    const SETUID: u64 = 1 << 7;

    fn attribute(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn an_attribute_is_read_as_the_kernel_reads_it() {
        let upper = (1 << 38) | (1 << 39);
        for (words, expected) in [
            (&[REVISION_1 | 1, 0x80, 0][..], Some(SETUID)),
            (&[REVISION_2 | 1, 0x80, 0, 0, 0], Some(SETUID)),
            (&[REVISION_2, 0, 0x80, 0x40, 0x80], Some(SETUID | upper)),
            (&[REVISION_3 | 1, 0x80, 0, 0, 0, 0], Some(SETUID)),
            (&[REVISION_3 | 1, 0x80, 0, 0, 0, 100_000], None), // Counts in somebody's namespace.
            (&[REVISION_1, 0x80, 0, 0, 0], None),
            (&[REVISION_2, 0x80, 0], None),
            (&[0x0400_0000, 0x80, 0, 0, 0], None),
            (&[REVISION_2], None),
            (&[], None),
        ] {
            assert_eq!(lent(&attribute(words)), expected, "{words:x?}");
        }
        let mut odd = attribute(&[REVISION_1, 0x80, 0]);
        odd.push(0);
        assert_eq!(lent(&odd), None);
    }

    #[test]
    fn only_those_that_lead_to_root_are_named() {
        assert_eq!(names(SETUID | (1 << 13) | (1 << 10)), ["cap_setuid"]); // net_raw, net_bind_service.
        assert_eq!(names(u64::MAX).len(), LEADING.len());
        assert!(names(1 << 13).is_empty());
    }

    #[test]
    fn a_program_that_obeys_or_that_can_be_changed_is_open_and_others_are_undecided() {
        let us = subject(61_500, &[61_500]);
        let python = Some(Path::new("/usr/bin/python3"));
        for (path, lent, uid, mode, like, expected) in [
            ("/opt/py", SETUID, 0, 0o755, python, Some(Grade::Open)),
            ("/opt/x", SETUID, 61_500, 0o755, None, Some(Grade::Open)),
            ("/opt/x", SETUID, 0, 0o777, None, Some(Grade::Open)),
            ("/opt/x", SETUID, 0, 0o755, None, Some(Grade::Undecided)),
            ("/usr/bin/newuidmap", SETUID, 0, 0o755, None, None),
            ("/usr/bin/newuidmap", SETUID | 1, 0, 0o755, None, Some(Grade::Undecided)),
            ("/usr/bin/newuidmap", SETUID, 0, 0o777, None, Some(Grade::Open)),
            ("/opt/newuidmap", SETUID, 0, 0o755, None, Some(Grade::Undecided)),
        ] {
            let found = judge(&us, Path::new(path), lent, (uid, 0, mode), like);
            assert_eq!(found.map(|found| found.grade), expected, "{path} {lent:x} {uid} {mode:o}");
        }
    }
}
