use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A folder of root's alone. `None`: we are not root, and nothing here would be allowed.
fn folder() -> Option<(TempDir, PathBuf)> {
    let folder = crate::processes::samples::is_root().then(tempfile::tempdir)?.unwrap();
    let top = folder.path().canonicalize().unwrap();
    Some((folder, top))
}

fn names(top: &Path) -> Vec<String> {
    let entries = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_with_its_owner_and_mode_and_nothing_else_stays() {
    let Some((_folder, top)) = folder() else { return };
    let place = top.join("file");
    for (bytes, look) in [
        (&b"new"[..], Look::roots(0o440)),
        (b"", Look::roots(0o600)),
        (b"\0\xff", Look { uid: 1_234, gid: 4_321, mode: 0o2755 }),
    ] {
        replace(&place, ".file.new", bytes, look).unwrap();
        assert_eq!(read(&place).unwrap(), Some(Content { bytes: bytes.to_vec(), look }));
        assert_eq!(names(&top), ["file"]);
    }
    assert!(remove(&place).unwrap());
    assert!(!remove(&place).unwrap());
    assert_eq!(read(&place).unwrap(), None);
}

#[test]
fn until_it_is_put_the_file_is_the_old_one_and_a_dropped_draft_is_gone() {
    let Some((_folder, top)) = folder() else { return };
    let place = top.join("file");
    fs::write(&place, "old").unwrap();
    let draft = Draft::write(&place, ".file.new", b"new", Look::roots(0o440)).unwrap();
    assert_eq!(draft.path(), top.join(".file.new"));
    assert_eq!(fs::read(draft.path()).unwrap(), b"new");
    assert_eq!(fs::read(&place).unwrap(), b"old");
    drop(draft);
    assert_eq!(names(&top), ["file"]);
}

#[test]
fn what_a_killed_one_left_is_removed_and_what_is_somebodys_stays() {
    let Some((_folder, top)) = folder() else { return };
    let (place, temporary) = (top.join("file"), top.join(".file.new"));
    let write = || replace(&place, ".file.new", b"new", Look::roots(0o600));
    fs::write(&temporary, "half of it, and longer than what comes").unwrap();
    write().unwrap();
    assert_eq!(fs::read(&place).unwrap(), b"new");
    let plants: [&dyn Fn(); 3] = [
        &|| symlink("file", &temporary).unwrap(),
        &|| fs::create_dir(&temporary).unwrap(),
        &|| {
            fs::write(&temporary, "theirs").unwrap();
            std::os::unix::fs::chown(&temporary, Some(1_234), None).unwrap();
        },
    ];
    for plant in plants {
        plant();
        assert!(matches!(write(), Err(WriteError::InTheWay { .. })));
        assert!(!is_nothing(&temporary));
        fs::remove_file(&temporary).or_else(|_| fs::remove_dir(&temporary)).unwrap();
    }
}

#[test]
fn nothing_is_written_where_others_could_change_it() {
    let Some((_folder, top)) = folder() else { return };
    for (name, uid, mode) in [("theirs", 1_234, 0o755), ("open", 0, 0o777), ("sticky", 0, 0o1777)] {
        let folder = top.join(name);
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(uid), None).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let place = folder.join("file");
        let error = replace(&place, ".file.new", b"new", Look::roots(0o600)).unwrap_err();
        assert!(matches!(error, WriteError::Open { .. }), "{error}");
        assert!(error.hint().starts_with("ch"), "{}", error.hint());
        fs::write(&place, "old").unwrap();
        assert!(remove(&place).is_err() && set_aside(&place, "aside").is_err());
        assert!(make_folder(&folder.join("below"), 0o700).is_err());
        assert_eq!(names(&folder), ["file"]);
    }
}

#[test]
fn a_link_is_neither_read_nor_written_through() {
    let Some((_folder, top)) = folder() else { return };
    let (link, target) = (top.join("link"), top.join("target"));
    fs::write(&target, "theirs").unwrap();
    symlink(&target, &link).unwrap();
    assert!(read(&link).is_err());
    replace(&link, ".link.new", b"new", Look::roots(0o600)).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"theirs");
    fs::remove_file(&link).unwrap();
    symlink(&target, &link).unwrap();
    assert!(remove(&link).unwrap());
    assert_eq!(names(&top), ["target"]);
}

#[test]
fn a_place_that_can_not_be_replaced_leaves_no_draft() {
    let Some((_folder, top)) = folder() else { return };
    let place = top.join("folder");
    fs::create_dir(&place).unwrap();
    let error = replace(&place, ".new", b"new", Look::roots(0o600)).unwrap_err();
    assert!(matches!(error, WriteError::Failed { .. }), "{error}");
    assert!(read(&place).is_err() && remove(&place).is_err());
    assert_eq!(names(&top), ["folder"]);
}

#[test]
fn a_file_without_end_is_not_read() {
    let Some((_folder, top)) = folder() else { return };
    let place = top.join("file");
    for (length, is_read) in [(LIMIT_BYTES, true), (LIMIT_BYTES + 1, false)] {
        File::create(&place).unwrap().set_len(length).unwrap();
        assert_eq!(read(&place).is_ok(), is_read, "{length}");
    }
}

#[test]
fn a_file_set_aside_takes_nobodys_name() {
    let Some((_folder, top)) = folder() else { return };
    let place = top.join("file");
    for (content, expected) in [("1", "aside"), ("2", "aside.2"), ("3", "aside.3")] {
        fs::write(&place, content).unwrap();
        let aside = set_aside(&place, "aside").unwrap();
        assert_eq!(aside, top.join(expected));
        assert_eq!(fs::read_to_string(aside).unwrap(), content);
    }
    assert_eq!(names(&top), ["aside", "aside.2", "aside.3"]);
    fs::write(&place, "4").unwrap();
    assert!(set_aside(&place, &"x".repeat(300)).is_err(), "no file can have that name");
    assert_eq!(fs::read_to_string(&place).unwrap(), "4");
}

#[test]
fn a_folder_is_made_with_its_mode_and_one_that_is_there_keeps_its_own() {
    let Some((_folder, top)) = folder() else { return };
    let folder = top.join("folder");
    let mode = || fs::metadata(&folder).unwrap().mode() & MODE_BITS;
    make_folder(&folder, 0o755).unwrap();
    assert_eq!(mode(), 0o755);
    make_folder(&folder, 0o700).unwrap();
    assert_eq!(mode(), 0o755);
    fs::write(top.join("file"), "").unwrap();
    assert!(make_folder(&top.join("file"), 0o700).is_err());
    assert!(make_folder(&top.join("none/below"), 0o700).is_err());
}

#[test]
fn each_refusal_of_the_system_has_its_remedy() {
    for (kind, expected) in [
        (ErrorKind::ReadOnlyFilesystem, "findmnt -T /etc/pam.d"),
        (ErrorKind::PermissionDenied, "lsattr -d /etc/pam.d /etc/pam.d/sudo"),
        (ErrorKind::StorageFull, "df -h /etc/pam.d"),
        (ErrorKind::QuotaExceeded, "df -i /etc/pam.d"),
        (ErrorKind::FileTooLarge, "ulimit -f unlimited"),
        (ErrorKind::InvalidData, "ls -ld /etc/pam.d /etc/pam.d/sudo"),
    ] {
        let path = PathBuf::from("/etc/pam.d/sudo");
        let error = WriteError::Failed { path, doing: "no", source: kind.into() };
        assert!(error.hint().contains(expected), "{}", error.hint());
    }
}
