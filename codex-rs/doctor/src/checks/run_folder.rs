//! `run_folder`: whether the folders by which proxies are found can be changed by those whose they are, and nobody else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codex_path_trust::{Sticky, Trust, WayIn, Who, ways_in};
use codex_proxy_client::{Found, RunFolder};

use crate::Host;
use crate::check::blocking;
use crate::finding::Finding;
use crate::listing::quoted;
use crate::ways_in::{Owner, remedy, trusting};

const ID: &str = "run_folder";
/// Group and others (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// One of the folders that are looked through.
struct Folder {
    path: PathBuf,
    /// Whose it has to be.
    owner: u32,
    found: Place,
    /// How others could put another folder in its place.
    ways: Vec<WayIn>,
    /// Whether this account can see what lies in it.
    is_open: bool,
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nothing,
    Unknown(io::ErrorKind),
    /// No folder; a link to one is none either.
    Other,
    Folder {
        owner: u32,
        mode: u32,
    },
}

pub(crate) async fn look(host: Arc<Host>) -> Vec<Finding> {
    let any_runs = host.proxies().await.iter().any(|found| matches!(found, Found::Running(_)));
    blocking(move || {
        let own = RunFolder::own();
        let mut findings: Vec<Finding> = RunFolder::searched()
            .into_iter()
            .map(|path| {
                let owner = if Some(&path) == own.as_ref() { host.uid } else { 0 };
                let folder = Folder::read(path, owner, host.etc());
                judge(&folder, host.uid, |uid| host.account(uid))
            })
            .collect();
        if own.is_none() && !any_runs {
            findings.push(without_own());
        }
        findings
    })
    .await
}

/// An account that could start a proxy, which then would be found by its server-info alone.
fn without_own() -> Finding {
    let evidence = "this account has no folder for what runs (XDG_RUNTIME_DIR), so a proxy of its own is not found by itself";
    let remedy = "log in anew (logind makes it), or name the proxy's file: codex proxy --server-info FILE, then CODEX_PROXY_SERVER_INFO=FILE";
    Finding::warn(ID, evidence, remedy)
}

/// `uid` is who is told what to type.
fn judge(folder: &Folder, uid: u32, account: impl Fn(u32) -> String) -> Finding {
    let (path, word, owner) = (folder.path.display(), quoted(&folder.path), folder.owner);
    let (found_owner, mode) = match folder.found {
        Place::Nothing => {
            return Finding::pass(ID, format!("{path} is not there: no proxy has run there yet"));
        }
        Place::Unknown(kind) => {
            let evidence = format!("{path} can't be looked at: {kind}");
            return Finding::warn(ID, evidence, "ask as root: sudo codex proxy doctor");
        }
        Place::Other => {
            let evidence = format!("{path} is no folder, so proxies are not found there");
            let remedy = format!("see what it is (ls -ld {word}), and remove it");
            return Finding::fail(ID, evidence, remedy);
        }
        Place::Folder { owner, mode } => (owner, mode),
    };
    let whose = account(found_owner);
    if found_owner != owner {
        let evidence = format!("{path} belongs to {whose} and not to {}", account(owner));
        let remedy = format!("see what lies there, and remove it: sudo rm -r {word}");
        return Finding::fail(ID, evidence, remedy);
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        let evidence =
            format!("{path} has mode {mode:03o}: others than {whose} can change what lies there");
        let sudo = if owner == 0 && uid != 0 { "sudo " } else { "" };
        return Finding::fail(ID, evidence, format!("{sudo}chmod go-w {word}"));
    }
    if let Some(way) = folder.ways.first() {
        return exchanged(folder, way, uid, account);
    }
    if !folder.is_open {
        let evidence =
            format!("{path} has mode {mode:03o}, so this account does not find {whose}'s proxies");
        return Finding::warn(ID, evidence, format!("sudo chmod 755 {word}"));
    }
    Finding::pass(ID, format!("{path} belongs to {whose}, mode {mode:03o}"))
}

/// What is above it is root's, as a rule.
fn exchanged(folder: &Folder, way: &WayIn, uid: u32, account: impl Fn(u32) -> String) -> Finding {
    let (path, words) = (folder.path.display(), way.words(account));
    let remedy = remedy(way, uid, Owner::ROOT);
    match way.who {
        Who::Unknown { .. } => {
            Finding::warn(ID, format!("nobody can say who could exchange {path}: {words}"), remedy)
        }
        _ => Finding::fail(ID, format!("others could exchange {path}: {words}"), remedy),
    }
}

impl Folder {
    fn read(path: PathBuf, owner: u32, lists: &Path) -> Self {
        // What others add beside it is in nobody's way.
        let trust = Trust { sticky: Sticky::Everywhere, ..trusting([0, owner], lists) };
        let ways = path.parent().map_or_else(Vec::new, |above| ways_in(above, &trust));
        let found = Place::of(fs::symlink_metadata(&path));
        let is_open = fs::read_dir(&path).is_ok();
        Self { path, owner, found, ways, is_open }
    }
}

