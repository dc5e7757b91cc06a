//! `codex proxy demo`: one request, client → proxy → upstream, and what each of them saw.
//!
//! The upstream is the mock, over real TLS. The proxy is this very program, started the way that a
//! user starts it, with a key made for the occasion on its standard input. The client is given
//! nothing but the proxy's address. Each step is checked, and the first that fails ends the demo.

mod client;
mod hardening;
mod proxy;
mod steps;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use codex_mock_upstream::{MockUpstream, Options, Scenario};
use codex_process_hardening::Hardened;
use serde_json::json;
use tokio::runtime;
use tokio::time::timeout;

use client::Answer;
use hardening::Hardening;
use proxy::Proxy;
use steps::Steps;

/// An event that has not arrived after so long is held back.
const HELD_BACK: Duration = Duration::from_secs(5);

/// Runs the demo; fails if any step does not show what it should.
pub(crate) fn run(json: bool, hardened: &Hardened) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut steps = Steps::new(json);
    let shown = runtime.block_on(show(&mut steps, hardened));
    if let Err(error) = &shown {
        steps.failed(error);
    }
    shown
}

async fn show(steps: &mut Steps, hardened: &Hardened) -> anyhow::Result<()> {
    let began = Instant::now();
    steps.title("One request, client -> proxy -> upstream. Nothing leaves this machine.");

    let key = make_key()?;
    let options = Options {
        tls: true,
        expected_key: Some(key.clone()),
        scenario: Scenario::Gated,
        ..Options::default()
    };
    let upstream = MockUpstream::start(options).await.context("while starting the upstream")?;
    let url = upstream.responses_url();
    steps.done(
        "upstream",
        json!({ "url": url }),
        &format!("{url}, TLS under an authority made just now"),
    );

    let folder = tempfile::tempdir().context("while making a folder")?;
    let authority = upstream.authority_pem().context("the upstream has no authority")?;
    let mut proxy = Proxy::start(folder.path(), &url, authority, &key).await?;
    let info = proxy.info().clone();
    steps.done(
        "proxy",
        json!({ "base_url": info.base_url, "pid": info.pid, "uid": info.uid }),
        &format!(
            "{}, pid {}; it got a new {}-character key on its standard input",
            info.base_url,
            info.pid,
            key.len()
        ),
    );

    let hardening = Hardening::of(info.pid)?;
    steps.done("hardening", hardening.facts(), &hardening.to_string());
    let removed: Vec<_> = hardened.removed_variables().map(|name| name.to_string_lossy()).collect();
    if !removed.is_empty() {
        let text = format!("taken out of this environment first: {}", removed.join(", "));
        steps.done("environment", json!({ "removed": removed }), &text);
    }

    let mut answer = client::ask(&info.base_url).await?;
    let (status, media_type) = (answer.status(), answer.media_type());
    ensure!(status == 200, "the client got {status} instead of 200");
    ensure!(media_type == "text/event-stream", "the client got {media_type:?} instead of a stream");
    steps.done(
        "client",
        json!({ "status": status, "media_type": media_type, "sent_authorization": false }),
        "POST /v1/responses without any Authorization: 200, text/event-stream",
    );

    let delays = stream(&upstream, &mut answer).await?;
    let slowest = delays.iter().copied().fold(0.0, f64::max);
    steps.done(
        "stream",
        json!({ "events": delays.len(), "delays_ms": delays }),
        &format!(
            "{} events, each sent only after the last had arrived; the slowest took {slowest} ms",
            delays.len()
        ),
    );

    let seen = upstream.seen();
    let [request] = seen.as_slice() else {
        anyhow::bail!("the upstream saw {} requests instead of one", seen.len());
    };
    let bearers: Vec<_> = request.headers.get_all("authorization").iter().collect();
    ensure!(bearers == [format!("Bearer {key}").as_str()], "the upstream saw another bearer");
    steps.done(
        "upstream saw",
        json!({ "authorization": "the key" }),
        "Authorization: Bearer and exactly that key, which the client never had",
    );

    let refused = client::ask_elsewhere(&info.base_url).await?;
    ensure!(refused == 403, "GET /v1/models got {refused} instead of 403");
    ensure!(upstream.counts().requests == 1, "GET /v1/models reached the upstream");
    steps.done(
        "refusal",
        json!({ "status": refused }),
        "GET /v1/models: 403, and the upstream never heard of it",
    );

    proxy.stop().await?;
    steps.done(
        "stop",
        json!({ "exit_code": 0 }),
        "GET /shutdown: 200, exit code 0, the server-info file is gone",
    );
    steps.end(began.elapsed());
    Ok(())
}

/// A key that nothing but this run knows.
fn make_key() -> anyhow::Result<String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("while making a key")?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sk-demo-{digits}"))
}

/// Has the upstream send one event at a time, each after the last has arrived: a proxy that held
/// events back could not get through this. Returns how long each was under way, in milliseconds.
async fn stream(upstream: &MockUpstream, answer: &mut Answer) -> anyhow::Result<Vec<f64>> {
    let mut delays = Vec::new();
    loop {
        upstream.release(1);
        let event = timeout(HELD_BACK, answer.next_event()).await;
        let arrived =
            event.with_context(|| format!("event {} was held back", delays.len() + 1))??;
        match (arrived, upstream.sent_events().last()) {
            (Some(arrived), Some(sent)) => delays.push(millis(arrived.duration_since(*sent))),
            _ => break,
        }
    }
    ensure!(answer.is_complete(), "the stream ended without response.completed");
    Ok(delays)
}

/// Milliseconds, to a hundredth.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}
