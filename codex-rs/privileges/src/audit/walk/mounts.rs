//! The file systems that are mounted: which of them a path still leads to, and which are to be searched.
//!
//! Source: proc_pid_mountinfo(5).

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Unread;

/// These hold no files that anybody could have put there.
const HOLLOW: [&str; 22] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];
/// Behind these is another machine, or a program, and neither has to answer.
const DISTANT: [&str; 15] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "orangefs",
    "smb3",
    "smbfs",
];
/// And all of FUSE: `fuse`, `fuseblk`, `fuse.sshfs`, …
const DISTANT_FAMILY: &str = "fuse";
/// Here folders may have device numbers of their own.
const WITH_SUBVOLUMES: [&str; 2] = ["bcachefs", "btrfs"];

/// A line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    id: u32,
    parent: u32,
    /// Major and minor number.
    device: String,
    /// What of its file system is seen.
    root: PathBuf,
    /// Where it is seen.
    pub(super) point: PathBuf,
    is_nosuid: bool,
    /// Its whole file system is read-only, and not only this view of it.
    is_read_only: bool,
    kind: String,
}

impl Mount {
    fn is_hollow(&self) -> bool {
        HOLLOW.contains(&self.kind.as_str())
    }

    fn is_distant(&self) -> bool {
        DISTANT.contains(&self.kind.as_str()) || self.kind.starts_with(DISTANT_FAMILY)
    }

    /// Nobody can write there but whoever mounts it anew. What a program serves, or other folders make up, may change.
    fn is_sealed(&self) -> bool {
        self.is_read_only && !self.is_distant() && self.kind != "overlay"
    }

    pub(super) fn has_subvolumes(&self) -> bool {
        WITH_SUBVOLUMES.contains(&self.kind.as_str())
    }
}

/// What is to be searched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) searched: Vec<Mount>,
    /// Where any mount is seen: a walk that comes there from above turns round.
    pub(super) points: HashSet<PathBuf>,
    /// What is left out and should be said.
    pub(super) unread: Vec<Unread>,
}

/// Those that a path leads to.
pub(super) fn read() -> io::Result<Vec<Mount>> {
    Ok(visible(parse(&fs::read("/proc/self/mountinfo")?)))
}

/// Where something is mounted that is no memory of this system's: it might never answer, or is nobody's here.
pub(in crate::audit) fn foreign() -> HashSet<PathBuf> {
    let is_memory = |mount: &Mount| ["tmpfs", "devtmpfs"].contains(&mount.kind.as_str());
    points_of(&read().unwrap_or_default(), &|mount| !is_memory(mount))
}

/// Where something is mounted that is not searched for files of the system.
pub(in crate::audit) fn not_searched() -> HashSet<PathBuf> {
    points_of(&read().unwrap_or_default(), &|mount| mount.is_hollow() || mount.is_distant())
}

fn points_of(mounts: &[Mount], is_meant: &dyn Fn(&Mount) -> bool) -> HashSet<PathBuf> {
    mounts.iter().filter(|mount| is_meant(mount)).map(|mount| mount.point.clone()).collect()
}

/// Whether a path, by its name without links, lies on a file system that nobody can write to.
pub(crate) fn is_sealed(place: &Path) -> bool {
    is_sealed_in(&read().unwrap_or_default(), place)
}

fn is_sealed_in(visible: &[Mount], place: &Path) -> bool {
    let on = visible.iter().filter(|mount| place.starts_with(&mount.point));
    on.max_by_key(|mount| mount.point.components().count()).is_some_and(Mount::is_sealed)
}

/// Of visible mounts. `is_searchable`: whether the account can go through a folder.
pub(super) fn plan(visible: &[Mount], is_searchable: &dyn Fn(&Path) -> bool) -> Plan {
    let mut plan = Plan::default();
    let seen_at: HashMap<&Path, &Mount> =
        visible.iter().map(|mount| (mount.point.as_path(), mount)).collect();
    for mount in visible {
        plan.points.insert(mount.point.clone());
        // Where nosuid holds, the kernel heeds neither the bits nor capabilities.
        if mount.is_nosuid || mount.is_hollow() || !is_reachable(mount, &seen_at, is_searchable) {
            continue;
        }
        if mount.is_distant() {
            let because = format!("it ({}) is not a file system of this machine's own", mount.kind);
            plan.unread.push(Unread { place: mount.point.clone(), because });
        } else if !plan.searched.iter().any(|other| shows_all_of(other, mount, visible)) {
            plan.searched.push(mount.clone());
        }
    }
    plan
}

