//! The proxy is told to stop through its socket; and what becomes of the socket's file.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use codex_mock_upstream::Scenario;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::Value;

use super::fixture::{Controlled, open_folder};
use crate::control_client::{Lines, get, look_for};
use crate::support::*;

/// How many exchanges a line says are left.
fn exchanges(line: &str) -> u64 {
    let state: Value = serde_json::from_str(line).unwrap();
    assert_eq!(state.as_object().unwrap().len(), 1, "{line}");
    state["exchanges"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_drains_and_tells_until_the_proxy_is_at_its_end() {
    let upstream = upstream(Scenario::Gated).await;
    let mut controlled = Controlled::start(&upstream, &["--drain-timeout", "1h"]);
    let mut client = controlled.proxy.connect();
    client.post();
    upstream.release(1);
    client.until("event: response.created");

    let mut lines = Lines::post(&controlled.socket, "/v1/shutdown");
    assert_eq!(lines.status, 200);
    assert_eq!(exchanges(&lines.next().unwrap()), 1);
    let status = controlled.status_until(|status| status["state"] == "draining");
    assert_eq!(status["in_flight"].as_array().unwrap().len(), 1);
    look_for("a closed port", || match TcpStream::connect(("127.0.0.1", controlled.proxy.port)) {
        Ok(_) => Err("it still accepts"),
        Err(_) => Ok(()),
    });

    upstream.release(20);
    client.until("event: response.completed");
    client.until("\r\n0\r\n\r\n");
    let left: Vec<u64> = std::iter::from_fn(|| lines.next()).map(|line| exchanges(&line)).collect();
    assert!(left.iter().all(|left| *left <= 1) && left.is_sorted_by(|a, b| a >= b), "{left:?}");
    let (status, said) = controlled.proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!controlled.socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_at_once_cuts_visibly() {
    let upstream = upstream(Scenario::Silent).await;
    let mut controlled = Controlled::start(&upstream, &["--drain-timeout", "1h"]);
    let mut client = controlled.proxy.connect();
    client.post();
    client.until("event: response.created");
    // Also when it drains already.
    let mut patient = Lines::post(&controlled.socket, "/v1/shutdown");
    assert_eq!(exchanges(&patient.next().unwrap()), 1);
    let mut lines = Lines::post(&controlled.socket, "/v1/shutdown?now=1");
    assert_eq!(lines.status, 200);
    for lines in [&mut lines, &mut patient] {
        while let Some(line) = lines.next() {
            assert!(exchanges(&line) <= 1);
        }
    }
    let _ = client.read_to_end();
    assert!(!text(&client.got).ends_with("0\r\n\r\n"), "a cut stream ended cleanly");
    let (status, said) = controlled.proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("cut 200 proxy_stopped"), "{said}");
    assert!(!controlled.socket.exists());
}

/// Also where the record is the last thing that there is to do.
#[tokio::test(flavor = "multi_thread")]
async fn who_follows_gets_the_record_of_what_a_stop_cuts_as_the_last_line() {
    const ROUNDS: usize = 20;
    let upstream = upstream(Scenario::Silent).await;
    for round in 0..ROUNDS {
        let mut controlled = Controlled::start(&upstream, &[]);
        let mut follower = controlled.follow("");
        let mut client = controlled.proxy.connect();
        client.post();
        client.until("event: response.created");
        assert_eq!(Lines::post(&controlled.socket, "/v1/shutdown?now=1").status, 200);

        let followed: Vec<String> = std::iter::from_fn(|| follower.next()).collect();
        assert!(!follower.was_cut(), "round {round}: {followed:?}");
        let last = followed.last().unwrap_or_else(|| panic!("round {round}: nothing came"));
        let record: Value = serde_json::from_str(last).unwrap();
        let ending = (&record["id"], &record["outcome"], &record["reason"]);
        let expected = (&Value::from(1), &Value::from("cut"), &Value::from("proxy_stopped"));
        assert_eq!(ending, expected, "round {round}: {followed:?}");
        let (status, said) = controlled.proxy.ended();
        assert_eq!(status.code(), Some(0), "round {round}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_stuck_do_not_hold_the_end_up() {
    let upstream = upstream(Scenario::Json).await;
    let mut controlled = Controlled::start(&upstream, &["--drain-timeout", "1h"]);
    let silent = UnixStream::connect(&controlled.socket).unwrap();
    let mut half = UnixStream::connect(&controlled.socket).unwrap();
    half.write_all(b"GET /v1/sta").unwrap();
    let follower = controlled.follow("");
    // More records than the sockets between them hold.
    let mut client = controlled.proxy.connect();
    for _ in 0..1_500 {
        client.send_request("POST /v1/responses", &[], b"{}");
        assert_eq!(client.answer().status, 200);
    }
    drop(client);
    let stopper = Lines::post(&controlled.socket, "/v1/shutdown"); // Reads nothing after the head.
    let (status, said) = controlled.proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!controlled.socket.exists());
    drop((silent, half, follower, stopper));
}

/// A start with this control socket, which must fail and leave nothing.
fn refused(socket: &Path) -> String {
    refused_start(&["--control-socket", str(socket)], socket)
}

/// A start with these flags, which must fail because of this path, and leave no server-info.
pub(super) fn refused_start(flags: &[&str], path: &Path) -> String {
    let (_folder, info) = server_info();
    let mut child = program()
        .args(flags)
        .args(["--server-info", str(&info)])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = writeln!(child.stdin.take().unwrap(), "{KEY}"); // It may not want it.
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() && began.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(5)); // Should it start after all, it does not end.
    }
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(str(path)) && said.contains("\nhint: "), "{said}");
    assert!(!said.contains("ready: ") && !info.exists(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_another_proxy_serves_is_left_alone() {
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let before = controlled.status();
    let said = refused(&controlled.socket);
    assert!(said.starts_with("error: ") || said.contains("\nerror: "), "{said}");
    let after = controlled.status();
    assert_eq!((&after["instance"], &after["state"]), (&before["instance"], &before["state"]));
    controlled.exchange("gpt-5");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_proxy_left_is_replaced() {
    let upstream = upstream(Scenario::Json).await;
    let folder = open_folder();
    let socket = folder.path().join("control.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    assert!(UnixStream::connect(&socket).is_err());
    let mut controlled = Controlled::start_for(&upstream.responses_url(), folder, &[], &[]);
    assert_eq!(controlled.status()["pid"], controlled.proxy.pid());
    controlled.proxy.signal(Signal::SIGKILL);
    controlled.proxy.wait();
    assert!(socket.exists() && UnixStream::connect(&socket).is_err());

    let flags = ["--control-socket", str(&socket)];
    let mut again = Proxy::start(&upstream, &flags);
    let status: Value = serde_json::from_str(&get(&socket, "/v1/status").1).unwrap();
    assert_eq!(status["pid"], again.pid());
    again.signal(Signal::SIGTERM);
    assert_eq!(again.ended().0.code(), Some(0));
    assert!(!socket.exists());
}

/// Whatever was meant by it, it is not ours to replace.
#[test]
fn a_path_that_is_no_socket_is_refused_and_left_alone() {
    let folder = open_folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "precious").unwrap();
    symlink(at("file"), at("link")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    drop(UnixListener::bind(at("dead")).unwrap());
    symlink(at("dead"), at("link-to-dead")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    let names = || {
        let kind = |entry: fs::DirEntry| (entry.file_name(), entry.file_type().unwrap());
        let mut all: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| kind(entry.unwrap())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let before = names();
    for name in ["file", "link", "dangling", "link-to-dead", "folder", "fifo"] {
        refused(&at(name));
    }
    refused(&at(&"x".repeat(120))); // Longer than a socket's address can be (unix(7)).
    assert_eq!(names(), before);
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
}