impl Place {
    fn of(facts: io::Result<fs::Metadata>) -> Self {
        match facts {
            Ok(facts) if facts.is_dir() => {
                Self::Folder { owner: facts.uid(), mode: facts.mode() & 0o7777 }
            }
            Ok(_) => Self::Other,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Nothing,
            Err(error) => Self::Unknown(error.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::finding::Grade::{Fail, Pass, Warn};

    fn folder(owner: u32, mode: u32) -> Folder {
        Folder {
            path: "/run/it".into(),
            owner: 1_000,
            found: Place::Folder { owner, mode },
            ways: Vec::new(),
            is_open: true,
        }
    }

    #[test]
    fn a_folder_is_its_accounts_alone() {
        let good = || folder(1_000, 0o700);
        let found = |found| Folder { found, ..good() };
        let under = |owner, who| Folder {
            ways: vec![WayIn { place: "/run".into(), owner, who }],
            ..good()
        };
        let unknown = Who::Unknown { because: "gone".to_owned() };
        let denied = Place::Unknown(io::ErrorKind::PermissionDenied);
        for (folder, grade, evidence) in [
            (good(), Pass, "/run/it belongs to uid 1000, mode 700"),
            (folder(1_000, 0o755), Pass, "/run/it belongs to uid 1000, mode 755"),
            (found(Place::Nothing), Pass, "/run/it is not there: no proxy has run there yet"),
            (found(denied), Warn, "/run/it can't be looked at: permission denied"),
            (found(Place::Other), Fail, "/run/it is no folder, so proxies are not found there"),
            (folder(1_001, 0o700), Fail, "/run/it belongs to uid 1001 and not to uid 1000"),
            (folder(0, 0o700), Fail, "/run/it belongs to uid 0 and not to uid 1000"),
            (
                folder(1_000, 0o720),
                Fail,
                "/run/it has mode 720: others than uid 1000 can change what lies there",
            ),
            (
                folder(1_000, 0o1702),
                Fail,
                "/run/it has mode 1702: others than uid 1000 can change what lies there",
            ),
            (
                under(1_001, Who::Owner),
                Fail,
                "others could exchange /run/it: /run belongs to uid 1001",
            ),
            (
                under(0, Who::Everyone),
                Fail,
                "others could exchange /run/it: /run can be changed by everyone",
            ),
            (
                under(0, unknown),
                Warn,
                "nobody can say who could exchange /run/it: /run can't be looked at: gone",
            ),
            (
                Folder { is_open: false, ..good() },
                Warn,
                "/run/it has mode 700, so this account does not find uid 1000's proxies",
            ),
        ] {
            let finding = judge(&folder, 1_000, |uid| format!("uid {uid}"));
            assert_eq!((finding.grade, finding.evidence.as_str()), (grade, evidence));
            assert_eq!(finding.remedy.is_some(), grade != Pass);
        }
    }

    #[test]
    fn what_lies_there_is_seen_as_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::set_permissions(at("folder"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(at("file"), "").unwrap();
        symlink(at("folder"), at("link")).unwrap();
        let owner = fs::metadata(at("folder")).unwrap().uid();
        for (name, expected) in [
            ("folder", Place::Folder { owner, mode: 0o750 }),
            ("file", Place::Other),
            ("link", Place::Other),
            ("none", Place::Nothing),
        ] {
            let read = Folder::read(at(name), owner, temporary.path());
            assert_eq!(read.found, expected, "{name}");
        }
        assert!(Folder::read(at("folder"), owner, temporary.path()).is_open);
    }

    #[test]
    fn all_that_leads_to_it_counts_but_for_what_others_may_only_add() {
        let temporary = tempfile::tempdir().unwrap();
        let top = temporary.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("above/it")).unwrap();
        let owner = fs::metadata(&top).unwrap().uid();
        for (place, mode, is_open) in [
            ("above", 0o755, false),
            ("above", 0o1777, false),
            ("above", 0o777, true),
            (".", 0o777, true),
            (".", 0o700, false),
        ] {
            fs::set_permissions(top.join("above"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(top.join(place), fs::Permissions::from_mode(mode)).unwrap();
            let ways = Folder::read(top.join("above/it"), owner, &top).ways;
            let place = if place == "." { top.clone() } else { top.join(place) };
            let way = WayIn { place, owner, who: Who::Everyone };
            assert_eq!(ways.contains(&way), is_open, "{way:?} {mode:o}");
        }
    }

    #[test]
    fn paths_in_remedies_are_words_of_a_shell() {
        let folder = |found| Folder { path: "/run/a b".into(), found, ..folder(1_000, 0o700) };
        let place = |owner, mode| Place::Folder { owner, mode };
        for (folder, remedy) in [
            (folder(Place::Other), "see what it is (ls -ld '/run/a b'), and remove it"),
            (
                folder(place(1_001, 0o700)),
                "see what lies there, and remove it: sudo rm -r '/run/a b'",
            ),
            (folder(place(1_000, 0o702)), "chmod go-w '/run/a b'"),
            (Folder { is_open: false, ..folder(place(1_000, 0o700)) }, "sudo chmod 755 '/run/a b'"),
        ] {
            let finding = judge(&folder, 1_000, |uid| format!("uid {uid}"));
            assert_eq!(finding.remedy.as_deref(), Some(remedy));
        }
    }
}
