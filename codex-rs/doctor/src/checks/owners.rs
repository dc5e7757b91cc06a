//! Who could change Codex's files: whoever can points Codex at a listener of his own, or at no proxy at all.
//!
//! All of the way to each file counts, links too. What belongs to root in a user's CODEX_HOME is a failure as well:
//! neither Codex nor `point` can write it then. What a link of the user's leads to may be root's: that is how
//! configurations are managed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codex_path_trust::{WayIn, Who, ways_in};

use crate::check::blocking;
use crate::finding::Finding;
use crate::host::Host;
use crate::listing::quoted;
use crate::ways_in::{Owner, remedy, trusting};

const ID: &str = "owners";
/// How many profiles are looked at.
const MOST_PROFILES: usize = 100;
/// Readable by group or others (inode(7)).
const READ_BY_OTHERS: u32 = 0o044;

/// What was seen.
#[derive(Debug)]
struct Seen {
    /// This account, and its group.
    us: Owner,
    folder: PathBuf,
    /// The same, by the name that it has without links.
    real_folder: PathBuf,
    /// The folder, and the files in it that are there.
    entries: Vec<Entry>,
    ways: Vec<WayIn>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// Whose it is, be it a link.
    owner: u32,
    /// `None`: a link that leads nowhere.
    mode: Option<u32>,
    /// Others are not to read it. (`auth_file` tells of auth.json.)
    is_private: bool,
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    blocking(move || {
        let seen = gather(&host);
        seen.map_or_else(Vec::new, |seen| judge(&seen, |uid| host.account(uid)))
    })
    .await
}

