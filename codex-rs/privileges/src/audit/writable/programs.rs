//! What root's shells would find by name: who could change the folders they look in, what leads to these, and what the
//! links in them lead to (`npm link` makes such).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use codex_config::shell_word;
use codex_path_trust::{WayIn, Who};

use super::{CHECK, is_roots_own};
use crate::finding::Finding;
use crate::subject::Subject;

/// Links that are looked at, in all folders together.
const MOST_LINKS: usize = 5_000;
const MOST_ENTRIES: usize = 50_000;

/// `is_told`: whether a place, or one above it, is told already.
pub(super) fn look(
    subject: &Subject,
    folders: &[PathBuf],
    is_told: &dyn Fn(&Path) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    let mut told: BTreeSet<PathBuf> = BTreeSet::new();
    let new_ways = |path: &Path, told: &BTreeSet<PathBuf>| -> Vec<WayIn> {
        let mut ways = subject.ways_in(path);
        ways.retain(|way| !is_told(&way.place) && !told.contains(&way.place));
        ways
    };
    for folder in folders {
        let ways = new_ways(folder, &told);
        if !ways.is_empty() {
            findings.push(of_folder(subject, folder, &ways));
            told.extend(ways.into_iter().map(|way| way.place));
        }
    }
    let (mut links, mut entries) = (MOST_LINKS, MOST_ENTRIES);
    for folder in folders {
        // /bin may be /usr/bin.
        let Ok(folder) = fs::canonicalize(folder) else { continue };
        let is_told_now = folder.ancestors().any(|above| told.contains(above));
        if is_told_now || is_told(&folder) || !seen.insert(folder.clone()) {
            continue;
        }
        for link in links_in(&folder, &mut links, &mut entries) {
            let ways = new_ways(&link, &told);
            if !ways.is_empty() {
                findings.push(of_link(subject, &link, &ways));
            }
        }
    }
    findings
}

fn of_folder(subject: &Subject, folder: &Path, ways: &[WayIn]) -> Finding {
    let what = format!("{}, where root's shells look for programs", folder.display());
    let why = "what is put there root may run by its name";
    let finding = if is_roots_own(folder) {
        Finding::open(CHECK, what, why)
    } else {
        Finding::undecided(CHECK, what, why)
    };
    let finding = subject.told(finding, ways);
    let is_elsewhere = |way: &WayIn| matches!(way.who, Who::Owner | Who::Unknown { .. });
    if ways.iter().any(is_elsewhere) {
        let folder = shell_word(&folder.to_string_lossy());
        return finding.remedy(format!(
            "take {folder} out of the PATH that root has (secure_path, /etc/environment, /etc/profile, /root), or let nobody but root change it"
        ));
    }
    finding
}

fn of_link(subject: &Subject, link: &Path, ways: &[WayIn]) -> Finding {
    let to = fs::read_link(link).unwrap_or_default();
    let what = format!("{}, a link to {}", link.display(), to.display());
    let why = "root runs what it leads to when it types that name";
    let finding = subject.told(Finding::open(CHECK, what, why), ways);
    if ways.iter().all(|way| matches!(way.who, Who::Group { .. })) {
        return finding;
    }
    let link = shell_word(&link.to_string_lossy());
    finding.remedy(format!("rm {link}, and install what it leads to where only root can write"))
}

/// Those that lead to a file, or to nothing.
fn links_in(folder: &Path, links: &mut usize, entries: &mut usize) -> Vec<PathBuf> {
    let Ok(listed) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in listed.flatten() {
        if *links == 0 || *entries == 0 {
            break;
        }
        *entries -= 1;
        if !entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            continue;
        }
        *links -= 1;
        let path = entry.path();
        let is_program = fs::metadata(&path).map_or(true, |found| {
            let kind = found.file_type();
            !kind.is_char_device() && !kind.is_block_device() && !kind.is_socket() && !kind.is_dir()
        });
        if is_program {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::subject::testing::subject;

    #[test]
    fn folders_and_links_that_lead_to_what_the_account_can_change_are_told() {
        if !crate::processes::samples::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["bin", "home", "home/bin", "lib"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        for name in ["home/tool", "lib/tool"] {
            fs::write(top.join(name), "").unwrap();
        }
        chown(top.join("home"), Some(61_500), None).unwrap();
        for (target, link) in [
            (top.join("home/tool"), "bin/theirs"),
            (top.join("lib/tool"), "bin/roots"),
            (PathBuf::from("/dev/null"), "bin/masked"),
            (top.join("home/bin"), "sbin"),
        ] {
            symlink(target, top.join(link)).unwrap();
        }
        let us = subject(61_500, &[61_500]);
        let whats = |folders: &[&str], told: &dyn Fn(&Path) -> bool| -> Vec<String> {
            let folders: Vec<PathBuf> = folders.iter().map(|name| top.join(name)).collect();
            look(&us, &folders, told).into_iter().map(|found| found.what).collect()
        };
        let (shown, nothing) = (top.display(), |_: &Path| false);
        let link = format!("{shown}/bin/theirs, a link to {shown}/home/tool");
        assert_eq!(whats(&["bin"], &nothing), [link]);
        let folder = format!("{shown}/sbin, where root's shells look for programs");
        assert_eq!(whats(&["sbin"], &nothing), [folder]);
        assert!(whats(&["bin"], &|place| place.starts_with(top.join("home"))).is_empty());
        assert!(whats(&["lib", "none"], &nothing).is_empty());
    }
}
