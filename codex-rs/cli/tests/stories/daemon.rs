//! `--daemon`: the proxy goes on without its starter, its terminal and its folder.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid, getsid};
use serde_json::Value;

use crate::support::*;

mod kept_apart;
mod under_sudo;

/// The hidden flag of the process that goes on to serve.
const SERVING: &str = "--daemon-serving";

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap())
}

/// Waits for what nothing tells of.
fn comes<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a process and for all that it said; whoever else held its standard error open would be noticed.
fn in_time(child: Child) -> Output {
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    let output = ended.recv_timeout(LIMIT);
    output.unwrap_or_else(|_| panic!("it did not return, or something else holds its streams"))
}

/// A folder for the files of one daemon. Dropped, it ends what still runs.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn info(&self) -> PathBuf {
        self.at("server-info.json")
    }

    fn flags(&self, upstream: &MockUpstream) -> Vec<String> {
        let (info, socket) = (self.info(), self.at("control.sock"));
        let url = upstream.responses_url();
        let known = ["--daemon", "--upstream-url", &url, "--server-info", str(&info)];
        known.into_iter().chain(["--control-socket", str(&socket)]).map(str::to_owned).collect()
    }

    /// A start whose key is still to come, at which signals arrive even if whoever runs the tests ignores them.
    fn spawn(&self, upstream: &MockUpstream, more: &[&str]) -> Child {
        clean(Command::new("env"))
            .args(["--default-signal=INT,TERM,HUP", crate::PROXY.0])
            .args(crate::PROXY.1)
            .args(self.flags(upstream))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap()
    }

    fn start(&self, upstream: &MockUpstream, more: &[&str]) -> Output {
        self.start_with(upstream, more, KEY)
    }

    fn start_with(&self, upstream: &MockUpstream, more: &[&str], key: &str) -> Output {
        let mut child = self.spawn(upstream, more);
        let _ = writeln!(child.stdin.take().unwrap(), "{key}"); // It may not want it.
        in_time(child)
    }

    fn started(upstream: &MockUpstream, more: &[&str]) -> Self {
        let place = Self::new();
        let output = place.start(upstream, more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        place
    }

    /// Which process, on which port.
    fn serves(&self) -> (u32, u16) {
        let info = fs::read_to_string(self.info()).unwrap();
        let info: Value = serde_json::from_str(&info).unwrap();
        let number = |name: &str| info[name].as_u64().unwrap();
        let (pid, port) = (number("pid").try_into().unwrap(), number("port").try_into().unwrap());
        let mut client = Client::connect(port);
        client.send_request("POST /v1/responses", &[], b"{}");
        assert_eq!(client.answer().status, 200);
        (pid, port)
    }

    /// The processes whose command line names this folder.
    fn processes(&self) -> Vec<u32> {
        let named = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            contains(&line, str(self.folder.path()).as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().map_while(Result::ok);
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.filter(named).collect()
    }

    /// The process that is to serve, once it is there.
    fn serving(&self) -> u32 {
        comes("the process that serves", || {
            let serving = |pid: &u32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                contains(&line, SERVING.as_bytes())
            };
            self.processes().into_iter().find(serving)
        })
    }

    fn nothing_runs(&self) {
        comes("the end of all processes", || self.processes().is_empty().then_some(()));
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A verb with `--json`, and this place's server-info.
    fn verb(&self, verb: &str) -> Output {
        let info = self.info();
        let mut command = clean(Command::new(crate::PROXY.0));
        command.args(["proxy", verb, "--json", "--server-info", str(&info)]).output().unwrap()
    }

    /// The exit code of `status`, and what it takes this place's proxy for.
    fn state(&self) -> (Option<i32>, String) {
        let output = self.verb("status");
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let [proxy] = shown["proxies"].as_array().unwrap().as_slice() else { panic!("{shown}") };
        (output.status.code(), proxy["state"].as_str().unwrap().to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let began = Instant::now();
            for pid in self.processes() {
                let _ = kill(pid_of(pid), signal);
            }
            while !self.processes().is_empty() && began.elapsed() < LIMIT {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_returns_once_it_serves() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::new();
    let output = place.start(&upstream, &[]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let (pid, port) = place.serves();
    assert!(said.contains(&format!("ready: http://127.0.0.1:{port}/v1 ")), "{said}");
    assert!(said.contains(&format!("pid {pid}")), "{said}");
    assert_eq!(place.processes(), [pid], "the starter is gone, and there is one process");
    assert_eq!(upstream.counts().wrong_bearer, 0);

    kill(pid_of(pid), Signal::SIGTERM).unwrap();
    place.nothing_runs();
    assert!(place.names().is_empty(), "{:?}", place.names());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    let upstream = upstream(Scenario::Json).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let place = Place::new();
    fs::create_dir(place.at("folder")).unwrap();
    let (folder, absent) = (place.at("folder"), place.at("absent.pem"));
    let cases: [(&[&str], &str, i32, &str); 6] = [
        (&[], "\"sk-x\"", 1, "unexpected byte at offset 0"),
        (&[], "", 1, "no API key"),
        (&["--port", &port], KEY, 1, &format!("127.0.0.1:{port} can't be listened on")),
        (&["--log-file", str(&folder)], KEY, 1, str(&folder)),
        (&["--upstream-ca", str(&absent)], KEY, 1, str(&absent)),
        (&["--port", "many"], KEY, 2, "many"),
    ];
    for (flags, key, code, says) in cases {
        let output = place.start_with(&upstream, flags, key);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{says}: {said}");
        assert!(said.contains("error: ") && said.contains(says), "{says}: {said}");
        assert!(code == 2 || said.contains("hint: "), "{says}: {said}");
        let told = said.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(told, 1, "{said}");
        assert!(!said.contains("ready: "), "{said}");
        assert!(place.processes().is_empty(), "{says}: a process is left");
        assert_eq!(place.names(), ["folder"], "{says}");
    }
    assert_eq!(upstream.counts().connections, 0);
}

/// The starter is stopped before the key is there: whoever reads it is not the starter.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_read_by_the_process_that_serves() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::new();
    let mut starter = place.spawn(&upstream, &[]);
    let mut key = starter.stdin.take().unwrap();
    let serving = place.serving();
    assert_ne!(serving, starter.id());
    kill(pid_of(starter.id()), Signal::SIGSTOP).unwrap();
    writeln!(key, "{KEY}").unwrap();
    drop(key);
    comes("the server-info file", || place.info().exists().then_some(()));
    assert_eq!(place.serves().0, serving);
    assert_eq!(upstream.counts().wrong_bearer, 0);
    kill(pid_of(starter.id()), Signal::SIGCONT).unwrap();
    let output = in_time(starter);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_has_a_session_of_its_own_and_no_terminal() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::started(&upstream, &[]);
    let (pid, _) = place.serves();
    assert_eq!(getsid(Some(pid_of(pid))), Ok(pid_of(pid)));
    assert_ne!(getsid(None), Ok(pid_of(pid)));
    // Its name may have spaces; after it come state, ppid, pgrp, session and tty_nr (proc_pid_stat(5)).
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let facts: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!(facts[2..5], [&*pid.to_string(), &*pid.to_string(), "0"]);
}

fn not_root() -> Option<&'static str> {
    (!geteuid().is_root())
        .then_some("the proxy shows its files to root alone: run the tests as root")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_no_folder_and_no_stream_of_its_starters() {
    if !can_run(not_root()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let link = |pid: u32, name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    let null = Path::new("/dev/null");

    let place = Place::started(&upstream, &[]);
    let (pid, _) = place.serves();
    assert_eq!(link(pid, "cwd"), Path::new("/"));
    for fd in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(pid, fd), null, "{fd}");
    }

    let place = Place::new();
    let log = place.at("requests.jsonl");
    let output = place.start(&upstream, &["--log-file", str(&log)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (pid, _) = place.serves();
    assert_eq!((link(pid, "fd/0"), link(pid, "fd/1")), (null.to_owned(), null.to_owned()));
    assert_eq!(link(pid, "fd/2"), fs::canonicalize(&log).unwrap());
    let written = || fs::read_to_string(&log).unwrap().lines().next().map(str::to_owned);
    let record: Value = serde_json::from_str(&comes("a record", written)).unwrap();
    assert_eq!(record["outcome"], "completed", "{record}");
}

/// Relative paths were meant by whoever typed them: they are not looked for in the root folder.
#[tokio::test(flavor = "multi_thread")]
async fn paths_are_those_of_the_starters_folder() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::new();
    let socket = place.at("control.sock");
    let mut child = program()
        .args(["--daemon", "--upstream-url", &upstream.responses_url()])
        .args(["--server-info", "server-info.json", "--log-file", "requests.jsonl"])
        .args(["--control-socket", str(&socket)])
        .current_dir(place.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{KEY}").unwrap();
    let output = in_time(child);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (pid, _) = place.serves();
    assert_eq!(place.names(), ["control.sock", "requests.jsonl", "server-info.json"]);
    kill(pid_of(pid), Signal::SIGTERM).unwrap();
    place.nothing_runs();
    assert_eq!(place.names(), ["requests.jsonl"]);
}

/// As a shell's job, or a CI step, that is killed with all that it has started.
#[tokio::test(flavor = "multi_thread")]
async fn it_survives_the_end_of_its_starters_process_group() {
    let upstream = upstream(Scenario::Json).await;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let place = Place::new();
        let mut starter = clean(Command::new("sh"))
            .args(["-c", r#""$@" && echo started && exec sleep 60"#, "sh", crate::PROXY.0])
            .args(crate::PROXY.1)
            .args(place.flags(&upstream))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        writeln!(starter.stdin.take().unwrap(), "{KEY}").unwrap();
        let mut lines = BufReader::new(starter.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "started");
        killpg(pid_of(starter.id()), signal).unwrap();
        starter.wait().unwrap();
        assert!(lines.next().is_none(), "its standard output is held");
        let (pid, _) = place.serves();
        assert_eq!(place.processes(), [pid]);
    }
}

/// Whoever types ^C wants no proxy that comes to life later.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_before_it_is_ready_leaves_nothing() {
    let upstream = upstream(Scenario::Json).await;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let place = Place::new();
        let mut starter = place.spawn(&upstream, &[]);
        let _key = starter.stdin.take(); // Open: it is not an end of the input that ends it.
        place.serving();
        killpg(pid_of(starter.id()), signal).unwrap(); // As a terminal does.
        let output = in_time(starter);
        assert!(!output.status.success(), "{signal}: {}", text(&output.stderr));
        place.nothing_runs();
        assert!(place.names().is_empty(), "{signal}: {:?}", place.names());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_left_is_seen_to_be_stale_and_is_replaced() {
    let upstream = upstream(Scenario::Json).await;
    let place = Place::started(&upstream, &[]);
    let (killed, port) = place.serves();
    assert_eq!(place.state(), (Some(0), "running".to_owned()));

    kill(pid_of(killed), Signal::SIGKILL).unwrap();
    place.nothing_runs();
    assert_eq!(place.names(), ["control.sock", "server-info.json"]);
    assert_eq!(place.state(), (Some(1), "stale".to_owned()));

    let output = place.start(&upstream, &["--port", &port.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (pid, _) = place.serves();
    assert_ne!(pid, killed);
    assert_eq!(place.state(), (Some(0), "running".to_owned()));
    let output = place.verb("stop");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    place.nothing_runs();
    assert!(place.names().is_empty(), "{:?}", place.names());
    assert_eq!(place.state(), (Some(1), "none".to_owned()));
}
