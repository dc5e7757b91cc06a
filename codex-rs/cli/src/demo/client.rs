//! The demo's client: it knows the proxy's address and nothing else.

use std::time::Instant;

use anyhow::Context;
use reqwest::Client;

/// What the client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// When each event had arrived.
    pub(crate) arrivals: Vec<Instant>,
    /// Whether `response.completed` was among them.
    pub(crate) completed: bool,
}

/// Sends one streamed request.
pub(crate) async fn ask(base_url: &str) -> anyhow::Result<Answer> {
    let mut response = client()?
        .post(format!("{base_url}/responses"))
        .header("content-type", "application/json")
        .body(r#"{"model":"demo","input":"say hi","stream":true}"#)
        .send()
        .await
        .context("while asking the proxy")?;
    let status = response.status().as_u16();
    let mut text = Vec::new();
    let mut arrivals = Vec::new();
    while let Some(chunk) = response.chunk().await.context("while reading the stream")? {
        text.extend_from_slice(&chunk);
        // An event ends with an empty line.
        let events = text.windows(2).filter(|pair| pair == b"\n\n").count();
        arrivals.resize(events, Instant::now());
    }
    let completed = String::from_utf8_lossy(&text).contains("event: response.completed");
    Ok(Answer { status, arrivals, completed })
}

/// Asks for what the proxy does not forward; returns the status.
pub(crate) async fn ask_elsewhere(base_url: &str) -> anyhow::Result<u16> {
    let response = client()?.get(format!("{base_url}/models")).send().await?;
    Ok(response.status().as_u16())
}

/// Tells the proxy to stop.
pub(crate) async fn shut_down(port: u16) -> anyhow::Result<u16> {
    let response = client()?.get(format!("http://127.0.0.1:{port}/shutdown")).send().await?;
    Ok(response.status().as_u16())
}

/// Plain HTTP to a loopback address, whatever proxy the environment names.
fn client() -> anyhow::Result<Client> {
    // No authority is needed for it, so it must not fail on a machine that has none.
    Client::builder().no_proxy().tls_certs_only([]).build().context("while making a client")
}
