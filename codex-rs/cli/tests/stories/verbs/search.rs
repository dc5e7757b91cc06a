//! The run folder, in a mount namespace where nobody else's proxies are.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use codex_mock_upstream::{MockUpstream, Scenario};
use codex_proxy_client::RunFolder;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Working, ended, verb};
use crate::private_namespace;
use crate::support::*;

/// A folder /run with nothing in it, for whoever joins. Dropped, it is gone.
struct EmptyRun(Child);

impl EmptyRun {
    fn make() -> Self {
        let script = "mount -t tmpfs -o mode=755 tmpfs /run && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(holder)
    }

    fn join(&self, command: Command) -> Command {
        let mut joined = clean(Command::new("nsenter"));
        joined.args(["--target", &self.0.id().to_string(), "--mount"]).arg("--");
        joined.arg(command.get_program()).args(command.get_args());
        joined.env_remove("CODEX_PROXY_SERVER_INFO").env_remove("COLUMNS").stdin(Stdio::null());
        joined
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        ended(self.join(verb(arguments)).output().unwrap())
    }

    fn proxy(&self, upstream: &MockUpstream) -> Proxy {
        let mut command = self.join(program());
        Proxy::spawn(command.args(["--upstream-url", &upstream.responses_url()]))
    }
}

impl Drop for EmptyRun {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn can_join() -> bool {
    can_run(private_namespace::missing(&["unshare", "nsenter"]).as_deref())
}

#[tokio::test(flavor = "multi_thread")]
async fn verbs_find_the_one_proxy_by_themselves_and_ask_which_of_several() {
    if !can_join() {
        return;
    }
    let upstream = upstream(Scenario::Turn).await;
    let run = EmptyRun::make();
    let folder = PathBuf::from("/run/codex-responses-api-proxy");

    let (code, shown, _) = run.run(&["status"]);
    assert_eq!(code, Some(1));
    assert!(shown.starts_with(&format!("no proxy runs: looked in {}\n", str(&folder))), "{shown}");
    assert_eq!(run.run(&["status", "--json"]).1, "{\"proxies\":[]}\n");
    let (code, _, said) = run.run(&["stop"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no proxy runs: looked in /run/"), "{said}");

    let mut first = run.proxy(&upstream);
    let (code, shown, said) = run.run(&["status"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains(&format!(" pid {} is serving\n", first.pid())), "{shown}");
    assert!(!shown.contains("In short"), "{shown}");
    assert_eq!(run.run(&["log", "--json"]).0, Some(0));

    let mut second = run.proxy(&upstream);
    let (code, shown, _) = run.run(&["status", "--json"]);
    let all: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, all["proxies"].as_array().unwrap().len()), (Some(0), 2), "{shown}");
    let (_, shown, _) = run.run(&["status"]);
    let lines: Vec<&str> = shown.lines().collect();
    let [.., title, names, one, other] = lines[..] else { panic!("{shown}") };
    assert_eq!(title, "In short: 2", "{shown}");
    assert!(names.starts_with("  ADDRESS"), "{shown}");
    for proxy in [&first, &second] {
        let address = format!("  http://127.0.0.1:{}/v1 ", proxy.port);
        let line = [one, other].into_iter().find(|line| line.starts_with(&address)).unwrap();
        let pid = format!(" {} ", proxy.pid());
        assert!(line.contains(&pid) && line.ends_with("  is serving"), "{shown}");
    }
    let (code, shown, said) = run.run(&["stop", "--now"]);
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    assert!(said.starts_with("error: 2 proxies run, so say which one is meant:\n"), "{said}");
    for port in [first.port, second.port] {
        let info = RunFolder::server_info(&folder, port);
        let command = format!("proxy stop --now --server-info {}", str(&info));
        assert!(said.contains(&command), "{command}: {said}");
    }

    // What it says can be typed.
    let info = RunFolder::server_info(&folder, first.port);
    assert_eq!(run.run(&["stop", "--now", "--server-info", str(&info)]).0, Some(0));
    assert!(first.wait().success());
    // One that was killed is told beside the one that runs.
    let mut third = run.proxy(&upstream);
    third.signal(Signal::SIGKILL);
    third.wait();
    let (code, shown, _) = run.run(&["status"]);
    assert_eq!(code, Some(1));
    assert!(shown.contains(" is left over: ") && shown.contains("is serving"), "{shown}");
    assert_eq!(run.run(&["stop"]).0, Some(0), "and is not in its way");
    assert!(second.wait().success());
}

/// What an interrupted `stop` says can be typed, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_drains_is_still_found_and_can_be_cut() {
    if !can_join() {
        return;
    }
    let upstream = upstream(Scenario::Gated).await;
    let run = EmptyRun::make();
    let mut proxy = run.proxy(&upstream);
    let mut client = proxy.connect();
    client.post();
    until(&upstream, |counts| counts.requests == 1).await;
    let stop = Working::start(run.join(verb(&["stop"])), false);
    stop.line("draining: 1 exchange left");
    let (code, shown, said) = run.run(&["status"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains("is draining"), "{shown}");
    stop.interrupt();
    let (ended, rest) = stop.end();
    assert_eq!(ended.code(), Some(130), "{rest}");
    assert!(rest.contains("; `codex proxy stop --now` cuts it"), "{rest}");

    let (code, _, said) = run.run(&["stop", "--now"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(proxy.wait().success());
    let _ = client.read_to_end();
    assert!(!contains(&client.got, b"response.completed"));
}
