//! Whether a proxy serves this account: asked on its port, as a client, where the control socket tells nothing.
//!
//! Asked is for a route that there is not, without a key. A proxy looks whose connection it is before it looks at the route, and
//! says which of the two it refuses (`x-codex-proxy-error`). Nothing goes upstream; a record of the refusal stays.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a proxy may take: it has nobody to ask.
const LIMIT: Duration = Duration::from_secs(2);
/// A route that no proxy has.
const NO_ROUTE: &str = "/v1/models";
/// The field in which a proxy names its refusal.
const REFUSAL: &str = "x-codex-proxy-error";

/// Whether what listens on this port of 127.0.0.1 serves this account; `None` where that can't be told, within two seconds.
///
/// Dropped, it hangs up.
pub async fn serves_this_account(port: u16) -> Option<bool> {
    let refusal = timeout(LIMIT, refusal(port)).await.ok()??;
    match refusal.as_str() {
        "client_not_allowed" => Some(false),
        "route_not_allowed" => Some(true),
        _ => None,
    }
}

async fn refusal(port: u16) -> Option<String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.ok()?;
    let request = Request::get(NO_ROUTE)
        .header(HOST, format!("127.0.0.1:{port}"))
        .header(CONNECTION, "close")
        .body(Empty::new())
        .ok()?;
    let mut task = JoinSet::new(); // Dropped, it ends its task.
    task.spawn(connection);
    let answer = sender.send_request(request).await.ok()?;
    let refusal =
        answer.headers().get(REFUSAL).filter(|_| answer.status() == StatusCode::FORBIDDEN);
    Some(refusal?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::pretended::bound;

    /// What is found of somebody who answers so.
    async fn answered(answer: &'static str) -> (Option<bool>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap().replace(&port.to_string(), "PORT")
        });
        (serves_this_account(port).await, server.join().unwrap())
    }

    #[tokio::test]
    async fn the_refusal_tells() {
        for (answer, expected) in [
            (
                "HTTP/1.1 403 Forbidden\r\nx-codex-proxy-error: client_not_allowed\r\ncontent-length: 0\r\n\r\n",
                Some(false),
            ),
            (
                "HTTP/1.1 403 Forbidden\r\nx-codex-proxy-error: route_not_allowed\r\ncontent-length: 0\r\n\r\n",
                Some(true),
            ),
            (
                "HTTP/1.1 403 Forbidden\r\nx-codex-proxy-error: foreign_host\r\ncontent-length: 0\r\n\r\n",
                None,
            ),
            ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", None),
            (
                "HTTP/1.1 200 OK\r\nx-codex-proxy-error: route_not_allowed\r\ncontent-length: 0\r\n\r\n",
                None,
            ),
            ("SSH-2.0-x\r\n", None),
            ("", None),
        ] {
            let (seen, request) = answered(answer).await;
            assert_eq!(seen, expected, "{answer:?}");
            assert!(
                request.starts_with("GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1:PORT\r\n"),
                "{request}"
            );
            assert!(!request.contains("authorization"), "{request}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(serves_this_account(listener.local_addr().unwrap().port()).await, None);
    }

    #[tokio::test]
    async fn where_nobody_listens_there_is_nothing_to_tell() {
        let silent = bound(0);
        let port = silent.local_addr().unwrap().as_socket().unwrap().port();
        assert_eq!(serves_this_account(port).await, None);
    }
}
