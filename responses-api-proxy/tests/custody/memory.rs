//! With memfd_secret(2), root finds not one copy of the key in the proxy's memory: at no time of its life,
//! whatever the upstream and the clients do, and on whichever way the key goes out.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use codex_mock_upstream::{MockUpstream, Options, Scenario};

use crate::control_client::{look_for, rotate};
use crate::hop::Hop;
use crate::keys::random_key;
use crate::process::mappings;
use crate::scanner::{SECRET_MEMORY, cannot_scan};
use crate::support::*;
use crate::watched::*;

/// Why a key can't be put out of root's sight here.
fn cannot_hide() -> Option<&'static str> {
    let missing =
        "a kernel with memfd_secret(2): Linux 6.5, or 5.14 started with secretmem.enable=1";
    let enabled = fs::read_to_string("/sys/module/secretmem/parameters/enable");
    let is_there = enabled.is_ok_and(|enabled| enabled.trim() == "Y");
    cannot_scan().or((!is_there).then_some(missing))
}

/// A proxy that has its key in secret memory, and nowhere else so far.
fn start(upstream: &MockUpstream, keys: &[&str], flags: &[&str]) -> Watched {
    let watched = Watched::start(upstream, keys, flags);
    assert!(watched.proxy.ready.ends_with(", key in memfd_secret"), "{}", watched.proxy.ready);
    let scan = watched.scan();
    let is_secret = scan.closed.iter().any(|mapping| mapping.name == SECRET_MEMORY);
    assert!(is_secret, "it has no secret memory: {:?}", scan.closed);
    assert!(scan.found.is_empty(), "at the start: {scan}");
    watched
}

/// How many pages it has from memfd_secret(2).
fn secret_pages(watched: &Watched) -> usize {
    let mappings = mappings(watched.proxy.pid());
    mappings.iter().filter(|mapping| mapping.name == SECRET_MEMORY).count()
}

