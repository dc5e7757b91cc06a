//! A client that speaks HTTP by hand, where the wire matters.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{LIMIT, contains, find, text};

/// A connection on which requests are written by hand.
pub(crate) struct Client {
    stream: TcpStream,
    port: u16,
    /// All bytes that have arrived.
    pub(crate) got: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::of(TcpStream::connect(("127.0.0.1", port)).unwrap(), port)
    }

    /// Whose socket takes about so many bytes before they are read.
    pub(crate) fn connect_with_buffer(port: u16, bytes: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes / 2).unwrap(); // The kernel doubles it (socket(7)).
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        Self::of(socket.into(), port)
    }

    pub(crate) fn of(stream: TcpStream, port: u16) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, port, got: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// A request on which only what matters to the test has to be said: `Host` and, for a body,
    /// `Content-Length` are added unless they are there.
    pub(crate) fn send_request(&mut self, line: &str, fields: &[&str], body: &[u8]) {
        self.try_send_request(line, fields, body).unwrap();
    }

    /// The same where the proxy may close the connection before all of it is sent.
    pub(crate) fn try_send_request(
        &mut self,
        line: &str,
        fields: &[&str],
        body: &[u8],
    ) -> std::io::Result<()> {
        let mut head = format!("{line} HTTP/1.1\r\n");
        let says = |name: &str| fields.iter().any(|field| field.to_lowercase().starts_with(name));
        if !says("host:") {
            head += &format!("Host: 127.0.0.1:{}\r\n", self.port);
        }
        if !body.is_empty() && !says("content-length:") && !says("transfer-encoding:") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for field in fields {
            head += &format!("{field}\r\n");
        }
        let mut request = (head + "\r\n").into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request)
    }

    /// An ordinary request whose answer will be streamed.
    pub(crate) fn post(&mut self) {
        self.send_request("POST /v1/responses", &[], br#"{"model":"m","stream":true}"#);
    }

    /// Reads on until this has arrived.
    pub(crate) fn until(&mut self, part: &str) {
        let mut chunk = [0; 4_096];
        while !contains(&self.got, part.as_bytes()) {
            let count = match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(count > 0, "the connection ended before {part:?}: {:?}", text(&self.got));
            self.got.extend_from_slice(&chunk[..count]);
        }
    }

    /// Reads to the end of the connection, which may be a reset.
    pub(crate) fn read_to_end(&mut self) -> std::io::Result<()> {
        let ended = self.stream.read_to_end(&mut self.got).map(drop);
        if let Err(error) = &ended {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "the connection did not end");
        }
        ended
    }

    /// Reads to the end of a chunked body without keeping it; returns how many bytes came.
    pub(crate) fn discard(&mut self) -> u64 {
        let mut total = 0;
        let mut chunk = vec![0; 1 << 20];
        while !self.got.ends_with(b"\r\n0\r\n\r\n") {
            let count = self.stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the answer ended early");
            total += count as u64;
            self.got.extend_from_slice(&chunk[..count]);
            self.got.drain(..self.got.len().saturating_sub(16));
        }
        total
    }

    /// Reads one whole answer that has a length or none, or is chunked and small.
    pub(crate) fn answer(&mut self) -> Answer {
        self.until("\r\n\r\n");
        let head_end = find(&self.got, b"\r\n\r\n").unwrap() + 4;
        let head = text(&self.got[..head_end]);
        let field = |name: &str| {
            head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix(name).map(|value| value.trim().to_owned())
            })
        };
        let body = if let Some(length) = field("content-length:") {
            let length: usize = length.parse().unwrap();
            while self.got.len() < head_end + length {
                let mut chunk = [0; 4_096];
                let count = self.stream.read(&mut chunk).unwrap();
                assert!(count > 0, "the answer ended early: {:?}", text(&self.got));
                self.got.extend_from_slice(&chunk[..count]);
            }
            self.got.drain(..head_end + length).skip(head_end).collect()
        } else if field("transfer-encoding:").is_some() {
            self.until("0\r\n\r\n");
            std::mem::take(&mut self.got).split_off(head_end)
        } else {
            self.got.drain(..head_end);
            Vec::new()
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body }
    }

    /// Sends this while the test goes on; the proxy may not want all of it.
    pub(crate) fn send_meanwhile(&self, bytes: Vec<u8>) {
        let mut stream = self.stream.try_clone().unwrap();
        std::thread::spawn(move || stream.write_all(&bytes));
    }

    /// Sends until nothing more is taken.
    pub(crate) fn send_until_stuck(&mut self) {
        self.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while self.stream.write(&[b'x'; 1 << 16]).is_ok() {}
    }

    /// Keeps what is sent from now on until the sending side is closed.
    pub(crate) fn cork(&self) {
        socket2::SockRef::from(&self.stream).set_tcp_cork(true).unwrap();
    }

    /// Sends one byte out of band (MSG_OOB).
    pub(crate) fn send_urgent(&self) {
        assert_eq!(socket2::SockRef::from(&self.stream).send_out_of_band(b"!").unwrap(), 1);
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The code, message and type of an error of the proxy's own, whose shape is checked.
    pub(crate) fn error(&self) -> (String, String) {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let error = document["error"].as_object().unwrap();
        let names: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(names, ["code", "message", "param", "type"], "{document}");
        assert!(error["param"].is_null());
        assert!(error["type"].as_str().unwrap().starts_with("proxy_"), "{document}");
        let code = error["code"].as_str().unwrap().to_owned();
        assert!(self.head.contains(&format!("x-codex-proxy-error: {code}\r\n")), "{}", self.head);
        (code, error["message"].as_str().unwrap().to_owned())
    }
}
