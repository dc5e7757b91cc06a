//! Devices that lead to root: disks, which hold all files whatever their modes say; and a few others, where that depends
//! on what nobody can tell from here.
//!
//! A device is known by its number, or where the kernel gives numbers out as it goes, by its name. Nothing is opened.
//!
//! Source: the kernel's `Documentation/admin-guide/devices.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use codex_config::regular::read_regular;
use nix::sys::stat::{major, minor};

use super::reach::{Owned, Through, is_reachable, leave_remedy};
use crate::finding::{Closing, Finding, Grade};
use crate::subject::{Subject, account_name, group_name, left_by};

const CHECK: &str = "device";

const DEEPEST: usize = 4;
const MOST_ENTRIES: usize = 20_000;
/// As many are named in one finding.
const MOST_NAMED: usize = 8;
const READ: u16 = 0o4;
const WRITE: u16 = 0o2;
const FOR_GROUP: u32 = 0o060;

/// What a device is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Disk,
    /// A disk that is carried about.
    Stick,
    /// A disk's other way in: commands as they are.
    Commands,
    /// The memory that programs are in.
    Memory,
    /// Keys are typed there, as if at the keyboard.
    Typing,
    /// What is typed can be read there.
    Keyboard,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Device {
    owned: Owned,
    kind: Kind,
}

/// What is known of a device before it is judged.
#[derive(Clone, Copy, Debug)]
struct Facts<'d> {
    name: &'d str,
    is_block: bool,
    major: u64,
    minor: u64,
    /// Nothing is behind it: a loop that is not in use.
    is_empty: bool,
    is_removable: bool,
    /// The type that a SCSI device says it has; 0 is a disk.
    scsi_type: Option<u8>,
}

impl Kind {
    fn of(facts: Facts<'_>) -> Option<Self> {
        let begins = |names: &[&str]| {
            let rest = |name: &&str| facts.name.strip_prefix(*name);
            names.iter().filter_map(rest).any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        if facts.is_block {
            // Memory, floppies, optical discs: no system's files.
            let is_other = matches!(facts.major, 1 | 2 | 11) || begins(&["zram", "ram"]);
            let kind = if facts.is_removable { Self::Stick } else { Self::Disk };
            return (!is_other && !facts.is_empty).then_some(kind);
        }
        match (facts.major, facts.minor) {
            (1, 1 | 2 | 4) => Some(Self::Memory),
            (10, 223 | 239) => Some(Self::Typing), // uinput, uhid.
            (13, 64..) if begins(&["event"]) => Some(Self::Keyboard),
            (21, _) => matches!(facts.scsi_type, None | Some(0 | 7 | 14)).then_some(Self::Commands),
            (90, _) | (162, 1..) => Some(Self::Disk), // Flash memory, raw disks.
            _ if begins(&["nvme", "ng"]) => Some(Self::Commands),
            _ => None,
        }
    }

    /// The rights that make it a way.
    fn bits(self) -> &'static [u16] {
        match self {
            Self::Disk | Self::Stick | Self::Commands | Self::Memory => {
                &[READ | WRITE, WRITE, READ]
            }
            Self::Typing => &[READ | WRITE, WRITE],
            Self::Keyboard => &[READ],
        }
    }

    fn grade(self) -> Grade {
        match self {
            Self::Disk | Self::Commands => Grade::Open,
            Self::Stick | Self::Memory | Self::Typing | Self::Keyboard => Grade::Undecided,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Disk => "disks",
            Self::Stick => "removable disks",
            Self::Commands => "disks, by way of plain commands,",
            Self::Memory => "the machine's memory",
            Self::Typing => "devices that type",
            Self::Keyboard => "keyboards and the like",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Disk | Self::Commands => {
                "all that lies on a disk can be had past all modes: keys, hashes of passwords, root's programs"
            }
            Self::Stick => "what lies on it, and whether root ever runs that, can't be told",
            Self::Memory => {
                "the kernel asks for CAP_SYS_RAWIO besides; whether the account finds a program that has it can't be told"
            }
            Self::Typing => {
                "it types into whatever has the keyboard; whether that is ever a shell of root's can't be told"
            }
            Self::Keyboard => {
                "what is typed can be read; whether that is ever a password of root's can't be told"
            }
        }
    }
}

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let devices = devices();
    let reachable = devices.iter().filter(|device| is_reachable(subject, &device.owned.path));
    let open: Vec<_> = reachable.filter_map(|device| usable(subject, device)).collect();
    judge(subject, &open)
}

