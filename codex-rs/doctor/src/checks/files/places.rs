//! Which files those are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::host::Host;

/// Of a folder, how many entries are looked at.
const MOST_ENTRIES: usize = 1_000;

/// In a home.
const HISTORIES: [&str; 9] = [
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".histfile",
    ".sh_history",
    ".mksh_history",
    ".ksh_history",
    ".python_history",
    ".node_repl_history",
];
const START_UP: [&str; 13] = [
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_aliases",
    ".profile",
    ".mkshrc",
    ".kshrc",
    ".cshrc",
    ".tcshrc",
    ".pam_environment",
    ".xprofile",
    ".envrc",
    ".env",
];
/// In `ZDOTDIR`, or a home.
const ZSH: [&str; 5] = [".zshenv", ".zprofile", ".zshrc", ".zlogin", ".zsh_history"];
/// In /etc.
const SYSTEM: [&str; 6] =
    ["environment", "profile", "bash.bashrc", "bashrc", "zshenv", "zsh/zshenv"];
/// Variables that name a history. Shells seldom pass on `HISTFILE`.
const HISTORY_VARIABLES: [&str; 3] = ["HISTFILE", "PYTHON_HISTORY", "NODE_REPL_HISTORY"];

/// What a file is, as far as the remedy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What was typed into a shell or an interpreter.
    History,
    /// What a shell or a login reads.
    StartUp,
    /// Codex's settings, and copies of them.
    Codex,
    /// What was typed into Codex.
    Prompts,
    /// Root's, for all accounts.
    System,
}

/// A file that may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
}

impl Place {
    pub(super) fn is_codex_config(&self) -> bool {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        matches!(self.kind, Kind::Codex | Kind::System) && name.contains(".toml")
    }
}

/// All of them, each once.
pub(super) fn places(host: &Host) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |kind, path| places.push(Place { kind, path });
    let named = |name: &str| host.variable(name).map(PathBuf::from).filter(|it| it.is_absolute());
    for path in HISTORY_VARIABLES.into_iter().filter_map(named) {
        add(Kind::History, path);
    }
    if let Some(home) = &host.home {
        let data = named("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        let config = named("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        HISTORIES.into_iter().for_each(|name| add(Kind::History, home.join(name)));
        add(Kind::History, data.join("fish/fish_history"));
        add(Kind::History, data.join("powershell/PSReadLine/ConsoleHost_history.txt"));
        START_UP.into_iter().for_each(|name| add(Kind::StartUp, home.join(name)));
        for folder in [Some(home.clone()), named("ZDOTDIR")].into_iter().flatten() {
            for name in ZSH {
                let kind = if name.ends_with("history") { Kind::History } else { Kind::StartUp };
                add(kind, folder.join(name));
            }
        }
        add(Kind::StartUp, config.join("fish/config.fish"));
        for (folder, end) in [("fish/conf.d", ".fish"), ("environment.d", ".conf")] {
            for path in listed(&config.join(folder), |name| name.ends_with(end)) {
                add(Kind::StartUp, path);
            }
        }
    }
    if let Ok(home) = &host.codex_home {
        add(Kind::Prompts, home.folder().join("history.jsonl"));
        listed(home.folder(), is_codexs).into_iter().for_each(|path| add(Kind::Codex, path));
    }
    let is_toml = |name: &str| name.ends_with(".toml");
    listed(&host.system_folder, is_toml).into_iter().for_each(|path| add(Kind::System, path));
    SYSTEM.into_iter().for_each(|name| add(Kind::System, host.etc().join(name)));
    let all = listed(&host.etc().join("profile.d"), |_| true);
    all.into_iter().for_each(|path| add(Kind::System, path));
    let mut seen = BTreeSet::new();
    places.retain(|place: &Place| seen.insert(place.path.clone()));
    places
}

