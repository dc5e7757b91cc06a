//! A machine where all is as the guides say: the proxy is root's and serves one account, which has no key and is pointed at it.

use codex_mock_upstream::{MockUpstream, Scenario};

use super::guide::Screen;
use super::machine::{Machine, PERSON, as_in_the_guide, low_port};
use super::{assert_sound, bare, ended, findings};
use crate::support::*;

/// What no machine can give that memory: this kernel is too old, or set up without it.
const NO_SECRET_MEMORY: &str =
    "a kernel with memfd_secret(2): Linux 6.5, or 5.14 started with secretmem.enable=1";

struct GoodHost {
    machine: Machine,
    upstream: MockUpstream,
    proxy: Proxy,
}

impl GoodHost {
    /// `None` where none can be made.
    async fn make() -> Option<Self> {
        if !can_run(Machine::missing().as_deref()) {
            return None;
        }
        let upstream = tls_upstream(Scenario::Turn).await;
        let machine = Machine::make(&upstream);
        let mut command = machine.as_root("codex");
        command.args(["proxy", "--port", &low_port().to_string(), "--allow-user", PERSON]);
        command.args(["--upstream-url", &upstream.responses_url()]);
        command.args(["--upstream-ca", "/etc/company-ca.pem"]);
        let proxy = Proxy::spawn(&mut command);
        if !can_run((!proxy.ready.contains("key in memfd_secret")).then_some(NO_SECRET_MEMORY)) {
            return None;
        }
        let host = Self { machine, upstream, proxy };
        let (code, shown, said) = host.person(&["point"], &[]);
        assert_eq!(code, Some(0), "{shown}{said}");
        Some(host)
    }

    fn person(&self, verb: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut command = self.machine.as_person("/usr/local/bin/codex"); // Whatever PATH says.
        command.arg("proxy").args(verb).env("CODEX_REAL_BIN", "/opt/codex/bin/codex");
        ended(command.envs(variables.iter().copied()).output().unwrap())
    }
}

/// The guide's screen, if it can be seen here.
pub(super) async fn screen() -> Option<Screen> {
    let host = GoodHost::make().await?;
    let (_, shown, _) = host.person(&["doctor"], &[]);
    let numbers = [(u32::from(host.proxy.port), "999"), (host.machine.account, "1000")];
    Some(Screen::wrapped(&as_in_the_guide(&shown, &host.upstream, &numbers)))
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_nothing_fails_and_no_key_is_spent() {
    let Some(host) = GoodHost::make().await else { return };
    let (code, shown, said) = host.person(&["doctor"], &[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let (code, json, _) = host.person(&["doctor", "--json"], &[]);
    assert_eq!(code, Some(0));
    assert_sound(&shown, &json);
    let found = findings(&json);
    let others: Vec<_> = found.iter().filter(|(_, grade, ..)| grade != "pass").collect();
    assert!(others.is_empty(), "{others:#?}");
    for check in ["proxy", "port", "upstream", "codex", "provider", "route"] {
        assert!(found.iter().any(|(name, ..)| name == check), "nothing of {check}: {shown}");
    }
    assert_eq!(host.upstream.counts().requests, 0, "a request was sent");
    assert_not_shown(KEY, format!("{shown}{json}").as_bytes());
}

/// The public Codex, which is asked for its version, would make folders in a home.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_looked_at_stays_as_it_was_on_a_good_host_too() {
    let Some(host) = GoodHost::make().await else { return };
    let all = || host.machine.listed(&["/home/alice", "/opt", "/run"]);
    let before = all();
    assert!(before.iter().any(|line| line.contains("config.toml")), "{before:#?}");
    let (code, shown, _) = host.person(&["doctor"], &[]);
    assert!(code == Some(0) && shown.contains("version 0.169.0"), "{shown}");
    assert_eq!(all(), before);
}

/// Root runs nobody else's program, however it is named.
#[tokio::test(flavor = "multi_thread")]
async fn root_does_not_run_the_public_codex() {
    let Some(host) = GoodHost::make().await else { return };
    let codex = host.machine.path("/opt/codex/bin/codex");
    std::fs::write(codex, "#!/usr/bin/env sh\n: >/run/it-ran\necho codex-cli 0.169.0\n").unwrap();
    let mut command = host.machine.as_root("/usr/local/bin/codex");
    command.args(["proxy", "doctor", "--json"]).env("HOME", "/home/alice");
    command.env("CODEX_REAL_BIN", "/opt/codex/bin/codex");
    let (_, json, said) = ended(command.output().unwrap());
    assert_eq!(said, "");
    let not_asked = "not asked for its version: root runs nobody else's program";
    let is_told = |(_, grade, evidence, _): &(String, String, String, _)| {
        grade == "pass" && evidence.ends_with(not_asked)
    };
    assert!(findings(&json).iter().any(is_told), "{json}");
    assert!(!host.machine.path("/run/it-ran").exists(), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrow_screen_says_the_same_and_no_line_is_longer() {
    let Some(host) = GoodHost::make().await else { return };
    let (_, whole, _) = host.person(&["doctor"], &[]);
    for width in [40, 57, 100] {
        let (code, shown, _) = host.person(&["doctor"], &[("COLUMNS", &width.to_string())]);
        assert_eq!(code, Some(0));
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{shown}");
        assert_eq!(bare(&shown), bare(&whole));
    }
}

/// What the administrator has decided is above what the person has.
#[tokio::test(flavor = "multi_thread")]
async fn an_overriding_layer_is_named() {
    let Some(host) = GoodHost::make().await else { return };
    let folder = host.machine.path("/etc/codex");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("managed_config.toml"), "model_provider = \"openai\"\n").unwrap();
    let (code, shown, _) = host.person(&["doctor"], &[]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("/etc/codex/managed_config.toml"), "{shown}");
}

/// Our own `codex` exempts the proxy; a public one that is called by itself does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_for_all_requests_is_told_and_an_exemption_mends_it() {
    let Some(host) = GoodHost::make().await else { return };
    let grade_of_route = |variables: &[(&str, &str)]| {
        let (_, json, _) = host.person(&["doctor", "--json"], variables);
        let found = findings(&json);
        found.into_iter().find(|(check, ..)| check == "route").map(|(_, grade, ..)| grade)
    };
    let hop = ("HTTP_PROXY", "http://127.0.0.1:9");
    let public = ("PATH", "/opt/codex/bin:/usr/local/bin:/usr/bin:/bin");
    assert_eq!(grade_of_route(&[hop]).as_deref(), Some("warn"));
    assert_eq!(grade_of_route(&[hop, public]).as_deref(), Some("fail"));
    let exempt = ("NO_PROXY", "127.0.0.1");
    assert_eq!(grade_of_route(&[hop, public, exempt]).as_deref(), Some("pass"));
}
