//! An operator starts the proxy, finds it, and stops it without losing anybody's answer.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use codex_mock_upstream::Scenario;
use codex_proxy_client::ServerInfo;
use nix::sys::signal::Signal;

use crate::control_client::look_for;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_line_and_server_info_say_where_it_is() {
    let upstream = tls_upstream(Scenario::Json).await;
    let (_folder, path) = server_info();
    let proxy = Proxy::start(&upstream, &["--server-info", str(&path)]);
    for part in [
        format!("http://127.0.0.1:{}/v1", proxy.port),
        upstream.responses_url(),
        format!("pid {}", proxy.pid()),
        "for any account on this machine".to_owned(),
        "authority.pem".to_owned(), // An authority that is not the system's is named.
    ] {
        assert!(proxy.ready.contains(&part), "no {part:?} in {:?}", proxy.ready);
    }
    let line = fs::read_to_string(&path).unwrap();
    let expected = format!(r#"{{"port":{},"pid":{},"#, proxy.port, proxy.pid());
    assert!(line.starts_with(&expected) && line.ends_with("}\n"), "{line}");
    let info = ServerInfo::read(&path).unwrap();
    assert_eq!(info.base_url, format!("http://127.0.0.1:{}/v1", proxy.port));
    assert_eq!((info.uid, info.listener_uid), (nix::unistd::geteuid().as_raw(), info.uid));
    assert_eq!(info.instance.len(), 32);
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o133, 0, "mode {mode:o}");
    proxy.stop();
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_asked_for_is_the_port_taken() {
    let upstream = upstream(Scenario::Json).await;
    // Below what the kernel gives out by itself: no other test comes by it meanwhile.
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let free = (20_000..32_000).find(is_free).unwrap();
    let proxy = Proxy::start(&upstream, &["--port", &free.to_string()]);
    assert_eq!(proxy.port, free);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    assert!(TcpStream::connect(("127.0.0.2", free)).is_err(), "it listens on more than 127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_shutdown_answers_200_ends_with_0_and_leaves_nothing() {
    let upstream = upstream(Scenario::Json).await;
    for _ in 0..20 {
        let (folder, path) = server_info();
        let flags = ["--http-shutdown", "--server-info", str(&path)];
        let mut proxy = Proxy::start(&upstream, &flags);
        let answer = proxy.ask("GET /shutdown", &[], b"");
        // Who has read the 200 can rely on it.
        assert!(TcpStream::connect(("127.0.0.1", proxy.port)).is_err(), "it still accepts");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b""[..]));
        let (status, said) = proxy.ended();
        assert_eq!(status.code(), Some(0), "{said}");
    }
}