/// Its settings, profiles, variables, and copies of them, of logins too. (The login itself is a check of its own.)
fn is_codexs(name: &str) -> bool {
    let is_copy = name.starts_with("auth.json.") || name.starts_with(".env.");
    name == ".env" || name.starts_with("config.toml") || name.contains(".config.toml") || is_copy
}

/// The files in a folder that have such a name, in order.
fn listed(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(MOST_ENTRIES).flatten();
    let names = entries.filter(|entry| wanted(&entry.file_name().to_string_lossy()));
    let mut paths: Vec<PathBuf> = names.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes an empty file.
    fn touch(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn variables_say_where_histories_and_settings_lie() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let host = |name: &str, value: &str| Host::for_tests(home).with_variable(name, value);
        for (host, path, kind) in [
            (Host::for_tests(home), home.join(".bash_history"), Kind::History),
            (Host::for_tests(home), home.join(".zshrc"), Kind::StartUp),
            (Host::for_tests(home), home.join(".config/fish/config.fish"), Kind::StartUp),
            (Host::for_tests(home), home.join(".codex/history.jsonl"), Kind::Prompts),
            (Host::for_tests(home), home.join("etc/environment"), Kind::System),
            (host("HISTFILE", "/x/history"), "/x/history".into(), Kind::History),
            (host("XDG_CONFIG_HOME", "/x"), "/x/fish/config.fish".into(), Kind::StartUp),
            (host("XDG_DATA_HOME", "/x"), "/x/fish/fish_history".into(), Kind::History),
            (host("ZDOTDIR", "/x"), "/x/.zshrc".into(), Kind::StartUp),
            (host("ZDOTDIR", "/x"), "/x/.zsh_history".into(), Kind::History),
            (host("ZDOTDIR", "x"), home.join(".zshrc"), Kind::StartUp),
        ] {
            let place = Place { kind, path };
            assert!(places(&host).contains(&place), "{place:?}");
        }
    }

    #[test]
    fn folders_are_looked_through_for_what_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let expected = [
            (".codex/.env", Kind::Codex),
            (".codex/auth.json.bak", Kind::Codex),
            (".codex/config.toml", Kind::Codex),
            (".codex/config.toml.before-openai-proxy", Kind::Codex),
            (".codex/openai-proxy.config.toml", Kind::Codex),
            (".codex/work.config.toml.bak", Kind::Codex),
            (".config/environment.d/50-key.conf", Kind::StartUp),
            (".config/fish/conf.d/key.fish", Kind::StartUp),
            ("etc/codex/managed_config.toml", Kind::System),
            ("etc/profile.d/key.sh", Kind::System),
        ];
        let passed_over = [
            ".codex/auth.json",
            ".codex/sessions",
            ".config/environment.d/readme",
            "etc/codex/readme",
        ];
        expected.iter().for_each(|(name, _)| touch(at(name)));
        passed_over.iter().for_each(|name| touch(at(name)));
        let places = places(&Host::for_tests(folder.path()));
        for (name, kind) in expected {
            let place = Place { kind, path: at(name) };
            assert_eq!(places.iter().filter(|other| **other == place).count(), 1, "{place:?}");
            let is_config = name.contains("codex/") && name.contains(".toml");
            assert_eq!(place.is_codex_config(), is_config, "{name}");
        }
        for name in passed_over {
            assert!(places.iter().all(|place| place.path != at(name)), "{name}");
        }
    }

    #[test]
    fn a_file_with_two_reasons_is_looked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let history = folder.path().join(".bash_history");
        let host = Host::for_tests(folder.path())
            .with_variable("HISTFILE", history.to_str().unwrap())
            .with_variable("ZDOTDIR", folder.path().to_str().unwrap());
        let mut paths: Vec<PathBuf> = places(&host).into_iter().map(|place| place.path).collect();
        assert_eq!(paths.iter().filter(|path| **path == history).count(), 1);
        paths.sort();
        let all = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), all);
    }
}
