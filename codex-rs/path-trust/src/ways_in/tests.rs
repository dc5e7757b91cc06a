//! Folders, links and groups, as they are in a temporary folder and in lists of a test's own.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use nix::unistd::{getegid, geteuid};
use tempfile::TempDir;

use super::*;
use crate::{Groups, Lists, Sticky};

/// An account that nobody has.
const STRANGER: u32 = 61_234;

/// Root and this account; nobody else is in this account's group.
fn trust(sticky: Sticky) -> Trust {
    let (uid, gid) = (geteuid(), getegid());
    let passwd = format!("root:x:0:0::/root:/bin/sh\nme:x:{uid}:{gid}:Me:/home/me:/bin/sh\n");
    let group = format!("mine:x:{gid}:me,root\n");
    let groups = Groups::OfTrusted(Lists { passwd, group });
    Trust { accounts: [0, uid.as_raw()].into(), groups, sticky }
}

/// A folder below one with the sticky bit, where it is this account's.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        // Where temporary files lie behind a link, that would be found as well.
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn folder(&self, name: &str, mode: u32) {
        fs::create_dir(self.at(name)).unwrap();
        let file = self.at(name).join("file");
        fs::write(&file, "").unwrap();
        for (path, mode) in [(file, 0o644), (self.at(name), mode)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap(); // Whatever the umask is.
        }
    }

    /// Folders of all kinds, and links to them.
    fn with_all_kinds() -> Self {
        let place = Self::new();
        place.folder("closed", 0o755);
        place.folder("shared", 0o775); // With a group that nobody else is in.
        place.folder("sticky", 0o1777);
        place.folder("open", 0o757);
        for (link, target) in [
            ("link", place.at("closed")),
            ("way_in", place.at("open")),
            ("open/turn", place.at("closed")),
            ("round", "open/turn".into()),
            ("back", "open/../closed".into()),
            ("itself", "itself".into()),
        ] {
            symlink(target, place.at(link)).unwrap();
        }
        place
    }

    /// Where the ways in are, and whose.
    fn ways(&self, name: &str, trust: &Trust) -> Vec<(String, Who)> {
        let top = self.at("");
        let place = |way: &WayIn| way.place.strip_prefix(&top).unwrap().display().to_string();
        let ways = ways_in(&self.at(name), trust);
        ways.iter().map(|way| (place(way), way.who.clone())).collect()
    }
}

#[test]
fn a_path_is_as_closed_as_what_stands_on_it() {
    let place = Place::with_all_kinds();
    for (name, expected) in [
        ("closed/file", None),
        ("shared/file", None),
        ("sticky/file", None),
        ("link/file", None),
        ("sticky", Some("sticky")), // Something could be added.
        ("open", Some("open")),
        ("open/file", Some("open")),
        ("way_in/file", Some("open")),
        ("round/file", Some("open")),
        ("back/file", Some("open")),
        ("open/../closed/file", Some("open")),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|place| (place.to_owned(), Who::Everyone)).collect();
        assert_eq!(place.ways(name, &trust(Sticky::OnTheWay)), expected, "{name}");
    }
}

#[test]
fn where_one_thing_is_made_the_sticky_bit_and_a_group_may_be_allowed() {
    let place = Place::with_all_kinds();
    let ours = Groups::These { gids: vec![getegid().as_raw()], names: Vec::new() };
    let trust = |groups| Trust { groups, ..trust(Sticky::Everywhere) };
    for (name, with_our_group, with_none) in [
        ("closed", true, true),
        ("sticky", true, true),
        ("sticky/file", true, true),
        ("link", true, true),
        ("shared", true, false),
        ("shared/file", true, false),
        ("open/file", false, false),
        ("way_in", false, false),
        ("open/../closed", false, false),
        ("round", false, false),
        ("itself", false, false),
        ("nothing", false, false),
    ] {
        assert_eq!(is_closed(&place.at(name), &trust(ours.clone())), with_our_group, "{name}");
        assert_eq!(is_closed(&place.at(name), &trust(Groups::None)), with_none, "{name}");
    }
    assert!(!is_closed(Path::new(""), &trust(ours)));
}

#[test]
fn what_leads_nowhere_is_told_and_not_taken_for_closed() {
    let place = Place::with_all_kinds();
    symlink("none", place.at("dangling")).unwrap();
    for (name, expected, because) in [
        ("none", "none", "No such file"),
        ("closed/none/file", "closed/none", "No such file"),
        ("dangling", "none", "No such file"),
        ("itself/file", "itself", "it leads on and on"),
    ] {
        match &place.ways(name, &trust(Sticky::OnTheWay))[..] {
            [(at, Who::Unknown { because: said })] => {
                assert_eq!(at, expected);
                assert!(said.starts_with(because), "{said}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_stranger_may_change_what_is_his() {
    if !geteuid().is_root() {
        return; // Only root can give a folder away; CI runs this as root too.
    }
    let place = Place::with_all_kinds();
    chown(place.at("closed"), Some(STRANGER), None).unwrap();
    for sticky in [Sticky::OnTheWay, Sticky::Everywhere] {
        let expected = [("closed".to_owned(), Who::Owner)];
        assert_eq!(place.ways("closed/file", &trust(sticky)), expected);
        assert_eq!(place.ways("link/file", &trust(sticky)), expected);
    }
    let way = &ways_in(&place.at("link/file"), &trust(Sticky::OnTheWay))[0];
    let (words, path) = (way.words(|uid| format!("uid {uid}")), place.at("closed"));
    assert_eq!(words, format!("{} belongs to uid {STRANGER}", path.display()));
}

#[test]
fn each_way_in_has_words() {
    let group = |name: Option<&str>| Who::Group { gid: 7, name: name.map(str::to_owned) };
    for (who, words) in [
        (Who::Owner, "belongs to uid 1000"),
        (Who::Everyone, "can be changed by everyone"),
        (group(Some("staff")), "can be changed by the group staff (gid 7)"),
        (group(None), "can be changed by the group with gid 7"),
        (Who::Unknown { because: "gone".to_owned() }, "can't be looked at: gone"),
    ] {
        let way = WayIn { place: "/opt/a b".into(), owner: 1_000, who };
        assert_eq!(way.words(|uid| format!("uid {uid}")), format!("/opt/a b {words}"));
    }
}

/// A list with an entry for one more account, as setfacl(1) makes it (acl(5), and xattr(7) for its form).
#[test]
fn what_a_list_grants_is_seen() {
    let entry = |tag: u16, rights: u16, id: u32| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let nobody = u32::MAX;
    let entries = [
        entry(0x01, 6, nobody),
        entry(0x02, 6, 61_234),
        entry(0x04, 4, nobody),
        entry(0x10, 6, nobody),
        entry(0x20, 4, nobody),
    ];
    let list = [&2_u32.to_le_bytes()[..], &entries.concat()].concat();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let us = nix::unistd::geteuid().as_raw();
    let gid = nix::unistd::getegid().as_raw();
    let trust = Trust {
        accounts: [0, us].into(),
        groups: Groups::These { gids: vec![gid, 0], names: Vec::new() },
        sticky: Sticky::OnTheWay,
    };
    let open = |file: &std::path::Path| ways_in(file, &trust).iter().any(|way| way.place == file);
    assert!(!open(&file));
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(&file, c"system.posix_acl_access", &list, flags) {
        Ok(()) => assert!(open(&file)),
        Err(rustix::io::Errno::OPNOTSUPP) => {} // This file system has no lists.
        Err(errno) => panic!("{errno}"),
    }
}
