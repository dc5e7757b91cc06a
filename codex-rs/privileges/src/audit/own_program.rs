//! Our own program, and the folders of ours that root believes: whoever can change them has what root does next.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use codex_config::shell_word;

use crate::finding::Finding;
use crate::processes::{Stat, pids, threads, words};
use crate::subject::Subject;

const CHECK: &str = "own_program";
/// What our programs are called.
const NAMES: [&str; 2] = ["codex", "codex-responses-api-proxy"];
/// Where root's shell looks, and sudo (its `secure_path`).
const PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Where ours are looked for.
const INSTALLED: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
const FOLDERS: [&str; 2] = ["/run/codex-responses-api-proxy", "/var/lib/codex-responses-api-proxy"];
/// What /proc appends to a name that has been taken away.
const DELETED: &[u8] = b" (deleted)";

pub(crate) fn look(subject: &Subject) -> Vec<Finding> {
    let programs = programs(subject.is_root).into_iter();
    let programs = programs.filter_map(|(path, run_by)| program(subject, &path, &run_by));
    programs.chain(FOLDERS.iter().filter_map(|path| folder(subject, Path::new(path)))).collect()
}

/// Whether it is looked at here, as what a process of root's runs.
pub(crate) fn is_looked_at(path: &Path) -> bool {
    is_ours_by_name(path) || own().is_some_and(|own| own == path)
}

fn is_ours_by_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| NAMES.iter().any(|ours| name == *ours))
}

/// All that may be ours, and who runs it as root right now.
fn programs(is_root: bool) -> BTreeMap<PathBuf, Vec<String>> {
    let mut found: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    if let Some(own) = own() {
        let run_by = is_root.then(|| "this program".to_owned());
        found.entry(own).or_default().extend(run_by);
    }
    for folder in INSTALLED {
        let installed = NAMES.map(|name| Path::new(folder).join(name)).into_iter();
        for path in installed.filter(|path| path.symlink_metadata().is_ok()) {
            found.entry(path).or_default();
        }
    }
    for pid in pids().unwrap_or_default() {
        if pid != std::process::id()
            && let Some(path) = run_by_root(pid)
        {
            found.entry(path).or_default().push(format!("pid {pid}"));
        }
    }
    found
}

fn own() -> Option<PathBuf> {
    fs::read_link("/proc/self/exe").ok().map(|path| present(&path))
}

/// Our program, if this is a process of it that is root's.
fn run_by_root(pid: u32) -> Option<PathBuf> {
    let stat = Stat::of(pid)?;
    // Only root is told what root's processes run; what they were called with, everybody.
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let exe = exe.or_else(|| words(pid).into_iter().next().map(PathBuf::from))?;
    let path = present(exe.is_absolute().then_some(&exe)?);
    // The kernel keeps 15 letters of a name.
    let is_called = NAMES.iter().any(|name| stat.name == name[..name.len().min(15)]);
    let is_roots = || threads(pid).iter().any(|thread| thread.uids.contains(&0));
    (is_called || is_ours_by_name(&path)).then_some(path).filter(|_| is_roots())
}

/// A program that was replaced while it runs: the next start takes what stands there now.
fn present(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    OsStr::from_bytes(bytes.strip_suffix(DELETED).unwrap_or(bytes)).into()
}

fn program(subject: &Subject, path: &Path, run_by: &[String]) -> Option<Finding> {
    let ways = subject.ways_in(path);
    if ways.is_empty() {
        return None;
    }
    let is_on_path =
        path.parent().is_some_and(|folder| PATH.iter().any(|one| folder == Path::new(one)));
    let what = format!("{}, a program of ours", path.display());
    let finding = if !run_by.is_empty() {
        Finding::open(
            CHECK,
            what,
            "root is running it right now, and its next start runs what the account put there",
        )
    } else if is_on_path {
        Finding::open(
            CHECK,
            what,
            "root finds it by its name, and would run what the account put there",
        )
    } else {
        Finding::undecided(CHECK, what, "if root starts it, root runs what the account put there")
    };
    let runs = if run_by.is_empty() {
        String::new()
    } else {
        format!("; run as root by {}", run_by.join(", "))
    };
    let mut finding = subject.told(finding, &ways);
    finding.evidence += &runs;
    Some(if is_on_path { finding } else { finding.remedy(install(path)) })
}

