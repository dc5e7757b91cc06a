//! Looking for proxies: where, and in which order.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::found::{Found, follow};
use crate::run_folder::RunFolder;

/// How many are asked: nobody runs that many, and whoever can write to a run folder could leave any number of files there.
const MOST_ASKED: usize = 64;

/// The environment variable that names a server-info file.
const SERVER_INFO_VARIABLE: &str = "CODEX_PROXY_SERVER_INFO";

/// Which server-info files are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    File {
        file: PathBuf,
        /// Where its proxy is found once the file is gone.
        folders: Vec<PathBuf>,
    },
    Folders(Vec<PathBuf>),
}

impl Search {
    /// The file that was named, else the one that `CODEX_PROXY_SERVER_INFO` names, else all that lie in the run folders.
    pub fn new(named: Option<PathBuf>) -> Self {
        Self::within(named, env::var_os(SERVER_INFO_VARIABLE), RunFolder::searched)
    }

    fn within(
        named: Option<PathBuf>,
        variable: Option<OsString>,
        folders: impl FnOnce() -> Vec<PathBuf>,
    ) -> Self {
        let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
        let file = named.or(variable);
        let folders = folders();
        let place = match file {
            Some(file) => Place::File { file, folders },
            None => Place::Folders(folders),
        };
        Self { place }
    }

    /// The file that is asked and no other, if one was named.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File { file, .. } => Some(file),
            Place::Folders(_) => None,
        }
    }

    /// The folders that are looked through, if no file was named.
    pub fn folders(&self) -> &[PathBuf] {
        match &self.place {
            Place::File { .. } => &[],
            Place::Folders(folders) => folders,
        }
    }
}

/// Asks them side by side, each for some seconds at most. In order of their ports, this account's own first.
///
/// A named file goes as soon as its proxy takes no more requests. That proxy is then found by what it says of its files.
pub async fn find(search: &Search) -> Vec<Found> {
    find_within(search, Duration::MAX).await
}

/// The same for somebody who waits: each has this time, and what takes longer is left out.
pub async fn find_within(search: &Search, patience: Duration) -> Vec<Found> {
    match &search.place {
        Place::File { file, folders } => {
            let found = timeout(patience, follow(file)).await.ok();
            let proxy = match &found {
                Some(found) if is_gone(found) => that_wrote(file, folders, patience).await,
                _ => None,
            };
            proxy.or(found).into_iter().collect()
        }
        Place::Folders(folders) => follow_all(infos_in_all(folders), patience).await,
    }
}

/// The proxy that runs and says that it wrote this file.
async fn that_wrote(file: &Path, folders: &[PathBuf], patience: Duration) -> Option<Found> {
    let wanted = place_of(file)?;
    let is_wanted = |told: &PathBuf| place_of(told).as_ref() == Some(&wanted);
    follow_all(infos_in_all(folders), patience).await.into_iter().find(|found| {
        matches!(found, Found::Running(proxy) if proxy.status.files.server_info.iter().any(is_wanted))
    })
}

/// What they lead to, in their order, but for those that have gone meanwhile or took too long. Dropped, it asks no more.
async fn follow_all(files: Vec<PathBuf>, patience: Duration) -> Vec<Found> {
    let mut tasks = JoinSet::new();
    for (place, file) in files.into_iter().take(MOST_ASKED).enumerate() {
        tasks.spawn(async move { (place, timeout(patience, follow(&file)).await) });
    }
    let mut found = tasks.join_all().await;
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().filter_map(|(_, found)| found.ok()).filter(|found| !is_gone(found)).collect()
}

/// The place that a path means, however it is written. The file may be gone; its folder is there, as a rule.
fn place_of(file: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(file).ok()?;
    let folder = file.parent()?;
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    Some(folder.join(file.file_name()?))
}

fn is_gone(found: &Found) -> bool {
    matches!(found, Found::Unusable { file, .. } if fs::symlink_metadata(file).is_err())
}

fn infos_in_all(folders: &[PathBuf]) -> Vec<PathBuf> {
    folders.iter().flat_map(|folder| infos_in(folder)).collect()
}