/// Groups that may use a disk.
pub(super) fn owning_gids() -> BTreeSet<u32> {
    let disks = devices().into_iter().filter(|device| device.kind.grade() == Grade::Open);
    disks.filter(|disk| disk.owned.mode & FOR_GROUP != 0).map(|disk| disk.owned.gid).collect()
}

fn usable(subject: &Subject, device: &Device) -> Option<(Device, Through, u16)> {
    let mut bits = device.kind.bits().iter();
    bits.find_map(|bits| Some((device.clone(), device.owned.through_now(subject, *bits)?, *bits)))
}

/// Devices of one kind that are open in the same way are one finding: partitions come and go.
fn judge(subject: &Subject, open: &[(Device, Through, u16)]) -> Vec<Finding> {
    let mut alike: BTreeMap<(Kind, Through, u16), Vec<&Owned>> = BTreeMap::new();
    for (device, through, bits) in open {
        alike.entry((device.kind, *through, *bits)).or_default().push(&device.owned);
    }
    let finding = |((kind, through, bits), devices): ((Kind, Through, u16), Vec<&Owned>)| {
        let rights = match bits {
            READ => "read",
            WRITE => "write",
            _ => "read and write",
        };
        let who = match through {
            Through::Owner => account_name(subject.account.uid),
            Through::Group(gid) => format!("the group {}", group_name(gid)),
            Through::Everyone => "everyone".to_owned(),
            Through::List => format!("{}, by a list,", subject.account.name),
        };
        let what = format!("{} that {who} may {rights}", kind.words());
        let mut seen: Vec<String> =
            devices.iter().take(MOST_NAMED).map(|device| device.words()).collect();
        if devices.len() > MOST_NAMED {
            seen.push(format!("and {} more", devices.len() - MOST_NAMED));
        }
        seen.push(through.words(subject));
        let finding = match kind.grade() {
            Grade::Open => Finding::open(CHECK, what, kind.why()),
            Grade::Undecided => Finding::undecided(CHECK, what, kind.why()),
        };
        let finding = finding.seen(seen.join("; ")).remedy(remedy(subject, through));
        match through {
            Through::Group(gid) if left_by(subject, gid).is_some() => {
                finding.closed_by(Closing::Groups)
            }
            _ => finding,
        }
    };
    alike.into_iter().map(finding).collect()
}

/// A device's mode comes from udev, and comes back with it.
fn remedy(subject: &Subject, through: Through) -> String {
    match through {
        Through::Group(gid) => leave_remedy(subject, gid),
        _ => "take it out of the rules in /etc/udev/rules.d that open it, then: udevadm control --reload && udevadm trigger".to_owned(),
    }
}

fn devices() -> Vec<Device> {
    let mut walk = Walk { left: MOST_ENTRIES, found: Vec::new() };
    walk.folder(Path::new("/dev"), DEEPEST);
    walk.found
}

struct Walk {
    left: usize,
    found: Vec<Device>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, depth: usize) {
        // File systems of their own, where anybody may make files.
        const OTHERS: [&str; 4] = ["/dev/shm", "/dev/pts", "/dev/mqueue", "/dev/hugepages"];
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth > 0 && !OTHERS.iter().any(|other| path == Path::new(other)) {
                self.folder(&path, depth - 1);
            } else if kind.is_block_device() || kind.is_char_device() {
                let Ok(found) = entry.metadata() else { continue };
                let name = entry.file_name();
                let kind = Kind::of(facts(&name.to_string_lossy(), &found));
                let owned = Owned::at(path, &found);
                self.found.extend(kind.map(|kind| Device { owned, kind }));
            }
        }
    }
}

