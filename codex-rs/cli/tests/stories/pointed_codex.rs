//! The real Codex in a home that is pointed at the proxy, and no longer: where its requests really go.
//!
//! What each of these says of Codex itself stands in docs/reference/codex.md.

mod http_proxy;
mod layers;
mod sessions;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use codex_mock_upstream::{MockUpstream, Options, Scenario};
use codex_proxy_client::RunFolder;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::codex_process::NOWHERE;
use crate::real_codex::{SAID, installed, missing};
use crate::support::*;

/// One turn of the real Codex.
const TURN: [&str; 3] = ["exec", "--skip-git-repo-check", "say hi"];

/// A home that has a provider already, a proxy, and who sees where requests go.
struct Desk {
    proxy: Proxy,
    /// Behind the proxy.
    upstream: MockUpstream,
    /// The provider that the person had before, and that wants no key.
    former: MockUpstream,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn start() -> Self {
        let upstream = upstream(Scenario::Turn).await;
        let former = MockUpstream::start(Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let info = folder.path().join("info.json");
        let proxy = Proxy::start(&upstream, &["--server-info", str(&info)]);
        let desk = Self { proxy, upstream, former, folder };
        fs::create_dir(desk.codex_home()).unwrap();
        fs::write(desk.config(), desk.before()).unwrap();
        desk
    }

    /// The configuration of somebody who has not heard of us. (In a terminal Codex would ask whether to trust the folder.)
    fn before(&self) -> String {
        let (url, trust) = (base_url(&self.former), self.trust());
        format!(
            "model_provider = \"former\"\n\n[model_providers.former]\nname = \"Former\"\nbase_url = \"{url}\"\n\
             wire_api = \"responses\"\n\n{trust}"
        )
    }

    /// That of somebody who has chosen no provider.
    fn trust(&self) -> String {
        format!("[projects.\"{}\"]\ntrust_level = \"trusted\"\n", self.home().display())
    }

    fn home(&self) -> &Path {
        self.folder.path()
    }

    fn codex_home(&self) -> PathBuf {
        self.home().join(".codex")
    }

    fn config(&self) -> PathBuf {
        self.codex_home().join("config.toml")
    }

    /// A program of this home's, and nothing of this machine's that would change what it does.
    fn bare(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home())
            .env("HTTPS_PROXY", NOWHERE)
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }

    /// The public Codex itself.
    fn theirs(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(installed());
        command.args(arguments);
        command
    }

    /// Our `codex`, which hands over to it.
    fn ours(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare(crate::PROXY.0);
        command.args(arguments).env("CODEX_REAL_BIN", installed());
        command
    }

    /// Points it, with these flags.
    fn point(&self, flags: &[&str]) {
        let port = self.proxy.port.to_string();
        let output = ended(self.ours(&[&["proxy", "point", "--port", &port][..], flags].concat()));
        assert!(output.status.success(), "{output:?}");
    }

    fn unpoint(&self, flags: &[&str]) -> String {
        let output = ended(self.ours(&[&["proxy", "unpoint"][..], flags].concat()));
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    }

    /// How many requests each has had: the proxy's upstream, the former provider.
    fn counts(&self) -> (u64, u64) {
        (self.upstream.counts().requests, self.former.counts().requests)
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

fn base_url(upstream: &MockUpstream) -> String {
    upstream.responses_url().strip_suffix("/responses").unwrap().to_owned()
}

/// Its end, which has to come: a Codex that gets no answer waits for minutes.
fn ended(mut command: Command) -> Output {
    let child =
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let group = Pid::from_raw(child.id().try_into().unwrap());
    let (sender, output) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    output.recv_timeout(LIMIT).unwrap_or_else(|_| {
        let _ = killpg(group, Signal::SIGKILL);
        panic!("it does not end: {command:?}");
    })
}

/// A turn that the mock has answered.
fn completed(command: Command) -> Output {
    let output = ended(command);
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && shown.contains(SAID), "{shown}{said}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn pointed_it_asks_the_proxy_and_unpointed_its_former_provider() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    completed(desk.theirs(&TURN));
    assert_eq!(desk.counts(), (0, 1));

    desk.point(&[]);
    completed(desk.theirs(&TURN));
    assert_eq!(desk.counts(), (1, 1), "Codex of itself");
    completed(desk.ours(&TURN));
    assert_eq!(desk.counts(), (2, 1), "through our codex");
    assert_eq!(desk.upstream.counts().wrong_bearer, 0);

    desk.unpoint(&[]);
    completed(desk.theirs(&TURN));
    completed(desk.ours(&TURN));
    assert_eq!(desk.counts(), (2, 3));

    desk.unpoint(&["--purge"]);
    assert_eq!(fs::read_to_string(desk.config()).unwrap(), desk.before());
    completed(desk.theirs(&TURN));
    assert_eq!(desk.counts(), (2, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_is_used_where_it_is_named_and_nowhere_else() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&["--profile"]);
    let with_profile = [&["-p", "openai-proxy"][..], &TURN].concat();
    completed(desk.theirs(&with_profile));
    completed(desk.ours(&with_profile));
    completed(desk.ours(&[&TURN[..], &["-p", "openai-proxy"]].concat()));
    assert_eq!(desk.counts(), (3, 0));
    completed(desk.theirs(&TURN));
    completed(desk.ours(&TURN));
    assert_eq!(desk.counts(), (3, 2));

    // Codex takes the name of a profile that is not there, and uses what it has.
    desk.unpoint(&["--profile", "--purge"]);
    completed(desk.theirs(&with_profile));
    assert_eq!(desk.counts(), (3, 3));
}

/// The caller's own `-c` is stronger than the pointing.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_may_choose_another_provider() {
    if !can_run(missing()) {
        return;
    }
    let desk = Desk::start().await;
    desk.point(&[]);
    let elsewhere = [&["-c", "model_provider=former"][..], &TURN].concat();
    completed(desk.theirs(&elsewhere));
    completed(desk.ours(&elsewhere));
    assert_eq!(desk.counts(), (0, 2));
    completed(desk.ours(&[&TURN[..], &["-c", "model_provider=former"]].concat()));
    assert_eq!(desk.counts(), (0, 3));
}
