//! A thousand clients follow slow streams while two hundred others misbehave as badly as they can: no event
//! is lost, no stream is disturbed, whoever comes new is served, and memory stays flat.
//!
//! Nothing here is timed, all is counted. An event goes once so many of the others have done what they
//! wanted, and everybody has it before the next. All of it stays below the proxy's own limits, however late
//! the proxy tidies up: in a round, about 400 exchanges and 700 connections beside the streams.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::misdeeds::{MISDEEDS, answered, ended, sent};
use crate::support::*;
use crate::upstream::Upstream;

const STREAMS: usize = 1_000;
/// Bad clients whose heads never end: a byte for each event.
const DRIBBLERS: usize = 20;
/// Bad clients that do something else in each round, nine the same.
const VANDALS: usize = 180;
const ROUNDS: usize = 8;
/// After so many vandals an event goes, the last of a round once all are done.
const VANDALS_PER_EVENT: usize = VANDALS / 4;
/// Good clients that come new in each round.
const NEWCOMERS: usize = 20;

/// Files that this process may have open at once; the proxy needs about as many.
const OPEN_FILES: u64 = 4_096;

/// What a stream may take (56 KiB measured, unoptimized, 2026-11-22).
const STREAM_KIB: u64 = 128;
/// What a bad client may take while it is there (about 100 KiB measured, most of it a flood that is not read).
const VANDAL_KIB: u64 = 512;
/// After so many rounds the proxy has seen all of it and may not grow any more. (0 to 4 MiB measured, 1 in 30
/// rounds; 8 KiB kept for each bad connection would be 26 MiB.)
const SETTLED: usize = 3;
const GROWTH_KIB: u64 = 16 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_streams_do_not_notice_two_hundred_vandals() {
    if !can_run(too_few_files()) {
        return;
    }
    let upstream = Upstream::start().await;
    let proxy = Proxy::start_for(&upstream.url, &["--max-concurrent", "1500"]);
    let port = proxy.port;
    let idle = Memory::of(&proxy);

    let mut crowd = Crowd::gather(&upstream, proxy.url());
    crowd.event().await; // So that every stream is under way.
    let open = Memory::of(&proxy);
    tell(&format!("idle: {idle}; {STREAMS} streams: {open}"));
    assert!(open.now_kib - idle.now_kib < STREAMS as u64 * STREAM_KIB, "{idle}, then {open}");

    for number in 0..DRIBBLERS {
        // The first head of its connection, or the second.
        let host = format!("Host: 127.0.0.1:{port}\r\n");
        let first = format!("GET /v1/models HTTP/1.1\r\n{host}\r\n").repeat(number % 2);
        let head = format!("{first}POST /v1/responses HTTP/1.1\r\n{host}");
        let (first, slow) = head.split_at(first.len());
        let mut dribbler = sent(port, first).await;
        if !first.is_empty() {
            answered(&mut dribbler).await;
        }
        dribbler.write_all(format!("{slow}Slow: ").as_bytes()).await.unwrap();
        crowd.dribblers.push(dribbler);
    }
    let mut peaks = Vec::new();
    for round in 0..ROUNDS {
        let held = crowd.round(port, round).await;
        let full = Memory::of(&proxy);
        let grown_kib = full.now_kib.saturating_sub(open.now_kib);
        assert!(grown_kib < VANDALS as u64 * VANDAL_KIB, "{open}, then {full}");
        drop(held);
        upstream.until_idle().await;
        let left = Memory::of(&proxy);
        tell(&format!("round {round}: with {VANDALS} vandals {full}; without {left}"));
        peaks.push(left.peak_kib);
    }
    let growth_kib = peaks[ROUNDS - 1].saturating_sub(peaks[SETTLED - 1]);
    assert!(growth_kib < GROWTH_KIB, "{growth_kib} KiB more since round {SETTLED}: {peaks:?}");

    // Whoever does not let go is let go.
    for dribbler in std::mem::take(&mut crowd.dribblers) {
        assert!(timeout(LIMIT, ended(dribbler)).await.is_ok(), "an endless head has no end");
    }
    crowd.event().await;
    let (events, slowest) = crowd.end().await;
    newcomer(client(), proxy.url(), "the-last".to_owned()).await;
    tell(&format!(
        "{events} events in each stream, all in order; the slowest took {} ms to be everywhere",
        slowest.as_millis()
    ));

    // The upstream never failed, so no record may say so.
    let said = proxy.stop();
    let bad = |line: &&str| line.contains(" upstream_failed ") || line.contains(" cut ");
    assert_eq!(said.lines().find(bad), None);
    let endless = said.matches("the head did not arrive in time").count();
    assert!(endless >= DRIBBLERS, "{endless} records of heads without an end");
}

/// Raises the soft limit of open files as far as it is needed; says what is missing if it can't be.
fn too_few_files() -> Option<&'static str> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < 2 * OPEN_FILES {
        // Another test halves it for this process.
        return Some("a hard limit of 8192 open files (`ulimit -Hn`); raise it as root");
    }
    if soft < OPEN_FILES {
        setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, hard).unwrap();
    }
    None
}

#[expect(clippy::print_stderr, reason = "figures, for who asks for them with --nocapture")]
fn tell(figures: &str) {
    eprintln!("{figures}");
}

/// The proxy's resident memory.
struct Memory {
    now_kib: u64,
    peak_kib: u64,
}

impl Memory {
    fn of(proxy: &Proxy) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
        let field = |name: &str| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            value.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Self { now_kib: field("VmRSS:"), peak_kib: field("VmHWM:") }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} KiB (peak {})", self.now_kib, self.peak_kib)
    }
}

// The good clients

