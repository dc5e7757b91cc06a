//! What is above this process, and what below.

use std::collections::BTreeSet;

use super::facts::Stat;

/// Nobody has more above them.
const MOST_ANCESTORS: usize = 1_024;

/// A process and all above it.
#[derive(Clone, Debug)]
pub(crate) struct Kin {
    pid: u32,
    above: BTreeSet<u32>,
}

impl Kin {
    /// This process, and what it runs under: the shell, the terminal, sudo's two processes.
    pub(crate) fn ours() -> Self {
        let pid = std::process::id();
        Self { pid, above: lineage(pid).into_iter().collect() }
    }

    /// No process at all.
    #[cfg(test)]
    pub(super) fn nobodys() -> Self {
        Self { pid: 0, above: BTreeSet::new() }
    }

    pub(crate) fn has(&self, pid: u32) -> bool {
        pid == self.pid || self.above.contains(&pid)
    }

    pub(crate) fn is_below(&self, pid: u32) -> bool {
        lineage(pid).contains(&self.pid)
    }
}

/// All above a process, the nearest first.
pub(crate) fn lineage(pid: u32) -> Vec<u32> {
    above(pid, |pid| Stat::of(pid).map(|stat| (stat.parent, stat.started)))
}

/// `of` tells a process's parent, and when it was started.
fn above(pid: u32, of: impl Fn(u32) -> Option<(u32, u64)>) -> Vec<u32> {
    let mut found = Vec::new();
    let Some((mut next, mut born)) = of(pid) else { return found };
    while next != 0 && next != pid && !found.contains(&next) && found.len() < MOST_ANCESTORS {
        let Some((parent, started)) = of(next) else { break };
        if started > born {
            break; // The parent has ended, and its number is somebody else's now.
        }
        found.push(next);
        (next, born) = (parent, started);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_up_ends_at_the_top_and_goes_round_once_at_most() {
        // Number, parent, start.
        let table = [
            (1, 0, 1),
            (5, 1, 2),
            (6, 5, 9),
            (7, 99, 9),
            (8, 6, 4),
            (20, 22, 1),
            (21, 20, 1),
            (22, 21, 1),
            (23, 23, 1),
        ];
        let of = |pid| {
            let mut rows = table.iter();
            rows.find(|row| row.0 == pid).map(|(_, parent, started)| (*parent, *started))
        };
        for (pid, expected) in [
            (6, vec![5, 1]),
            (1, vec![]),
            (7, vec![]), // Its parent is not there.
            (8, vec![]), // A parent that is younger than its child is none.
            (20, vec![22, 21]),
            (23, vec![]),
            (0, vec![]),
        ] {
            assert_eq!(above(pid, of), expected, "{pid}");
        }
    }

    #[test]
    fn a_long_way_has_an_end() {
        assert_eq!(above(5_000, |pid| Some((pid - 1, 1))).len(), MOST_ANCESTORS);
    }

    #[test]
    fn we_know_who_is_above_and_below() {
        let kin = Kin::ours();
        assert!(kin.has(std::process::id()) && !kin.is_below(std::process::id()));
        let parent = std::os::unix::process::parent_id();
        assert!(parent == 0 || kin.has(parent));
        let piped = std::process::Stdio::piped();
        let mut child = std::process::Command::new("cat").stdin(piped).spawn().unwrap();
        let seen = (kin.has(child.id()), kin.is_below(child.id()));
        drop(child.stdin.take()); // Which ends it.
        child.wait().unwrap();
        assert_eq!(seen, (false, true));
    }
}
