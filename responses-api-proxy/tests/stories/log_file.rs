//! The log file is whole lines for its account alone, whatever happens to the proxy, to the disk or to the file; and
//! whatever happens to the file, requests are served.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use codex_mock_upstream::{MockUpstream, Scenario};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, mkfifo};

use crate::control_client::*;
use crate::support::*;

mod whole_lines;

/// An account that need not exist.
const FOREIGN_UID: u32 = 61_001;

/// Sends so many requests, one after the other, on one connection; all are served.
fn serves(port: u16, count: usize) {
    let mut client = Client::connect(port);
    for _ in 0..count {
        client.send_request("POST /v1/responses", &[], br#"{"model":"m"}"#);
        assert_eq!(client.answer().status, 200);
    }
}

/// The ids of the records in these files. None comes twice.
fn ids(files: &[&Path]) -> BTreeSet<u64> {
    let mut ids = BTreeSet::new();
    for record in files.iter().flat_map(|file| records_of(file)) {
        assert!(ids.insert(record["id"].as_u64().unwrap()), "there twice: {record}");
    }
    ids
}

/// Waits until these files have the records 1 to `count`, each once.
fn until_all_are_in(files: &[&Path], count: u64) {
    let expected: BTreeSet<u64> = (1..=count).collect();
    look_for("all records", || {
        let found = ids(files);
        if found == expected { Ok(()) } else { Err(found) }
    });
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The program under a shell that prepares something first.
fn prepared(script: &str, upstream: &MockUpstream, traces: &Traces) -> Command {
    let mut command = clean(Command::new("sh"));
    let script = format!(r#"{script}; exec "$0" "$@""#);
    command.args(["-c", &script, crate::PROXY.0]).args(crate::PROXY.1);
    command.args(["--upstream-url", &upstream.responses_url()]).args(traces.flags(&[]));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_that_is_deleted_is_begun_anew() {
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    serves(proxy.port, 3);
    until_all_are_in(&[&traces.log], 3);
    fs::remove_file(&traces.log).unwrap();
    let mut sent = 3;
    look_for("a new file", || {
        serves(proxy.port, 1);
        sent += 1;
        if traces.log.exists() { Ok(()) } else { Err(sent) }
    });
    serves(proxy.port, 1);
    sent += 1;
    look_for("the last record", || {
        let found = ids(&[&traces.log]);
        if found.contains(&sent) { Ok(()) } else { Err(found) }
    });
    assert_eq!(mode(&traces.log), 0o600);
    assert_eq!(traces.on_socket().len() as u64, sent, "the socket has all");
    proxy.stop();
}

/// As logrotate does it: rename, then SIGHUP. Every record is in one of the files.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_that_is_rotated_loses_nothing() {
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    let mut files = vec![traces.log.clone()];
    for round in 1..=3_u64 {
        let sent = (round - 1) * 110;
        serves(proxy.port, 100);
        let old = traces.folder().join(format!("requests.jsonl.{round}"));
        fs::rename(&traces.log, &old).unwrap();
        serves(proxy.port, 10); // Into either.
        files.push(old);
        let all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        until_all_are_in(&all, sent + 110);
        proxy.signal(Signal::SIGHUP);
        look_for("the new file", || if traces.log.exists() { Ok(()) } else { Err(round) });
        assert_eq!(mode(&traces.log), 0o600);
    }
    let old = fs::read(files.last().unwrap()).unwrap();
    serves(proxy.port, 1); // It was not taken for a stop.
    let all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    until_all_are_in(&all, 331);
    assert_eq!(fs::read(files.last().unwrap()).unwrap(), old, "it wrote into a rotated file");
    proxy.stop();
}

/// Without a log file, SIGHUP means what it did: the terminal has gone.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_file_a_hangup_is_a_stop() {
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let mut proxy = Proxy::start(&upstream, &["--control-socket", str(&traces.socket)]);
    proxy.signal(Signal::SIGHUP);
    let (status, said) = proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!traces.socket.exists());
}

/// Whoever can write to the folder can't have the proxy write elsewhere, or wait.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_the_log_files_place_is_not_written_to() {
    let upstream = upstream(Scenario::Json).await;
    for what in ["link", "dangling link", "fifo", "folder", "open to others"] {
        let traces = Traces::new();
        let (log, precious) = (&traces.log, traces.folder().join("precious"));
        fs::write(&precious, "precious\n").unwrap();
        fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
        let mut proxy = Proxy::start(&upstream, &traces.flags(&[]));
        serves(proxy.port, 3);
        until_all_are_in(&[log], 3);
        fs::remove_file(log).unwrap();
        match what {
            "link" => symlink(&precious, log).unwrap(),
            "dangling link" => symlink(traces.folder().join("nowhere"), log).unwrap(),
            "fifo" => mkfifo(log, Mode::from_bits_truncate(0o600)).unwrap(),
            "folder" => fs::create_dir(log).unwrap(),
            _ => {
                fs::write(log, "").unwrap();
                fs::set_permissions(log, Permissions::from_mode(0o644)).unwrap();
            }
        }
        proxy.signal(Signal::SIGHUP);
        let line = proxy.line_with(str(log));
        assert!(line.starts_with("warning: "), "{what}: {line}");
        serves(proxy.port, 20);
        proxy.signal(Signal::SIGHUP);
        serves(proxy.port, 20);
        look_for("the records", || {
            let found = traces.on_socket().len();
            if found == 43 { Ok(()) } else { Err(found) }
        });
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious\n", "{what}");
        assert!(!traces.folder().join("nowhere").exists(), "{what}");
        match what {
            "folder" => assert_eq!(fs::read_dir(log).unwrap().count(), 0),
            "open to others" => {
                assert_eq!((fs::metadata(log).unwrap().len(), mode(log)), (0, 0o644))
            }
            _ => assert!(!fs::symlink_metadata(log).unwrap().is_file(), "{what} was replaced"),
        }

        // Once it is out of the way, there is a log file again.
        let removed = if what == "folder" { fs::remove_dir(log) } else { fs::remove_file(log) };
        removed.unwrap();
        proxy.signal(Signal::SIGHUP);
        look_for("a new file", || {
            serves(proxy.port, 1);
            if records_of(log).is_empty() { Err(what) } else { Ok(()) }
        });
        assert_eq!(mode(log), 0o600, "{what}");
        proxy.stop();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious\n", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_file_is_for_its_account_alone_whatever_the_umask_is() {
    let upstream = upstream(Scenario::Json).await;
    for umask in ["000", "022", "077"] {
        let traces = Traces::new();
        let script = format!("umask {umask}");
        let proxy = Proxy::spawn(&mut prepared(&script, &upstream, &traces));
        assert_eq!(mode(&traces.log), 0o600, "umask {umask}");
        let metadata = fs::metadata(&traces.log).unwrap();
        assert_eq!((metadata.uid(), metadata.nlink()), (geteuid().as_raw(), 1));
        fs::remove_file(&traces.log).unwrap();
        proxy.signal(Signal::SIGHUP);
        look_for("the new file", || if traces.log.exists() { Ok(()) } else { Err(umask) });
        assert_eq!(mode(&traces.log), 0o600, "umask {umask}, opened anew");
        proxy.stop();
    }
}

/// A start that would write to a wrong place ends, says which, and what to do.
#[test]
fn a_log_file_that_is_none_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, bits: u32| {
        fs::write(path(name), "old\n").unwrap();
        fs::set_permissions(path(name), Permissions::from_mode(bits)).unwrap();
    };
    write("precious", 0o600);
    write("for-all", 0o644);
    write("for-group", 0o640);
    write("for-writers", 0o602);
    write("twice", 0o600);
    fs::hard_link(path("twice"), path("again")).unwrap();
    symlink(path("precious"), path("link")).unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    mkfifo(&path("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    fs::create_dir(path("folder")).unwrap();
    let mut names =
        vec!["for-all", "for-group", "for-writers", "twice", "link", "dangling", "fifo", "folder"];
    if geteuid().is_root() {
        write("foreign", 0o600);
        std::os::unix::fs::chown(path("foreign"), Some(FOREIGN_UID), None).unwrap();
        names.push("foreign");
    }
    let (server_info, socket) = (path("server-info.json"), path("control.sock"));
    let mut messages = BTreeSet::new();
    for name in names {
        let log = path(name);
        let flags =
            [("--log-file", &log), ("--server-info", &server_info), ("--control-socket", &socket)];
        let flags: Vec<&str> = flags.iter().flat_map(|(flag, path)| [*flag, str(path)]).collect();
        let output = run(&flags, KEY.as_bytes());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.starts_with("error: ") && said.contains(str(&log)), "{name}: {said}");
        assert!(said.contains("\nhint: "), "{name}: {said}");
        assert!(!said.contains("ready: "), "{name}: {said}");
        assert!(!server_info.exists() && !socket.exists(), "{name}: something is left");
        messages.insert(said.replace(str(&log), "LOG"));
    }
    // A link, something that is no file, a mode, a second name: each has words of its own.
    assert!(messages.len() >= 4, "{messages:#?}");
    assert!(!path("nowhere").exists());
    for name in ["precious", "for-all", "for-group", "for-writers", "twice"] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), "old\n", "{name} was written to");
    }
    assert_eq!(mode(&path("for-all")), 0o644, "somebody's file was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_standard_error_does_not_stop_the_file() {
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let mut proxy = Proxy::start(&upstream, &traces.flags(&[]));
    proxy.stop_listening(); // Record 1.
    serves(proxy.port, 100);
    until_all_are_in(&[&traces.log], 101);
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait().code(), Some(0));
}