fn facts<'d>(name: &'d str, found: &fs::Metadata) -> Facts<'d> {
    let is_block = found.file_type().is_block_device();
    let (major, minor) = (major(found.rdev()), minor(found.rdev()));
    let class = if is_block { "block" } else { "char" };
    let said = |attribute: &str| {
        let path = format!("/sys/dev/{class}/{major}:{minor}/{attribute}");
        let bytes = read_regular(Path::new(&path), 64).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let says = |attribute: &str, value: &str| said(attribute).is_some_and(|said| said == value);
    Facts {
        name,
        is_block,
        major,
        minor,
        is_empty: is_block && says("size", "0"),
        // Of a partition, the disk knows.
        is_removable: is_block && (says("removable", "1") || says("../removable", "1")),
        scsi_type: said("device/type").and_then(|kind| kind.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::testing::subject;

    fn block(name: &str, major: u64) -> Facts<'_> {
        let (is_empty, is_removable, scsi_type) = (false, false, None);
        Facts { name, is_block: true, major, minor: 0, is_empty, is_removable, scsi_type }
    }

    fn character(name: &str, major: u64, minor: u64) -> Facts<'_> {
        Facts { is_block: false, minor, ..block(name, major) }
    }

    #[test]
    fn a_device_is_what_its_number_says() {
        for (facts, expected) in [
            (block("sda", 8), Some(Kind::Disk)),
            (block("nvme0n1p1", 259), Some(Kind::Disk)),
            (block("dm-0", 253), Some(Kind::Disk)),
            (Facts { is_removable: true, ..block("sdb1", 8) }, Some(Kind::Stick)),
            (Facts { is_empty: true, ..block("loop0", 7) }, None),
            (block("sr0", 11), None),
            (block("zram0", 252), None),
            (character("mem", 1, 1), Some(Kind::Memory)),
            (character("anything", 1, 4), Some(Kind::Memory)),
            (character("null", 1, 3), None),
            (character("uinput", 10, 223), Some(Kind::Typing)),
            (character("kvm", 10, 232), None),
            (character("event3", 13, 67), Some(Kind::Keyboard)),
            (character("mice", 13, 63), None),
            (Facts { scsi_type: Some(0), ..character("sg0", 21, 0) }, Some(Kind::Commands)),
            (Facts { scsi_type: Some(5), ..character("sg1", 21, 1) }, None),
            (character("sg2", 21, 2), Some(Kind::Commands)),
            (character("nvme0", 240, 0), Some(Kind::Commands)),
            (character("ng0n1", 241, 0), Some(Kind::Commands)),
            (character("nvmem", 240, 0), None),
            (character("tty1", 4, 1), None),
        ] {
            assert_eq!(Kind::of(facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn what_is_open_in_the_same_way_is_one_finding() {
        let mut us = subject(61_500, &[61_500, 61_501]);
        us.account.groups[1].name = Some("disk".to_owned());
        let device = |path: &str, kind, uid, gid, mode| Device {
            owned: Owned { path: path.into(), uid, gid, mode },
            kind,
        };
        let devices = [
            device("/dev/sda", Kind::Disk, 0, 61_501, 0o660),
            device("/dev/sda1", Kind::Disk, 0, 61_501, 0o660),
            device("/dev/sdb", Kind::Disk, 0, 61_501, 0o640),
            device("/dev/sdc", Kind::Disk, 0, 61_502, 0o660),
            device("/dev/sdd", Kind::Disk, 61_500, 0, 0o600),
            device("/dev/uinput", Kind::Typing, 0, 0, 0o444),
            device("/dev/uinput", Kind::Typing, 0, 0, 0o666),
        ];
        let open: Vec<_> = devices.iter().filter_map(|device| usable(&us, device)).collect();
        let found: Vec<_> = judge(&us, &open)
            .into_iter()
            .map(|found| (found.what, found.grade, found.closed_by))
            .collect();
        let what = |words: &str| words.to_owned();
        let owner = account_name(61_500);
        let group = group_name(61_501);
        assert_eq!(
            found,
            [
                (format!("disks that {owner} may read and write"), Grade::Open, None),
                (
                    format!("disks that the group {group} may read"),
                    Grade::Open,
                    Some(Closing::Groups)
                ),
                (
                    format!("disks that the group {group} may read and write"),
                    Grade::Open,
                    Some(Closing::Groups)
                ),
                (
                    what("devices that type that everyone may read and write"),
                    Grade::Undecided,
                    None
                ),
            ]
        );
    }
}
