//! Where both sides are at work at once: answers before the request's end, readers that are late, sides that stop in the
//! middle. Nobody loses the end of an answer, and nobody takes a cut for one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_mock_upstream::Scenario;
use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::support::*;

/// An upstream that does this with each of its connections; returns its URL.
fn serving(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/responses", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

/// Waits until the other end's kernel has all that was sent (proc_pid_net(5), `tx_queue`). On a machine that is busy,
/// a reset can overtake what was sent from another processor, and then nobody can read it.
fn until_it_has_arrived(stream: &TcpStream) {
    let (Ok(SocketAddr::V4(own)), Ok(SocketAddr::V4(other))) =
        (stream.local_addr(), stream.peer_addr())
    else {
        return;
    };
    let ends = format!(" 0100007F:{:04X} 0100007F:{:04X} 01 ", own.port(), other.port());
    let waits = || {
        let connections = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let queue = connections.lines().find_map(|line| Some(line.split_once(&ends)?.1.to_owned()));
        queue.is_some_and(|queue| !queue.starts_with("00000000:"))
    };
    while waits() {
        std::thread::yield_now();
    }
}

/// A client that uploads so many bytes while it does other things.
fn uploading(proxy: &Proxy, bytes: usize) -> Client {
    let mut client = proxy.connect();
    let length = format!("Content-Length: {bytes}");
    client.send_request("POST /v1/responses", &[&length], b"");
    client.send_meanwhile(vec![b'x'; bytes]);
    client
}

/// An upstream that refuses a large body at once, and closes over what it has not read, as many do. That resets
/// the connection; its answer has arrived before.
#[test]
fn an_answer_that_comes_before_the_request_is_read_reaches_the_client() {
    let url = serving(|mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        // It says that it closes: else a next request could cross its close, and is lost to anybody.
        let head = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";
        let _ = stream.write_all(format!("{head}no").as_bytes());
        until_it_has_arrived(&stream);
    });
    let proxy = Proxy::start_for(&url, &[]);
    for turn in 0..50 {
        let answer = uploading(&proxy, 4 << 20).answer();
        assert_eq!((answer.status, answer.body.as_slice()), (401, &b"no"[..]), "turn {turn}");
    }
}

/// An answer without a length ends with its connection: only a connection that ends well may end it. A reset may be
/// told to whoever writes, and not to whoever reads.
#[test]
fn a_reset_while_the_request_goes_up_is_a_cut_however_the_answer_would_end() {
    let url = serving(|mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart");
        let _ = stream.read(&mut [0; 65_536]);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let proxy = Proxy::start_for(&url, &[]);
    for turn in 0..50 {
        let mut client = uploading(&proxy, 4 << 20);
        let _ = client.read_to_end();
        let got = text(&client.got);
        assert!(!got.contains("\r\n0\r\n\r\n"), "turn {turn}: a cut ended cleanly: {got}");
    }
    let said = proxy.stop();
    assert_eq!(failures(&said).len(), 50, "a cut was recorded as complete: {said}");
}

/// What an upstream leaves unread does not matter as long as it answers.
#[test]
fn an_answer_goes_on_although_the_rest_of_the_request_is_never_read() {
    let url = serving(|mut stream| {
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100)); // Twice the limit in all.
            let _ = stream.write_all(b"5\r\nevent\r\n");
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let proxy = Proxy::start_for(&url, &["--header-timeout", "500ms"]);
    let mut client = uploading(&proxy, 30 << 20);
    client.until("\r\n0\r\n\r\n");
    assert_eq!(text(&client.got).matches("event").count(), 10);
}

/// An upstream that takes nothing of a large body, and a client that has left: the place comes back all the same.
#[test]
fn a_request_that_the_upstream_does_not_take_gives_its_place_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&listener).set_recv_buffer_size(4_096).unwrap();
    let url = format!("http://{}/v1/responses", listener.local_addr().unwrap());
    let (taken, connections) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = taken.send(stream); // Kept, and not read.
        }
    });
    let mut proxy = Proxy::start_for(&url, &["--max-concurrent", "1", "--header-timeout", "1s"]);
    let mut client = proxy.connect();
    client.send_request("POST /v1/responses", &["Content-Length: 50000000"], b"");
    client.send_until_stuck();
    drop(client);
    let _first = connections.recv_timeout(LIMIT).unwrap();
    proxy.line_with(" #1 "); // Given up, or left: which comes first is not the point.
    let began = Instant::now();
    loop {
        let answer = proxy.ask("POST /v1/responses", &[], b"{}");
        match answer.error().0.as_str() {
            "too_many_requests" => {
                assert!(began.elapsed() < LIMIT, "the place does not come back");
            }
            code => {
                assert_eq!(code, "upstream_timeout", "it was forwarded");
                break;
            }
        }
    }
    assert!(!proxy.stop().contains("bad_head"), "the rest of a body was taken for a head");
}