fn folder(subject: &Subject, path: &Path) -> Option<Finding> {
    path.symlink_metadata().ok()?;
    let ways = subject.ways_in(path);
    let what = format!("{}, a folder of root's proxies", path.display());
    let why = "root reads there what it wrote itself, and the account could write it instead";
    (!ways.is_empty()).then(|| subject.told(Finding::undecided(CHECK, what, why), &ways))
}

/// A copy of root's own. What is in the file now may be the account's already.
fn install(path: &Path) -> String {
    let name = path.file_name().filter(|_| is_ours_by_name(path)).unwrap_or(OsStr::new("codex"));
    let from = shell_word(&path.to_string_lossy());
    format!(
        "install -o root -m 755 {from} /usr/local/bin/{} (if you trust what is in it), and start that one from now on",
        name.to_string_lossy()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};
    use std::process::Command;

    use super::*;
    use crate::finding::Grade;
    use crate::processes::samples::{Holder, UID, is_root, subject};

    #[test]
    fn a_name_that_was_taken_away_is_the_name_that_was() {
        for (path, expected) in [
            ("/opt/codex", "/opt/codex"),
            ("/opt/codex (deleted)", "/opt/codex"),
            ("/opt/codex (deleted)/x", "/opt/codex (deleted)/x"),
        ] {
            assert_eq!(present(Path::new(path)), Path::new(expected));
        }
    }

    #[test]
    fn a_copy_gets_our_name() {
        for (path, name) in [
            ("/home/a b/codex", "'/home/a b/codex' /usr/local/bin/codex "),
            (
                "/h/codex-responses-api-proxy",
                "/h/codex-responses-api-proxy /usr/local/bin/codex-responses-api-proxy ",
            ),
            ("/home/a/other", "/home/a/other /usr/local/bin/codex "),
        ] {
            let remedy = install(Path::new(path));
            assert!(remedy.starts_with(&format!("install -o root -m 755 {name}")), "{remedy}");
        }
    }

    #[test]
    fn this_program_is_one_of_ours() {
        let own = own().unwrap();
        assert!(is_looked_at(&own) && is_looked_at(Path::new("/home/a/codex")));
        assert!(!is_looked_at(Path::new("/usr/bin/cat")));
        assert_eq!(programs(true).get(&own), Some(&vec!["this program".to_owned()]));
        assert_eq!(programs(false).get(&own), Some(&Vec::new()));
    }

    #[test]
    fn a_proxy_that_root_runs_from_an_accounts_folder_is_found() {
        if !is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().canonicalize().unwrap().join("bin");
        fs::create_dir(&bin).unwrap();
        let path = bin.join("codex-responses-api-proxy");
        assert!(Command::new("cp").arg("/bin/cat").arg(&path).status().unwrap().success());
        let running = Holder::spawn(&mut Command::new(&path));
        let what = format!("{}, a program of ours", path.display());
        let found = || look(&subject()).into_iter().find(|finding| finding.what == what);
        assert_eq!(found(), None);

        chown(&bin, Some(UID), None).unwrap();
        let finding = found().unwrap();
        assert_eq!(finding.grade, Grade::Open);
        assert!(finding.evidence.contains(&format!("pid {}", running.pid())), "{finding:?}");
        assert!(finding.remedy.starts_with("install -o root -m 755 "), "{finding:?}");

        drop(running);
        assert_eq!(program(&subject(), &path, &[]).unwrap().grade, Grade::Undecided);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(program(&subject(), &link, &[]).is_some(), "through a link");
        assert!(super::folder(&subject(), &bin).is_some());
        assert_eq!(super::folder(&subject(), &bin.join("none")), None);
    }
}