/// A proxy whose standard error is a pipe that nobody reads after the ready line.
struct Stuck {
    child: Child,
    port: u16,
    /// Kept open, and not read.
    _stderr: BufReader<std::process::ChildStderr>,
}

impl Stuck {
    fn start(upstream: &MockUpstream, traces: &Traces) -> Self {
        let mut command = program();
        command.args(["--upstream-url", &upstream.responses_url()]).args(traces.flags(&[]));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        writeln!(child.stdin.take().unwrap(), "{KEY}").unwrap();
        let mut stderr = BufReader::with_capacity(512, stderr);
        let mut ready = String::new();
        while !ready.starts_with("ready: ") {
            ready.clear();
            assert!(stderr.read_line(&mut ready).unwrap() > 0, "it did not start");
        }
        let port = ready.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap();
        Self { child, port: port.parse().unwrap(), _stderr: stderr }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_standard_error_does_not_stop_the_file() {
    const REQUESTS: u64 = 4_000; // More than fit into the pipe and all queues.
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let mut proxy = Stuck::start(&upstream, &traces);
    serves(proxy.port, REQUESTS as usize);
    until_all_are_in(&[&traces.log], REQUESTS);
    assert!(traces.status()["counters"]["records_dropped"].as_u64() > Some(0));
    kill(Pid::from_raw(proxy.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = look_for("its end", || proxy.child.try_wait().unwrap().ok_or("it runs"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(ids(&[&traces.log]).len() as u64, REQUESTS);
}
