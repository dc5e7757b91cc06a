//! A client that sends a case's bytes, and tells what came of it in the table's words.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::cases::Case;
use super::recorder::Recorder;
use super::words::{bytes, expanded};
use crate::support::*;

/// Sends a case's bytes on a connection of its own; returns what came of it in the words of [`Case::client`].
///
/// On the way it waits for the proxy's 100 at `{CONTINUE}`, and until the upstream has seen something at
/// `{SEEN}`; it closes its sending side at `{END}`. Whether the connection is still open is seen by asking
/// for something else on it, which closes it; after `{END}` and `{WAIT}` by waiting for its end alone.
pub(crate) fn ask(proxy: &Proxy, recorder: &Recorder, case: &Case) -> String {
    let mut client = RawClient::connect(proxy.port);
    let connections = recorder.seen.lock().len();
    let mut rest = expanded(case.sent, proxy.port);
    let mut asks_for_more = true;
    loop {
        let next = ["{CONTINUE}", "{SEEN}", "{END}", "{WAIT}"]
            .into_iter()
            .filter_map(|wait| Some((rest.find(wait)?, wait)))
            .min();
        let (end, wait) = next.unwrap_or((rest.len(), ""));
        client.send(&bytes(&rest[..end]));
        match wait {
            "{CONTINUE}" => while client.answers().is_empty() && client.more() {},
            "{SEEN}" => drop(recorder.seen.until(|seen| {
                seen[connections..].iter().any(|connection| !connection.bytes.is_empty())
            })),
            "{END}" => {
                let _ = client.stream.shutdown(Shutdown::Write);
                asks_for_more = false;
            }
            "{WAIT}" => asks_for_more = false,
            _ => break,
        }
        rest = rest.split_off(end + wait.len());
    }
    while client.answers().iter().all(|answer| answer == "100") && client.more() {}
    if asks_for_more {
        // The one answer that closes the connection and follows no other case's.
        client.send(&bytes(&expanded(
            b"GET / HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            proxy.port,
        )));
    }
    while client.more() {}

    let mut answers = client.answers();
    let is_open =
        answers.len() > 1 && answers.last().is_some_and(|last| last == "426 upgrade_refused");
    if is_open {
        answers.pop();
    }
    let answers = if answers.is_empty() { "no answer".to_owned() } else { answers.join(", then ") };
    let connection = match (client.hangs, is_open) {
        (true, _) => "hanging",
        (false, true) => "open",
        (false, false) => "closed",
    };
    format!("{answers}; {connection}")
}

/// A client that expects anything.
pub(crate) struct RawClient {
    pub(crate) stream: TcpStream,
    pub(crate) got: Vec<u8>,
    /// Nothing came any more, and no end either.
    pub(crate) hangs: bool,
}

impl RawClient {
    pub(crate) fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, got: Vec::new(), hangs: false }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes); // The proxy may have closed the connection before.
    }

    /// Whether more has come. A reset ends a connection too.
    pub(crate) fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.hangs = error.kind() == ErrorKind::WouldBlock;
                    return false;
                }
                Ok(count) => {
                    self.got.extend_from_slice(&piece[..count]);
                    return count > 0;
                }
            }
        }
    }

    /// The answers that have come whole.
    pub(crate) fn answers(&self) -> Vec<String> {
        let mut answers = Vec::new();
        let mut rest = self.got.as_slice();
        while let Some(end) = find(rest, b"\r\n\r\n") {
            let head = text(&rest[..end]).to_lowercase();
            let field = |name: &str| {
                head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim())
            };
            let length: usize =
                field("content-length:").map_or(0, |length| length.parse().unwrap());
            let Some(behind) = rest.get(end + 4 + length..) else { break };
            let status = head.split(' ').nth(1).unwrap_or_default();
            answers.push(match field("x-codex-proxy-error:") {
                Some(code) => format!("{status} {code}"),
                None => status.to_owned(),
            });
            rest = behind;
        }
        answers
    }
}
