//! Where the examination is done: what checks ask of their surroundings, so that tests can make their own.
//!
//! Not here, and so this machine's in tests too: the names of accounts and groups (NSS), the run folders, which processes
//! and sockets there are; and whatever lies at the paths that stand here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use codex_config::{CodexHome, Effective, FileId, HomeError, Layers, SYSTEM_FOLDER, effective};
use codex_proxy_client::{Found, RunningProxy, Search, find};
use nix::unistd::{Uid, User, getegid, geteuid, getuid};
use tokio::sync::OnceCell;

use crate::check::blocking;

/// Where the examination is done.
pub struct Host {
    /// The environment.
    pub variables: BTreeMap<OsString, OsString>,
    /// This account: the effective one.
    pub uid: u32,
    /// Its groups, the effective one first.
    pub gids: Vec<u32>,
    /// What HOME says, or else passwd(5), as for Codex.
    pub home: Option<PathBuf>,
    /// Codex's folder.
    pub codex_home: Result<CodexHome, HomeError>,
    /// Where an administrator puts Codex's settings for all: `/etc/codex`.
    pub system_folder: PathBuf,
    /// The file of this program, as far as it is known.
    pub program: Option<PathBuf>,
    /// `/proc`.
    pub proc_folder: PathBuf,
    /// The same, however it is named, and also when its file has been replaced since.
    pub(crate) program_id: Option<FileId>,
    /// Where proxies are looked for.
    pub(crate) search: Search,
    pub(crate) proxies: OnceCell<Vec<Found>>,
    effective: OnceCell<Option<Effective>>,
}

impl Host {
    /// This machine, as this process sees it; a proxy is looked for in this server-info file, if one is named. What can't
    /// be known is empty, and the check that needs it says so.
    pub fn this(server_info: Option<PathBuf>) -> Self {
        let variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let said = |name: &str| variables.get(OsStr::new(name)).cloned();
        let by_account = || User::from_uid(getuid()).ok().flatten().map(|user| user.dir.into());
        let home = said("HOME").filter(|home| !home.is_empty()).or_else(by_account);
        let codex_home = said("CODEX_HOME");
        let gid = getegid().as_raw();
        let mut gids = vec![gid];
        gids.extend(supplementary_groups().into_iter().filter(|other| *other != gid));
        Self {
            uid: geteuid().as_raw(),
            gids,
            home: home.clone().filter(|home| !home.is_empty()).map(PathBuf::from),
            codex_home: CodexHome::of(codex_home, home),
            system_folder: PathBuf::from(SYSTEM_FOLDER),
            program: std::env::current_exe().ok(),
            program_id: FileId::of_this_program(),
            proc_folder: PathBuf::from("/proc"),
            search: Search::new(server_info),
            variables,
            proxies: OnceCell::new(),
            effective: OnceCell::new(),
        }
    }

    /// A variable of the environment. An empty one is none.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }

    /// Where settings for all of this machine lie: `/etc`.
    pub(crate) fn etc(&self) -> &Path {
        self.system_folder.parent().unwrap_or(Path::new("/etc"))
    }

    /// The group that this account's files are made in.
    pub(crate) fn gid(&self) -> u32 {
        self.gids.first().copied().unwrap_or(self.uid)
    }

    /// All that is found in the place of a proxy. It is asked once, however many checks want to know.
    pub async fn proxies(&self) -> &[Found] {
        self.proxies.get_or_init(|| find(&self.search)).await
    }

