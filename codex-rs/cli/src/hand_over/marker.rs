//! The marker against loops: an environment variable that says who handed over to what.
//!
//! exec(2) keeps the process: whoever finds its own pid in the marker was called by the very program that it handed
//! over to, and takes the next one. A program that *starts* us again can't be told from a Codex whose agent runs
//! `codex` by right, so only the depth is limited there. Children inherit the marker, but none has the number of a
//! process that is still there. Where a wrapper clears the environment, `ancestors` counts.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;

use codex_config::FileId;

/// The variable.
pub(crate) const VARIABLE: &str = "CODEX_HANDED_OVER";

/// How many may have handed over, each within what the one before ran.
const MAX_DEPTH: u32 = 8;

/// What the variable says: `PID DEPTH DEV:INO[,DEV:INO…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) pid: u32,
    /// How many have handed over, that one included.
    pub(crate) depth: u32,
    /// That one itself, what it handed over to, and what it had passed over.
    pub(crate) programs: Vec<FileId>,
}

impl Marker {
    /// Reads what a predecessor wrote. What nobody of ours wrote says nothing.
    pub(crate) fn parse(text: &OsStr) -> Option<Self> {
        let mut words = text.to_str()?.split(' ');
        let (pid, depth) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let programs = words.next()?.split(',').map(|id| id.parse::<FileId>().ok());
        let programs = programs.collect::<Option<Vec<_>>>()?;
        words.next().is_none().then_some(Self { pid, depth, programs })
    }

    /// What the variable is to say.
    pub(crate) fn to_text(&self) -> OsString {
        let mut text = format!("{} {}", self.pid, self.depth);
        for (number, program) in self.programs.iter().enumerate() {
            let gap = if number == 0 { ' ' } else { ',' };
            let _ = write!(text, "{gap}{program}"); // A String takes all.
        }
        text.into()
    }

    /// What must not be taken again: `us`, and all that led back to this process.
    pub(crate) fn passed_over(before: Option<&Self>, pid: u32, us: Option<FileId>) -> Vec<FileId> {
        let back = before.filter(|before| before.pid == pid);
        let mut programs: Vec<FileId> = us.into_iter().collect();
        for id in back.into_iter().flat_map(|back| &back.programs) {
            if !programs.contains(id) {
                programs.push(*id);
            }
        }
        programs
    }

    /// The marker for who hands over now; `None` when too many have.
    pub(crate) fn next(
        before: Option<&Self>,
        pid: u32,
        mut passed_over: Vec<FileId>,
        chosen: FileId,
    ) -> Option<Self> {
        let depth = before.map_or(0, |before| before.depth).checked_add(1)?;
        passed_over.push(chosen);
        (depth <= MAX_DEPTH).then_some(Self { pid, depth, programs: passed_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(inode: u64) -> FileId {
        FileId { device: 1, inode }
    }

    fn marker(pid: u32, depth: u32, inodes: &[u64]) -> Marker {
        Marker { pid, depth, programs: inodes.iter().copied().map(id).collect() }
    }

    #[test]
    fn the_marker_is_written_and_read_back() {
        let marker = marker(17, 2, &[5, 6]);
        assert_eq!(marker.to_text(), "17 2 1:5,1:6");
        assert_eq!(Marker::parse(&marker.to_text()), Some(marker));
        for text in ["", "17", "17 2", "17 2 ", "17 2 1:5,", "17 2 1:5 6", "x 2 1:5", "17 -1 1:5"] {
            assert_eq!(Marker::parse(text.as_ref()), None, "{text:?}");
        }
    }

    #[test]
    fn what_exec_brought_back_is_passed_over_and_what_another_process_did_is_not() {
        let before = marker(17, 1, &[5, 6]);
        let passed_over = |pid| Marker::passed_over(Some(&before), pid, Some(id(5)));
        assert_eq!(passed_over(17), [id(5), id(6)]);
        assert_eq!(passed_over(18), [id(5)]);
        // A copy of ours that another one of ours took for the public Codex.
        assert_eq!(Marker::passed_over(Some(&before), 17, Some(id(6))), [id(6), id(5)]);
        assert_eq!(Marker::passed_over(None, 17, Some(id(5))), [id(5)]);
    }

    #[test]
    fn each_hand_over_counts_and_eight_are_enough() {
        let next = |before: &Marker| Marker::next(Some(before), 17, vec![id(5)], id(6));
        assert_eq!(Marker::next(None, 17, vec![id(5)], id(6)), Some(marker(17, 1, &[5, 6])));
        assert_eq!(next(&marker(3, 7, &[9])), Some(marker(17, 8, &[5, 6])));
        assert_eq!(next(&marker(3, 8, &[9])), None);
        assert_eq!(next(&marker(3, u32::MAX, &[9])), None);
    }
}
