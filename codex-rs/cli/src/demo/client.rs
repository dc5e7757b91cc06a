//! The demo's client: it knows the proxy's address and nothing else.

use std::time::Instant;

use anyhow::Context;
use reqwest::{Client, Response};

/// A streamed answer whose head has arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    response: Response,
    text: Vec<u8>,
    /// Where in `text` the events begin that were not handed out yet.
    next: usize,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The `Content-Type`, or nothing.
    pub(crate) fn media_type(&self) -> String {
        let value = self.response.headers().get("content-type").map(|value| value.as_bytes());
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    }

    /// Waits for the next event; returns when it had arrived, or `None` at the end of the stream.
    pub(crate) async fn next_event(&mut self) -> anyhow::Result<Option<Instant>> {
        loop {
            // An event ends with an empty line.
            if let Some(end) = self.text[self.next..].windows(2).position(|pair| pair == b"\n\n") {
                self.next += end + 2;
                return Ok(Some(Instant::now()));
            }
            match self.response.chunk().await.context("while reading the stream")? {
                Some(chunk) => self.text.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// Whether the turn is complete, as Codex understands it.
    pub(crate) fn is_complete(&self) -> bool {
        String::from_utf8_lossy(&self.text).contains("event: response.completed")
    }
}

/// Sends one streamed request and waits for the head of its answer.
pub(crate) async fn ask(base_url: &str) -> anyhow::Result<Answer> {
    let response = client()?
        .post(format!("{base_url}/responses"))
        .header("content-type", "application/json")
        .body(r#"{"model":"demo","input":"say hi","stream":true}"#)
        .send()
        .await
        .context("while asking the proxy")?;
    Ok(Answer { response, text: Vec::new(), next: 0 })
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
