//! A key is replaced while it is in use: no request fails, none goes up with a key that was replaced before
//! it was sent, and what runs ends with the key that it began with.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use codex_mock_upstream::{Scenario, Seen};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::control_client::{look_for, post, rotate};
use crate::keys::random_key;
use crate::leaks::Leaks;
use crate::support::*;
use crate::watched::*;

const CLIENTS: usize = 16;
const REQUESTS_EACH: usize = 150;
const REQUESTS: usize = CLIENTS * REQUESTS_EACH;
const ROTATIONS: usize = 5;
/// Streams that begin before the first rotation and end after the last.
const STREAMS: usize = 4;
/// More than a turn has.
const ALL_EVENTS: usize = 100;

/// One after the other, longer and shorter: the head's length changes with the key's.
const LENGTHS: [usize; 12] = [20, 4_096, 21, 1_000, 40, 4_095, 64, 2_048, 20, 51, 4_096, 48];
/// A connection that rests is not always found in time, and then there is another.
const MOST_CONNECTIONS: u64 = LENGTHS.len() as u64 / 2;

const AS_BEARER: &[&str] = &[];
const AS_API_KEY: &[&str] = &["--auth-header", "api-key"];
/// Longer than the whole test: a stream ends when it is let go.
const STREAM_LIMIT: Duration = LIMIT.saturating_mul(6);

/// Whose end every whole answer has, streamed or not.
const COMPLETED: &str = r#""status":"completed""#;

/// Replaces the key, which must succeed; returns what the proxy said of it.
fn rotated(control_socket: &Path, key: &str) -> Value {
    let (status, said) = rotate(control_socket, key);
    assert_eq!(status, 200, "{said}");
    assert_eq!(Leaks::of(key).find(said.as_bytes()), None, "{said}");
    serde_json::from_str(&said).unwrap()
}

/// Offers what is no key, which must change nothing.
fn refused(control_socket: &Path, key: &str) {
    let (status, said) = rotate(control_socket, key);
    assert_eq!(status, 400, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["error"]["code"], "bad_key", "{said}");
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("; the old key stays in use"), "{message}");
    if key.len() >= 10 {
        assert_eq!(Leaks::of(key).find(message.as_bytes()), None, "{message}");
    }
}

/// Waits until so many replaced keys are still in use.
fn until_retired(watched: &Watched, expected: u64) {
    look_for(&format!("{expected} retired keys"), || {
        let key = watched.key();
        if key["retired"] == expected { Ok(()) } else { Err(key) }
    });
}

/// Which of the keys went up with a request.
fn key_of(seen: &Seen, keys: &[String]) -> usize {
    let bearer = seen.headers["authorization"].to_str().unwrap();
    let key = keys.iter().position(|key| bearer.strip_prefix("Bearer ") == Some(key.as_str()));
    key.unwrap_or_else(|| panic!("a key that was never in use went up"))
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_under_load_and_no_request_fails() {
    let upstream = upstream_for_any(/*tls*/ true).await;
    let watched = Watched::start(&upstream, &[KEY], &[]);
    let keys: Vec<String> = std::iter::once(KEY.to_owned())
        .chain((1..=ROTATIONS).map(|number| random_key(30 + 20 * number)))
        .collect();
    let of_each_kind = [Scenario::Json, Scenario::Turn];
    upstream.script(vec![Scenario::Gated; STREAMS]);
    upstream.script(of_each_kind.iter().cycle().take(REQUESTS).cloned());
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        streams.spawn(one_answer(client().post(watched.proxy.url())));
    }
    until(&upstream, |counts| counts.requests == STREAMS as u64).await;

    let began = Instant::now();
    let progress = Arc::new(Progress::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(many_answers(number, watched.proxy.url(), Arc::clone(&progress)));
    }
    for number in 1..=ROTATIONS {
        let due = (number * REQUESTS / (ROTATIONS + 1)) as u64;
        until(&upstream, |counts| counts.answered >= due).await;
        refused(&watched.control_socket, ["", "two\nlines", "not a key, said twice"][number % 3]);
        progress.begun.store(number, Ordering::SeqCst);
        let said = rotated(&watched.control_socket, &keys[number]);
        progress.done.store(number, Ordering::SeqCst);
        assert_eq!(said["key"]["rotations"], number);
        assert!(said["running"].as_u64().unwrap() >= STREAMS as u64, "{said}");
    }
    let mut spans = vec![Vec::new(); CLIENTS];
    while let Some(ended) = clients.join_next().await {
        let (number, its) = ended.unwrap();
        spans[number] = its;
    }
    let took = began.elapsed();

    // The streams have not noticed.
    until_retired(&watched, 1);
    assert!(streams.try_join_next().is_none(), "a stream ended early");
    upstream.release(STREAMS * ALL_EVENTS);
    while let Some(ended) = streams.join_next().await {
        ended.unwrap();
    }
    until_retired(&watched, 0);

    let of_each = judge(&upstream.seen(), &keys, &spans);
    let counts = upstream.counts();
    tell(&format!(
        "{REQUESTS} requests of {CLIENTS} clients in {} ms, {} connections up, none failed; \
        with each key {of_each:?}",
        took.as_millis(),
        counts.connections
    ));
    what_was_said(watched.proxy.stop(), &keys);
}