/// The server-info files in a folder, which may not be there.
fn infos_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let is_info = |path: &PathBuf| path.extension() == Some(OsStr::new("json"));
    let mut infos: Vec<PathBuf> = files.filter(is_info).collect();
    let port = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u16>().ok();
    infos.sort_by(|one, other| (port(one), one).cmp(&(port(other), other)));
    infos
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerInfoError;
    use crate::pretended::{Pretended, Say, status};

    fn in_folders(folders: Vec<PathBuf>) -> Search {
        Search::within(None, None, || folders)
    }

    #[test]
    fn a_named_file_comes_before_the_variable_and_that_before_the_folders() {
        let named = || Some(PathBuf::from("named.json"));
        let variable = || Some(OsString::from("/variable.json"));
        let folders = || vec![PathBuf::from("/run/folder")];
        let search = Search::within(named(), variable(), folders);
        assert_eq!(search.file(), Some(Path::new("named.json")));
        assert!(search.folders().is_empty());
        let search = Search::within(None, variable(), folders);
        assert_eq!(search.file(), Some(Path::new("/variable.json")));
        for nothing in [None, Some(OsString::new())] {
            let search = Search::within(None, nothing, folders);
            assert_eq!((search.file(), search.folders()), (None, &folders()[..]));
        }
    }

    #[test]
    fn in_a_folder_only_server_infos_are_asked_by_port() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["10000.json", "999.json", "999.sock", ".lock", "json", "note.json", "1.json~"]
        {
            fs::write(at(name), "").unwrap();
        }
        let none = folder.path().join("none");
        let files = infos_in_all(&[none, folder.path().to_owned()]);
        assert_eq!(files, [at("note.json"), at("999.json"), at("10000.json")]);
    }

    #[tokio::test]
    async fn every_file_in_the_folders_is_told_of_and_a_missing_folder_is_nothing() {
        let proxy = Pretended::new(|info, _| {
            let (instance, pid, port) = (info.instance.clone(), info.pid, info.port);
            Say::Status(Box::new(crate::Status { instance, pid, port, ..status() }))
        });
        proxy.write(&proxy.info);
        fs::write(proxy.folder().join("none.json"), "{}").unwrap();
        let folders = vec![proxy.folder().join("none"), proxy.folder().to_owned()];
        let found = find(&in_folders(folders)).await;
        let [Found::Unusable { .. }, Found::Running(running)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(running.info, proxy.info);
        assert!(find(&in_folders(vec![proxy.folder().join("none")])).await.is_empty());
    }

    /// Two that hang, and nobody waits for one after the other.
    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_keeps_no_other_waiting() {
        let hanging = [(); 3].map(|()| Pretended::new(|_, _| Say::Nothing));
        let folder = tempfile::tempdir().unwrap();
        for (number, proxy) in hanging.iter().enumerate() {
            let file = proxy.write(&proxy.info);
            fs::copy(file, folder.path().join(format!("{number}.json"))).unwrap();
        }
        let began = tokio::time::Instant::now();
        let found = find(&in_folders(vec![folder.path().to_owned()])).await;
        assert!(found.iter().all(|found| matches!(found, Found::Silent { .. })), "{found:?}");
        assert_eq!((found.len(), began.elapsed().as_secs()), (3, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_in_a_hurry_gets_what_came_in_time() {
        let hanging = Pretended::new(|_, _| Say::Nothing);
        let folder = tempfile::tempdir().unwrap();
        let file = hanging.write(&hanging.info);
        fs::copy(&file, folder.path().join("1.json")).unwrap();
        fs::write(folder.path().join("2.json"), "{}").unwrap();
        let began = tokio::time::Instant::now();
        let patience = Duration::from_millis(800);
        let found = find_within(&in_folders(vec![folder.path().to_owned()]), patience).await;
        assert!(matches!(&found[..], [Found::Unusable { .. }]), "{found:?}");
        let named = Search::within(Some(file), None, Vec::new);
        assert!(find_within(&named, patience).await.is_empty());
        assert_eq!(began.elapsed().as_millis() / 800, 2);
    }

    #[tokio::test]
    async fn of_very_many_files_the_first_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..MOST_ASKED + 6 {
            fs::write(folder.path().join(format!("{number}.json")), "{}").unwrap();
        }
        let found = find(&in_folders(vec![folder.path().to_owned()])).await;
        let number = |found: &Found| match found {
            Found::Unusable { file, .. } => {
                file.file_stem().unwrap().to_str().unwrap().parse().ok()
            }
            _ => None,
        };
        let numbers: Vec<Option<usize>> = found.iter().map(number).collect();
        assert_eq!(numbers, (0..MOST_ASKED).map(Some).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_named_file_that_is_not_there_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("none.json");
        let found = find(&Search::within(Some(file), None, Vec::new)).await;
        let [Found::Unusable { error, .. }] = &found[..] else { panic!("{found:?}") };
        assert!(matches!(error, ServerInfoError::Unreadable { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_proxy_whose_named_file_is_gone_is_found_by_what_it_says_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().join("named.json");
        let told = named.clone();
        let proxy = Pretended::new(move |info, _| {
            let (instance, pid, port) = (info.instance.clone(), info.pid, info.port);
            let files = crate::status::Files {
                server_info: vec!["/run/it/1.json".into(), told.clone()],
                ..status().files
            };
            Say::Status(Box::new(crate::Status { instance, pid, port, files, ..status() }))
        });
        let in_run_folder = proxy.write(&proxy.info);
        let search =
            |file: PathBuf| Search::within(Some(file), None, || vec![proxy.folder().to_owned()]);
        // However it is written.
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        for file in [
            named.clone(),
            folder.path().join("./named.json"),
            folder.path().join("link/named.json"),
        ] {
            let found = find(&search(file)).await;
            let [Found::Running(running)] = &found[..] else { panic!("{found:?}") };
            assert_eq!((&running.file, &running.info), (&in_run_folder, &proxy.info));
        }
        let found = find(&search(folder.path().join("other.json"))).await;
        assert!(matches!(&found[..], [Found::Unusable { .. }]), "{found:?}");
        // One that is there is believed or not by itself.
        fs::write(&named, "{}").unwrap();
        let found = find(&search(named)).await;
        assert!(matches!(&found[..], [Found::Unusable { .. }]), "{found:?}");
    }
}
