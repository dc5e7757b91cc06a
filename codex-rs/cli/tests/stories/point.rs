//! A user points Codex at the proxy with `codex proxy point`, and undoes it with `codex proxy unpoint`.
//!
//! Each test has a home of its own and names its proxy with `--server-info`, because the run folder is every proxy's of
//! this account. Those about the search, other accounts and the system's own configuration have a machine to themselves:
//! a mount namespace.

mod dry_run;
mod layers;
mod machine;
mod other_accounts;
mod refusals;
mod undoing;
mod verify;
mod which_proxy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use codex_mock_upstream::{MockUpstream, Scenario};
use codex_proxy_client::RunFolder;
use serde_json::{Value, json};

use crate::support::*;

/// What a person had before.
const AZURE: &str = r#"# My settings
model = "gpt-5"
model_provider = "azure"

[model_providers.azure]
name = "Azure"
base_url = "https://example.openai.azure.com/openai/v1"
"#;

/// How a verb ended, what it showed and what it said.
type Ended = (Option<i32>, String, String);

/// `codex proxy` with these arguments, and nothing of this machine's that would change what it does.
fn verb(home: &Path, arguments: &[&str]) -> Command {
    let mut command = clean(Command::new(crate::PROXY.0));
    command.arg("proxy").args(arguments).stdin(Stdio::null());
    for name in [
        "ALL_PROXY",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "CODEX_HOME",
        "CODEX_PROXY",
        "CODEX_PROXY_SERVER_INFO",
        "CODEX_REAL_BIN",
        "COLUMNS",
        "HTTP_PROXY",
        "NO_COLOR",
        "SUDO_UID",
        "all_proxy",
        "http_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", home);
    command
}

fn ended(output: Output) -> Ended {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A proxy, and a home whose Codex is to use it.
struct Desk {
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Desk {
    fn start(upstream: &MockUpstream) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        let (info, socket) = (folder.path().join("info.json"), folder.path().join("control.sock"));
        let flags = ["--server-info", str(&info), "--control-socket", str(&socket)];
        Self { proxy: Proxy::start(upstream, &flags), folder }
    }

    /// The same with a configuration.
    fn with(upstream: &MockUpstream, config: &str) -> Self {
        let desk = Self::start(upstream);
        desk.write(config);
        desk
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn codex_home(&self) -> PathBuf {
        self.home().join(".codex")
    }

    fn config(&self) -> PathBuf {
        self.codex_home().join("config.toml")
    }

    fn backup(&self) -> PathBuf {
        self.codex_home().join("config.toml.before-openai-proxy")
    }

    fn write(&self, config: &str) {
        fs::create_dir_all(self.codex_home()).unwrap();
        fs::write(self.config(), config).unwrap();
    }

    fn read(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    fn info(&self) -> PathBuf {
        self.folder.path().join("info.json")
    }

    fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.proxy.port)
    }

    /// `point` at this proxy.
    fn point(&self, flags: &[&str]) -> Command {
        let info = self.info();
        verb(&self.home(), &[&["point", "--server-info", str(&info)], flags].concat())
    }

    fn pointed(&self, flags: &[&str]) -> Ended {
        ended(self.point(flags).output().unwrap())
    }

    fn unpointed(&self, flags: &[&str]) -> Ended {
        ended(verb(&self.home(), &[&["unpoint"], flags].concat()).output().unwrap())
    }
}

/// A proxy that is killed, as this one will be now, leaves its file in the run folder.
impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(folder) = RunFolder::own() {
            let _ = fs::remove_file(RunFolder::server_info(&folder, self.proxy.port));
        }
    }
}

