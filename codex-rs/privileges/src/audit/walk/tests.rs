use std::collections::BTreeSet;
use std::os::unix::fs::{chown, symlink};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::geteuid;
use rustix::fs::{CWD, FileType, XattrFlags, mkdirat, mknodat, setxattr};
use tempfile::TempDir;

use super::*;
use crate::subject::testing::subject;

const US: u32 = 61_500;
const OURS: u32 = 61_501;
const SUDO: u32 = 61_527;
const STRANGER: u32 = 61_509;

fn us() -> Subject {
    subject(US, &[OURS, 61_502])
}

fn is_sudo(gid: u32) -> bool {
    gid == SUDO
}

/// A folder that anybody can go through, by its name without links. `None`: not root, so nobody else's can be made.
fn folder() -> Option<(TempDir, PathBuf)> {
    if !crate::processes::samples::is_root() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().canonicalize().unwrap();
    Some((folder, path))
}

fn owned(path: &Path, uid: u32, gid: u32, mode: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap(); // After chown(2), which takes bits away.
}

fn file(path: PathBuf, uid: u32, gid: u32, mode: u32) -> PathBuf {
    fs::write(&path, "x").unwrap();
    owned(&path, uid, gid, mode);
    path
}

fn inner(path: PathBuf, uid: u32, gid: u32, mode: u32) -> PathBuf {
    fs::create_dir(&path).unwrap();
    owned(&path, uid, gid, mode);
    path
}

fn searched(top: &Path, points: &[&Path]) -> Walked {
    let points = points.iter().map(|point| point.to_path_buf()).collect();
    let subject = us();
    let search = Search::new(&subject, &is_sudo, &|_| {}, points, Wants::All);
    search.below(top, false);
    search.found()
}

fn paths(plants: &[Plant]) -> Vec<&Path> {
    plants.iter().map(|plant| plant.path.as_path()).collect()
}

fn grounds(folder: &Path) -> Grounds {
    let ground = Ground { folder: folder.to_owned(), has_subvolumes: false };
    Grounds { folders: vec![ground], files: Vec::new() }
}

#[test]
fn a_plant_is_a_setgid_file_of_the_accounts_with_a_group_that_leads_to_root() {
    let Some((_folder, top)) = folder() else { return };
    let home = inner(top.join("home"), US, OURS, 0o700);
    let plant = file(home.join("plant"), US, SUDO, 0o2755);
    let unusable = file(home.join("unusable yet"), US, SUDO, 0o2600);
    file(home.join("own setuid"), US, OURS, 0o4755);
    file(home.join("own group"), US, OURS, 0o2755);
    file(home.join("no bit"), US, SUDO, 0o755);
    file(top.join("of another"), STRANGER, SUDO, 0o2755);
    inner(home.join("folder"), US, SUDO, 0o2755);
    symlink(&plant, top.join("link")).unwrap();
    fs::hard_link(&plant, home.join("same file")).unwrap();
    mknodat(CWD, home.join("fifo"), FileType::Fifo, 0o777.into(), 0).unwrap();

    let walked = searched(&top, &[]);
    assert_eq!(paths(&walked.plants), [plant.as_path(), &unusable]);
    assert_eq!((walked.plants[0].gid, walked.plants[0].mode), (SUDO, 0o2755));
    let setuid: Vec<_> = walked.setuid.iter().map(|file| file.path.clone()).collect();
    assert_eq!(setuid, [top.join("of another")]);
    assert_eq!(walked.grounds, grounds(&home));
    assert!(walked.unread.is_empty(), "{:?}", walked.unread);
    assert_eq!(walk_again(&us(), &is_sudo, &walked.grounds), walked.plants);
}

#[test]
fn files_of_others_count_where_the_account_can_run_them() {
    let Some((_folder, top)) = folder() else { return };
    let all = [
        ("root for all", 0, 0, 0o4755, true),
        ("root for a group of ours", 0, 61_502, 0o4750, true),
        ("root for another group", 0, 61_503, 0o4750, false),
        ("stranger for all", STRANGER, OURS, 0o4711, true),
        ("nobody runs it", 0, 0, 0o4644, false),
        ("sudo for all", 0, SUDO, 0o2755, true),
        ("sudo, but no x for it", 0, SUDO, 0o2745, false),
        ("mail for all", 0, 61_508, 0o2755, false),
    ];
    for (name, uid, gid, mode, _) in all {
        file(top.join(name), uid, gid, mode);
    }
    let closed = inner(top.join("closed"), 0, 0, 0o711);
    file(inner(closed.join("shut"), 0, 0, 0o700).join("x"), 0, 0, 0o4755);
    let mut expected: Vec<_> =
        all.iter().filter(|case| case.4).map(|case| top.join(case.0)).collect();
    expected.sort();
    let walked = searched(&top, &[]);
    assert_eq!(walked.setuid.into_iter().map(|file| file.path).collect::<Vec<_>>(), expected);
}