/// An upstream whose answers are as long as the request's body says.
fn upstream_of_any_length() -> String {
    serving(|mut stream| {
        let mut got = Vec::new();
        while !got.ends_with(b"!") {
            let mut chunk = [0; 1_024];
            let count = stream.read(&mut chunk).unwrap();
            got.extend_from_slice(&chunk[..count]);
        }
        let asked = text(&got);
        let length = asked.rsplit("\r\n\r\n").next().unwrap().trim_end_matches('!');
        let head =
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&vec![b'x'; length.parse().unwrap()]);
    })
}

/// hyper has an answer's last bytes in its own memory when the upstream's body ends: a client that reads late gets
/// them even when the proxy is told to stop meanwhile.
#[test]
fn a_client_that_reads_late_gets_the_end_of_its_answer() {
    let mut proxy = Proxy::start_for(&upstream_of_any_length(), &[]);
    // The kernel takes some megabytes, hyper 64 KiB and a piece: some answer ends in between.
    let lengths: Vec<usize> = (0..70).map(|step| 2_000_000 + step * 60_000).collect();
    let mut clients: Vec<Client> = lengths
        .iter()
        .map(|length| {
            let mut client = Client::connect_with_buffer(proxy.port, 4_096);
            client.send_request("POST /v1/responses", &[], format!("{length}!").as_bytes());
            client
        })
        .collect();
    for client in &mut clients {
        client.until("\r\n\r\n");
    }
    proxy.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(2_500)); // The lateness under test: over the last head's second.
    for (client, length) in clients.iter_mut().zip(lengths) {
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.len()), (200, length));
    }
    drop(clients);
    let (status, said) = proxy.ended();
    assert!(status.success());
    assert!(failures(&said).is_empty(), "{said}");
}

/// A socket that is closed over unread bytes is reset, and the reset takes the answer's end with it.
#[test]
fn what_a_client_sends_meanwhile_does_not_cost_it_the_end_of_its_answer() {
    let proxy = Proxy::start_for(&upstream_of_any_length(), &[]);
    for surplus in ["", "\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        let mut client = Client::connect_with_buffer(proxy.port, 4_096);
        client.send_request("POST /v1/responses", &["Connection: close"], b"1500000!");
        client.until("\r\n\r\n");
        client.send(surplus);
        std::thread::sleep(Duration::from_millis(300)); // A reader that reads late.
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.len()), (200, 1_500_000), "{surplus:?}");
    }
}

/// When the proxy is told to stop, a head that is on its way has a moment, the first or a later one of its connection;
/// and one that came together with the request before it is recorded when it never ends.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_head_is_neither_cut_off_nor_forgotten() {
    let upstream = upstream(Scenario::Json).await;
    let mut proxy = Proxy::start(&upstream, &[]);
    let whole = format!(
        "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: 2\r\n\r\n{{}}",
        proxy.port
    );
    let (half, rest) = whole.split_at(20);

    let mut client = proxy.connect();
    client.send(format!("{whole}{half}"));
    assert_eq!(client.answer().status, 200);
    drop(client);
    proxy.line_with("refused bad_head");

    let mut later = proxy.connect();
    later.send(&whole);
    assert_eq!(later.answer().status, 200);
    let mut clients = [later, proxy.connect()];
    for client in &mut clients {
        client.send(half);
    }
    std::thread::sleep(Duration::from_millis(200)); // Nothing tells when half a head has been read.
    proxy.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(200)); // Within the second that they have.
    for client in &mut clients {
        client.send(rest);
        assert_eq!(client.answer().status, 200);
    }
    drop(clients);
    let (status, said) = proxy.ended();
    assert!(status.success() && said.matches("bad_head").count() == 1, "{said}");
}
