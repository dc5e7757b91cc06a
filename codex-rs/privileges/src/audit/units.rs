//! What systemd and udev run as root: the files that say so, their folders, and all that those files name.
//!
//! What is enabled or running is not asked: root's next start, or anybody's `systemctl start` in an update, may run any of
//! it. A file that the account could change is open as it is, and is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use codex_config::regular::read_regular;

use crate::finding::Finding;
use crate::subject::Subject;

pub(crate) mod commands;
mod udev;
mod unit_file;
pub(crate) mod uses;

use unit_file::Unit;
use uses::{Role, Use, Ways};

const CHECK: &str = "unit";

/// Where systemd looks for units, in this order. Source: systemd.unit(5).
const UNITS: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

/// Where each program is run as root, at some time or other. Source: systemd.generator(7), systemd-suspend.service(8).
const PROGRAMS: &[&str] = &[
    "/etc/systemd/system-generators",
    "/run/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
    "/etc/systemd/system-environment-generators",
    "/usr/local/lib/systemd/system-environment-generators",
    "/usr/lib/systemd/system-environment-generators",
    "/etc/systemd/system-sleep",
    "/usr/lib/systemd/system-sleep",
    "/usr/lib/systemd/system-shutdown",
];

/// Source: udev(7).
const RULES: &[&str] = &[
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];

const LIMIT_BYTES: u64 = 256 * 1024;
const MOST_ENTRIES: usize = 8_192;

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let folders = |list: &[&str]| distinct(list.iter().map(Path::new));
    let mut looked = Looked { ways: Ways::new(subject), uses: Vec::new(), unread: Vec::new() };
    looked.units(&folders(UNITS));
    looked.programs(&folders(PROGRAMS));
    looked.rules(&folders(RULES));
    let Looked { uses, unread, .. } = looked;
    let mut findings = uses::look_at(CHECK, subject, uses);
    findings.extend(uses::unread(CHECK, subject, "units and rules that can't be read", &unread));
    findings
}

/// Those that are there, each once: `/lib` may be a link to `/usr/lib`.
fn distinct<'p>(paths: impl Iterator<Item = &'p Path>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let is_new = |path: &&Path| path.canonicalize().is_ok_and(|real| seen.insert(real));
    paths.filter(is_new).map(Path::to_owned).collect()
}

/// The names in a folder, in order. A folder that is not there has none.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let entries = entries.take(MOST_ENTRIES).filter_map(Result::ok);
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// What systemd has of a name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Files {
    /// The one that counts. `None`: there are drop-ins only.
    unit: Option<PathBuf>,
    /// By file name, because one in `/etc` stands for one of the same name elsewhere.
    drop_ins: BTreeMap<String, PathBuf>,
}

/// What a name in a folder of units is.
#[derive(Debug, PartialEq, Eq)]
enum Entry<'n> {
    Unit,
    DropIns(&'n str),
    /// Links that say what starts with what.
    Wants,
    Other,
}

fn entry(name: &str) -> Entry<'_> {
    const KINDS: [&str; 10] = [
        "service",
        "socket",
        "timer",
        "path",
        "mount",
        "automount",
        "swap",
        "target",
        "slice",
        "device",
    ];
    match name.rsplit_once('.') {
        Some((unit, "d")) => Entry::DropIns(unit),
        Some((_, "wants" | "requires" | "upholds")) => Entry::Wants,
        Some((_, kind)) if KINDS.contains(&kind) => Entry::Unit,
        _ => Entry::Other,
    }
}

/// What a unit's file could be made to do: others than these can only choose among units.
fn role(unit: &str) -> Role {
    let kind = unit.rsplit_once('.').map_or(unit, |(_, kind)| kind);
    if ["service", "socket", "mount", "swap"].contains(&kind) {
        Role::Defines
    } else {
        Role::Starts
    }
}

/// `getty@.service` of `getty@tty1.service`.
fn template(unit: &str) -> Option<String> {
    let (name, kind) = unit.rsplit_once('.')?;
    let (name, _) = name.split_once('@')?;
    Some(format!("{name}@.{kind}"))
}

/// Names whose drop-ins are the unit's as well, the most general first: of its kind, of each beginning of its name up to a
/// hyphen, of its template.
///
/// Source: systemd.unit(5).
fn above(unit: &str) -> Vec<String> {
    let Some((name, kind)) = unit.rsplit_once('.') else { return Vec::new() };
    let name = name.split('@').next().unwrap_or(name);
    let begins = name.match_indices('-').map(|(at, _)| format!("{}.{kind}", &name[..=at]));
    let all = std::iter::once(kind.to_owned()).chain(begins).chain(template(unit));
    all.filter(|other| other != unit).collect()
}

