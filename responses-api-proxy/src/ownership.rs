//! Who else could change what a path leads to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, getegid, geteuid};

/// Group and others (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Groups of log daemons, which may write to /var/log on some systems (Ubuntu).
const LOGGING: [&str; 2] = ["adm", "syslog"];

/// Groups that may write on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// None at all.
    None,
    /// Those of log daemons; and, for an ordinary user, the user's own.
    Usual,
}

/// Links that are followed on the way, as path_resolution(7) has it.
const MOST_LINKS: usize = 40;

/// Whether nobody but root and this account can change a file or folder: by itself, by a folder or by a link on the
/// way to it. Not so for what is not there.
pub(crate) fn is_ours_alone(path: &Path, groups: Groups) -> bool {
    is_ours_so_far(path, groups, MOST_LINKS)
}

fn is_ours_so_far(path: &Path, groups: Groups, links_left: usize) -> bool {
    let Ok(absolute) = std::path::absolute(path) else { return false };
    let us = geteuid().as_raw();
    absolute.ancestors().all(|part| {
        let Ok(facts) = fs::symlink_metadata(part) else { return false };
        let is_owned = facts.uid() == 0 || facts.uid() == us;
        if facts.is_symlink() {
            return is_owned && links_left > 0 && leads_on(part, groups, links_left - 1);
        }
        // In a folder with the sticky bit nobody can move what is another's.
        let is_sticky = facts.is_dir() && facts.mode() & STICKY != 0;
        let is_open = |bits| facts.mode() & bits != 0;
        let is_shared = groups == Groups::Usual && !is_open(OTHERS_WRITE) && is_usual(facts.gid());
        is_owned && (!is_open(WRITABLE_BY_OTHERS) || is_sticky || is_shared)
    })
}

/// Where a link leads, and what that leads through.
fn leads_on(link: &Path, groups: Groups, links_left: usize) -> bool {
    let (Ok(target), Some(folder)) = (fs::read_link(link), link.parent()) else { return false };
    is_ours_so_far(&folder.join(target), groups, links_left)
}

fn is_usual(gid: u32) -> bool {
    let gid = Gid::from_raw(gid);
    let name = || Group::from_gid(gid).ok().flatten().map(|group| group.name);
    (!geteuid().is_root() && gid == getegid())
        || name().is_some_and(|name| LOGGING.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn a_path_is_as_closed_as_what_stands_on_it() {
        let home = tempfile::tempdir().unwrap(); // Below a folder with the sticky bit, where it is not ours.
        let at = |name: &str| home.path().join(name);
        let make = |name: &str, mode: u32| {
            fs::create_dir(at(name)).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
            fs::create_dir(at(name).join("inside")).unwrap();
        };
        make("closed", 0o755);
        make("sticky", 0o1777);
        make("open", 0o757);
        make("shared", 0o775);
        symlink(at("closed"), at("link")).unwrap();
        symlink(at("open"), at("way_in")).unwrap();
        symlink(at("closed"), at("open/turn")).unwrap();
        symlink("open/turn", at("round")).unwrap();
        symlink("itself", at("itself")).unwrap();
        let usual = !geteuid().is_root(); // Whose own group it is.
        for (name, alone) in [
            ("closed/inside", true),
            ("sticky/inside", true),
            ("link/inside", true),
            ("open/inside", false),
            ("way_in/inside", false),
            ("open/../closed", false),
            ("round/inside", false),
            ("itself", false),
            ("shared/inside", usual),
            ("nothing", false),
        ] {
            assert_eq!(is_ours_alone(&at(name), Groups::Usual), alone, "{name}");
        }
        assert!(!is_ours_alone(&at("shared/inside"), Groups::None));
        // Only root can give a folder away; anyone else has this proven in CI.
        if geteuid().is_root() {
            chown(at("closed"), Some(61_234), None).unwrap();
            assert!(!is_ours_alone(&at("closed/inside"), Groups::Usual));
            assert!(!is_ours_alone(&at("link/inside"), Groups::Usual));
        }
    }
}
