//! A machine where little is well: keys lie about, the proxy is dead, another one is in the way, and no Codex is installed.

use std::fs;

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::sys::signal::Signal;

use super::guide::Screen;
use super::machine::{Machine, PERSON, as_in_the_guide};
use super::{assert_sound, ended, findings};
use crate::keys::random_key;
use crate::support::*;

struct BadHost {
    machine: Machine,
    upstream: MockUpstream,
    proxy: Proxy,
    /// All that lie about there.
    keys: Vec<String>,
}

/// Which of [`BadHost::keys`] lies where.
const IN_ENVIRONMENT: usize = 0;
const IN_AUTH_FILE: usize = 1;
const IN_HISTORY: usize = 2;
const IN_RC_FILE: usize = 3;
const IN_ENV_FILE: usize = 4;

impl BadHost {
    async fn make() -> Option<Self> {
        if !can_run(Machine::missing().as_deref()) {
            return None;
        }
        let upstream = tls_upstream(Scenario::Turn).await;
        let machine = Machine::make(&upstream);
        // The person's own copy, which an agent of theirs could exchange.
        machine.put_folder("/home/alice/bin", 0o755);
        let account = machine.account.to_string();
        let mut install = machine.as_root("install");
        install.args(["-o", &account, "-g", &account, "-m", "755"]);
        install.args(["/mnt/codex", "/home/alice/bin/codex"]);
        assert!(install.status().unwrap().success());
        let mut command = machine.as_person("/home/alice/bin/codex");
        command.args(["proxy", "--upstream-url", &upstream.responses_url()]);
        command.args(["--upstream-ca", "/etc/company-ca.pem"]);
        let mut proxy = Proxy::spawn(&mut command);
        proxy.signal(Signal::SIGKILL);
        proxy.wait();

        let keys: Vec<String> = (0..5).map(|_| format!("sk-{}", random_key(48))).collect();
        let host = Self { machine, upstream, proxy, keys };
        host.plant();
        Some(host)
    }

    fn plant(&self) {
        let Self { machine, keys, proxy, .. } = self;
        machine.put_folder("/home/alice/.codex", 0o777);
        let config = format!(
            "model_provider = \"openai-proxy\"\n\n[model_providers.openai-proxy]\nname = \"Codex key guard\"\nbase_url = \"http://127.0.0.1:{}/v1\"\nwire_api = \"responses\"\n",
            proxy.port
        );
        machine.put("/home/alice/.codex/config.toml", &config, 0o666);
        let auth = format!("{{\"OPENAI_API_KEY\": \"{}\"}}\n", keys[IN_AUTH_FILE]);
        machine.put("/home/alice/.codex/auth.json", &auth, 0o644);
        let variables = format!("OPENAI_API_KEY={}\n", keys[IN_ENV_FILE]);
        machine.put("/home/alice/.codex/.env", &variables, 0o644);
        let history = format!("cd\nexport OPENAI_API_KEY={}\ncodex\n", keys[IN_HISTORY]);
        machine.put("/home/alice/.bash_history", &history, 0o600);
        let lines = format!("# mine\nexport OPENAI_API_KEY=\"{}\"\n", keys[IN_RC_FILE]);
        machine.put("/home/alice/.bashrc", &lines, 0o644);

        let groups = machine.path("/etc/group");
        let all = fs::read_to_string(&groups).unwrap();
        let mut lines: Vec<&str> = all.lines().filter(|line| !line.starts_with("sudo:")).collect();
        let sudo = format!("sudo:x:27:{PERSON}");
        lines.push(&sudo);
        fs::write(&groups, lines.join("\n") + "\n").unwrap();
    }

    fn doctor(&self, flags: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.machine.as_person("/home/alice/bin/codex");
        command.args(["proxy", "doctor"]).args(flags);
        command.env("PATH", "/usr/bin:/bin");
        command.env("OPENAI_API_KEY", &self.keys[IN_ENVIRONMENT]);
        command.env("HTTP_PROXY", "http://127.0.0.1:9");
        ended(command.output().unwrap())
    }
}

/// The guide's screen, if it can be seen here.
pub(super) async fn screen() -> Option<Screen> {
    let host = BadHost::make().await?;
    let (_, shown, _) = host.doctor(&[]);
    let numbers = [(u32::from(host.proxy.port), "4000"), (host.machine.account, "1000")];
    Some(Screen::wrapped(&as_in_the_guide(&shown, &host.upstream, &numbers)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_leak_and_every_trap_is_told_with_its_remedy_and_no_key_is_shown() {
    let Some(host) = BadHost::make().await else { return };
    let (code, shown, said) = host.doctor(&[]);
    assert_eq!((code, said.as_str()), (Some(1), ""), "{shown}");
    let (code, json, said) = host.doctor(&["--json"]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert_sound(&shown, &json);

    let found = findings(&json);
    let told: String = found
        .iter()
        .filter(|(_, grade, ..)| grade != "pass")
        .map(|(check, _, evidence, _)| format!("{check}: {evidence}\n"))
        .collect();
    let port = host.proxy.port.to_string();
    for (check, part) in [
        ("proxy", port.as_str()),
        ("provider", port.as_str()),
        ("route", "HTTP_PROXY"),
        ("environment", "OPENAI_API_KEY"),
        ("auth_file", "/home/alice/.codex/auth.json"),
        ("files", "/home/alice/.bash_history"),
        ("files", "/home/alice/.bashrc"),
        ("files", "/home/alice/.codex/.env"),
        ("owners", "/home/alice/.codex"),
        ("program", "/home/alice/bin/codex"),
        ("sudo", "sudo"),
    ] {
        let is_told = |line: &str| line.starts_with(&format!("{check}: ")) && line.contains(part);
        assert!(told.lines().any(is_told), "no {check} with {part:?} in\n{told}");
    }
    for key in &host.keys {
        assert_not_shown(key, format!("{shown}{json}").as_bytes());
    }
}

/// Whoever looks changes nothing, and leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_stays_as_it_was() {
    let Some(host) = BadHost::make().await else { return };
    let all = || host.machine.listed(&["/home/alice", "/run"]);
    let before = all();
    assert!(before.iter().any(|line| line.contains("auth.json")), "{before:#?}");
    assert_eq!(host.doctor(&[]).0, Some(1));
    assert_eq!(all(), before);
}

/// Root may look, too, at a home that is not root's.
#[tokio::test(flavor = "multi_thread")]
async fn root_can_look_at_it_as_well() {
    let Some(host) = BadHost::make().await else { return };
    let mut command = host.machine.as_root("codex");
    command.args(["proxy", "doctor", "--json"]).env("HOME", "/home/alice");
    command.env("CODEX_PROXY_SERVER_INFO", "/run/none.json");
    let (code, json, said) = ended(command.output().unwrap());
    assert_eq!((code, said.as_str()), (Some(1), ""), "{json}");
    assert!(findings(&json).iter().any(|(check, ..)| check == "auth_file"), "{json}");
    for key in &host.keys {
        assert_not_shown(key, json.as_bytes());
    }
}