struct Looked<'s> {
    ways: Ways<'s>,
    uses: Vec<Use>,
    unread: Vec<String>,
}

impl Looked<'_> {
    fn units(&mut self, folders: &[PathBuf]) {
        let mut all: BTreeMap<String, Files> = BTreeMap::new();
        for folder in folders {
            self.uses.push(Use::new(folder, Role::Defines, "systemd"));
            for name in self.names(folder) {
                let path = folder.join(&name);
                match entry(&name) {
                    Entry::Unit => {
                        all.entry(name).or_default().unit.get_or_insert(path);
                    }
                    Entry::DropIns(unit) => {
                        let files = all.entry(unit.to_owned()).or_default();
                        self.uses.push(Use::new(&path, role(unit), format!("the unit {unit}")));
                        for name in self.names(&path) {
                            if name.ends_with(".conf") {
                                let path = path.join(&name);
                                files.drop_ins.entry(name).or_insert(path);
                            }
                        }
                    }
                    Entry::Wants => self.uses.push(Use::new(&path, Role::Starts, "systemd")),
                    Entry::Other => {}
                }
            }
        }
        for (name, files) in &all {
            self.unit(name, files, &all);
        }
    }

    fn unit(&mut self, name: &str, files: &Files, all: &BTreeMap<String, Files>) {
        let base = || all.get(&template(name)?)?.unit.as_ref();
        let file = files.unit.as_ref().or_else(base);
        // A link to nothing says that there is to be no such unit.
        let target = file.and_then(|file| fs::read_link(file).ok());
        if target.is_some_and(|target| target == Path::new("/dev/null")) {
            return;
        }
        let by = format!("the unit {name}");
        let mut unit = Unit::default();
        let mut drop_ins: BTreeMap<&String, &PathBuf> = BTreeMap::new();
        let general = above(name);
        for files in general.iter().filter_map(|name| all.get(name)).chain([files]) {
            drop_ins.extend(&files.drop_ins); // One of the same name stands for a more general one.
        }
        for path in file.into_iter().chain(drop_ins.into_values()) {
            self.uses.push(Use::new(path, role(name), by.as_str()));
            unit.add(&self.text(path));
        }
        self.uses.extend(unit.uses(&by));
    }

    fn programs(&mut self, folders: &[PathBuf]) {
        for folder in folders {
            self.uses.push(Use::new(folder, Role::Searches, "systemd"));
            for name in self.names(folder) {
                self.uses.push(Use::new(folder.join(name), Role::Runs, "systemd"));
            }
        }
    }

    fn rules(&mut self, folders: &[PathBuf]) {
        for folder in folders {
            self.uses.push(Use::new(folder, Role::Defines, "udev"));
            for name in self.names(folder).iter().filter(|name| name.ends_with(".rules")) {
                let path = folder.join(name);
                let named = udev::named(&self.text(&path));
                self.uses.push(Use::new(path, Role::Defines, "udev"));
                self.uses.extend(Use::of_command(named, "udev"));
            }
        }
    }

    fn names(&mut self, folder: &Path) -> Vec<String> {
        names(folder).unwrap_or_else(|error| {
            // A file that is called like a folder of drop-ins is none.
            if error.kind() != io::ErrorKind::NotADirectory {
                self.unread.push(format!("{}: {error}", folder.display()));
            }
            Vec::new()
        })
    }

    /// Nothing of a file that the account could change: it is told of as it is.
    fn text(&mut self, path: &Path) -> String {
        if self.ways.is_any(path) {
            return String::new();
        }
        match read_regular(path, LIMIT_BYTES) {
            Ok(bytes) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
            // Such as one that is a link to /dev/null.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => String::new(),
            Err(error) => {
                self.unread.push(format!("{}: {error}", path.display()));
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::subject::testing::subject;

    #[test]
    fn a_name_says_what_it_is() {
        for (name, expected) in [
            ("x.service", Entry::Unit),
            ("x@.timer", Entry::Unit),
            ("x.service.d", Entry::DropIns("x.service")),
            ("multi-user.target.wants", Entry::Wants),
            ("README", Entry::Other),
            ("x.conf", Entry::Other),
        ] {
            assert_eq!(entry(name), expected, "{name}");
        }
        for (unit, expected) in [("x.service", Role::Defines), ("x.timer", Role::Starts)] {
            assert_eq!(role(unit), expected, "{unit}");
        }
        assert_eq!(template("getty@tty1.service").as_deref(), Some("getty@.service"));
        assert_eq!(template("getty.service"), None);
        let expected = ["service", "a-.service", "a-b-.service", "a-b-c@.service"];
        assert_eq!(above("a-b-c@1-2.service"), expected);
        assert_eq!(above("a-.service"), ["service"]);
        assert_eq!(above("service"), [""; 0]);
    }

    /// What it uses, with the folder's own name left out.
    fn used(top: &Path) -> Vec<String> {
        let us = subject(61_500, &[61_500]);
        let mut looked = Looked { ways: Ways::new(&us), uses: Vec::new(), unread: Vec::new() };
        looked.units(&[top.join("etc"), top.join("lib")]);
        assert!(looked.unread.is_empty(), "{:?}", looked.unread);
        let word = |used: &Use| format!("{:?} {} {}", used.role, used.path.display(), used.by);
        let of_commands = looked.uses.iter().filter(|used| !used.path.starts_with(top));
        of_commands.map(word).collect()
    }

    #[test]
    fn the_file_that_counts_is_read_with_its_drop_ins() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        let write = |name: &str, text: &str| {
            fs::create_dir_all(top.join(name).parent().unwrap()).unwrap();
            fs::write(top.join(name), text).unwrap();
        };
        fs::create_dir(top.join("etc")).unwrap();
        write("lib/x.service", "ExecStart=/lib/x");
        write("etc/x.service", "ExecStart=/etc/x");
        write("lib/x.service.d/1.conf", "ExecStop=/lib/1");
        write("etc/x.service.d/1.conf", "ExecStop=/etc/1");
        write("lib/masked.service", "ExecStart=/no");
        symlink("/dev/null", top.join("etc/masked.service")).unwrap();
        write("lib/t@.service", "ExecStart=/lib/t");
        write("etc/t@1.service.d/1.conf", "ExecStop=/etc/t1");
        write("lib/other.txt", "ExecStart=/no");
        let expected = [
            "Runs /etc/t1 the unit t@1.service",
            "Runs /lib/t the unit t@.service",
            "Runs /etc/x the unit x.service",
            "Runs /etc/1 the unit x.service",
            "Runs /lib/t the unit t@1.service",
        ];
        let (mut found, mut expected) = (used(top), expected.map(str::to_owned).to_vec());
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn drop_ins_of_a_kind_and_of_a_names_beginning_apply_too() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        for (name, text) in [
            ("lib/a-b.service", "User=nobody\nExecStart=/a"),
            ("lib/c.service", "User=nobody\nExecStart=/c"),
            ("etc/a-.service.d/1.conf", "User=root"),
            ("etc/service.d/1.conf", "ExecStop=+/no"),
            ("lib/c.service.d/1.conf", "User=nobody"),
            ("etc/service.d/2.conf", "ExecStop=+/stop"),
        ] {
            fs::create_dir_all(top.join(name).parent().unwrap()).unwrap();
            fs::write(top.join(name), text).unwrap();
        }
        let found = used(top);
        for (line, expected) in [
            ("Runs /a the unit a-b.service", true),
            ("Runs /c the unit c.service", false),
            ("Runs /stop the unit a-b.service", true),
            ("Runs /stop the unit c.service", true),
            ("Runs /no the unit a-b.service", false),
            ("Runs /no the unit c.service", false),
        ] {
            assert_eq!(found.iter().any(|found| found == line), expected, "{line}: {found:?}");
        }
    }

    #[test]
    fn a_unit_in_a_home_is_found_by_the_link_to_it_and_not_read() {
        if !crate::processes::samples::is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["etc", "home"] {
            fs::create_dir(top.join(name)).unwrap();
        }
        fs::write(top.join("home/x.service"), "ExecStart=/opt/x").unwrap();
        chown(top.join("home"), Some(61_500), None).unwrap();
        symlink(top.join("home/x.service"), top.join("etc/x.service")).unwrap();
        let us = subject(61_500, &[61_500]);
        let mut looked = Looked { ways: Ways::new(&us), uses: Vec::new(), unread: Vec::new() };
        looked.units(&[top.join("etc")]);
        assert!(looked.uses.iter().all(|used| used.path.starts_with(&top)), "{:?}", looked.uses);
        let found = uses::look_at(CHECK, &us, looked.uses);
        let what = format!(
            "{}/etc/x.service, which says what the unit x.service does as root",
            top.display()
        );
        assert_eq!((found.len(), &found[0].what), (1, &what), "{found:?}");
    }
}