/// An ordinary HTTP client that makes a connection for each request.
fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    builder.pool_max_idle_per_host(0).build().unwrap()
}

fn post(client: &reqwest::Client, url: &str, behave: &str, nonce: &str) -> reqwest::RequestBuilder {
    client
        .post(url)
        .header("behave", behave)
        .header("nonce", nonce)
        .body(format!("body-of-{nonce}"))
}

/// An event of the stream that was asked for with this field and this body. No other has its bytes.
pub(crate) fn event(nonce: &str, body: &str, number: usize) -> String {
    let length = nonce.bytes().map(usize::from).sum::<usize>() * 7 + number * 31;
    let text = "tick…".repeat(length % 61);
    let start = format!(r#"{{"nonce":"{nonce}","body":"{body}","number":{number}"#);
    format!("event: tick\ndata: {start},\"text\":\"{text}\"}}\n\n")
}

/// Follows a stream to its clean end: its own events, each once, in order, byte for byte. Returns how many.
async fn follow(
    client: reqwest::Client,
    url: String,
    nonce: String,
    arrived: watch::Sender<usize>,
) -> usize {
    let mut answer = post(&client, &url, "stream", &nonce).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = format!("body-of-{nonce}");
    let (mut got, mut number) = (Vec::new(), 0);
    let mut next = event(&nonce, &body, number);
    while let Some(bytes) = answer.chunk().await.unwrap() {
        got.extend_from_slice(&bytes);
        while got.len() >= next.len() {
            let rest = got.split_off(next.len());
            assert_eq!(text(&got), next);
            got = rest;
            number += 1;
            next = event(&nonce, &body, number);
            arrived.send_modify(|arrived| *arrived += 1);
        }
    }
    assert_eq!(text(&got), "", "more than an event after {number}");
    number
}

/// Asks for a short answer.
async fn newcomer(client: reqwest::Client, url: String, nonce: String) {
    let answer = post(&client, &url, "echo", &nonce).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), event(&nonce, &format!("body-of-{nonce}"), 0));
}

/// Everybody at once, and who decides what happens next.
struct Crowd {
    upstream: Arc<Upstream>,
    url: String,
    client: reqwest::Client,
    streams: JoinSet<usize>,
    /// Events that the streams have brought, all together.
    arrived: watch::Receiver<usize>,
    dribblers: Vec<TcpStream>,
    /// How long the slowest event took to reach every stream's client.
    slowest: Duration,
}

impl Crowd {
    /// Sends all good clients on their way.
    fn gather(upstream: &Arc<Upstream>, url: String) -> Self {
        let client = client();
        let (sender, arrived) = watch::channel(0);
        let mut streams = JoinSet::new();
        for stream in 0..STREAMS {
            let nonce = format!("stream-{stream}");
            streams.spawn(follow(client.clone(), url.clone(), nonce, sender.clone()));
        }
        Self {
            upstream: Arc::clone(upstream),
            url,
            client,
            streams,
            arrived,
            dribblers: Vec::new(),
            slowest: Duration::ZERO,
        }
    }

    /// Lets one more event go, and waits until every stream has brought it.
    async fn event(&mut self) {
        let began = Instant::now();
        let mut expected = 0;
        self.upstream.gate.send_modify(|gate| {
            gate.events += 1;
            expected = gate.events * STREAMS;
        });
        for dribbler in &self.dribblers {
            let _ = dribbler.try_write(b"x"); // The proxy may have had enough.
        }
        let everywhere = tokio::select! {
            everywhere = timeout(LIMIT, reaches(&mut self.arrived, expected)) => everywhere,
            Some(ended) = self.streams.join_next() => panic!("a stream ended early: {ended:?}"),
        };
        let arrived = *self.arrived.borrow();
        assert!(everywhere.is_ok(), "{arrived} of {expected} events have arrived");
        self.slowest = self.slowest.max(began.elapsed());
    }

    /// Lets the vandals loose, and events go meanwhile. Returns the connections that they don't let go of.
    async fn round(&mut self, port: u16, round: usize) -> Vec<TcpStream> {
        let mut vandals = JoinSet::new();
        for vandal in 0..VANDALS {
            let misdeed = MISDEEDS[(vandal + round) % MISDEEDS.len()];
            vandals.spawn(async move {
                let done = timeout(LIMIT, misdeed.commit(port)).await;
                done.unwrap_or_else(|_| panic!("{misdeed:?}: the proxy does not end it"))
            });
        }
        let mut newcomers = JoinSet::new();
        for number in 0..NEWCOMERS {
            let nonce = format!("newcomer-{round}-{number}");
            newcomers.spawn(newcomer(self.client.clone(), self.url.clone(), nonce));
        }
        let mut held = Vec::new();
        for done in 1..=VANDALS {
            held.extend(vandals.join_next().await.unwrap().unwrap());
            if done % VANDALS_PER_EVENT == 0 {
                self.event().await;
            }
        }
        while let Some(served) = timeout(LIMIT, newcomers.join_next()).await.unwrap() {
            served.unwrap();
        }
        held
    }

    /// Ends the streams; returns how many events each has brought, and how long the slowest took.
    async fn end(mut self) -> (usize, Duration) {
        let mut events = 0;
        self.upstream.gate.send_modify(|gate| {
            gate.ended = true;
            events = gate.events;
        });
        let mut ended = 0;
        while let Some(brought) = timeout(LIMIT, self.streams.join_next()).await.unwrap() {
            assert_eq!(brought.unwrap(), events);
            ended += 1;
        }
        assert_eq!(ended, STREAMS);
        (events, self.slowest)
    }
}

pub(crate) async fn reaches(number: &mut watch::Receiver<usize>, expected: usize) {
    number.wait_for(|number| *number == expected).await.unwrap();
}

// The bad clients
