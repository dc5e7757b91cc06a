//! An upstream that echoes all that a client may choose never returns the key, whatever the client makes up.
//!
//! It does so too for clients who know what stands for the key inside the proxy, as only root can.

mod attacker;
mod craft;
mod mirror;
mod placeholder;
mod waiting;
mod wire;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::control_client::status;
use crate::scanner::cannot_scan;
use crate::support::*;
use crate::watched::tell;
use attacker::{Line, Tally, attack};
use mirror::{API_KEY, BEARER, KeyField, Mirror, NOTHING, THE_ANSWERS_HEAD, THE_BODY};
use wire::{Body, read_head};

/// With each way to the upstream and each field for the key; 10,000 together.
const REQUESTS: [(bool, KeyField, u64); 4] = [
    (true, BEARER, 5_000),
    (false, BEARER, 2_000),
    (true, API_KEY, 2_000),
    (false, API_KEY, 1_000),
];
/// The same with the placeholder itself: a fifth of them.
const KNOWING: u64 = 5;

/// Bodies that are stuck, each so much shorter than the one before, from what just gets into the proxy on.
const STUCK: usize = 24;
const STUCK_STEP_BYTES: usize = 5_003;
/// More than gets into the proxy and on its way.
const TOO_MUCH_BYTES: usize = 16 << 20;
/// And what gets there at least.
const LEAST_BYTES: usize = 64 << 10;
/// A body that has come so far has come as far as it comes, if so many looks find it in the same place.
const LOOKS: usize = 40;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_echoes_all_of_ten_thousand_crafted_requests_never_returns_the_key() {
    for (over_tls, key_field, requests) in REQUESTS {
        let mirror = Mirror::start(over_tls, key_field).await;
        let proxy = mirror.proxy(&[]);
        let tally = attack(&mirror, &proxy, requests, &[]).await;
        tell_of(&mirror, over_tls, "with guessed placeholders", &tally);
        mirror.witness.assert_no_leak(proxy.stop().as_bytes(), "what the proxy says");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_the_placeholder_gets_nothing_for_it() {
    if !can_run(cannot_scan()) {
        return;
    }
    for (over_tls, key_field, requests) in REQUESTS {
        let mirror = Mirror::start(over_tls, key_field).await;
        let proxy = mirror.proxy(&[]);
        let placeholders = placeholders(&mirror, &proxy).await;
        let tally = attack(&mirror, &proxy, requests / KNOWING, &placeholders).await;
        let what = format!("with the placeholder, one of {}", placeholders.len());
        tell_of(&mirror, over_tls, &what, &tally);
        mirror.witness.assert_no_leak(proxy.stop().as_bytes(), "what the proxy says");
    }
}

/// The proxy has the whole body and the answer's head, but the upstream has not read the body: what the proxy
/// writes next begins anywhere in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_stuck_when_the_answer_comes_goes_up_as_it_is() {
    if !can_run(cannot_scan()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    for over_tls in [false, true] {
        let mirror = Mirror::start(over_tls, BEARER).await;
        let proxy = mirror.proxy(&["--control-socket", str(&socket)]);
        let placeholders = placeholders(&mirror, &proxy).await;
        let mut most = TOO_MUCH_BYTES;
        let mut whole = 0;
        for number in 0..=STUCK {
            let placeholder = &placeholders[number % placeholders.len()];
            let lure =
                format!("POST /v1/responses HTTP/1.1\r\nauthorization: Bearer {placeholder}\r\n");
            let length = most - number * STUCK_STEP_BYTES;
            let lures = lure.repeat(length / lure.len() + 2);
            let body = &lures.as_bytes()[number % lure.len()..][..length];
            let stuck = stuck(&mirror, &proxy, &socket, number, body);
            let taken = timeout(LIMIT, stuck).await.expect("a body that is stuck does not go on");
            if number == 0 {
                most = taken; // So much gets into the proxy.
            } else if taken == length {
                whole += 1;
            }
        }
        tell(&format!("{STUCK} bodies of up to {most} bytes were stuck, {whole} as a whole"));
        assert!(whole > 0, "none was in the proxy as a whole when the answer came");
        mirror.witness.judge();
        drop(proxy);
    }
}

/// Sends a body to an upstream that answers before it reads any of it. Returns how much the proxy had then.
async fn stuck(mirror: &Mirror, proxy: &Proxy, socket: &Path, number: usize, body: &[u8]) -> usize {
    mirror.witness.let_go(NOTHING);
    let mut line = Line::open(proxy.port).await;
    let length = body.len();
    let head = format!(
        "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
        X-Id: {number}\r\nX-Mirror: stuck\r\nContent-Length: {length}\r\n\r\n",
        proxy.port
    );
    let Line { reader, writer } = &mut line;
    let send = async {
        writer.write_all(head.as_bytes()).await.unwrap();
        writer.write_all(body).await.unwrap();
    };
    let follow = async {
        mirror.witness.until_arrived(number as u64, 0).await;
        let taken = taken(socket, length).await;
        mirror.witness.let_go(THE_ANSWERS_HEAD);
        let head = read_head(reader).await.unwrap().unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        mirror.witness.let_go(THE_BODY);
        let echoed = Body::of(&head).rest(reader).await.unwrap();
        let start = find(&echoed, b"\r\n\r\n").unwrap() + 4;
        let differs = echoed[start..].iter().zip(body).position(|(one, other)| one != other);
        if let Some(at) = differs {
            let shown = &echoed[start + at..];
            panic!("another body from {at} on: {:?}", text(&shown[..shown.len().min(200)]));
        }
        assert_eq!(echoed.len() - start, length);
        taken
    };
    tokio::join!(send, follow).1
}

/// How far this body comes into the proxy.
async fn taken(socket: &Path, length: usize) -> usize {
    let (mut taken, mut looks) = (0, 0);
    while taken < length && (taken < LEAST_BYTES || looks < LOOKS) {
        let status = status(socket);
        let now = status["in_flight"][0]["bytes_in"].as_u64().unwrap_or(0);
        let now = usize::try_from(now).unwrap();
        looks = if now == taken { looks + 1 } else { 0 };
        taken = now;
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    taken
}

/// What may stand for the key in the proxy, after a few ordinary requests.
async fn placeholders(mirror: &Mirror, proxy: &Proxy) -> Vec<String> {
    let mut line = Line::open(proxy.port).await;
    for _ in 0..3 {
        let ask = format!(
            "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 2\r\n\r\n{{}}",
            proxy.port
        );
        line.send(ask.as_bytes()).await;
        let (head, _) = line.answer().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    let found = placeholder::candidates(proxy.pid(), &mirror.witness.key);
    assert!(!found.is_empty(), "nothing in the proxy's memory stands for the key");
    found
}

fn tell_of(mirror: &Mirror, over_tls: bool, what: &str, tally: &Tally) {
    let way = if over_tls { "TLS" } else { "plain" };
    let up = mirror.witness.connections.load(Ordering::SeqCst);
    let field = mirror.witness.key_field.name;
    tell(&format!(
        "{way}, {field}, {what}: {} admitted, {} refused, {} connections down and {up} up, {} KiB back; {:?}",
        tally.admitted,
        tally.refused,
        tally.connections,
        tally.echoed_bytes >> 10,
        tally.manners
    ));
}