/// Whether the account can come to where it is mounted.
fn is_reachable(
    mount: &Mount,
    seen_at: &HashMap<&Path, &Mount>,
    is_searchable: &dyn Fn(&Path) -> bool,
) -> bool {
    mount.point.ancestors().skip(1).all(|folder| {
        let on = folder.ancestors().find_map(|above| seen_at.get(above));
        // A machine that does not answer is not asked.
        on.is_some_and(|on| on.is_distant()) || is_searchable(folder)
    })
}

/// Whether two mounts show the same, and nothing is mounted over a part of the first that the second still shows.
fn shows_all_of(first: &Mount, second: &Mount, visible: &[Mount]) -> bool {
    let covered = |mount: &Mount| -> HashSet<PathBuf> {
        let below = visible.iter().filter(|other| other.parent == mount.id && other.id != mount.id);
        below
            .filter_map(|other| Some(other.point.strip_prefix(&mount.point).ok()?.to_owned()))
            .collect()
    };
    (&first.device, &first.root) == (&second.device, &second.root)
        && covered(first).is_subset(&covered(second))
}

/// Without those that lie under others.
fn visible(mounts: Vec<Mount>) -> Vec<Mount> {
    let by_id: HashMap<u32, &Mount> = mounts.iter().map(|mount| (mount.id, mount)).collect();
    let covered: HashSet<(u32, &Path)> = mounts
        .iter()
        .filter(|mount| mount.parent != mount.id)
        .map(|mount| (mount.parent, mount.point.as_path()))
        .collect();
    let is_visible = |mount: &&Mount| {
        if covered.contains(&(mount.id, mount.point.as_path())) {
            return false; // Something lies right on it.
        }
        let mut at = *mount;
        for _ in 0..=mounts.len() {
            if at.point.ancestors().skip(1).any(|on| covered.contains(&(at.parent, on))) {
                return false; // Or on the way from its parent to it.
            }
            match by_id.get(&at.parent).copied() {
                Some(parent) if parent.id != at.id => at = parent,
                _ => return true,
            }
        }
        false // A circle, which there can't be.
    };
    mounts.iter().filter(is_visible).cloned().collect()
}

/// Lines that are none of the known form are left out.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG…] - KIND SOURCE OPTIONS`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let number = |at: usize| str::from_utf8(fields.get(at)?).ok()?.parse().ok();
    let text = |at: usize| Some(String::from_utf8_lossy(fields.get(at)?).into_owned());
    let path = |at: usize| Some(PathBuf::from(OsString::from_vec(unescaped(fields.get(at)?))));
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    Some(Mount {
        id: number(0)?,
        parent: number(1)?,
        device: text(2)?,
        root: path(3)?,
        point: path(4)?,
        is_nosuid: text(5)?.split(',').any(|option| option == "nosuid"),
        is_read_only: text(dash + 3).is_some_and(|all| all.split(',').any(|one| one == "ro")),
        kind: text(dash + 1)?,
    })
}

