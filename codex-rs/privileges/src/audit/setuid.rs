//! Files that lend another account, or a group that leads to root, to whoever runs them.
//!
//! What a package has brought is taken to do what it is for, unless it does whatever it is told. What nobody has
//! brought may be anything.

pub(super) mod obedient;
pub(super) mod packages;

use std::path::Path;

use codex_config::shell_word;

use self::obedient::Obedient;
use self::packages::Owner;
use super::walk::{FileFacts, Walked};
use crate::finding::Finding;
use crate::subject::{Subject, account_name, group_name};

const SETUID: &str = "setuid";
const SETUID_BIT: u32 = 0o4000;
const SETGID_FOR_PROGRAMS: u32 = 0o2010;

/// The walk has kept those that the account may run.
pub(crate) fn look(subject: &Subject, walked: &Walked) -> Vec<Finding> {
    if walked.setuid.is_empty() {
        return Vec::new();
    }
    let obedient = Obedient::of_this_system();
    let paths: Vec<&Path> = walked.setuid.iter().map(|file| file.path.as_path()).collect();
    let owners = packages::owners(&paths);
    let files = walked.setuid.iter().zip(owners);
    files
        .filter_map(|(file, owner)| {
            judge(subject, file, &owner, obedient.like(&file.path).as_deref())
        })
        .collect()
}

/// `like`: the program of the system that it is, or is a copy of, and that does whatever it is told.
fn judge(
    subject: &Subject,
    file: &FileFacts,
    owner: &Owner,
    like: Option<&Path>,
) -> Option<Finding> {
    let (path, lent) = (file.path.display(), lent(subject, file));
    let what = format!("{path}, which runs as {lent}");
    let finding = if let Some(like) = like {
        let why = format!("it is what {} is, and does whatever it is told", like.display());
        Finding::open(SETUID, what, why)
    } else if subject.may_write(file.uid, file.gid, file.mode) {
        // A write takes the bits away, a shared mapping of the file does not.
        Finding::open(SETUID, what, "the account can change what it does")
    } else {
        let why = match owner {
            Owner::Package(_) => return None,
            Owner::Nobody => "no package has brought it, and what it does can't be told from here",
            Owner::Unknown => {
                "which package has brought it can't be told on this system, nor what it does"
            }
        };
        Finding::undecided(SETUID, what, why)
    };
    let brought = match owner {
        Owner::Package(package) => format!(", brought by {package}"),
        Owner::Nobody => ", brought by no package".to_owned(),
        Owner::Unknown => String::new(),
    };
    let evidence = format!(
        "it belongs to {}, its group is {}, its mode {:04o}{brought}",
        account_name(file.uid),
        group_name(file.gid),
        file.mode
    );
    let remedy = format!("chmod u-s,g-s {}", shell_word(&file.path.to_string_lossy()));
    Some(finding.seen(evidence).remedy(remedy))
}

/// An account, a group, or both.
fn lent(subject: &Subject, file: &FileFacts) -> String {
    let account = (file.mode & SETUID_BIT != 0 && file.uid != subject.account.uid)
        .then(|| account_name(file.uid));
    let group = (file.mode & SETGID_FOR_PROGRAMS == SETGID_FOR_PROGRAMS)
        .then(|| format!("the group {}", group_name(file.gid)));
    account.into_iter().chain(group).collect::<Vec<_>>().join(" with ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::subject::testing::subject;

    fn file(uid: u32, gid: u32, mode: u32) -> FileFacts {
        FileFacts { path: "/opt/a b".into(), uid, gid, mode }
    }

    #[test]
    fn what_a_package_has_brought_is_fine_unless_it_obeys_or_can_be_changed() {
        let us = subject(61_500, &[61_500]);
        let shell = Some(Path::new("/bin/sh"));
        let package = Owner::Package("sudo".to_owned());
        for (file, owner, like, expected) in [
            (file(0, 0, 0o4755), &package, None, None),
            (file(0, 0, 0o4755), &package, shell, Some(Grade::Open)),
            (file(0, 0, 0o4777), &package, None, Some(Grade::Open)),
            (file(0, 0, 0o4755), &Owner::Nobody, None, Some(Grade::Undecided)),
            (file(0, 0, 0o4755), &Owner::Nobody, shell, Some(Grade::Open)),
            (file(0, 61_500, 0o4775), &Owner::Nobody, None, Some(Grade::Open)),
            (file(0, 61_527, 0o2755), &Owner::Unknown, None, Some(Grade::Undecided)),
        ] {
            let found = judge(&us, &file, owner, like);
            assert_eq!(found.map(|found| found.grade), expected, "{file:?} {owner:?} {like:?}");
        }
    }

    #[test]
    fn a_finding_says_what_is_lent_and_how_to_stop_it() {
        let us = subject(61_500, &[61_500]);
        for (file, expected) in [
            (file(0, 0, 0o4755), "/opt/a b, which runs as root"),
            (
                file(61_509, 61_527, 0o6755),
                "/opt/a b, which runs as uid 61509 with the group gid 61527",
            ),
            (file(0, 61_527, 0o2755), "/opt/a b, which runs as the group gid 61527"),
        ] {
            let found = judge(&us, &file, &Owner::Nobody, None).unwrap();
            assert_eq!(found.what, expected);
            assert_eq!(found.remedy, "chmod u-s,g-s '/opt/a b'");
            assert!(found.evidence.ends_with("brought by no package"), "{}", found.evidence);
        }
    }
}
