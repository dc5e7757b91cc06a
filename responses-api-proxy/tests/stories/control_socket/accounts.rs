//! Who may see what, and who may stop the proxy.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use codex_mock_upstream::Scenario;
use serde_json::Value;

use super::fixture::{Controlled, code, id, open_folder};
use crate::accounts::{ALICE, BOB, as_account, missing};
use crate::control_client::{Lines, get, is_record};
use crate::support::*;

/// One request of an account's own process, which SO_PEERCRED speaks of: connecting is its own act. The answer
/// goes to standard output as it comes; where there is no connection, the name of the error.
const ASK: &str = r#"
import errno, os, socket, sys
uid, path, request = int(sys.argv[1]), sys.argv[2], sys.argv[3].encode()
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
stream = socket.socket(socket.AF_UNIX)
try:
    stream.connect(path)
except OSError as error:
    os.write(1, errno.errorcode[error.errno].encode())
    sys.exit()
stream.sendall(request)
while data := stream.recv(65536):
    os.write(1, data)
"#;

fn asking(uid: u32, socket: &Path, line: &str) -> Child {
    // An answer to HTTP/1.0 is not in chunks, and ends with its connection.
    let request = format!("{line} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    Command::new("python3")
        .args(["-c", ASK, &uid.to_string(), str(socket), &request])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What this account gets: status and body, or the error that it can't connect for.
fn ask_as(uid: u32, socket: &Path, line: &str) -> Result<(u16, String), String> {
    let output = asking(uid, socket, line).wait_with_output().unwrap();
    assert!(output.status.success(), "{line} of uid {uid}");
    let said = text(&output.stdout);
    match said.split_once("\r\n\r\n") {
        Some((head, body)) => {
            Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
        }
        None => Err(said),
    }
}

fn json_for(uid: u32, controlled: &Controlled, target: &str) -> Vec<Value> {
    let (status, said) = ask_as(uid, &controlled.socket, &format!("GET {target}")).unwrap();
    assert_eq!(status, 200, "{target} for uid {uid}: {said}");
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Mode and owner of the socket file.
fn facts(socket: &Path) -> (u32, u32) {
    let facts = std::fs::symlink_metadata(socket).unwrap();
    (facts.permissions().mode() & 0o7777, facts.uid())
}

/// What there is to ask for.
const ALL: [&str; 7] = [
    "GET /v1/status",
    "GET /v1/upstream",
    "GET /v1/records",
    "GET /v1/records?follow=1",
    "GET /metrics",
    "GET /nothing",
    "POST /v1/shutdown",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_nobody_elses_business_cannot_be_opened() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    assert_eq!(facts(&controlled.socket), (0o600, 0));
    for line in ALL {
        assert_eq!(ask_as(BOB, &controlled.socket, line), Err("EACCES".to_owned()));
    }

    // One account besides: it is the file's owner.
    let controlled = Controlled::start(&upstream, &["--allow-user", &ALICE.to_string()]);
    assert_eq!(facts(&controlled.socket), (0o600, ALICE));
    assert_eq!(ask_as(BOB, &controlled.socket, "GET /v1/status"), Err("EACCES".to_owned()));
    assert_eq!(ask_as(ALICE, &controlled.socket, "GET /v1/status").unwrap().0, 200);
    assert_eq!(get(&controlled.socket, "/v1/status").0, 200);
}

/// Where the file's mode can't tell them apart, SO_PEERCRED does.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_on_an_open_socket_gets_403_and_nothing_else() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let alice = ALICE.to_string();
    let flags = ["--allow-user", alice.as_str(), "--allow-user", "61003"];
    let controlled = Controlled::start(&upstream, &flags);
    assert_eq!(facts(&controlled.socket), (0o666, 0));
    let port = controlled.proxy.port.to_string();
    for line in ALL {
        let (status, said) = ask_as(BOB, &controlled.socket, line).unwrap();
        assert_eq!((status, code(&said).as_str()), (403, "client_not_allowed"), "{line}: {said}");
        assert!(!said.contains(&port) && !said.contains("61003"), "{line}: {said}");
    }
    assert_eq!(ask_as(61_003, &controlled.socket, "GET /v1/status").unwrap().0, 200);
    assert_eq!(upstream.counts().connections, 0, "a stranger had it connect");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_account_may_have_the_upstream_checked() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &["--allow-user", &ALICE.to_string()]);
    let found = json_for(ALICE, &controlled, "/v1/upstream").remove(0);
    assert_eq!(found["reached"], true, "{found}");
    let counts = until(&upstream, |counts| counts.disconnections == 1).await;
    assert_eq!((counts.connections, counts.requests), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_account_sees_its_own_exchanges_and_root_all() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let (alice, bob) = (ALICE.to_string(), BOB.to_string());
    let flags = ["--allow-user", alice.as_str(), "--allow-user", bob.as_str()];
    let controlled = Controlled::start(&upstream, &flags);
    let port = controlled.proxy.port;
    let exchange = |uid: u32| {
        as_account(uid, || {
            let mut client = Client::connect(port);
            client.send_request("POST /v1/responses", &[], b"{}");
            assert_eq!(client.answer().status, 200);
        });
    };
    exchange(ALICE);
    exchange(BOB);
    exchange(ALICE);
    controlled.ended(3);
    for (uid, expected) in [(ALICE, &[1, 3][..]), (BOB, &[2]), (0, &[1, 2, 3])] {
        let records = json_for(uid, &controlled, "/v1/records");
        assert_eq!(records.iter().map(id).collect::<Vec<_>>(), expected, "for uid {uid}");
        let own = records.iter().all(|record| uid == 0 || record["peer"]["uid"] == uid);
        assert!(own, "for uid {uid}: {records:?}");
    }
    let of_bob = format!("/v1/records?uid={BOB}");
    assert!(json_for(ALICE, &controlled, &of_bob).is_empty(), "Alice asked for Bob's");
    assert_eq!(controlled.records(&format!("?uid={BOB}")).len(), 1);

    // Following: what comes in between is Bob's.
    let mut following = asking(ALICE, &controlled.socket, "GET /v1/records?follow=1&after=3");
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().take_while(|line| !line.is_empty()).count() > 1, "no head came");
    exchange(BOB);
    exchange(ALICE);
    let mut records = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let first = records.find(is_record).unwrap();
    assert_eq!((id(&first), &first["peer"]["uid"]), (5, &Value::from(ALICE)));
    following.kill().unwrap();
    following.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_account_sees_only_its_own_exchanges_under_way() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Silent).await;
    let (alice, bob) = (ALICE.to_string(), BOB.to_string());
    let flags = ["--allow-user", alice.as_str(), "--allow-user", bob.as_str()];
    let controlled = Controlled::start(&upstream, &flags);
    let port = controlled.proxy.port;
    let _clients = [ALICE, BOB].map(|uid| {
        as_account(uid, || {
            let mut client = Client::connect(port);
            client.post();
            client.until("response.created");
            client
        })
    });
    for (uid, expected) in [(ALICE, &[ALICE][..]), (BOB, &[BOB]), (0, &[ALICE, BOB])] {
        let status = json_for(uid, &controlled, "/v1/status").remove(0);
        let shown = status["in_flight"].as_array().unwrap().iter();
        let shown: Vec<_> = shown.map(|exchange| exchange["uid"].clone()).collect();
        assert_eq!(shown, expected, "for uid {uid}");
        assert_eq!(status["pid"], controlled.proxy.pid());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_account_cannot_stop_the_proxy() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let mut controlled = Controlled::start(&upstream, &["--allow-user", &ALICE.to_string()]);
    for line in ["POST /v1/shutdown", "POST /v1/shutdown?now=1"] {
        let (status, said) = ask_as(ALICE, &controlled.socket, line).unwrap();
        assert_eq!((status, code(&said).as_str()), (403, "client_not_allowed"), "{line}");
    }
    assert_eq!(controlled.status()["state"], "serving");
    let port = controlled.proxy.port;
    let served = as_account(ALICE, || {
        let mut client = Client::connect(port);
        client.send_request("POST /v1/responses", &[], b"{}");
        client.answer().status
    });
    assert_eq!(served, 200);

    let (status, _) = post_to_the_end(&controlled.socket);
    assert_eq!(status, 200, "root may");
    assert_eq!(controlled.proxy.ended().0.code(), Some(0));
}

/// Stops it and reads until the connection is at its end.
fn post_to_the_end(socket: &Path) -> (u16, Vec<String>) {
    let mut lines = Lines::post(socket, "/v1/shutdown");
    let status = lines.status;
    (status, std::iter::from_fn(|| lines.next()).collect())
}

/// sudo says who that is, to root alone.
#[tokio::test(flavor = "multi_thread")]
async fn who_started_it_with_sudo_sees_all_and_may_stop_it() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let bob = BOB.to_string();
    let start = || {
        let variables = [("SUDO_UID", bob.as_str()), ("SUDO_USER", "tst_bob")];
        Controlled::start_for(&upstream.responses_url(), open_folder(), &[], &variables)
    };
    let mut controlled = start();
    assert_eq!(facts(&controlled.socket), (0o600, BOB));
    controlled.exchange("gpt-5"); // Root's.
    controlled.ended(1);
    let status = json_for(BOB, &controlled, "/v1/status").remove(0);
    assert_eq!(status["starter_uid"], BOB);
    assert_eq!(json_for(BOB, &controlled, "/v1/records").len(), 1);
    assert_eq!(ask_as(ALICE, &controlled.socket, "GET /v1/status"), Err("EACCES".to_owned()));
    let (status, said) = ask_as(BOB, &controlled.socket, "POST /v1/shutdown").unwrap();
    assert!(status == 200 && said.contains(r#"{"exchanges":0}"#), "{status} {said}");
    assert_eq!(controlled.proxy.ended().0.code(), Some(0));
}
