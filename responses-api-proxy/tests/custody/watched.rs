//! A proxy under the scanner's eyes, and those who give it work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use codex_mock_upstream::{MockUpstream, Options};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::control_client::{look_for, status};
use crate::denied::{Denied, denied};
use crate::process::mappings;
use crate::scanner::{SECRET_MEMORY, Scan, Scanner};
use crate::support::*;

/// As long as the keys of today.
pub(crate) const KEY_CHARACTERS: usize = 164;

pub(crate) const REQUEST: &str = r#"{"model":"m","stream":true}"#;

/// A mock over TLS that answers each request with a turn, and 401 to any key but this one.
pub(crate) async fn tls_upstream_for(key: &str) -> MockUpstream {
    let expected_key = Some(key.to_owned());
    MockUpstream::start(Options { tls: true, expected_key, ..Options::default() }).await.unwrap()
}

/// A mock that takes any key, in any field.
pub(crate) async fn upstream_for_any(tls: bool) -> MockUpstream {
    MockUpstream::start(Options { tls, ..Options::default() }).await.unwrap()
}

/// A proxy, and a scanner for its keys.
pub(crate) struct Watched {
    pub(crate) proxy: Proxy,
    pub(crate) scanner: Scanner,
    pub(crate) control_socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Watched {
    /// The first key is the one that the proxy gets on its standard input; the scanner looks for all.
    pub(crate) fn start(upstream: &MockUpstream, keys: &[&str], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control_socket = folder.path().join("control.sock");
        let mut command = command_for(upstream, folder.path());
        command.args(["--control-socket", str(&control_socket)]).args(flags);
        let proxy = Proxy::spawn_with_key(&mut command, keys[0]);
        Self { proxy, scanner: Scanner::of(keys), control_socket, _folder: folder }
    }

    /// The same with less of a kernel.
    pub(crate) fn start_without(
        calls: &[Denied],
        upstream: &MockUpstream,
        keys: &[&str],
        flags: &[&str],
    ) -> Self {
        let watched = denied(calls, || Self::start(upstream, keys, flags));
        let pid = watched.proxy.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("\nSeccomp:\t2\n"), "the filter is not in force: {status}");
        let mappings = mappings(pid);
        assert!(mappings.iter().all(|mapping| mapping.name != SECRET_MEMORY), "{mappings:?}");
        watched
    }

    /// Looks through all of the proxy's memory.
    pub(crate) fn scan(&self) -> Scan {
        let scan = self.scanner.scan(self.proxy.pid());
        scan.assert_whole();
        scan
    }

    /// Checks that there is no copy of any key at this time.
    pub(crate) fn shows_nothing(&self, when: &str) {
        let scan = self.scan();
        assert!(scan.found.is_empty(), "{when}: {scan}");
    }

    pub(crate) fn status(&self) -> Value {
        status(&self.control_socket)
    }

    /// What it says of its key.
    pub(crate) fn key(&self) -> Value {
        self.status()["key"].take()
    }

    /// Waits until no exchange is under way, and none holds a key that was replaced.
    pub(crate) fn until_idle(&self) {
        look_for("the end of all exchanges", || {
            let status = self.status();
            let rests = status["in_flight"].as_array().is_some_and(Vec::is_empty);
            if rests && status["key"]["retired"] == 0 { Ok(()) } else { Err(status) }
        });
    }
}

/// The program with the flags for this upstream, whose authority it finds in this folder.
pub(crate) fn command_for(upstream: &MockUpstream, folder: &Path) -> Command {
    let mut command = program();
    command.args(["--upstream-url", &upstream.responses_url()]);
    if let Some(pem) = upstream.authority_pem() {
        let file = folder.join("authority.pem");
        fs::write(&file, pem).unwrap();
        command.arg("--upstream-ca").arg(file);
    }
    command
}

/// An ordinary HTTP client, which keeps its connections.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.timeout(LIMIT).build().unwrap()
}

/// Sends so many requests, up to so many at once, and takes every answer to its end.
pub(crate) async fn ask_often(
    client: &reqwest::Client,
    url: &str,
    requests: usize,
    at_once: usize,
) {
    let mut clients = JoinSet::new();
    for number in 0..at_once {
        let (client, url) = (client.clone(), url.to_owned());
        let share = requests / at_once + usize::from(number < requests % at_once);
        clients.spawn(async move {
            for _ in 0..share {
                let answer = client.post(&url).body(REQUEST).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                assert!(answer.text().await.unwrap().contains("response.completed"));
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

/// Waits until no process has a connection to or from this port of 127.0.0.1 any more.
pub(crate) fn until_disconnected(port: u16) {
    look_for(&format!("the end of all connections with port {port}"), || {
        let connections = connections(port);
        if connections.is_empty() { Ok(()) } else { Err(connections) }
    });
}

/// The lines of `/proc/net/tcp` that are connections of this port's and belong to a process
/// (proc_pid_net(5)).
fn connections(port: u16) -> Vec<String> {
    const LISTENS: &str = "0A";
    let of_port = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_connection = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, here, there, state, _, _, _, _, _, inode, ..] = fields[..] else { return false };
        let is_ports = here == of_port || there == of_port;
        is_ports && state != LISTENS && inode != "0" // What the kernel still winds up has none.
    };
    table.lines().filter(is_connection).map(str::to_owned).collect()
}

#[expect(clippy::print_stderr, reason = "figures, for who asks for them with --nocapture")]
pub(crate) fn tell(figures: &str) {
    eprintln!("{figures}");
}
