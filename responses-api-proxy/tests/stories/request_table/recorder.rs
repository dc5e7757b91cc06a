//! An upstream that keeps every byte, and what it makes of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

use super::words::*;
use crate::support::*;

/// An upstream that keeps each connection's bytes, and answers each first request.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

/// The connections in the order in which they were made.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: Mutex<Vec<Recorded>>,
    pub(crate) changed: Condvar,
}

#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ended: bool,
}

/// It closes the connection, so that each request comes on one of its own.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 12\r\nConnection: close\r\n\r\n{\"id\":\"r_1\"}";

impl Recorder {
    /// Starts it. Its listening thread ends with the tests.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                let place = shared.begin();
                thread::spawn(move || shared.record(place, stream));
            }
        });
        Self { address, seen }
    }

    /// Everything that came, once all connections have ended. A connection that carried nothing is none.
    pub(crate) fn all(&self) -> Vec<Upward> {
        let seen = self.seen.until(|seen| seen.iter().all(|connection| connection.ended));
        let carried = seen.iter().filter(|connection| !connection.bytes.is_empty());
        carried.map(|connection| Upward::read(&connection.bytes)).collect()
    }
}

impl Seen {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.connections.lock().unwrap()
    }

    pub(crate) fn until(
        &self,
        reached: impl Fn(&[Recorded]) -> bool,
    ) -> MutexGuard<'_, Vec<Recorded>> {
        let (seen, waited) =
            self.changed.wait_timeout_while(self.lock(), LIMIT, |seen| !reached(seen)).unwrap();
        assert!(!waited.timed_out(), "the upstream's connections never came to that");
        seen
    }

    pub(crate) fn begin(&self) -> usize {
        let mut seen = self.lock();
        seen.push(Recorded::default());
        seen.len() - 1
    }

    pub(crate) fn record(&self, place: usize, mut stream: TcpStream) {
        let mut piece = [0; 16 * 1024];
        let mut answered = false;
        loop {
            let count = stream.read(&mut piece).unwrap_or(0); // A reset ends it too.
            let is_whole = {
                let mut seen = self.lock();
                let recorded = &mut seen[place];
                recorded.bytes.extend_from_slice(&piece[..count]);
                recorded.ended = count == 0;
                Request::read(&recorded.bytes).is_some()
            };
            self.changed.notify_all();
            if count == 0 {
                return;
            }
            if is_whole && !answered {
                answered = true;
                let _ = stream.write_all(ANSWER); // The proxy may have let go of it.
            }
        }
    }
}

/// What one connection has carried up.
pub(crate) struct Upward {
    pub(crate) raw: Vec<u8>,
    /// The request, if it is whole.
    pub(crate) request: Option<Request>,
}

impl Upward {
    pub(crate) fn read(raw: &[u8]) -> Self {
        Self { raw: raw.to_vec(), request: Request::read(raw) }
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        let request = self.request.as_ref();
        request.is_some_and(|request| request.fields.iter().any(|found| found == field))
    }

    pub(crate) fn phrase(&self) -> String {
        match &self.request {
            Some(request) => request.phrase(),
            None => "nothing whole".to_owned(),
        }
    }

    /// What no request may be like, whatever the case.
    pub(crate) fn faults(&self, upstream: SocketAddr) -> impl Iterator<Item = String> {
        self.request.iter().flat_map(move |request| request.faults(upstream))
    }

    pub(crate) fn for_the_judge(&self, name: &str, upstream: SocketAddr) -> Value {
        let body = self.request.as_ref().map(|request| hexadecimal(&request.body));
        json!({
            "name": name, "raw": hexadecimal(&self.raw), "whole": body.is_some(), "body": body,
            "host": upstream.to_string(), "authorization": format!("Bearer {KEY}"),
        })
    }
}

/// A whole request as the upstream reads it. It relies on how the proxy's client writes: names in small
/// letters, one space after the colon. Where that does not hold, the table does not either.
pub(crate) struct Request {
    pub(crate) line: String,
    /// Each as it stands on its line.
    pub(crate) fields: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// How many bytes came behind it.
    pub(crate) surplus: usize,
}

pub(crate) const FRAMINGS: [&str; 2] = ["content-length: ", "transfer-encoding: "];

impl Request {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")?;
        let head = characters(&bytes[..end]);
        let mut lines = head.split("\r\n").map(ToOwned::to_owned);
        let line = lines.next()?;
        let fields: Vec<String> = lines.collect();
        let behind = &bytes[end + 4..];
        let (body, surplus) = if fields.iter().any(|field| field.starts_with(FRAMINGS[1])) {
            without_chunks(behind)?
        } else {
            let length = fields.iter().find_map(|field| field.strip_prefix(FRAMINGS[0]));
            let length: usize = length.unwrap_or("0").parse().ok()?;
            (behind.get(..length)?.to_vec(), behind.len() - length)
        };
        Some(Self { line, fields, body, surplus })
    }

    pub(crate) fn phrase(&self) -> String {
        let of = |name: &&str| self.fields.iter().filter(|field| field.starts_with(*name)).count();
        let framing = match (of(&FRAMINGS[0]), of(&FRAMINGS[1])) {
            (1, 0) => "by its length",
            (0, 1) => "in chunks",
            (0, 0) => "without any framing",
            _ => "with more than one framing",
        };
        let is_ours = |field: &&String| {
            field.as_str() == "accept: */*"
                || ["authorization: ", "host: "].iter().any(|name| field.starts_with(*name))
                || FRAMINGS.iter().any(|name| field.starts_with(*name))
        };
        let clients = self.fields.iter().filter(|field| !is_ours(field));
        let clients: Vec<String> = clients.map(|field| shown(field)).collect();
        phrase(&characters(&self.body), framing, &clients)
    }

    pub(crate) fn faults(&self, upstream: SocketAddr) -> Vec<String> {
        let mut faults = Vec::new();
        if self.line != "POST /v1/responses HTTP/1.1" {
            faults.push(format!("the upstream is asked {:?}", self.line));
        }
        if self.surplus != 0 {
            faults.push(format!("{} bytes go up behind the request", self.surplus));
        }
        for (name, value) in
            [("authorization: ", format!("Bearer {KEY}")), ("host: ", upstream.to_string())]
        {
            let values: Vec<&str> =
                self.fields.iter().filter_map(|field| field.strip_prefix(name)).collect();
            if values != [value.as_str()] {
                faults.push(format!("the upstream gets {name}{values:?}"));
            }
        }
        faults
    }
}

/// A body that came in chunks, and how many bytes came behind it; `None` if it is not whole.
pub(crate) fn without_chunks(mut rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n")?;
        let size = usize::from_str_radix(&characters(&rest[..line]), 16).ok()?;
        let data = rest.get(line + 2..line + 2 + size)?;
        body.extend_from_slice(data);
        rest = rest[line + 2 + size..].strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((body, rest.len()));
        }
    }
}