/// Defect 10: a stop cuts streams, leaves server-info behind, follows links and writes in place.
#[tokio::test(flavor = "multi_thread")]
async fn defect_10_a_stop_lets_streams_end_and_takes_server_info_away() {
    for how in ["SIGTERM", "SIGINT", "/shutdown"] {
        let upstream = upstream(Scenario::Gated).await;
        let (folder, path) = server_info();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        let mut proxy = Proxy::start(&upstream, &["--http-shutdown", "--server-info", str(&path)]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "the link was followed");
        assert!(ServerInfo::read(&path).is_ok());

        let mut client = proxy.connect();
        client.post();
        upstream.release(1);
        client.until("event: response.created");
        let mut silent = proxy.connect(); // Never asks for anything, and holds nothing up.
        match how {
            "SIGTERM" => proxy.signal(Signal::SIGTERM),
            "SIGINT" => proxy.signal(Signal::SIGINT),
            _ => assert_eq!(proxy.ask("GET /shutdown", &[], b"").status, 200),
        }
        let _ = silent.read_to_end(); // Reset if it had not been accepted yet.
        assert!(silent.got.is_empty());
        assert!(TcpStream::connect(("127.0.0.1", proxy.port)).is_err(), "{how}: it still accepts");
        // A connection that was not accepted is reset with the listener, and that is a moment before.
        look_for("the end of server-info", || if path.exists() { Err(how) } else { Ok(()) });

        upstream.release(20);
        client.until("event: response.completed");
        client.until("\r\n0\r\n\r\n");
        client.read_to_end().unwrap();
        let (status, said) = proxy.ended();
        assert_eq!(status.code(), Some(0), "{how}: {said}");
        assert!(failures(&said).is_empty(), "{how}: {said}");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "{how}: more than the victim is left"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlasts_the_drain_timeout_is_cut_visibly() {
    let upstream = upstream(Scenario::Silent).await;
    let mut proxy = Proxy::start(&upstream, &["--drain-timeout", "100ms"]);
    let mut client = proxy.connect();
    client.post();
    client.until("event: response.created");
    let mut old = proxy.connect();
    old.send(format!("POST /v1/responses HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n\r\n", proxy.port));
    old.until("event: response.created");
    proxy.signal(Signal::SIGTERM);
    let _ = client.read_to_end();
    assert!(!text(&client.got).ends_with("0\r\n\r\n"), "a cut stream ended cleanly");
    assert_eq!(old.read_to_end().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let (status, said) = proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(said.matches("cut 200 proxy_stopped").count(), 2, "{said}");
    until(&upstream, |counts| counts.cancelled == 2).await;
}

/// sudo hands on a signal that its whole group has had already, and a terminal that closes may send two.
#[tokio::test(flavor = "multi_thread")]
async fn two_signals_for_one_wish_cut_nothing() {
    for [first, second] in [[Signal::SIGTERM; 2], [Signal::SIGINT; 2], [Signal::SIGHUP; 2]] {
        let upstream = upstream(Scenario::Gated).await;
        let mut proxy = Proxy::start(&upstream, &[]);
        let mut client = proxy.connect();
        client.post();
        upstream.release(1);
        client.until("event: response.created");
        let mut idle = proxy.connect();
        proxy.signal(first);
        let _ = idle.read_to_end(); // So that the kernel does not make one of two.
        proxy.signal(second);
        upstream.release(20);
        client.until("\r\n0\r\n\r\n");
        let (status, said) = proxy.ended();
        assert_eq!((status.code(), failures(&said).len()), (Some(0), 0), "{said}");
    }
}

/// hyper reads a small body that we refused; there is nothing left to wait for then.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_long_ago_does_not_hold_up_a_stop() {
    let upstream = upstream(Scenario::Json).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    let mut client = proxy.connect();
    client.send_request("POST /nope", &[], b"refused");
    assert_eq!(client.answer().status, 403);
    let told = Instant::now();
    proxy.signal(Signal::SIGTERM);
    let (status, said) = proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(told.elapsed() < Duration::from_secs(4), "it waited for the client, which stays");
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let upstream = upstream(Scenario::Silent).await;
    let mut proxy = Proxy::start(&upstream, &["--drain-timeout", "1h"]);
    let mut client = proxy.connect();
    client.post();
    client.until("event: response.created");
    let mut idle = proxy.connect();
    proxy.signal(Signal::SIGINT);
    let _ = idle.read_to_end(); // It drains.
    std::thread::sleep(Duration::from_millis(400)); // What comes sooner is taken for an echo.
    proxy.signal(Signal::SIGINT);
    let (status, said) = proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("proxy_stopped"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_after_a_clients_shutdown_ends_it_at_once() {
    let upstream = upstream(Scenario::Silent).await;
    let mut proxy = Proxy::start(&upstream, &["--drain-timeout", "1h", "--http-shutdown"]);
    let mut client = proxy.connect();
    client.post();
    client.until("event: response.created");
    assert_eq!(proxy.ask("GET /shutdown", &[], b"").status, 200);
    proxy.signal(Signal::SIGTERM);
    let (status, said) = proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("proxy_stopped"), "{said}");
}

/// A terminal that closes ends the proxy in order; `nohup` keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_stops_it_unless_it_was_told_to_ignore_them() {
    let upstream = upstream(Scenario::Json).await;
    let (_folder, path) = server_info();
    let mut proxy = Proxy::start(&upstream, &["--server-info", str(&path)]);
    proxy.signal(Signal::SIGHUP);
    let (status, said) = proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!path.exists());

    let mut command = clean(std::process::Command::new("nohup"));
    command.arg(crate::PROXY.0).args(crate::PROXY.1);
    let proxy = Proxy::spawn(command.args(["--upstream-url", &upstream.responses_url()]));
    proxy.signal(Signal::SIGHUP);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    proxy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_runs_out_of_files_waits_and_goes_on() {
    let upstream = upstream(Scenario::Json).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    // Fewer than it counted on when it started.
    let pid = proxy.pid().to_string();
    let limit = std::process::Command::new("prlimit").args(["--pid", &pid, "--nofile=40"]).status();
    if !can_run(limit.is_err().then_some("prlimit is not there: apt-get install util-linux")) {
        return;
    }
    let idle: Vec<Client> = (0..60).map(|_| proxy.connect()).collect();
    let line = proxy.line_with("new connections have to wait");
    assert!(line.contains("Too many open files"), "{line}");
    drop(idle);
    assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_may_open_few_files_keeps_some_for_those_it_serves() {
    let upstream = upstream(Scenario::Json).await;
    let mut command = clean(std::process::Command::new("sh"));
    let uid = nix::unistd::getuid().to_string();
    command.args(["-c", r#"ulimit -n 200; exec "$0" "$@""#, crate::PROXY.0]).args(crate::PROXY.1);
    command.args(["--upstream-url", &upstream.responses_url(), "--allow-user", &uid]);
    let mut proxy = Proxy::spawn(&mut command);
    let idle: Vec<Client> = (0..200).map(|_| proxy.connect()).collect();
    proxy.line_with("refused too_many_connections");
    drop(idle);
    let said = proxy.stop();
    assert!(!said.contains("have to wait"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_stops_listening_does_not_stop_the_proxy() {
    let upstream = upstream(Scenario::Json).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    proxy.stop_listening();
    for _ in 0..3 {
        assert_eq!(proxy.ask("GET /v1/models", &[], b"").status, 403);
        assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    }
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.wait().code(), Some(0));
}
