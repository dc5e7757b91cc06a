//! Where the kernel has no memfd_secret(2), there is one copy that root can read, and it stands in a page of
//! its own: locked, left out of core dumps, empty in children, between two guards. So these tests also show
//! that the scanner finds a key in a running proxy.
//!
//! The kernel is made to have less than it has by a seccomp filter that the proxy inherits.

use codex_mock_upstream::Scenario;

use crate::control_client::{look_for, rotate};
use crate::denied::{NO_LOCKS, NO_SECRET_MEMORY, denied};
use crate::keys::random_key;
use crate::process::{Mapping, mappings, vm_flags};
use crate::scanner::{Form, Scan, cannot_scan};
use crate::support::*;
use crate::watched::*;

/// Checks that there is one copy of this key, plain and in full, and none of any other, and that its page is
/// as it should be.
fn assert_one_copy(watched: &Watched, key: usize, is_locked: bool, when: &str) {
    let scan = watched.scan();
    let mapping = only_mapping(&scan, key, when);
    assert!(mapping.permissions == "r--p" && mapping.name.is_empty(), "{when}: {scan}");

    let pid = watched.proxy.pid();
    let flags = vm_flags(pid, mapping);
    let has = |flag: &str| flags.iter().any(|known| known == flag);
    assert!(has("dd"), "{when}: a core dump would have it: {flags:?}");
    assert!(has("wf"), "{when}: a child would have it: {flags:?}");
    assert_eq!(has("lo"), is_locked, "{when}: {flags:?}");

    let is_guard = |side: fn(&Mapping) -> u64, edge: u64| {
        let mappings = mappings(pid);
        mappings.iter().any(|guard| side(guard) == edge && guard.permissions == "---p")
    };
    assert!(is_guard(|guard| guard.addresses.end, mapping.addresses.start), "{when}: {scan}");
    assert!(is_guard(|guard| guard.addresses.start, mapping.addresses.end), "{when}: {scan}");
}

fn only_mapping<'a>(scan: &'a Scan, key: usize, when: &str) -> &'a Mapping {
    let copies = scan.copies_of(key);
    let [(mapping, found)] = copies[..] else { panic!("{when}, for key {key}: {scan}") };
    assert_eq!(scan.found.len(), 1, "{when}: {scan}");
    assert_eq!((found.form, found.length), (Form::Plain, KEY_CHARACTERS), "{when}: {scan}");
    mapping
}

#[tokio::test(flavor = "multi_thread")]
async fn without_secret_memory_the_key_stands_once_in_a_locked_page() {
    if !can_run(cannot_scan()) {
        return;
    }
    let (old, new) = (random_key(KEY_CHARACTERS), random_key(KEY_CHARACTERS));
    let upstream = upstream_for_any(/*tls*/ true).await;
    let watched = Watched::start_without(&[NO_SECRET_MEMORY], &upstream, &[&old, &new], &[]);
    assert!(watched.proxy.ready.ends_with(", key in a locked page"), "{}", watched.proxy.ready);
    assert_eq!(watched.status()["key"]["page"], "locked page");
    assert_one_copy(&watched, 0, true, "at the start");

    let (client, url) = (client(), watched.proxy.url());
    ask_often(&client, &url, 100, 8).await;
    assert_one_copy(&watched, 0, true, "right after 100 requests");
    watched.until_idle();
    assert_one_copy(&watched, 0, true, "while its connections rest");

    let (status, said) = rotate(&watched.control_socket, &new);
    assert_eq!(status, 200, "{said}");
    watched.until_idle();
    assert_one_copy(&watched, 1, true, "after the key was replaced");
    ask_often(&client, &url, 100, 8).await;
    drop(client);
    until_disconnected(watched.proxy.port);
    watched.until_idle();
    assert_one_copy(&watched, 1, true, "after the clients have left");

    let keys = upstream.seen().into_iter().map(|seen| seen.headers["authorization"].clone());
    let expected = [vec![format!("Bearer {old}"); 100], vec![format!("Bearer {new}"); 100]];
    assert!(keys.eq(expected.concat()), "the upstream did not get the old key, then the new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_is_gone_with_the_last_exchange_that_has_it() {
    if !can_run(cannot_scan()) {
        return;
    }
    let (old, new) = (random_key(KEY_CHARACTERS), random_key(KEY_CHARACTERS));
    let upstream = upstream_for_any(/*tls*/ true).await;
    let watched = Watched::start_without(&[NO_SECRET_MEMORY], &upstream, &[&old, &new], &[]);
    let copies = || {
        let scan = watched.scan();
        [0, 1].map(|key| scan.copies_of(key).len())
    };
    upstream.script([Scenario::Gated]);
    let mut running = watched.proxy.connect();
    running.post();
    upstream.release(1);
    running.until("event: response.created");
    assert_eq!(copies(), [1, 0], "before the key is replaced");

    let (status, said) = rotate(&watched.control_socket, &new);
    assert_eq!(status, 200, "{said}");
    assert_eq!(copies(), [1, 1], "while an exchange goes on with the old key");
    ask_often(&client(), &watched.proxy.url(), 50, 8).await;
    assert_eq!(copies(), [1, 1], "while both keys are in use");
    upstream.release(1_000);
    running.until("\r\n0\r\n\r\n");
    look_for("the end of the old key", || {
        let copies = copies();
        if copies[0] == 0 { Ok(()) } else { Err(copies) }
    });
    assert_one_copy(&watched, 1, true, "after the old key's last exchange");
}

#[test]
fn where_nothing_can_be_locked_the_start_is_refused_with_the_remedy() {
    let key = random_key(KEY_CHARACTERS);
    let flags = ["--upstream-url", "http://127.0.0.1:9/v1/responses"];
    let output = denied(&[NO_SECRET_MEMORY, NO_LOCKS], || run(&flags, key.as_bytes()));
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not be locked"), "{said}");
    let hint = said.split_once("hint: ").map_or("", |(_, hint)| hint);
    assert!(hint.contains("ulimit -l") && hint.contains("--allow-unlocked-key"), "{said}");
    assert!(!said.contains("ready: "), "{said}");
    assert_not_shown(&key, &output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_locked_is_taken_only_where_that_was_allowed() {
    if !can_run(cannot_scan()) {
        return;
    }
    let key = random_key(KEY_CHARACTERS);
    let upstream = tls_upstream_for(&key).await;
    let flags = ["--allow-unlocked-key"];
    let watched = Watched::start_without(&[NO_SECRET_MEMORY, NO_LOCKS], &upstream, &[&key], &flags);
    let ready = &watched.proxy.ready;
    assert!(ready.ends_with(", key in an unlocked page (--allow-unlocked-key)"), "{ready}");
    assert_eq!(watched.status()["key"]["page"], "unlocked page");
    assert_one_copy(&watched, 0, false, "at the start");
    ask_often(&client(), &watched.proxy.url(), 100, 8).await;
    watched.until_idle();
    assert_one_copy(&watched, 0, false, "after 100 requests");
    drop(watched);

    // Allowed is not wanted: where memory can be locked, it is.
    let watched = Watched::start_without(&[NO_SECRET_MEMORY], &upstream, &[&key], &flags);
    assert!(watched.proxy.ready.ends_with(", key in a locked page"), "{}", watched.proxy.ready);
    assert_one_copy(&watched, 0, true, "at a start where it could have been unlocked");
}
