use std::os::unix::fs::fchown;
use std::process::Command;

use super::*;
use crate::processes::samples::{GID, Holder, UID, is_root, subject};

fn is_sample(gid: u32) -> bool {
    gid == GID
}

/// Of the account's, with a file open that has no name.
fn holder(mode: u32) -> (Holder, File) {
    let file = tempfile::tempfile().unwrap();
    fchown(&file, Some(UID), Some(GID)).unwrap();
    file.set_permissions(Permissions::from_mode(mode)).unwrap();
    let ids = [format!("--reuid={UID}"), format!("--regid={UID}")];
    let mut command = Command::new("setpriv");
    let command = command.args(ids).args(["--clear-groups", "cat"]);
    (Holder::spawn(command.stderr(file.try_clone().unwrap())), file)
}

fn process(pid: u32, gids: &[u32], is_ours: bool) -> StaleProcess {
    StaleProcess {
        pid,
        uid: UID,
        started: 7,
        name: "cat".to_owned(),
        command: "cat".to_owned(),
        gids: gids.iter().copied().collect(),
        is_ours,
    }
}

#[test]
fn a_file_without_a_name_is_found_and_swept() {
    if !is_root() {
        return;
    }
    let (holder, file) = holder(0o6755);
    let those = [process(holder.pid(), &[UID], false)];
    let found = look_at(&subject(), &those, &is_sample);
    let [finding] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((finding.grade, finding.closed_by), (Grade::Open, Some(Closing::Plants)));
    assert!(finding.what.ends_with(&format!("open in cat (pid {})", holder.pid())));
    assert_eq!(look_at(&subject(), &those, &|gid| gid == GID + 1), []);

    assert_eq!(sweep_those(UID + 1, &those, &is_sample), [""; 0]);
    let lines = sweep_those(UID, &those, &is_sample);
    let place = format!("open in cat (pid {})", holder.pid());
    assert_eq!(lines, [format!("took the setgid bit off a file without a name, {place}")]);
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(look_at(&subject(), &those, &is_sample), []);
    assert_eq!(sweep_those(UID, &those, &is_sample), [""; 0]);
}

#[test]
fn a_file_without_the_bit_is_left_alone() {
    if !is_root() {
        return;
    }
    let (holder, file) = holder(0o755);
    let those = [process(holder.pid(), &[UID], false)];
    assert_eq!(look_at(&subject(), &those, &is_sample), []);
    let place = PathBuf::from(format!("/proc/{}/fd/2", holder.pid()));
    assert!(!close(&place, UID, &is_sample).unwrap());
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o755);
    assert!(!close(Path::new("/proc/self/fd/987654"), UID, &is_sample).unwrap());
}

#[test]
fn what_counts_is_a_nameless_plant_a_disk_or_memory() {
    let plain = Facts { uid: UID, gid: GID, mode: 0o102_755, names: 0, major: 0, minor: 0 };
    for (facts, expected) in [
        (plain, true),
        (Facts { names: 1, ..plain }, false),
        (Facts { uid: UID + 1, ..plain }, false),
        (Facts { gid: GID + 1, ..plain }, false),
        (Facts { mode: 0o104_755, ..plain }, false),
        (Facts { mode: 0o042_755, ..plain }, false),
    ] {
        assert_eq!(facts.is_nameless_plant(UID, &is_sample), expected, "{facts:?}");
    }
    for (mode, major, minor, expected) in [
        (0o060_660, 8, 1, Some(Kept::Disk { major: 8, minor: 1 })),
        (0o060_660, 11, 0, None),
        (0o060_660, 1, 0, None),
        (0o020_640, 1, 1, Some(Kept::Memory)),
        (0o020_640, 1, 4, Some(Kept::Memory)),
        (0o020_666, 1, 3, None),
        (0o020_620, 136, 1, None),
        (0o100_644, 8, 1, None),
    ] {
        let facts = Facts { mode, major, minor, ..plain };
        assert_eq!(facts.device(), expected, "{mode:o} {major}:{minor}");
    }
}

#[test]
fn what_the_kernel_tells_of_a_descriptor_is_read() {
    for (info, names, keeps) in [
        ("pos:\t0\nflags:\t02000002\nmnt_id:\t10\nscm_fds: 2\n", false, true),
        ("pos:\t0\nflags:\t02000002\nscm_fds: 0\n", false, false),
        ("flags:\t0100000\nUserFiles:\t3\nUserBufs:\t0\n", false, true),
        ("flags:\t012000000\n", true, false),
        ("", false, false),
    ] {
        assert_eq!((only_names(info), keeps_files(info)), (names, keeps), "{info:?}");
    }
}

#[test]
fn a_device_is_closed_with_a_process_that_is_ended_anyhow() {
    let disk = Kept::Disk { major: 8, minor: 1 };
    let place = Path::new("/proc/12/task/12/fd/4");
    let of =
        |kept, gids: &[u32], is_ours| finding(kept, &process(12, gids, is_ours), place, &is_sample);
    let ended = of(disk, &[UID, GID], false);
    assert_eq!(ended.what, "the block device 8:1, open in cat (pid 12)");
    assert_eq!((ended.closed_by, ended.remedy.as_str()), (Some(Closing::Processes), "kill 12"));
    assert_eq!(of(disk, &[UID], false).closed_by, None);
    assert_eq!(of(disk, &[GID], true).closed_by, None);
    let unseen = of(Kept::Unseen, &[GID], false);
    assert_eq!((unseen.grade, unseen.closed_by), (Grade::Undecided, None));
    let plant = of(Kept::Nameless { gid: GID }, &[UID], true);
    assert_eq!(plant.remedy, "chmod u-s,g-s /proc/12/task/12/fd/4");
    assert_eq!(plant.closed_by, Some(Closing::Plants));
}

#[test]
fn how_far_one_could_look_is_said() {
    let reach = Reach { is_cut_short: true, unread: [7, 8].into() };
    let found = reach.told(&subject());
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|finding| finding.grade == Grade::Undecided));
    assert!(found[1].evidence.ends_with("pids 7 8"));
    assert_eq!(Reach::default().told(&subject()), []);
}
