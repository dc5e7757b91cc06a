//! No line is torn: not by a kill, nor by a disk that is full.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use codex_mock_upstream::Scenario;
use codex_request_log::Line;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::{ids, prepared, serves};
use crate::control_client::*;
use crate::support::*;

/// Asks for all it can until told to stop; whether it is answered does not matter.
fn load(port: u16, stop: &AtomicBool) {
    let request = |line: &str, body: &str| {
        let length = body.len();
        format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let forwarded = request("POST /v1/responses", r#"{"model":"m"}"#);
    let refused = request("POST /nope", "");
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) && began.elapsed() < 2 * LIMIT {
        for request in [&forwarded, &refused] {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let _ = stream.set_read_timeout(Some(LIMIT));
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}

/// Lines that are neither a record nor a gap. What is JSON at all must be one of them.
fn torn(lines: &[&str]) -> usize {
    let is_torn = |line: &&&str| {
        let is_line = Line::parse(line).is_some();
        let is_json = serde_json::from_str::<serde_json::Value>(line).is_ok();
        assert_eq!(is_line, is_json, "read as something else: {line:?}");
        !is_line
    };
    lines.iter().filter(is_torn).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_killed_leaves_whole_lines_and_its_successor_goes_on() {
    const ROUNDS: usize = 5;
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let mut torn_before = 0;
    for round in 0..ROUNDS {
        let before = fs::read_to_string(&traces.log).unwrap_or_default();
        let mut proxy = Proxy::start(&upstream, &traces.flags(&[]));
        let (port, stop) = (proxy.port, AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| load(port, &stop));
            }
            look_for("some hundred records", || {
                let bytes = fs::metadata(&traces.log).map_or(0, |file| file.len());
                if bytes > before.len() as u64 + 50_000 { Ok(()) } else { Err(bytes) }
            });
            proxy.signal(Signal::SIGKILL);
            proxy.wait();
            stop.store(true, Ordering::Relaxed);
        });
        let written = fs::read_to_string(&traces.log).unwrap();
        let rest = written.strip_prefix(before.as_str()).unwrap(); // Nothing that was there has changed.
        let whole = &rest[..rest.rfind('\n').unwrap()];
        // A successor ends the line that its predecessor had begun: that one is torn, and no other.
        let began_torn = usize::from(!before.is_empty() && !before.ends_with('\n'));
        let lines: Vec<&str> = whole.lines().skip(began_torn).collect();
        assert_eq!(torn(&lines), 0, "round {round}");
        assert!(lines.len() > 50, "round {round}: {} lines", lines.len());
        torn_before += began_torn;
    }

    // A kill in the middle of a write is rare: so one is made.
    let mut file = OpenOptions::new().append(true).open(&traces.log).unwrap();
    file.write_all(br#"{"id":999,"started_at":"2027-01-15T08:00:00.000Z","peer":{"uid":0"#)
        .unwrap();
    let written = fs::read_to_string(&traces.log).unwrap();
    let proxy = Proxy::start(&upstream, &traces.flags(&[]));
    serves(proxy.port, 1);
    proxy.stop();
    let all = fs::read_to_string(&traces.log).unwrap();
    let last = all.strip_prefix(written.as_str()).unwrap();
    let record = last.strip_prefix('\n').unwrap();
    let Some(Line::Record(record)) = Line::parse(record.trim_end()) else { panic!("{last:?}") };
    assert_eq!((record.id, last.ends_with('\n')), (1, true), "{last:?}");
    let lines: Vec<&str> = all.lines().collect();
    assert!(torn(&lines) <= torn_before + 2, "{} lines are torn", torn(&lines));
}

/// Fills what there is, makes room, and looks at what was told: once that it is full, and how many are missing.
fn fills_up_and_goes_on(mut proxy: Proxy, log: &Path, make_room: impl FnOnce(&Proxy)) {
    const MORE_THAN_FIT: u64 = 300;
    serves(proxy.port, MORE_THAN_FIT as usize);
    let line = proxy.line_with("can't be written");
    assert!(line.starts_with("warning: ") && line.contains("goes on without it"), "{line}");
    assert!(line.contains("requests.jsonl"), "{line}");
    serves(proxy.port, 20);
    assert!(!lines_of(log).is_empty(), "nothing was written before it was full");
    look_for("a file of whole lines", || {
        let written = fs::read_to_string(log).unwrap(); // Perhaps within an attempt to write.
        if written.ends_with('\n') { Ok(()) } else { Err(written) }
    });

    make_room(&proxy);
    let mut sent = MORE_THAN_FIT + 20;
    let lines = look_for("a gap", || {
        serves(proxy.port, 1); // Each record is a new try.
        sent += 1;
        let lines = lines_of(log);
        if lines.iter().any(|line| gap(line) > 0) { Ok(lines) } else { Err(lines.len()) }
    });
    assert!(
        lines.iter().filter(|line| gap(line) > 0).all(|line| line["gap"]["because"].is_string())
    );
    // Records that waited meanwhile come after the gap.
    let told = look_for("every record, or that it is missing", || {
        let lines = lines_of(log);
        let told = lines.iter().filter(|line| is_record(line)).count() as u64;
        let told = told + lines.iter().map(gap).sum::<u64>();
        if told == sent { Ok(lines) } else { Err((told, sent)) }
    });
    let at = |found: fn(&serde_json::Value) -> bool| told.iter().rposition(found).unwrap();
    assert!(at(is_record) > at(|line| gap(line) > 0), "nothing was written after the gap");
    assert!(ids(&[log]).contains(&1) && ids(&[log]).contains(&sent));

    proxy.signal(Signal::SIGTERM);
    let (status, said) = proxy.ended();
    assert!(status.success(), "{said}");
    assert_eq!(said.matches("can't be written").count(), 1, "{said}");
}

/// A limit of a file's size (RLIMIT_FSIZE) looks like a full disk, and needs no root.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_grow_costs_records_and_no_service() {
    let missing = Command::new("prlimit").arg("--version").output().is_err();
    if !can_run(missing.then_some("prlimit is not there: apt-get install util-linux")) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    // The soft limit alone, so that it can be raised again.
    let script = r#"trap "" XFSZ; ulimit -S -f 16"#;
    let proxy = Proxy::spawn(&mut prepared(script, &upstream, &traces));
    fills_up_and_goes_on(proxy, &traces.log, |proxy| {
        let pid = proxy.pid().to_string();
        let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
        assert!(raised.unwrap().success());
    });
}

/// A file system of its own that is as good as full, in a mount namespace of its own, which ends with the proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_records_and_no_service() {
    let missing = "it mounts a small file system: run the tests as root";
    if !can_run((!geteuid().is_root()).then_some(missing)) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let traces = Traces::new();
    let disk = traces.folder().join("disk");
    fs::create_dir(&disk).unwrap();
    let log = disk.join("requests.jsonl");
    let script = r#"mount -t tmpfs -o size=64k none "$DISK" && head -c 45056 /dev/zero >"$DISK/filler" && exec "$0" "$@""#;
    let mut command = clean(Command::new("unshare"));
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, crate::PROXY.0]);
    command.args(crate::PROXY.1).env("DISK", &disk);
    command.args(["--upstream-url", &upstream.responses_url()]);
    command.args(["--control-socket", str(&traces.socket), "--log-file", str(&log)]);
    let proxy = Proxy::spawn(&mut command);
    let inside = |path: &Path| PathBuf::from(format!("/proc/{}/root{}", proxy.pid(), str(path)));
    let (log, filler) = (inside(&log), inside(&disk.join("filler")));
    fills_up_and_goes_on(proxy, &log, |_| fs::remove_file(filler).unwrap());
}
