//! Which package has brought a file: asked of dpkg's lists, else of rpm.
//!
//! Source: dpkg-query(1) (the files in `info`), dpkg-divert(1), rpm(8).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use codex_config::regular::read_regular;

use crate::tools;

const DPKG: &str = "/var/lib/dpkg";
const LIST_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
/// Where snapd, and it alone, mounts packages of another kind.
const SNAPS: [&str; 2] = ["/snap", "/var/lib/snapd/snap"];
/// dpkg calls a diversion of the administrator's own so.
const NO_PACKAGE: &str = ":";
/// Altogether; one answer takes some 30 ms.
const RPM_LIMIT: Duration = Duration::from_secs(10);

/// Who has brought a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) enum Owner {
    Package(String),
    Nobody,
    /// There is nobody to ask.
    Unknown,
}

/// Of each path, in the same order.
pub(in crate::audit) fn owners(paths: &[&Path]) -> Vec<Owner> {
    let mut owners = of_dpkg(Path::new(DPKG), paths, &links()).unwrap_or_else(|| of_rpm(paths));
    for (path, owner) in paths.iter().zip(&mut owners) {
        if let Some(snap) = snap(path) {
            *owner = Owner::Package(format!("the snap {snap}"));
        }
    }
    owners
}

fn snap(path: &Path) -> Option<String> {
    let below = SNAPS.iter().find_map(|folder| path.strip_prefix(folder).ok())?;
    let mut parts = below.iter();
    let name = parts.next()?.to_string_lossy().into_owned();
    parts.next().map(|_| name) // A file right in the folder is none.
}

fn of_rpm(paths: &[&Path]) -> Vec<Owner> {
    let (rpm, begun) = (tools::find("rpm"), Instant::now());
    let ask = |path: &&Path| {
        let Some(rpm) = rpm.as_ref().filter(|_| begun.elapsed() < RPM_LIMIT) else {
            return Owner::Unknown;
        };
        let asked: [&OsStr; 3] = ["-qf".as_ref(), "--".as_ref(), path.as_os_str()];
        match tools::run(rpm, asked) {
            Ok(ran) if ran.is_success() => {
                Owner::Package(ran.text().lines().next().unwrap_or_default().to_owned())
            }
            Ok(ran) if ran.text().contains("is not owned by any package") => Owner::Nobody,
            _ => Owner::Unknown,
        }
    };
    paths.iter().map(ask).collect()
}

/// `None`: there is no dpkg here.
fn of_dpkg(dpkg: &Path, paths: &[&Path], links: &[Link]) -> Option<Vec<Owner>> {
    let lists: Vec<PathBuf> = fs::read_dir(dpkg.join("info"))
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "list"))
        .collect();
    if lists.is_empty() {
        return None;
    }
    let read = |path: &Path| read_regular(path, LIST_LIMIT_BYTES).ok().flatten();
    let diversions = diversions(&read(&dpkg.join("diversions")).unwrap_or_default());
    let wanted = wanted(paths, links, &diversions);
    let mut owners = vec![Owner::Nobody; paths.len()];
    for list in lists {
        match read(&list) {
            Some(bytes) => mark(&mut owners, &wanted, &package_of(&list), &bytes),
            // It might have named any of them.
            None => owners.iter_mut().filter(|owner| **owner == Owner::Nobody).for_each(|owner| {
                *owner = Owner::Unknown;
            }),
        }
    }
    Some(owners)
}

/// `libc6:amd64.list` is of the package `libc6`.
fn package_of(list: &Path) -> String {
    let stem = list.file_stem().unwrap_or_default().to_string_lossy();
    stem.split(':').next().unwrap_or_default().to_owned()
}

/// A folder that is a link by now: `/bin`, which leads to `/usr/bin`. Packages go on naming files by the link.
struct Link {
    name: PathBuf,
    target: PathBuf,
}

fn links() -> Vec<Link> {
    let entries = ["/", "/usr"].into_iter().filter_map(|folder| fs::read_dir(folder).ok());
    let entries = entries.flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links
        .filter_map(|entry| {
            Some(Link { name: entry.path(), target: entry.path().canonicalize().ok()? })
        })
        .filter(|link| link.target.parent().is_some()) // What leads to the root would name all.
        .collect()
}

/// All names that packages may have for a file.
fn names(path: &Path, links: &[Link]) -> Vec<PathBuf> {
    let by_link = |link: &Link| Some(link.name.join(path.strip_prefix(&link.target).ok()?));
    links.iter().filter_map(by_link).chain([path.to_owned()]).collect()
}

/// A file that moves out of the way for another package's.
struct Diversion {
    from: PathBuf,
    to: PathBuf,
    /// Whose file stays where it is.
    by: String,
}

/// Three lines each.
fn diversions(text: &[u8]) -> Vec<Diversion> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let path = |line: &[u8]| PathBuf::from(OsStr::from_bytes(line));
    let (whole, _rest) = lines.as_chunks::<3>();
    let diversion = |[from, to, by]: &[&[u8]; 3]| {
        let by = String::from_utf8_lossy(by).into_owned();
        Diversion { from: path(from), to: path(to), by }
    };
    whole.iter().map(diversion).collect()
}

/// Whose naming of a file counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Counts {
    Anybodys,
    Only(String),
    AllBut(String),
}