/// `\040` is a space: three octal digits after a backslash.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let number = digits.and_then(|digits| str::from_utf8(digits).ok());
        if let Some(byte) = number.and_then(|number| u8::from_str_radix(number, 8).ok()) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(mounts: &[Mount]) -> Vec<&str> {
        mounts.iter().map(|mount| mount.point.to_str().unwrap()).collect()
    }

    fn searched(text: &str, closed: &[&str]) -> (Vec<String>, Vec<String>) {
        let visible = visible(parse(text.as_bytes()));
        let plan =
            plan(&visible, &|folder| !closed.iter().any(|closed| folder == Path::new(closed)));
        let words = |it: Unread| format!("{}: {}", it.place.display(), it.because);
        let unread = plan.unread.into_iter().map(words).collect();
        (points(&plan.searched).into_iter().map(str::to_owned).collect(), unread)
    }

    #[test]
    fn a_line_is_read_with_its_escapes_and_whatever_tags_it_has() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402\134 rw,nosuid,noatime master:1 shared:2 - ext3 /dev/root rw";
        let expected = Mount {
            id: 36,
            parent: 35,
            device: "98:0".to_owned(),
            root: "/mnt1".into(),
            point: r"/mnt 2\".into(),
            is_nosuid: true,
            is_read_only: false,
            kind: "ext3".to_owned(),
        };
        assert_eq!(parse_line(line), Some(expected));
        for wrong in ["", "36", "36 35 98:0 / /mnt rw ext3 x rw", "x 35 98:0 / /mnt rw - ext3 x rw"]
        {
            assert_eq!(parse_line(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn only_three_octal_digits_that_are_a_byte_are_an_escape() {
        for (field, expected) in [
            (r"a\011b", "a\tb"),
            (r"a\0", r"a\0"),
            (r"\999", r"\999"),
            (r"\777", r"\777"),
            ("", ""),
        ] {
            assert_eq!(unescaped(field.as_bytes()), expected.as_bytes(), "{field}");
        }
    }

    #[test]
    fn what_lies_under_another_mount_is_not_seen() {
        let text = "27 1 254:0 / / rw - ext4 a rw\n\
                    24 27 0:6 / /dev rw - devtmpfs b rw\n\
                    26 24 0:24 / /dev/pts rw - devpts c rw\n\
                    29 26 0:26 / /dev/pts rw - devpts d rw\n\
                    40 27 8:1 / /srv/data rw - ext4 e rw\n\
                    41 40 8:2 / /srv/data/more rw - ext4 f rw\n\
                    42 27 8:3 / /srv rw - ext4 g rw\n\
                    43 42 8:4 / /srv/data rw - ext4 h rw\n";
        let visible = visible(parse(text.as_bytes()));
        assert_eq!(points(&visible), ["/", "/dev", "/dev/pts", "/srv", "/srv/data"]);
        assert_eq!(visible[4].device, "8:4");
        // The first file system of all may be its own parent.
        let own =
            super::visible(parse(b"1 1 0:2 / / rw - rootfs rootfs rw\n2 1 8:1 / / rw - ext4 a rw"));
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].id, 2);
    }

    #[test]
    fn hollow_and_nosuid_file_systems_are_left_out_and_distant_ones_are_named() {
        let text = "1 0 8:1 / / rw - ext4 a rw\n\
                    2 1 0:2 / /proc rw - proc proc rw\n\
                    3 1 0:3 / /tmp rw,nosuid,nodev - tmpfs tmpfs rw\n\
                    4 1 0:4 / /net/home rw - nfs4 host:/ rw\n\
                    5 1 0:5 / /home/a/far rw - fuse.sshfs b: rw\n\
                    6 1 0:6 / /home/a/near rw,nosuid - fuse.sshfs b: rw\n\
                    7 1 8:2 / /usr ro - squashfs c ro\n\
                    8 1 8:3 / /sealed/x rw - xfs d rw\n";
        let (searched, unread) = searched(text, &["/sealed"]);
        assert_eq!(searched, ["/", "/usr"]);
        let words = |place, kind| {
            format!("{place}: it ({kind}) is not a file system of this machine's own")
        };
        let expected = [words("/net/home", "nfs4"), words("/home/a/far", "fuse.sshfs")];
        assert_eq!(unread, expected);
    }

    #[test]
    fn what_is_shown_twice_is_searched_once_unless_the_second_shows_more() {
        let text = "1 0 8:1 / / rw - ext4 a rw\n\
                    2 1 8:2 / /data rw - ext4 b rw\n\
                    3 1 8:2 / /again rw - ext4 b rw\n\
                    4 1 8:2 /part /part rw - ext4 b rw\n\
                    5 1 8:1 / /all rw - ext4 a rw\n";
        // `/all` shows what `/data` and others lie on.
        assert_eq!(searched(text, &[]).0, ["/", "/data", "/part", "/all"]);
    }

    #[test]
    fn what_others_mounted_is_foreign_and_what_is_read_only_as_a_whole_is_sealed() {
        let text = "1 0 8:1 / / rw - ext4 a rw\n\
                    2 1 0:3 / /run rw - tmpfs tmpfs rw\n\
                    3 2 0:4 / /run/a\\040b rw - fuse.x y ro\n\
                    4 1 7:1 / /snap/x ro - squashfs c ro,errors=continue\n\
                    5 1 8:1 /x /view ro - ext4 a rw\n";
        let mounts = visible(parse(text.as_bytes()));
        let fuse = points_of(&mounts, &Mount::is_distant);
        assert_eq!(fuse, HashSet::from([PathBuf::from("/run/a b")]));
        for (place, expected) in [
            ("/snap/x/bin/y", true),
            ("/snap", false),
            ("/view/z", false), // It can be written to by another name.
            ("/run/a b/z", false),
        ] {
            assert_eq!(is_sealed_in(&mounts, Path::new(place)), expected, "{place}");
        }
    }
}
