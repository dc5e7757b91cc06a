//! The end of a proxy, awaited, hastened or left alone.

use std::path::Path;

use codex_mock_upstream::{MockUpstream, Scenario};
use codex_proxy_client::RunFolder;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{ALL_EVENTS, Watched, Working};
use crate::support::*;

/// A proxy that is told to stop while an exchange runs, that exchange's client, and the verb, which waits.
async fn draining(upstream: &MockUpstream) -> (Watched, Client, Working) {
    let watched = Watched::start(upstream);
    let mut client = watched.proxy.connect();
    client.post();
    until(upstream, |counts| counts.requests == 1).await;
    let stop = Working::start(watched.verb(&["stop"]), false);
    stop.line("draining: 1 exchange left");
    (watched, client, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_waits_for_answers_and_returns_when_the_process_is_gone() {
    let upstream = upstream(Scenario::Gated).await;
    let (mut watched, mut client, stop) = draining(&upstream).await;
    let (pid, port) = (watched.proxy.pid(), watched.proxy.port);
    upstream.release(ALL_EVENTS);
    assert_eq!(client.answer().status, 200);
    drop(client);
    let (ended, rest) = stop.end();
    assert_eq!(ended.code(), Some(0), "{rest}");
    assert!(rest.ends_with(&format!("stopped: pid {pid}, port {port}\n")), "{rest}");
    assert!(watched.proxy.wait().success());
    assert!(!Path::new(&watched.info()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_now_cuts_and_an_interrupted_stop_goes_on() {
    let upstream = upstream(Scenario::Gated).await;
    let (mut watched, _client, stop) = draining(&upstream).await;
    let (pid, port) = (watched.proxy.pid(), watched.proxy.port);
    stop.interrupt();
    let (ended, rest) = stop.end();
    assert_eq!(ended.code(), Some(130), "{rest}");
    // The file that was named is gone: the proxy is found by the one in its run folder, where it has one.
    let info = watched.info();
    assert!(!Path::new(&info).exists());
    let is_found =
        RunFolder::own().is_some_and(|folder| RunFolder::server_info(&folder, port).exists());
    let cut = if is_found {
        format!("codex proxy stop --now --server-info {info}")
    } else {
        format!("kill {pid}")
    };
    let goes_on = format!("the draining goes on: pid {pid}, port {port}; `{cut}` cuts it");
    assert!(rest.contains(&goes_on), "{rest}");
    if is_found {
        let (code, shown, said) = watched.run(&["status"]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
        let draining = format!("http://127.0.0.1:{port}/v1 pid {pid} is draining: ");
        assert!(shown.starts_with(&draining), "{shown}");
    }
    if is_found {
        assert_eq!(watched.run(&["stop", "--now"]).0, Some(0));
    } else {
        watched.proxy.signal(Signal::SIGTERM);
    }
    assert!(watched.proxy.wait().success());

    let mut watched = Watched::start(&upstream);
    let mut client = watched.proxy.connect();
    client.post();
    until(&upstream, |counts| counts.requests == 2).await;
    let (code, shown, said) = watched.run(&["stop", "--now", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let seen: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(seen["state"], "stopped");
    assert_eq!(
        (&seen["pid"], &seen["port"]),
        (&json!(watched.proxy.pid()), &json!(watched.proxy.port))
    );
    assert!(watched.proxy.wait().success());
    let _ = client.read_to_end();
    assert!(!contains(&client.got, b"response.completed"));
}
