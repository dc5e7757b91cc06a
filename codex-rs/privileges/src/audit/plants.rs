//! Files that the account has put down for later: whoever runs one has a group again that the account gave up.

use codex_config::shell_word;

use super::walk::{Plant, Unread, Walked};
use crate::finding::{Closing, Finding};
use crate::subject::{Subject, group_name};

const PLANT: &str = "plant";

/// The plants, and where none could be looked for.
pub(crate) fn look(subject: &Subject, walked: &Walked) -> Vec<Finding> {
    let plants = walked.plants.iter().map(|plant| finding(subject, plant));
    plants.chain(walked.unread.iter().map(not_searched)).collect()
}

/// One of them.
pub(crate) fn finding(subject: &Subject, plant: &Plant) -> Finding {
    let (path, group) = (plant.path.display(), group_name(plant.gid));
    let why = format!(
        "whoever runs it has the group {group}, whatever groups {} has left",
        subject.account.name
    );
    Finding::open(PLANT, format!("{path}, which runs with the group {group}"), why)
        .seen(format!(
            "it belongs to {}, its group is {group} (gid {}), its mode {:04o}",
            subject.account.words(),
            plant.gid,
            plant.mode
        ))
        .remedy(format!("chmod u-s,g-s {}", shell_word(&plant.path.to_string_lossy())))
        .closed_by(Closing::Plants)
}

fn not_searched(unread: &Unread) -> Finding {
    let (shown, place) = (unread.place.display(), shell_word(&unread.place.to_string_lossy()));
    let what = format!("not searched for planted files: {shown}");
    Finding::undecided(PLANT, what, "a file that gives root, or a group, may be there")
        .seen(unread.because.clone())
        .remedy(format!(
            "look there yourself: find {place} -xdev -type f -perm /6000 -ls; getcap -r {place}"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Grade;
    use crate::subject::testing::subject;

    #[test]
    fn a_plant_is_open_and_closed_by_us_and_what_was_not_searched_is_said() {
        let plant =
            Plant { path: "/home/a b/x".into(), device: 1, inode: 2, gid: 61_527, mode: 0o2755 };
        let unread = vec![Unread { place: "/net".into(), because: "far".to_owned() }];
        let walked = Walked { plants: vec![plant], unread, ..Walked::default() };
        let found = look(&subject(61_500, &[61_500]), &walked);
        let [plant, unread] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(plant.grade, Grade::Open);
        assert_eq!(plant.closed_by, Some(Closing::Plants));
        assert_eq!(plant.what, "/home/a b/x, which runs with the group gid 61527");
        assert_eq!(
            plant.evidence,
            "it belongs to tst_u (uid 61500), its group is gid 61527 (gid 61527), its mode 2755"
        );
        assert_eq!(plant.remedy, "chmod u-s,g-s '/home/a b/x'");
        assert_eq!((unread.grade, unread.closed_by), (Grade::Undecided, None));
        assert_eq!(unread.what, "not searched for planted files: /net");
    }
}