/// The lines but for notes, which depend on the port and on this machine.
fn without_notes(shown: &str) -> Vec<&str> {
    shown.lines().filter(|line| !line.starts_with("note: ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn point_says_what_it_did_and_what_to_type_next() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let (config, url, pid) = (desk.config(), desk.base_url(), desk.proxy.pid());
    assert_eq!(
        without_notes(&shown),
        [
            format!("pointed: {} now makes Codex use {url} (pid {pid})", config.display()),
            format!("backup: {}", desk.backup().display()),
            "next: codex".to_owned(),
        ]
    );
    let port = desk.proxy.port;
    let taken = format!("note: once the proxy has ended any account can take port {port}");
    assert!(shown.contains(&taken), "{shown}");
    assert_eq!(fs::read_to_string(desk.backup()).unwrap(), AZURE);
    let pointed = desk.read();
    assert!(pointed.contains("\nmodel_provider = \"openai-proxy\" # by codex proxy point"));
    assert!(pointed.contains(&format!("\nbase_url = \"{url}\"\n")), "{pointed}");

    // Once more: nothing changes, the backup least of all.
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let done =
        format!("nothing to do: {} already makes Codex use {url} (pid {pid})", config.display());
    assert_eq!(without_notes(&shown), [done.as_str(), "next: codex"]);
    assert_eq!(desk.read(), pointed);
    assert_eq!(fs::read_to_string(desk.backup()).unwrap(), AZURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_configuration_is_one_is_made_and_taken_away_again() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    assert!(!desk.codex_home().exists());
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(!shown.contains("backup: "), "{shown}");
    let (code, shown, said) = desk.unpointed(&["--purge"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let config = desk.config();
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [
            format!("purged: {} is gone, because all that was in it was ours", config.display())
                .as_str(),
            "now: Codex uses \"openai\", its own default",
        ]
    );
    assert!(!config.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_changes_no_default() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let (code, shown, said) = desk.pointed(&["--profile"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let profile = desk.codex_home().join("openai-proxy.config.toml");
    let headline = format!(
        "pointed: {} now makes `codex -p openai-proxy` use {} (pid {})",
        profile.display(),
        desk.base_url(),
        desk.proxy.pid()
    );
    assert_eq!(without_notes(&shown), [headline.as_str(), "next: codex -p openai-proxy"]);
    assert_eq!(desk.read(), AZURE);
    assert!(fs::read_to_string(&profile).unwrap().contains(&desk.base_url()));
    let (code, shown, said) = desk.unpointed(&["--profile", "--purge"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(!profile.exists());
    assert_eq!(desk.read(), AZURE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_stays_a_link_and_its_place_is_told() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::start(&upstream);
    let place = desk.folder.path().join("dotfiles.toml");
    fs::write(&place, AZURE).unwrap();
    fs::create_dir(desk.codex_home()).unwrap();
    std::os::unix::fs::symlink(&place, desk.config()).unwrap();
    let (code, shown, said) = desk.pointed(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let written =
        format!("written: {}, which {} leads to", place.display(), desk.config().display());
    assert_eq!(without_notes(&shown)[1], written);
    assert!(desk.config().is_symlink());
    assert!(fs::read_to_string(&place).unwrap().contains(&desk.base_url()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_terminal_gets_whole_words() {
    const WIDTH: usize = 48;
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let narrow = |mut command: Command| {
        let (_, shown, _) = ended(command.env("COLUMNS", WIDTH.to_string()).output().unwrap());
        assert!(shown.lines().all(|line| line.len() <= WIDTH), "{shown}");
        shown
    };
    narrow(desk.point(&[]));
    let (narrow_again, wide) = (narrow(desk.point(&[])), desk.pointed(&[]).1);
    let letters = |shown: &str| shown.split_whitespace().collect::<String>();
    assert_eq!(letters(&narrow_again), letters(&wide));
    let words: Vec<&str> = narrow_again.split_whitespace().collect();
    let mut short = wide.split_whitespace().filter(|word| word.len() < WIDTH / 2);
    assert!(short.all(|word| words.contains(&word)), "{narrow_again}");
    narrow(verb(&desk.home(), &["unpoint"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_one_object() {
    let upstream = upstream(Scenario::Turn).await;
    let desk = Desk::with(&upstream, AZURE);
    let (config, backup) = (desk.config(), desk.backup());
    for state in ["pointed", "already_pointed"] {
        let (code, shown, said) = desk.pointed(&["--json"]);
        assert_eq!((code, said.as_str(), shown.lines().count()), (Some(0), "", 1), "{shown}");
        let seen: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(seen["state"], state);
        assert_eq!((&seen["file"], &seen["place"]), (&json!(str(&config)), &json!(str(&config))));
        assert_eq!(
            (&seen["base_url"], &seen["pid"]),
            (&json!(desk.base_url()), &json!(desk.proxy.pid()))
        );
        assert_eq!(
            seen["effective"],
            json!({ "provider": "openai-proxy", "decided_by": str(&config), "base_url": desk.base_url() })
        );
        assert_eq!((&seen["has_effect"], &seen["warnings"]), (&json!(true), &json!([])));
        assert_eq!((&seen["diff"], &seen["verified"]), (&Value::Null, &Value::Null));
        let kept = if state == "pointed" { json!(str(&backup)) } else { Value::Null };
        assert_eq!(seen["backup"], kept);
    }
    let (code, shown, said) = desk.unpointed(&["--json"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&seen["state"], &seen["effective"]["provider"]),
        (&json!("unpointed"), &json!("azure"))
    );
    let (_, shown, _) = desk.unpointed(&["--json"]);
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(seen["state"], "not_pointed");
    let (_, shown, _) = desk.unpointed(&["--json", "--purge"]);
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(seen["state"], "purged");
    assert_eq!(desk.read(), AZURE);
}

#[test]
fn help_shows_examples_and_wrong_usage_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    for (name, example) in
        [("point", "codex proxy point --dry-run"), ("unpoint", "codex proxy unpoint --purge")]
    {
        let (code, shown, _) = ended(verb(home.path(), &[name, "--help"]).output().unwrap());
        assert_eq!(code, Some(0));
        assert!(shown.contains(example) && shown.contains("Exit codes: "), "{shown}");
    }
    for arguments in [
        &["point", "--port", "0"][..],
        &["point", "--port", "1", "--server-info", "a"],
        &["point", "--yes"],
        &["point", "--dry-run", "--verify"],
        &["unpoint", "--port", "1"],
    ] {
        let (code, _, said) = ended(verb(home.path(), arguments).output().unwrap());
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
    }
    assert!(!home.path().join(".codex").exists());
}