/// How far the rotations are, as keys are numbered.
#[derive(Default)]
struct Progress {
    /// This one may be in use.
    begun: AtomicUsize,
    /// This one is in use, or a later one.
    done: AtomicUsize,
}

/// A request's first and last key that may go up with it.
type Span = (usize, usize);

/// Asks for one answer after the other on one connection.
async fn many_answers(number: usize, url: String, progress: Arc<Progress>) -> (usize, Vec<Span>) {
    let (client, mut spans) = (client(), Vec::new());
    for turn in 0..REQUESTS_EACH {
        let first = progress.done.load(Ordering::SeqCst);
        one_answer(client.post(&url).header("x-client", number).header("x-turn", turn)).await;
        spans.push((first, progress.begun.load(Ordering::SeqCst)));
    }
    (number, spans)
}

/// Takes a whole answer, streamed or not.
async fn one_answer(request: reqwest::RequestBuilder) {
    let answer = request.body(r#"{"model":"m"}"#).timeout(STREAM_LIMIT).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.text().await.unwrap();
    assert!(body.contains(COMPLETED), "{body}");
}

/// Checks which key went up with each request; returns how many with each.
fn judge(seen: &[Seen], keys: &[String], spans: &[Vec<Span>]) -> Vec<usize> {
    assert_eq!(seen.len(), STREAMS + REQUESTS, "no request is lost, and none sent twice");
    let mut of_each = vec![0; keys.len()];
    let mut used = vec![vec![None; REQUESTS_EACH]; CLIENTS];
    for request in seen {
        let key = key_of(request, keys);
        let number = |name: &str| -> Option<usize> {
            request.headers.get(name).map(|value| value.to_str().unwrap().parse().unwrap())
        };
        match (number("x-client"), number("x-turn")) {
            (Some(client), Some(turn)) => {
                of_each[key] += 1;
                used[client][turn] = Some(key);
            }
            _ => assert_eq!(key, 0, "a stream has the key that it began with"),
        }
    }
    for (client, (used, spans)) in used.iter().zip(spans).enumerate() {
        for (turn, (key, (first, last))) in used.iter().zip(spans).enumerate() {
            let key = key.unwrap();
            assert!(
                (*first..=*last).contains(&key),
                "request {turn} of client {client} had key {key}, not one of {first} to {last}"
            );
        }
        assert!(used.is_sorted(), "client {client} got an older key again: {used:?}");
    }
    assert!(of_each.iter().all(|count| *count > 0), "{of_each:?}");
    of_each
}

/// Each rotation and each refusal is a line, else only completed exchanges are, and no line shows a key.
fn what_was_said(said: String, keys: &[String]) {
    let lines = failures(&said);
    let of = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    let (replaced, kept) = (of("key replaced by uid "), of("offered a key that can't be used"));
    assert_eq!((replaced, kept, lines.len()), (ROTATIONS, ROTATIONS, 2 * ROTATIONS), "{lines:#?}");
    for key in keys {
        assert_eq!(Leaks::of(key).find(said.as_bytes()), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_key_that_it_began_with() {
    for tls in [true, false] {
        let upstream = upstream_for_any(tls).await;
        let watched = Watched::start(&upstream, &[KEY], &[]);
        let keys = [KEY.to_owned(), random_key(33), random_key(99)];
        upstream.script([Scenario::Gated]);
        let mut stream = watched.proxy.connect();
        stream.post();
        upstream.release(2);
        stream.until("response.output_item.added");

        for (number, key) in keys.iter().enumerate().skip(1) {
            let said = rotated(&watched.control_socket, key);
            assert_eq!(
                (said["running"].clone(), said["key"]["retired"].clone()),
                (1.into(), 1.into())
            );
            one_answer(client().post(watched.proxy.url())).await;
            // The key in between has no exchange any more: only the stream's is held.
            until_retired(&watched, 1);
            let key = watched.key();
            assert_eq!(key["rotations"], number, "{key}");
            assert_eq!(key["source"], "rotate-key", "{key}");
            assert_eq!(key["rotated_by_uid"], nix::unistd::geteuid().as_raw(), "{key}");
        }
        upstream.release(ALL_EVENTS);
        stream.until("response.completed");
        stream.until("0\r\n\r\n");
        until_retired(&watched, 0);

        let used: Vec<usize> = upstream.seen().iter().map(|seen| key_of(seen, &keys)).collect();
        assert_eq!(used, [0, 1, 2]);
        watched.proxy.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_changes_nothing() {
    let upstream = upstream_for_any(/*tls*/ false).await;
    let watched = Watched::start(&upstream, &[KEY], &[]);
    let before = watched.key();
    let too_long = random_key(4_097);
    let far_too_long = random_key(1 << 20);
    for bad in [
        "",
        "\n",
        "two\nlines\n",
        "with a space in it",
        "ümläute-are-none",
        too_long.as_str(),
        far_too_long.as_str(),
    ] {
        refused(&watched.control_socket, bad);
        one_answer(client().post(watched.proxy.url())).await;
    }
    assert_eq!(watched.key(), before);
    assert!(upstream.seen().iter().all(|seen| key_of(seen, &[KEY.to_owned()]) == 0));
    let (status, said) = post(&watched.control_socket, "/v1/rotate-key");
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("no_key"), "{said}");
    watched.proxy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_length_follow_one_another_on_one_connection() {
    for tls in [true, false] {
        for (flags, field, before) in
            [(AS_BEARER, "authorization", "Bearer "), (AS_API_KEY, "api-key", "")]
        {
            let upstream = upstream_for_any(tls).await;
            let watched = Watched::start(&upstream, &[KEY], flags);
            let client = client();
            let mut expected = Vec::new();
            for characters in LENGTHS {
                let key = random_key(characters);
                rotated(&watched.control_socket, &key);
                for _ in 0..3 {
                    one_answer(client.post(watched.proxy.url())).await;
                    expected.push(format!("{before}{key}"));
                }
            }
            let seen = upstream.seen();
            let came: Vec<&str> =
                seen.iter().map(|seen| seen.headers[field].to_str().unwrap()).collect();
            assert!(came == expected, "other keys went up, or in another order");
            assert!(seen.iter().all(|seen| seen.body == r#"{"model":"m"}"#));
            let connections = upstream.counts().connections;
            assert!(connections <= MOST_CONNECTIONS, "{connections} connections");
            tell(&format!(
                "{} keys of 20 to 4,096 characters, {connections} connections up",
                LENGTHS.len()
            ));
            watched.proxy.stop();
        }
    }
}
