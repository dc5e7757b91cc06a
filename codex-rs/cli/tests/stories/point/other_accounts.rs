//! Root points somebody else's Codex: it becomes that account, so that nothing of root's is left in their home.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::Path;
use std::process::Command;

use codex_mock_upstream::{MockUpstream, Scenario};
use serde_json::{Value, json};

use super::machine::{Machine, TST_A};
use super::{AZURE, verb, without_notes};
use crate::support::*;

/// A machine with an account `tst_a`, and a proxy of root's on it.
struct Office {
    machine: Machine,
    proxy: Proxy,
    _upstream: MockUpstream,
}

impl Office {
    /// `None` where none can be made.
    async fn open() -> Option<Self> {
        if !Machine::can_be_made() {
            return None;
        }
        let upstream = upstream(Scenario::Turn).await;
        let machine = Machine::make();
        let proxy = machine.proxy(&upstream);
        Some(Self { machine, proxy, _upstream: upstream })
    }
}

/// All below a folder, with whose it is.
fn owners(folder: &Path, seen: &mut Vec<(String, (u32, u32))>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let found = entry.metadata().unwrap();
        seen.push((entry.file_name().to_string_lossy().into_owned(), (found.uid(), found.gid())));
        if found.is_dir() {
            owners(&entry.path(), seen);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_root_makes_for_a_user_are_the_users() {
    let Some(office) = Office::open().await else { return };
    let (machine, proxy) = (&office.machine, &office.proxy);
    let roots = machine.folder();
    let codex_home = machine.path(TST_A).join(".codex");
    let config = codex_home.join("config.toml");
    let (uid, gid) = machine.tst_a;

    let mut by_name = verb(&roots, &["point", "--user", "tst_a"]);
    by_name.env("SUDO_UID", uid.to_string()).env("CODEX_HOME", &roots); // Root's, and none of tst_a's business.
    let (code, shown, said) = machine.run(by_name);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let headline = format!(
        "pointed: {TST_A}/.codex/config.toml now makes Codex use http://127.0.0.1:{}/v1 (pid {})",
        proxy.port,
        proxy.pid()
    );
    let next = format!("next, as tst_a (uid {uid}): codex");
    assert_eq!(without_notes(&shown), [headline.as_str(), next.as_str()]);
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0, "something was left in root's home");

    // With a configuration that was there, and so a backup; by the number and the folder, too.
    fs::write(&config, AZURE).unwrap();
    for (home, flags) in
        [(roots.as_path(), &["--user", &uid.to_string()][..]), (Path::new(TST_A), &[][..])]
    {
        let (code, shown, said) = machine.run(verb(home, &[&["point"], flags].concat()));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
        let mut seen = Vec::new();
        owners(&codex_home, &mut seen);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.iter().all(|(_, owner)| *owner == (uid, gid)), "{seen:?}");
        let found = fs::metadata(&codex_home).unwrap();
        assert_eq!((found.uid(), found.gid()), (uid, gid));
        let (code, shown, said) =
            machine.run(verb(home, &[&["unpoint", "--purge", "--json"], flags].concat()));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
        let seen: Value = serde_json::from_str(&shown).unwrap();
        let account = json!(format!("tst_a (uid {uid})"));
        assert_eq!((&seen["state"], &seen["account"]), (&json!("purged"), &account));
        assert_eq!(fs::read_to_string(&config).unwrap(), AZURE);
        assert_eq!(fs::metadata(&config).unwrap().uid(), uid);
    }
}

/// What that account may not change is not changed, though root might.
#[tokio::test(flavor = "multi_thread")]
async fn root_that_acts_for_a_user_has_no_more_rights_than_that_user() {
    let Some(office) = Office::open().await else { return };
    let machine = &office.machine;
    let home = machine.path(TST_A);
    fs::create_dir(home.join(".codex")).unwrap();
    chown(home.join(".codex"), Some(machine.tst_a.0), Some(machine.tst_a.1)).unwrap();
    // A link to a file of root's, where the user would like to have something written.
    let roots = machine.path("/etc/only-roots.toml");
    fs::write(&roots, AZURE).unwrap();
    std::os::unix::fs::symlink("/etc/only-roots.toml", home.join(".codex/config.toml")).unwrap();
    let (code, shown, said) = machine.run(verb(&machine.folder(), &["point", "--user", "tst_a"]));
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    assert!(said.starts_with("error: /etc/only-roots.toml "), "{said}");
    assert_eq!(fs::read_to_string(&roots).unwrap(), AZURE);
}