#[test]
fn grounds_are_the_topmost_folders_and_the_files_outside_of_them() {
    let Some((_folder, top)) = folder() else { return };
    let home = inner(top.join("home"), US, OURS, 0o000); // It can chmod that.
    inner(home.join("below"), US, OURS, 0o755);
    file(home.join("file"), US, OURS, 0o644);
    let anybodys = inner(top.join("tmp"), 0, 0, 0o1777);
    let groups = inner(top.join("group"), 0, 61_502, 0o775);
    inner(top.join("other group"), 0, 61_503, 0o775);
    let lone = file(inner(top.join("root"), 0, 0, 0o755).join("lone"), US, OURS, 0o644);
    let walked = searched(&top, &[]);
    let folders: Vec<_> = walked.grounds.folders.into_iter().map(|ground| ground.folder).collect();
    assert_eq!(folders, [groups, home, anybodys]);
    assert_eq!(walked.grounds.files, std::slice::from_ref(&lone));

    owned(&lone, US, SUDO, 0o2755);
    let grounds = Grounds { folders: Vec::new(), files: vec![lone.clone(), top.join("gone")] };
    assert_eq!(paths(&walk_again(&us(), &is_sudo, &grounds)), [lone]);
}

#[test]
fn a_stale_group_opens_folders_too() {
    let Some((_folder, top)) = folder() else { return };
    let behind = inner(top.join("behind"), 0, SUDO, 0o750);
    let plant = file(behind.join("plant"), US, SUDO, 0o2755);
    assert!(searched(&top, &[]).plants.is_empty());
    let stale = Subject { stale: BTreeSet::from([SUDO]), ..us() };
    assert_eq!(paths(&walk_again(&stale, &is_sudo, &grounds(&top))), [plant]);
}

#[test]
fn a_mount_point_is_not_entered_from_above() {
    let Some((_folder, top)) = folder() else { return };
    let point = inner(top.join("point"), US, OURS, 0o755);
    file(point.join("plant"), US, SUDO, 0o2755);
    assert!(searched(&top, &[&point]).plants.is_empty());
    assert_eq!(searched(&point, &[&point]).plants.len(), 1);
}

#[test]
fn a_plant_is_found_and_closed_below_names_that_are_too_long() {
    let Some((_folder, top)) = folder() else { return };
    let home = inner(top.join("home"), US, OURS, 0o755);
    let name = "n".repeat(250);
    let mut path = home.clone();
    for _ in 0..40 {
        let above = in_steps(&path).unwrap();
        mkdirat(&above, name.as_str(), 0o755.into()).unwrap();
        path.push(&name);
    }
    let deepest = in_steps(&path).unwrap();
    file(descriptor(&deepest).join("plant"), US, SUDO, 0o2755);
    drop(deepest);

    let walked = searched(&top, &[]);
    assert_eq!(paths(&walked.plants), [path.join("plant")]);
    assert_eq!(walked.grounds, grounds(&home));
    assert!(walked.unread.is_empty(), "{:?}", walked.unread);
    close(&walked.plants[0]).unwrap();
    assert!(walk_again(&us(), &is_sudo, &walked.grounds).is_empty());
}

#[test]
fn capabilities_are_seen_on_what_the_account_can_run() {
    let Some((_folder, top)) = folder() else { return };
    let setuid_effective: [u8; 20] =
        [1, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (name, uid, mode) in [("everybodys", 0, 0o755), ("roots", 0, 0o700), ("ours", US, 0o600)] {
        let path = file(top.join(name), uid, 0, mode);
        let name = c"security.capability";
        if setxattr(&path, name, &setuid_effective, XattrFlags::empty()).is_err() {
            return; // A container without CAP_SETFCAP, or a file system that has none.
        }
    }
    let capable = searched(&top, &[]).capable;
    assert_eq!(capable, [(top.join("everybodys"), 0x80), (top.join("ours"), 0x80)]);
}

#[test]
fn a_plant_is_closed_and_nothing_else_in_its_place_is_touched() {
    let Some((_folder, top)) = folder() else { return };
    let path = file(top.join("plant"), US, SUDO, 0o6755);
    let [plant]: [Plant; 1] = searched(&top, &[]).plants.try_into().unwrap();
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    close(&plant).unwrap();
    assert_eq!(mode(&path), 0o755);
    close(&plant).unwrap(); // Again is no error.

    let moved = top.join("moved");
    fs::rename(&path, &moved).unwrap();
    assert_eq!(close(&plant).unwrap_err().kind(), io::ErrorKind::NotFound);
    let roots = file(top.join("roots"), 0, SUDO, 0o2755);
    symlink(&roots, &path).unwrap();
    assert!(close(&plant).is_err());
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(close(&plant).is_err());
    fs::remove_file(&path).unwrap();
    fs::rename(&roots, &path).unwrap();
    assert!(close(&plant).is_err());
    let roots = fs::symlink_metadata(&path).unwrap();
    let its_own = Plant { device: roots.dev(), inode: roots.ino(), ..plant };
    assert!(close(&its_own).is_err(), "root's was never the account's");
    assert_eq!(mode(&path), 0o2755);
}

#[test]
fn who_waits_is_told_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1_100 {
        fs::write(folder.path().join(number.to_string()), "").unwrap();
    }
    let told = AtomicU64::new(0);
    let subject = subject(geteuid().as_raw(), &[OURS]);
    let tell = |seen| told.store(seen, Ordering::Relaxed);
    let search = Search::new(&subject, &is_sudo, &tell, HashSet::new(), Wants::All);
    search.below(folder.path(), false);
    assert_eq!(told.load(Ordering::Relaxed), 1_024);
}