/// `None`: there is nothing yet.
fn gather(host: &Host) -> Option<Seen> {
    let home = host.codex_home.as_ref().ok()?;
    let folder = home.folder().to_owned();
    let mut paths = vec![folder.clone(), home.config(), home.auth_file(), home.env_file()];
    paths.extend(profiles(&folder));
    let is_private = |path: &Path| *path == home.env_file();
    let entries: Vec<Entry> = paths
        .into_iter()
        .filter_map(|path| {
            let owner = fs::symlink_metadata(&path).ok()?.uid();
            let mode = fs::metadata(&path).ok().map(|facts| facts.mode() & 0o7777);
            Some(Entry { owner, mode, is_private: is_private(&path), path })
        })
        .collect();
    // Not there, rather than shut.
    let is_nothing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    if fs::symlink_metadata(&folder).is_err_and(is_nothing) {
        return None;
    }
    let trust = trusting([0, host.uid], host.etc());
    let mut ways: Vec<WayIn> = Vec::new();
    for way in entries.iter().flat_map(|entry| ways_in(&entry.path, &trust)) {
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    let real_folder = fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
    let us = Owner { uid: host.uid, gid: host.gid() };
    Some(Seen { us, folder, real_folder, entries, ways })
}

fn profiles(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_profile = |path: &PathBuf| {
        path.file_name().is_some_and(|it| it.to_string_lossy().ends_with(".config.toml"))
    };
    let mut profiles: Vec<PathBuf> = paths.filter(is_profile).take(MOST_PROFILES).collect();
    profiles.sort();
    profiles
}

fn judge(seen: &Seen, account: impl Fn(u32) -> String) -> Vec<Finding> {
    let roots = seen.entries.iter().filter(|entry| entry.owner == 0 && seen.us.uid != 0);
    let mut findings: Vec<Finding> = roots.map(|entry| roots_own(entry, seen.us)).collect();
    findings.extend(seen.ways.iter().map(|way| open(way, seen, &account)));
    if findings.is_empty() {
        let count = seen.entries.len().saturating_sub(1);
        let files = if count == 1 { "file" } else { "files" };
        let evidence = format!(
            "nobody but root and {} can change {} and its settings ({count} {files})",
            account(seen.us.uid),
            seen.folder.display()
        );
        findings.push(Finding::pass(ID, evidence));
    }
    findings.extend(seen.entries.iter().filter_map(readable));
    findings
}

/// Its group, too: `point` keeps that, and can't give a file to one that it is not in.
fn roots_own(entry: &Entry, us: Owner) -> Finding {
    let evidence = format!(
        "{} belongs to root, as after a command with sudo, so neither Codex nor `point` can change it",
        entry.path.display()
    );
    Finding::fail(ID, evidence, format!("sudo chown -h {us} {}", quoted(&entry.path)))
}

fn open(way: &WayIn, seen: &Seen, account: impl Fn(u32) -> String) -> Finding {
    let words = way.words(&account);
    match way.who {
        Who::Unknown { .. } => Finding::warn(ID, words, remedy(way, seen.us.uid, seen.us)),
        Who::Owner if seen.us.uid == 0 => Finding::fail(
            ID,
            format!("{words}, who could point root's Codex elsewhere"),
            format!("run Codex and the doctor as {}, not as root", account(way.owner)),
        ),
        _ => {
            // What is above CODEX_HOME is another's business as a rule: root's.
            let mut folders = [&seen.folder, &seen.real_folder].into_iter();
            let owner =
                if folders.any(|it| way.place.starts_with(it)) { seen.us } else { Owner::ROOT };
            let evidence = format!("{words}, so others could point Codex elsewhere");
            Finding::fail(ID, evidence, remedy(way, seen.us.uid, owner))
        }
    }
}

fn readable(entry: &Entry) -> Option<Finding> {
    let mode = entry.mode.filter(|mode| entry.is_private && mode & READ_BY_OTHERS != 0)?;
    let place = entry.path.display();
    let evidence = format!("the mode of {place}, {mode:04o}, lets other accounts read it");
    Some(Finding::warn(ID, evidence, format!("chmod 600 {}", quoted(&entry.path))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::finding::Grade;

    fn home() -> (TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".codex");
        (home, folder)
    }

    fn write(path: &Path, mode: u32) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Grade and evidence, without the folder's own path.
    async fn looked(home: &Path) -> Vec<(Grade, String)> {
        let findings = look(Arc::new(Host::for_tests(home))).await;
        // Temporary files may lie behind a link.
        let tops = [home.canonicalize().unwrap(), home.to_owned()];
        let tops = tops.map(|top| format!("{}/", top.display()));
        let bare = |text: String| tops.iter().fold(text, |text, top| text.replace(top, ""));
        findings.into_iter().map(|it| (it.grade, bare(it.evidence))).collect()
    }

    #[tokio::test]
    async fn what_this_account_alone_can_change_passes() {
        let (home, folder) = home();
        assert!(looked(home.path()).await.is_empty());
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        write(&folder.join("config.toml"), 0o644);
        write(&folder.join("work.config.toml"), 0o600);
        write(&folder.join("other"), 0o666);
        let found = looked(home.path()).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, Grade::Pass);
        assert!(found[0].1.ends_with(".codex and its settings (2 files)"), "{found:?}");
        fs::remove_file(folder.join("work.config.toml")).unwrap();
        let found = looked(home.path()).await;
        assert!(found[0].1.ends_with(".codex and its settings (1 file)"), "{found:?}");
    }

    #[tokio::test]
    async fn what_others_can_change_or_read_is_told_once() {
        let (home, folder) = home();
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        write(&folder.join("config.toml"), 0o646);
        write(&folder.join(".env"), 0o644);
        symlink("nowhere", folder.join("work.config.toml")).unwrap();
        let (open, none) =
            ("can be changed by everyone, so others could point Codex elsewhere", "No such file");
        let found = looked(home.path()).await;
        let grades: Vec<Grade> = found.iter().map(|(grade, _)| *grade).collect();
        assert_eq!(grades, [Grade::Fail, Grade::Fail, Grade::Warn, Grade::Warn], "{found:?}");
        assert_eq!(found[0].1, format!(".codex {open}"));
        assert_eq!(found[1].1, format!(".codex/config.toml {open}"));
        assert!(found[2].1.contains(&format!(".codex/nowhere can't be looked at: {none}")));
        assert_eq!(found[3].1, "the mode of .codex/.env, 0644, lets other accounts read it");
    }

    #[tokio::test]
    async fn a_folder_behind_a_link_is_told_where_it_is() {
        let (home, folder) = home();
        let real = home.path().join("real");
        fs::create_dir(&real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("real", &folder).unwrap();
        write(&real.join("config.toml"), 0o646);
        let found = looked(home.path()).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let expected = "real/config.toml can be changed by everyone, so others could point";
        assert!(found[0].1.starts_with(expected), "{found:?}");
    }

    #[test]
    fn whose_it_is_decides_on_the_remedy() {
        let way = |place: &str, owner| WayIn { place: place.into(), owner, who: Who::Owner };
        let seen = |uid, owner, ways| Seen {
            us: Owner { uid, gid: 70 },
            folder: "/h/.codex".into(),
            real_folder: "/data/codex".into(),
            entries: vec![Entry {
                path: "/h/.codex/config.toml".into(),
                owner,
                mode: Some(0o600),
                is_private: false,
            }],
            ways,
        };
        for (seen, remedy) in [
            (seen(7, 0, vec![]), "sudo chown -h 7:70 /h/.codex/config.toml"),
            (seen(7, 7, vec![way("/h/.codex/x", 8)]), "sudo chown -h 7:70 /h/.codex/x"),
            (seen(7, 7, vec![way("/data/codex/x", 8)]), "sudo chown -h 7:70 /data/codex/x"),
            (seen(7, 7, vec![way("/h", 8)]), "sudo chown -h 0:0 /h"),
            (seen(7, 7, vec![way("/data", 8)]), "sudo chown -h 0:0 /data"),
            (seen(0, 0, vec![way("/h", 8)]), "run Codex and the doctor as uid 8, not as root"),
        ] {
            let findings = judge(&seen, |uid| format!("uid {uid}"));
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(
                (findings[0].grade, findings[0].remedy.as_deref()),
                (Grade::Fail, Some(remedy))
            );
        }
    }
}