impl Counts {
    fn for_package(&self, package: &str) -> bool {
        match self {
            Self::Anybodys => true,
            Self::Only(only) => only == package && package != NO_PACKAGE,
            Self::AllBut(other) => other != package,
        }
    }
}

/// What to look for in lists: by name, which of the paths it is about, and who may say so.
type Wanted = HashMap<Vec<u8>, Vec<(usize, Counts)>>;

fn wanted(paths: &[&Path], links: &[Link], diversions: &[Diversion]) -> Wanted {
    let mut wanted = Wanted::new();
    for (index, path) in paths.iter().enumerate() {
        let names_here = names(path, links);
        let mut add = |name: &Path, counts| {
            let name = name.as_os_str().as_bytes().to_vec();
            wanted.entry(name).or_default().push((index, counts));
        };
        for name in &names_here {
            let diverted = diversions.iter().find(|diversion| names_here.contains(&diversion.from));
            let counts = diverted.map_or(Counts::Anybodys, |it| Counts::Only(it.by.clone()));
            add(name, counts);
        }
        for diversion in diversions.iter().filter(|diversion| names_here.contains(&diversion.to)) {
            for name in names(&diversion.from, links) {
                add(&name, Counts::AllBut(diversion.by.clone()));
            }
        }
    }
    wanted
}

/// With what one package names.
fn mark(owners: &mut [Owner], wanted: &Wanted, package: &str, list: &[u8]) {
    for line in list.split(|byte| *byte == b'\n') {
        for (index, counts) in wanted.get(line).into_iter().flatten() {
            if counts.for_package(package) {
                owners[*index] = Owner::Package(package.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths<'a>(all: &[&'a str]) -> Vec<&'a Path> {
        all.iter().copied().map(Path::new).collect()
    }

    fn package(name: &str) -> Owner {
        Owner::Package(name.to_owned())
    }

    #[test]
    fn a_file_is_found_by_each_name_that_packages_have_for_it() {
        let dpkg = tempfile::tempdir().unwrap();
        let info = dpkg.path().join("info");
        fs::create_dir(&info).unwrap();
        fs::write(info.join("mount.list"), "/.\n/bin\n/bin/mount\n").unwrap();
        fs::write(info.join("sudo.list"), "/usr/bin/sudo\n/usr/sbin/visudo\n").unwrap();
        fs::write(info.join("libx:amd64.list"), "/usr/lib/x/helper\n").unwrap();
        fs::write(info.join("sudo.md5sums"), "/usr/bin/planted\n").unwrap();
        fs::write(info.join("old.list"), "/usr/bin/tool\n").unwrap();
        fs::write(info.join("new.list"), "/usr/bin/tool\n").unwrap();
        fs::write(info.join("third.list"), "/bin/third\n").unwrap();
        let diversions = "/usr/bin/tool\n/usr/bin/tool.old\nnew\n\
                          /usr/bin/third\n/usr/bin/third.real\n:\n";
        fs::write(dpkg.path().join("diversions"), diversions).unwrap();
        let link = |name: &str, target: &str| Link { name: name.into(), target: target.into() };
        let links = [link("/bin", "/usr/bin"), link("/usr/sbin", "/usr/bin")];
        let table = [
            ("/usr/bin/mount", package("mount")),
            ("/usr/bin/sudo", package("sudo")),
            ("/usr/bin/visudo", package("sudo")),
            ("/usr/lib/x/helper", package("libx")),
            ("/usr/bin/planted", Owner::Nobody),
            ("/usr/bin/tool", package("new")),
            ("/usr/bin/tool.old", package("old")),
            ("/usr/bin/third", Owner::Nobody), // The administrator's own, in a package's place.
            ("/usr/bin/third.real", package("third")),
            ("/opt/mount", Owner::Nobody),
        ];
        let asked: Vec<&str> = table.iter().map(|row| row.0).collect();
        let answers = of_dpkg(dpkg.path(), &paths(&asked), &links).unwrap();
        for ((path, expected), answer) in table.iter().zip(answers) {
            assert_eq!(answer, *expected, "{path}");
        }
    }

    #[test]
    fn without_lists_there_is_nothing_to_ask() {
        let dpkg = tempfile::tempdir().unwrap();
        assert_eq!(of_dpkg(dpkg.path(), &[], &[]), None);
        fs::create_dir(dpkg.path().join("info")).unwrap();
        assert_eq!(of_dpkg(dpkg.path(), &[], &[]), None);
    }

    #[test]
    fn a_list_that_cannot_be_read_may_have_named_anything() {
        let dpkg = tempfile::tempdir().unwrap();
        fs::create_dir_all(dpkg.path().join("info/x.list")).unwrap();
        fs::write(dpkg.path().join("info/y.list"), "/a\n").unwrap();
        let answers = of_dpkg(dpkg.path(), &paths(&["/a", "/b"]), &[]).unwrap();
        assert_eq!(answers, [package("y"), Owner::Unknown]);
    }

    #[test]
    fn what_is_in_a_snap_is_that_snaps() {
        let all = paths(&["/snap/core22/1/usr/bin/su", "/snap/file", "/snapped/x/y"]);
        let answers: Vec<_> = all.into_iter().map(snap).collect();
        assert_eq!(answers, [Some("core22".to_owned()), None, None]);
    }
}
