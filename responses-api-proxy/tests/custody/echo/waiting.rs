//! The strongest attack there is: a body that is a head of ours, with the placeholder of an exchange whose own
//! head is still to come.
//!
//! Where a head is due, that placeholder gets the key. Here it is a body that is due.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::attacker::Line;
use super::placeholder::{self, PLACEHOLDER_BYTES};
use super::wire::{Body, chunk, read_head};
use crate::control_client::look_for;
use crate::keys::random_key;
use crate::leaks::Leaks;
use crate::scanner::cannot_scan;
use crate::support::*;

/// As short as the queue of connections can be that nobody has accepted.
const BACKLOG: u32 = 1;
/// On this machine, a connection that is not there by then finds no place in the queue.
const FULL: Duration = Duration::from_millis(300);
/// How often the attack is in one body.
const TIMES: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_the_placeholder_of_an_exchange_that_waits_goes_up_as_it_is() {
    if !can_run(cannot_scan()) {
        return;
    }
    for is_chunked in [false, true] {
        for stays in [true, false] {
            let attempt = timeout(LIMIT, attempt(is_chunked, stays)).await;
            attempt.unwrap_or_else(|_| panic!("it hangs: {is_chunked}, {stays}"));
        }
    }
}

/// One exchange has a connection and holds its body back. Another waits: for that connection, if it stays, or for
/// one of its own.
async fn attempt(is_chunked: bool, stays: bool) {
    let key = random_key(48);
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}/v1/responses");
    let flags = ["--upstream-url", &url, "--connect-timeout", "1m"];
    let proxy = Proxy::spawn_with_key(program().args(flags), &key);

    let length = TIMES * lure(&"x".repeat(PLACEHOLDER_BYTES)).len();
    let framing = if is_chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {length}")
    };
    let mut attacker = Line::open(proxy.port).await;
    attacker.send(&request(proxy.port, &framing, "")).await;
    let (mut upstream, head) = first_head(&listener).await;
    assert_begins_with_the_key(&head, &key);

    let in_the_queue = fill(address).await;
    let before = placeholder::all(proxy.pid(), &key);
    let mut waiting = Line::open(proxy.port).await;
    waiting.send(&request(proxy.port, "Content-Length: 2", "{}")).await;
    let lure = lure(&new_one(proxy.pid(), &key, &before));
    look_for("the second exchange's connection", || match connecting(address) {
        1 => Ok(()),
        others => Err(others),
    });

    let mut body = Body::of(&head);
    for _ in 0..TIMES {
        let piece = lure.as_bytes();
        attacker.send(&if is_chunked { chunk(piece) } else { piece.to_vec() }).await;
        let mut came = Vec::new();
        while came.len() < piece.len() {
            came.extend(body.piece(&mut upstream).await.unwrap().expect("more of a body"));
        }
        assert!(came == piece, "another body went up: {:?}", text(&came));
    }
    if is_chunked {
        attacker.send(&chunk(b"")).await;
    }
    assert!(body.piece(&mut upstream).await.unwrap().is_none());
    assert_eq!(connecting(address), 1, "what it takes its placeholder from waits no more");

    let all = lure.repeat(TIMES);
    upstream
        .write_all(&answer(if stays { "" } else { "Connection: close\r\n" }, &all))
        .await
        .unwrap();
    let (head, came) = attacker.answer().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && text(&came) == all, "{head}{:?}", text(&came));
    let leaks = Leaks::of(&key);
    assert_eq!((leaks.find(head.as_bytes()), leaks.find(&came)), (None, None));

    // None of that has used it up.
    let (mut upstream, head) = if stays {
        let head = read_head(&mut upstream).await.unwrap().expect("the second exchange's head");
        (upstream, head)
    } else {
        drop((upstream, in_the_queue));
        first_head(&listener).await
    };
    assert_begins_with_the_key(&head, &key);
    upstream.write_all(&answer("", "ok")).await.unwrap();
    let (head, came) = waiting.answer().await;
    assert!(head.starts_with("HTTP/1.1 200 ") && came == b"ok", "{head}{:?}", text(&came));
}

fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.listen(BACKLOG).unwrap()
}

fn request(port: u16, framing: &str, body: &str) -> Vec<u8> {
    let host = format!("Host: 127.0.0.1:{port}");
    format!("POST /v1/responses HTTP/1.1\r\n{host}\r\n{framing}\r\n\r\n{body}").into_bytes()
}

fn answer(field: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{field}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// A whole request as the proxy itself writes it, but for the key.
fn lure(placeholder: &str) -> String {
    format!(
        "POST /v1/responses HTTP/1.1\r\nauthorization: Bearer {placeholder}\r\ncontent-length: 0\r\n\r\n"
    )
}

fn assert_begins_with_the_key(head: &str, key: &str) {
    let start = format!("POST /v1/responses HTTP/1.1\r\nauthorization: Bearer {key}\r\n");
    assert!(head.starts_with(&start), "{head}");
}

/// The first connection on which a head comes, and that. What was only there to fill the queue has ended.
async fn first_head(listener: &TcpListener) -> (BufReader<TcpStream>, String) {
    loop {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        if let Ok(Some(head)) = read_head(&mut stream).await {
            return (stream, head);
        }
    }
}

/// Connects until nobody else can.
async fn fill(address: SocketAddr) -> Vec<TcpStream> {
    let mut connected = Vec::new();
    while let Ok(another) = timeout(FULL, TcpStream::connect(address)).await {
        connected.push(another.unwrap());
    }
    connected
}

/// The placeholder in this process that was not there before.
fn new_one(pid: u32, key: &str, before: &HashMap<String, usize>) -> String {
    look_for("a new placeholder", || {
        let mut now = placeholder::all(pid, key);
        now.retain(|placeholder, _| !before.contains_key(placeholder));
        assert!(now.len() <= 1, "one exchange has several: {now:?}");
        now.into_keys().next().ok_or("none yet")
    })
}

/// How many connections to this address wait to be taken (SYN_SENT in proc_pid_net(5)).
fn connecting(to: SocketAddr) -> usize {
    const SYN_SENT: &str = "02";
    let to = format!("0100007F:{:04X}", to.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_connecting = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some(to.as_str()) && fields.next() == Some(SYN_SENT)
    };
    table.lines().filter(is_connecting).count()
}
