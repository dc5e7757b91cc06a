//! Clients that leave while their request is being handed on, at every moment of it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::control_client::look_for;
use crate::support::*;

const AT_ONCE: usize = 8;
const CLIENTS_EACH: usize = 250;
/// Clients stay a little longer from one to the next: on any machine, some of their requests have gone to the upstream by
/// then and some have not.
const LONGER_MICROS: usize = 50;
/// As long as what stands for the key inside the proxy.
const PLACEHOLDER_BYTES: usize = 43;

/// What an upstream of our own has got: every head, and what came of one that was cut.
#[derive(Default)]
struct Heads(Mutex<Vec<String>>);

impl Heads {
    /// Answers all that comes on a connection, to its end.
    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && reader.read_until(b'\n', &mut head)? > 0 {}
            if head.is_empty() {
                return Ok(());
            }
            let head = text(&head);
            self.0.lock().unwrap().push(head.clone());
            if !head.ends_with("\r\n\r\n") {
                return Ok(());
            }
            let length = head.split("\r\ncontent-length: ").nth(1).unwrap_or("0\r\n");
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            reader.read_exact(&mut vec![0; length])?;
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
        }
    }

    /// Takes connections for ever; returns the URL.
    fn listen(self: &Arc<Self>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/responses", listener.local_addr().unwrap());
        let heads = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heads = Arc::clone(&heads);
                thread::spawn(move || heads.converse(stream)); // How one ends is the proxy's affair.
            }
        });
        url
    }
}

/// Sends a small request, and resets its connection soon after.
fn leave_early(port: u16, number: usize) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!(
        "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    client.write_all(request.as_bytes()).unwrap();
    let micros = (number * LONGER_MICROS).try_into().unwrap();
    thread::sleep(Duration::from_micros(micros)); // The moment under test.
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
}

/// What stands for the key is taken back when its exchange ends, while the HTTP client may still be about to write it.
#[test]
fn a_head_goes_up_with_the_key_or_not_at_all_whenever_its_client_leaves() {
    let heads = Arc::new(Heads::default());
    let proxy = Proxy::start_for(&heads.listen(), &[]);
    let port = proxy.port;
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| (0..CLIENTS_EACH).for_each(|number| leave_early(port, number)));
        }
    });
    for _ in 0..AT_ONCE {
        assert_eq!(proxy.ask("POST /v1/responses", &[], b"{}").status, 200);
    }
    proxy.stop();
    // One is this test's, one the listener's; each connection has another.
    look_for("the end of all connections", || match Arc::strong_count(&heads) {
        2 => Ok(()),
        more => Err(more),
    });

    let heads = heads.0.lock().unwrap();
    assert!(heads.len() > AT_ONCE, "nobody's request went up");
    let start = format!("POST /v1/responses HTTP/1.1\r\nauthorization: Bearer {KEY}\r\n");
    let is_of_a_placeholder = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for head in heads.iter() {
        assert!(head.starts_with(&start) || start.starts_with(head), "{head}");
        let mut words = head.split(|c: char| !is_of_a_placeholder(c));
        assert!(words.all(|word| word.len() != PLACEHOLDER_BYTES), "{head}");
    }
}
