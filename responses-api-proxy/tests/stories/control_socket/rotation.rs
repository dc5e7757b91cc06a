//! A new key for a running proxy, brought as a descriptor: who may, what is used, and what changes nothing.

mod hostile;
mod no_second_page;

use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use codex_mock_upstream::{MockUpstream, Options, Scenario};
use nix::pty::openpty;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::fixture::{Controlled, code, open_folder};
use crate::accounts::{ALICE, BOB, missing};
use crate::control_client::*;
use crate::keys::random_key;
use crate::support::*;

/// The key that comes after [`KEY`].
const OTHER_KEY: &str = "sk-proj-An0ther-K3y_that.comes~later+7/Zz=";

/// A pipe that this comes out of.
fn piped(text: &str) -> PipeReader {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(text.as_bytes()).unwrap(); // No more than a pipe holds.
    reader
}

/// An upstream that takes any key.
async fn upstream_for_any(scenario: Scenario) -> MockUpstream {
    MockUpstream::start(Options { scenario, ..Options::default() }).await.unwrap()
}

/// The bearers that have come, in their order.
fn bearers(upstream: &MockUpstream) -> Vec<String> {
    let bearer = |seen: &codex_mock_upstream::Seen| text(seen.headers["authorization"].as_bytes());
    upstream.seen().iter().map(bearer).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The error's message, if it is this one.
fn refused(said: (u16, String), status: u16, expected: &str) -> String {
    assert_eq!((said.0, code(&said.1).as_str()), (status, expected), "{}", said.1);
    let error: Value = serde_json::from_str(&said.1).unwrap();
    error["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_exchanges_get_the_new_key_and_running_ones_end_with_theirs() {
    let upstream = upstream_for_any(Scenario::Json).await;
    upstream.script([Scenario::Gated]);
    let began = now();
    let mut controlled = Controlled::start(&upstream, &[]);
    let first = controlled.status()["key"].take();
    let pages = ["memfd_secret", "locked page", "unlocked page"];
    assert!(pages.contains(&first["page"].as_str().unwrap()), "{first}");
    assert!((began..=now()).contains(&first["since"].as_u64().unwrap()), "{first}");
    let mut expected = first.clone();
    expected["source"] = json!("standard input");
    expected["rotations"] = json!(0);
    expected["rotated_by_uid"] = Value::Null;
    expected["retired"] = json!(0);
    assert_eq!(first, expected);

    let mut client = controlled.proxy.connect();
    client.post();
    upstream.release(1);
    client.until("event: response.created");
    let (status, said) = rotate(&controlled.socket, &format!("{OTHER_KEY}\n"));
    assert_eq!(status, 200, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["running"], 1);
    let ours = geteuid().as_raw();
    expected["source"] = json!("rotate-key");
    expected["since"] = said["key"]["since"].clone();
    expected["rotations"] = json!(1);
    expected["rotated_by_uid"] = json!(ours);
    expected["retired"] = json!(1);
    assert_eq!(said["key"], expected);
    assert!((began..=now()).contains(&expected["since"].as_u64().unwrap()), "{said}");
    assert_eq!(controlled.status()["key"], expected);
    let line = controlled.proxy.line_with("key replaced by ");
    assert!(line.starts_with(&format!("key replaced by uid {ours}")), "{line}");
    assert!(line.ends_with("; 1 exchange goes on with the old one"), "{line}");

    controlled.exchange("gpt-5");
    assert_eq!(bearers(&upstream), [format!("Bearer {KEY}"), format!("Bearer {OTHER_KEY}")]);
    upstream.release(20);
    client.until("\r\n0\r\n\r\n");
    controlled.status_until(|status| status["key"]["retired"] == 0);

    // And back again, with the head in two pieces.
    let stream = connect(&controlled.socket);
    let (head, key) = (head(ROTATE), piped(KEY));
    send(&stream, &head[..9], &[]);
    send(&stream, &head[9..], &[key.as_fd()]);
    assert_eq!(answer(stream).0, 200);
    assert_eq!(controlled.status()["key"]["rotations"], 2);
    let line = controlled.proxy.line_with("key replaced by ");
    assert!(line.ends_with("; 0 exchanges go on with the old one"), "{line}");
    controlled.exchange("gpt-5");
    assert_eq!(bearers(&upstream)[2], format!("Bearer {KEY}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_pair_of_sockets_will_do_as_well() {
    let upstream = upstream_for_any(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, OTHER_KEY).unwrap();
    assert_eq!(bring(&controlled.socket, File::open(&path).unwrap()).0, 200);
    let (reader, mut writer) = UnixStream::pair().unwrap();
    let waiting = asking(&controlled.socket, ROTATE, &[reader.as_fd()]);
    drop(reader);
    for piece in KEY.as_bytes().chunks(5) {
        writer.write_all(piece).unwrap();
        assert_eq!(controlled.status()["key"]["rotations"], 1); // Half a key is none.
    }
    drop(writer);
    assert_eq!(answer(waiting).0, 200);
    controlled.exchange("gpt-5");
    assert_eq!(bearers(&upstream), [format!("Bearer {KEY}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_descriptor_changes_nothing() {
    let upstream = upstream(Scenario::Json).await;
    let controlled = Controlled::start(&upstream, &[]);
    let socket = &controlled.socket;
    refused(post(socket, "/v1/rotate-key"), 400, "no_key");
    refused(get(socket, "/v1/rotate-key"), 404, "route_not_allowed");
    refused(post(socket, "/v1/rotate-key?now=1"), 400, "bad_query");
    let key = piped(OTHER_KEY);
    refused(answer(asking(socket, "GET /v1/rotate-key", &[key.as_fd()])), 404, "route_not_allowed");
    // What came with another request does not count for this one.
    let mut stream = connect(socket);
    send(&stream, b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", &[key.as_fd()]);
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(text(&first), "HTTP/1.1 200");
    stream.write_all(&head(ROTATE)).unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains(r#""code":"no_key""#), "{rest}");
    assert_eq!(controlled.status()["key"]["rotations"], 0);
    controlled.exchange("gpt-5");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_told_from_one_without_a_byte_of_it_and_the_old_one_stays() {
    let upstream = upstream(Scenario::Json).await;
    let mut controlled = Controlled::start(&upstream, &[]);
    let secret = random_key(40);
    let folder = tempfile::tempdir().unwrap();
    let write_only = File::create(folder.path().join("key")).unwrap();
    let terminal = openpty(None, None).unwrap();
    let open = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let pipe_of = |text: String| OwnedFd::from(piped(&text));
    let bad: [(OwnedFd, &str); 12] = [
        (pipe_of(String::new()), "no API key arrived"),
        (pipe_of("\n".to_owned()), "no API key arrived"),
        (pipe_of(format!("{secret}\n{secret}\n")), "more than one line"),
        (pipe_of(format!("{secret} {secret}")), "unexpected byte at offset 40"),
        (pipe_of(format!("\"{secret}\"")), "unexpected byte at offset 0"),
        (pipe_of(secret.repeat(103)), "longer than 4096 bytes"),
        (open("/dev/null"), "no API key arrived"),
        (open("/dev/zero"), "API key"),
        (open("/"), "could not be read"),
        (write_only.into(), "could not be read"),
        (terminal.slave, "can't be typed here"),
        (terminal.master, "can't be typed here"),
    ];
    let before = controlled.status()["key"].take();
    for (key, why) in bad {
        let message = refused(bring(&controlled.socket, key), 400, "bad_key");
        assert!(message.contains(why), "{why}: {message}");
        assert!(message.ends_with("; the old key stays in use"), "{message}");
        let line = controlled.proxy.line_with("warning: uid ");
        assert!(line.contains(" offered a key that can't be used: "), "{line}");
        assert!(line.contains(why) && line.ends_with("; the old one stays"), "{line}");
        assert_not_shown(&secret, message.as_bytes());
        assert_not_shown(&secret, line.as_bytes());
        assert_eq!(controlled.status()["key"], before);
        controlled.exchange("gpt-5"); // The upstream takes no key but the first.
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_being_stopped_takes_no_other_key() {
    let upstream = upstream(Scenario::Gated).await;
    let mut controlled = Controlled::start(&upstream, &["--drain-timeout", "1h"]);
    let mut client = controlled.proxy.connect();
    client.post();
    upstream.release(1);
    client.until("event: response.created");
    // Who waits for one when the end comes does not hold it up.
    let (reader, _writer) = pipe().unwrap();
    let waiting = asking(&controlled.socket, ROTATE, &[reader.as_fd()]);
    let mut lines = Lines::post(&controlled.socket, "/v1/shutdown");
    assert!(lines.next().is_some());
    refused(rotate(&controlled.socket, OTHER_KEY), 409, "draining");
    upstream.release(20);
    client.until("\r\n0\r\n\r\n");
    refused(answer(waiting), 409, "draining");
    let (status, said) = controlled.proxy.ended();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("key replaced"), "{said}");
}

/// A process of this account's, which SO_PEERCRED speaks of, brings its standard input.
const BRING: &str = r#"
import array, os, socket, sys
uid, path = int(sys.argv[1]), sys.argv[2]
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
stream = socket.socket(socket.AF_UNIX)
stream.connect(path)
head = b"POST /v1/rotate-key HTTP/1.0\r\nHost: localhost\r\n\r\n"
stream.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
os.close(0)
while data := stream.recv(65536):
    os.write(1, data)
"#;

fn rotate_as(uid: u32, socket: &Path, key: PipeReader) -> (u16, String) {
    let output = Command::new("python3")
        .args(["-c", BRING, &uid.to_string(), str(socket)])
        .stdin(Stdio::from(key))
        .output()
        .unwrap();
    let said = text(&output.stdout);
    let Some((head, body)) = said.split_once("\r\n\r\n") else {
        panic!("uid {uid}: {said:?} {}", text(&output.stderr));
    };
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_use_the_proxy_gives_it_no_key_and_none_is_read() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream(Scenario::Json).await;
    let alice = ALICE.to_string();
    let flags = ["--allow-user", alice.as_str(), "--allow-user", "61003", "--allow-user", "0"];
    let controlled = Controlled::start(&upstream, &flags);
    for uid in [ALICE, BOB, 61_003] {
        let (reader, mut writer) = pipe().unwrap();
        writer.write_all(OTHER_KEY.as_bytes()).unwrap();
        // The answer comes although the key has not ended.
        let said = rotate_as(uid, &controlled.socket, reader);
        refused(said, 403, "client_not_allowed");
        assert!(writer.write_all(b"x").is_err(), "uid {uid}: somebody still has it");
    }
    assert_eq!(controlled.status()["key"]["rotations"], 0);
    controlled.exchange("gpt-5");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_started_it_with_sudo_may_give_it_another_key() {
    if !can_run(missing()) {
        return;
    }
    let upstream = upstream_for_any(Scenario::Json).await;
    let bob = BOB.to_string();
    let variables = [("SUDO_UID", bob.as_str()), ("SUDO_USER", "tst_bob")];
    let url = upstream.responses_url();
    let mut controlled = Controlled::start_for(&url, open_folder(), &[], &variables);
    let (status, said) = rotate_as(BOB, &controlled.socket, piped(OTHER_KEY));
    assert_eq!(status, 200, "{said}");
    assert_eq!(controlled.status()["key"]["rotated_by_uid"], BOB);
    let line = controlled.proxy.line_with("key replaced by ");
    assert!(line.starts_with(&format!("key replaced by uid {BOB}, now in ")), "{line}");
    controlled.exchange("gpt-5");
    assert_eq!(bearers(&upstream), [format!("Bearer {OTHER_KEY}")]);
}