/// Serves so many that every connection and buffer there is has been used more than once.
async fn serves_many(watched: &Watched) {
    let client = client();
    ask_often(&client, &watched.proxy.url(), 200, 64).await;
    watched.shows_nothing("right after 200 requests, 64 at once");
    drop(client);
    until_disconnected(watched.proxy.port);
    watched.until_idle();
    watched.shows_nothing("after the clients have left");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_of_its_life_shows_root_a_copy() {
    if !can_run(cannot_hide()) {
        return;
    }
    let key = random_key(KEY_CHARACTERS);
    let upstream = tls_upstream_for(&key).await;
    let watched = start(&upstream, &[&key], &[]);
    let (client, url) = (client(), watched.proxy.url());
    for at_once in [1, 64] {
        for requests in [1, 100, 1_000] {
            ask_often(&client, &url, requests, at_once).await;
            watched.shows_nothing(&format!("after {requests} requests, {at_once} at once"));
        }
    }
    let counts = upstream.counts();
    assert_eq!((counts.requests, counts.wrong_bearer), (2_202, 0), "{counts:?}");

    watched.until_idle();
    watched.shows_nothing("while its connections rest");
    drop(client);
    until_disconnected(watched.proxy.port);
    watched.shows_nothing("after the clients' connections are closed");
    let port = upstream.address().port();
    drop(upstream);
    until_disconnected(port);
    watched.shows_nothing("after the upstream's connections are closed");

    let answer = watched.proxy.ask("POST /v1/responses", &[], REQUEST.as_bytes());
    assert_eq!((answer.status, answer.error().0.as_str()), (502, "upstream_unreachable"));
    watched.shows_nothing("after the upstream could not be reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_leaves_no_copy() {
    if !can_run(cannot_hide()) {
        return;
    }
    let upstream = tls_upstream_for("another-key").await;
    let key = random_key(KEY_CHARACTERS);
    let watched = start(&upstream, &[&key], &[]);
    for _ in 0..10 {
        let answer = watched.proxy.ask("POST /v1/responses", &[], REQUEST.as_bytes());
        assert_eq!(answer.status, 401);
    }
    let sent = format!("Bearer {key}");
    assert!(upstream.seen().iter().all(|seen| seen.headers["authorization"] == sent));
    watched.shows_nothing("after the upstream has refused it");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_come_to_their_end_leave_no_copy() {
    if !can_run(cannot_hide()) {
        return;
    }
    let key = random_key(KEY_CHARACTERS);
    let upstream = tls_upstream_for(&key).await;
    let mut watched = start(&upstream, &[&key], &[]);
    for scenario in [Scenario::Cut { events: 3 }, Scenario::Reset { events: 3 }] {
        upstream.script([scenario.clone()]);
        let mut client = watched.proxy.connect();
        client.post();
        let _ = client.read_to_end();
        watched.proxy.line_with("cut 200 upstream_cut POST");
        watched.shows_nothing(&format!("after {scenario}"));
    }
    for scenario in [Scenario::Close, Scenario::ResetAtOnce] {
        upstream.script([scenario.clone()]);
        let answer = watched.proxy.ask("POST /v1/responses", &[], REQUEST.as_bytes());
        assert_eq!(answer.status, 502);
        watched.shows_nothing(&format!("after {scenario}"));
    }
    for scenario in [Scenario::Silent, Scenario::Hang] {
        upstream.script([scenario.clone()]);
        let before = upstream.counts();
        let mut client = watched.proxy.connect();
        client.post();
        if scenario == Scenario::Silent {
            client.until("event: ");
        }
        until(&upstream, |counts| counts.requests > before.requests).await;
        watched.shows_nothing(&format!("while a client waits: {scenario}"));
        drop(client);
        until(&upstream, |counts| counts.cancelled > before.cancelled).await;
        watched.until_idle();
        watched.shows_nothing(&format!("after a client has left: {scenario}"));
    }
    assert_eq!(upstream.counts().wrong_bearer, 0);
    serves_many(&watched).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_replaced_key_nor_the_new_one_shows_a_copy() {
    if !can_run(cannot_hide()) {
        return;
    }
    let (old, new) = (random_key(KEY_CHARACTERS), random_key(KEY_CHARACTERS));
    let upstream = upstream_for_any(/*tls*/ true).await;
    let watched = start(&upstream, &[&old, &new], &[]);
    let (client, url) = (client(), watched.proxy.url());
    ask_often(&client, &url, 100, 64).await;
    upstream.script([Scenario::Gated]);
    let mut running = watched.proxy.connect();
    running.post();
    upstream.release(1);
    running.until("event: response.created");
    watched.shows_nothing("before the key is replaced");
    assert_eq!(secret_pages(&watched), 1);

    let (status, said) = rotate(&watched.control_socket, &new);
    assert_eq!(status, 200, "{said}");
    watched.shows_nothing("while an exchange goes on with the old key");
    ask_often(&client, &url, 100, 64).await;
    watched.shows_nothing("while both keys are in use");
    assert_eq!(secret_pages(&watched), 2, "a page for each key");
    drop(client);
    upstream.release(1_000);
    running.until("\r\n0\r\n\r\n");
    drop(running);
    watched.until_idle();
    look_for("the end of the old key's page", || match secret_pages(&watched) {
        1 => Ok(()),
        pages => Err(pages),
    });
    watched.shows_nothing("after the old key's last exchange");

    let keys = upstream.seen().into_iter().map(|seen| seen.headers["authorization"].clone());
    let expected = [vec![format!("Bearer {old}"); 101], vec![format!("Bearer {new}"); 100]];
    assert!(keys.eq(expected.concat()), "the upstream did not get the old key, then the new one");
    let (status, _) =
        rotate(&watched.control_socket, "not a key, although it is long enough for one");
    assert_eq!(status, 400);
    serves_many(&watched).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_upstream_without_tls_makes_no_copy_either() {
    if !can_run(cannot_hide()) {
        return;
    }
    let key = random_key(KEY_CHARACTERS);
    let expected_key = Some(key.clone());
    let upstream =
        MockUpstream::start(Options { expected_key, ..Options::default() }).await.unwrap();
    let watched = start(&upstream, &[&key], &[]);
    serves_many(&watched).await;
    assert_eq!(upstream.counts().wrong_bearer, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_field_of_its_own_leaves_no_copy() {
    if !can_run(cannot_hide()) {
        return;
    }
    let key = random_key(KEY_CHARACTERS);
    let upstream = upstream_for_any(/*tls*/ true).await;
    let watched = start(&upstream, &[&key], &["--auth-header", "api-key"]);
    serves_many(&watched).await;
    assert!(upstream.seen().iter().all(|seen| seen.headers["api-key"] == key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_on_the_way_gets_no_byte_of_the_key_and_leaves_no_copy_here() {
    if !can_run(cannot_hide()) {
        return;
    }
    let key = random_key(KEY_CHARACTERS);
    let upstream = tls_upstream_for(&key).await;
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("hops-authority.pem");
    let hop = Hop::start(&authority).await;
    let flags = ["--upstream-proxy", &hop.url(), "--upstream-ca", str(&authority)];
    let watched = start(&upstream, &[&key], &flags);
    serves_many(&watched).await;
    assert_eq!((upstream.counts().requests, upstream.counts().wrong_bearer), (200, 0));
    hop.assert_saw_no_key(&key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_writes_all_down_leaves_no_copy_in_memory_or_file() {
    if !can_run(cannot_hide()) {
        return;
    }
    let key = random_key(KEY_CHARACTERS);
    let upstream = tls_upstream_for(&key).await;
    let folder = tempfile::tempdir().unwrap();
    let (dumps, log) = (folder.path().join("dumps"), folder.path().join("requests.jsonl"));
    let flags = ["--dump-dir", str(&dumps), "--log-file", str(&log)];
    let watched = start(&upstream, &[&key], &flags);
    serves_many(&watched).await;
    // A client that has the key puts it into the proxy's memory itself. From there no file may get it.
    let fields = [format!("X-Key: {key}"), format!("X-Part: {}", &key[..40])];
    let fields = [fields[0].as_str(), fields[1].as_str()];
    assert_eq!(watched.proxy.ask("POST /v1/responses", &fields, b"{}").status, 200);
    watched.until_idle();

    let Watched { proxy, scanner, .. } = watched;
    let said = proxy.stop();
    let mut files: Vec<_> =
        fs::read_dir(&dumps).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 201, "{said}");
    files.push(log);
    for file in files {
        let found = scanner.search(&fs::read(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
    assert!(scanner.search(said.as_bytes()).is_empty(), "it says the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_a_file_leaves_no_copy() {
    if !can_run(cannot_hide()) {
        return;
    }
    let (key, typed) = (random_key(KEY_CHARACTERS), random_key(KEY_CHARACTERS));
    let upstream = tls_upstream_for(&key).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, format!("{key}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let watched = start(&upstream, &[&typed, &key], &["--key-file", str(&file)]);
    serves_many(&watched).await;
    assert_eq!(upstream.counts().wrong_bearer, 0);
}