    /// The proxy that this account's Codex is meant to use: the one on the port that it is pointed at, else the only
    /// one that runs.
    pub async fn proxy(&self) -> Option<&RunningProxy> {
        let running = self.proxies().await.iter().filter_map(|found| match found {
            Found::Running(proxy) => Some(proxy),
            _ => None,
        });
        let running: Vec<&RunningProxy> = running.collect();
        let port = self.effective().await.and_then(Effective::port);
        let pointed = running.iter().find(|proxy| Some(proxy.info.port) == port);
        match (pointed, &running[..]) {
            (Some(proxy), _) => Some(proxy),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Which provider Codex would use here, and who decides. `None`: there is no Codex folder that could be asked. The
    /// files are read once, however many checks want to know.
    pub async fn effective(&self) -> Option<&Effective> {
        let read = || {
            let home = self.codex_home.as_ref().ok().cloned();
            let system_folder = self.system_folder.clone();
            blocking(move || {
                let (home, system_folder) = (home.as_ref()?, &*system_folder);
                Some(effective(&Layers { home, system_folder, profile: None, overrides: &[] }))
            })
        };
        self.effective.get_or_init(read).await.as_ref()
    }

    /// An account in words: `alice (uid 1000)`.
    pub fn account(&self, uid: u32) -> String {
        match User::from_uid(Uid::from_raw(uid)) {
            Ok(Some(user)) => format!("{} (uid {uid})", user.name),
            _ => format!("uid {uid}"),
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn supplementary_groups() -> Vec<u32> {
    let groups = nix::unistd::getgroups().unwrap_or_default();
    groups.into_iter().map(|gid| gid.as_raw()).collect()
}

/// There a process's own list is not all of them (getgroups(2)).
#[cfg(target_vendor = "apple")]
fn supplementary_groups() -> Vec<u32> {
    Vec::new()
}

/// Names alone: what a variable says may be a key.
impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        formatter.debug_struct("Host").field("variables", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Host {
    /// A machine of a test's own: this process's account, a home in the folder, no environment, no proxy, and no program.
    pub(crate) fn for_tests(folder: &Path) -> Self {
        Self {
            variables: BTreeMap::new(),
            home: Some(folder.to_owned()),
            codex_home: Ok(CodexHome::at(folder.join(".codex"))),
            system_folder: folder.join("etc/codex"),
            program: None,
            program_id: None,
            proxies: OnceCell::new_with(Some(Vec::new())),
            // Named, so that nothing of the environment counts.
            ..Self::this(Some(folder.join("server-info.json")))
        }
    }

    /// The same machine, where this is found in the place of a proxy.
    pub(crate) fn with_proxies(self, proxies: Vec<Found>) -> Self {
        Self { proxies: OnceCell::new_with(Some(proxies)), ..self }
    }

    /// The same machine, where this is the program that runs.
    pub(crate) fn with_program(self, program: PathBuf) -> Self {
        Self { program_id: FileId::of(&program).ok(), program: Some(program), ..self }
    }

    /// The same machine with one more variable in the environment.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::checks::samples::{info, running};

    fn on_port(port: u16) -> Found {
        running(port, |_| ())
    }

    fn stale(port: u16) -> Found {
        Found::Stale {
            file: "/run/it.json".into(),
            info: info(port),
            because: "it ended".to_owned(),
        }
    }

    #[test]
    fn an_empty_variable_is_none_and_no_value_is_ever_shown() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::for_tests(folder.path());
        let host = host.with_variable("OPENAI_API_KEY", "sk-something").with_variable("EMPTY", "");
        assert_eq!(host.variable("OPENAI_API_KEY"), Some(OsStr::new("sk-something")));
        assert_eq!((host.variable("EMPTY"), host.variable("NONE")), (None, None));
        let shown = format!("{host:?}");
        assert!(shown.contains("OPENAI_API_KEY") && !shown.contains("something"), "{shown}");
    }

    #[tokio::test]
    async fn what_codex_is_told_is_read_once_for_all_checks() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::for_tests(folder.path());
        assert_eq!(host.effective().await.unwrap().provider, "openai");
        fs::create_dir(folder.path().join(".codex")).unwrap();
        fs::write(folder.path().join(".codex/config.toml"), "model_provider = \"x\"\n").unwrap();
        assert_eq!(host.effective().await.unwrap().provider, "openai");
        assert_eq!(Host::for_tests(folder.path()).effective().await.unwrap().provider, "x");
        assert_eq!(host.etc(), folder.path().join("etc"));
    }

    #[test]
    fn an_account_has_its_number_and_a_name_if_there_is_one() {
        let host = Host::this(None);
        assert_eq!(host.account(0), "root (uid 0)");
        assert_eq!(host.account(61_234), "uid 61234");
        assert_eq!(host.uid, geteuid().as_raw());
        assert_eq!(host.gids.first(), Some(&getegid().as_raw()));
    }

    #[tokio::test]
    async fn the_proxy_that_is_meant_is_where_codex_is_pointed_or_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".codex")).unwrap();
        let config = codex_config::edit::point(None, "http://127.0.0.1:4001/v1").unwrap();
        let meant = async |proxies: Vec<Found>| {
            let host = Host::for_tests(folder.path()).with_proxies(proxies);
            host.proxy().await.map(|proxy| proxy.info.port)
        };
        for (is_pointed, proxies, expected) in [
            (false, vec![], None),
            (false, vec![stale(4_000)], None),
            (false, vec![stale(4_001), on_port(4_000)], Some(4_000)),
            (false, vec![on_port(4_000), on_port(4_001)], None),
            (true, vec![on_port(4_000), on_port(4_001)], Some(4_001)),
            (true, vec![on_port(4_000), stale(4_001)], Some(4_000)),
            (true, vec![on_port(4_000), on_port(4_002)], None),
        ] {
            let file = folder.path().join(".codex/config.toml");
            let _ = fs::remove_file(&file);
            if is_pointed {
                fs::write(&file, &config).unwrap();
            }
            assert_eq!(meant(proxies).await, expected, "pointed: {is_pointed}");
        }
    }
}
