//! Where proxies that run are found: a folder of the system's, and one of each account's.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};

/// The folder's name, below what is root's or an account's own.
const NAME: &str = "codex-responses-api-proxy";
/// For what runs: only root can make anything in it, and a reboot empties it.
const RUN: &str = "/run";

/// The folder in which a proxy on port P leaves `P.json`, its server-info, and `P.sock`, its control socket.
///
/// A tmpfs below /run, as a rule: whatever lies there is of this boot.
#[derive(Clone, Copy, Debug)]
pub struct RunFolder;

impl RunFolder {
    /// Where a proxy of this account's is found. It need not be there yet. `None` when this account has no folder for
    /// what runs: without systemd, for example.
    pub fn own() -> Option<PathBuf> {
        let from_environment = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        own_of(geteuid(), from_environment)
    }

    /// The folders in which somebody of this account looks for a proxy: its own and root's.
    pub fn searched() -> Vec<PathBuf> {
        let roots = Path::new(RUN).join(NAME);
        let mut folders: Vec<PathBuf> = Self::own().into_iter().collect();
        if !folders.contains(&roots) {
            folders.push(roots);
        }
        folders
    }

    /// The server-info of the proxy on this port, in such a folder.
    pub fn server_info(folder: &Path, port: u16) -> PathBuf {
        folder.join(format!("{port}.json"))
    }

    /// The control socket of the proxy on this port, in such a folder.
    pub fn control_socket(folder: &Path, port: u16) -> PathBuf {
        folder.join(format!("{port}.sock"))
    }
}

fn own_of(account: Uid, from_environment: Option<PathBuf>) -> Option<PathBuf> {
    if account.is_root() {
        // Root's environment may be somebody else's.
        return Some(Path::new(RUN).join(NAME));
    }
    let logged_in = Path::new(RUN).join("user").join(account.to_string());
    let above = [from_environment, Some(logged_in)];
    above.into_iter().flatten().find(|folder| is_own(folder, account)).map(|it| it.join(NAME))
}

fn is_own(folder: &Path, account: Uid) -> bool {
    let is_own = |facts: fs::Metadata| facts.is_dir() && facts.uid() == account.as_raw();
    folder.is_absolute() && fs::metadata(folder).is_ok_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_the_systems_folder_whatever_the_environment_says() {
        let folder = tempfile::tempdir().unwrap();
        let own = own_of(Uid::from_raw(0), Some(folder.path().to_owned()));
        assert_eq!(own.unwrap(), Path::new("/run/codex-responses-api-proxy"));
    }

    #[test]
    fn an_account_has_the_folder_that_its_environment_names_if_it_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let facts = fs::metadata(folder.path()).unwrap();
        if facts.uid() == 0 {
            std::os::unix::fs::chown(folder.path(), Some(61_234), None).unwrap();
        }
        let account = Uid::from_raw(fs::metadata(folder.path()).unwrap().uid());
        let named = Some(folder.path().to_owned());
        assert_eq!(own_of(account, named.clone()), Some(folder.path().join(NAME)));
        // Nobody has this number, nor a folder in /run/user.
        let stranger = Uid::from_raw(61_235);
        assert_eq!(own_of(stranger, named), None);
        assert_eq!(own_of(stranger, None), None);
    }

    #[test]
    fn a_file_a_relative_path_or_nothing_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let account = Uid::from_raw(fs::metadata(folder.path()).unwrap().uid());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(is_own(folder.path(), account));
        assert!(!is_own(&file, account));
        assert!(!is_own(&folder.path().join("none"), account));
        assert!(!is_own(Path::new("."), account));
        assert!(!is_own(Path::new(""), account));
    }

    #[test]
    fn what_is_searched_has_the_systems_folder_last_and_once() {
        let searched = RunFolder::searched();
        let system = Path::new("/run/codex-responses-api-proxy");
        assert_eq!(searched.last().unwrap(), system);
        assert_eq!(searched.iter().filter(|folder| *folder == system).count(), 1);
        assert_eq!(RunFolder::server_info(system, 4_321), system.join("4321.json"));
        assert_eq!(RunFolder::control_socket(system, 4_321), system.join("4321.sock"));
    }
}