/// Nor has it root's groups.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_roots_group_may_change_root_does_not_change_for_a_user() {
    let Some(office) = Office::open().await else { return };
    let machine = &office.machine;
    let (uid, gid) = machine.tst_a;
    let home = machine.path(TST_A);
    fs::create_dir(home.join(".codex")).unwrap();
    chown(home.join(".codex"), Some(uid), Some(gid)).unwrap();
    // The file is the user's own, so that only the folder is in the way.
    let folder = machine.path("/etc/of-the-group");
    fs::create_dir(&folder).unwrap();
    let place = folder.join("config.toml");
    fs::write(&place, AZURE).unwrap();
    chown(&place, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o775)).unwrap();
    let link = home.join(".codex/config.toml");
    std::os::unix::fs::symlink("/etc/of-the-group/config.toml", link).unwrap();
    // Root's shell has that group beside its own one; a test's root need not.
    let typed = verb(&machine.folder(), &["point", "--user", "tst_a"]);
    let mut command = Command::new("setpriv");
    command.args(["--groups", "0"]).arg(typed.get_program()).args(typed.get_args());
    for (name, value) in typed.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let (code, shown, said) = machine.run(command);
    assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
    assert!(said.starts_with("error: /etc/of-the-group/config.toml "), "{said}");
    assert_eq!(fs::read_to_string(&place).unwrap(), AZURE);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

/// A user who waits for root to type `codex proxy point`.
#[tokio::test(flavor = "multi_thread")]
async fn root_is_not_led_by_links_of_a_users() {
    let Some(office) = Office::open().await else { return };
    let machine = &office.machine;
    let (uid, gid) = machine.tst_a;
    let roots = machine.path("/etc/roots");
    fs::create_dir(&roots).unwrap();
    fs::write(roots.join("config.toml"), AZURE).unwrap();
    let home = machine.path(TST_A);
    std::os::unix::fs::symlink("/etc/roots", home.join(".codex")).unwrap();
    lchown(home.join(".codex"), Some(uid), Some(gid)).unwrap();
    let named = format!("{TST_A}/.codex/");
    let by_slash = |name: &str| {
        let mut command = verb(&machine.folder(), &[name]);
        command.env("CODEX_HOME", &named);
        command
    };
    // Root's home has a link into the user's.
    let open = machine.folder();
    std::os::unix::fs::symlink(format!("{TST_A}/.codex"), open.join(".codex")).unwrap();
    for command in [verb(&open, &["point"]), verb(&open, &["point", "--user", "root"])] {
        let (code, shown, said) = machine.run(command);
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
        let error = format!(
            "error: root would write where others can change what that leads to: {TST_A} belongs to tst_a (uid {uid})\nhint: say whose Codex is meant: --user NAME\n"
        );
        assert_eq!(said, error);
    }
    // The link is the user's, and so it is the user who does it.
    for name in ["point", "unpoint"] {
        let (_, _, said) = machine.run(by_slash(name));
        assert!(!said.contains("root would write"), "{said}");
    }
    assert_eq!(fs::read_to_string(roots.join("config.toml")).unwrap(), AZURE);
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 1);
}

/// What that account's configuration names would have root's terminal.
#[tokio::test(flavor = "multi_thread")]
async fn no_codex_is_run_for_another_account() {
    let Some(office) = Office::open().await else { return };
    let machine = &office.machine;
    let by_name = verb(&machine.folder(), &["point", "--user", "tst_a", "--verify", "--yes"]);
    let by_folder = verb(Path::new(TST_A), &["point", "--verify", "--yes"]);
    for command in [by_name, by_folder] {
        let (code, shown, said) = machine.run(command);
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
        let account = format!("tst_a (uid {})", machine.tst_a.0);
        let error = format!(
            "error: --verify would run what {account}'s configuration names from this terminal\nhint: log in as that account: codex proxy point --verify\n"
        );
        assert_eq!(said, error);
    }
    assert!(!machine.path(TST_A).join(".codex").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn sudo_is_asked_whose_codex_is_meant() {
    let Some(office) = Office::open().await else { return };
    let machine = &office.machine;
    let home = machine.folder();
    let with_sudo = |arguments: &[&str]| {
        let mut command = verb(&home, arguments);
        command.env("SUDO_UID", machine.tst_a.0.to_string());
        machine.run(command)
    };
    for name in ["point", "unpoint"] {
        let (code, shown, said) = with_sudo(&[name]);
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{said}");
        assert!(said.starts_with("error: whose Codex is meant, tst_a's or root's?\n"), "{said}");
        assert!(said.ends_with("hint: say --user tst_a, or --user root\n"), "{said}");
    }
    assert!(!home.join(".codex").exists());
    let (code, shown, said) = with_sudo(&["point", "--user", "root"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(home.join(".codex/config.toml").exists());
    let (code, _, said) = with_sudo(&["point", "--user", "no-such-account-here"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no such account"), "{said}");
}
