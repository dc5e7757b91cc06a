//! An account has so many connections to the control socket, and each that ends is free again at once.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use codex_mock_upstream::Scenario;

use super::fixture::{Controlled, code};
use crate::control_client::Lines;
use crate::support::*;

/// Connections of one account at once.
const PLACES: usize = 16;

/// Asks until there is a place: how the proxy notices that another has left, nothing tells.
fn served_until(deadline: Instant, socket: &Path, target: &str) -> Lines {
    loop {
        match Lines::try_get(socket, target) {
            Ok(lines) if lines.status == 200 => return lines,
            Ok(lines) => assert_eq!(lines.status, 503, "{target}"),
            Err(_) => {} // It was closed before all was sent, or read.
        }
        assert!(Instant::now() < deadline, "no place became free");
    }
}

/// What is said to a connection that asks nothing.
fn greeting(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_that_leave_give_their_places_back_at_once() {
    const ROUNDS: usize = 4;
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let socket = &controlled.socket;
    // One for all rounds: were places given back at the next heartbeat only, it would not be enough.
    let deadline = Instant::now() + LIMIT;
    for round in 0..ROUNDS {
        let follow = |_| served_until(deadline, socket, "/v1/records?follow=1");
        let followers: Vec<Lines> = (0..PLACES).map(follow).collect();
        let said = greeting(socket);
        assert!(said.starts_with("HTTP/1.1 503 "), "round {round}: {said:?}");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.to_lowercase().contains("\r\nconnection: close"), "{said}");
        assert_eq!(code(body), "too_many_connections", "{said}");
        drop(followers);
        let mut status = served_until(deadline, socket, "/v1/status");
        assert!(status.next().unwrap().contains(r#""state":"serving""#), "round {round}");
    }
    controlled.exchange("gpt-5");
}

/// Whoever asks has no place longer than the answer takes.
#[tokio::test(flavor = "multi_thread")]
async fn callers_one_after_the_other_take_one_place() {
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let deadline = Instant::now() + LIMIT;
    let _followers: Vec<Lines> = (1..PLACES).map(|_| controlled.follow("")).collect();
    for _ in 0..5 * PLACES {
        served_until(deadline, &controlled.socket, "/metrics");
    }
}
