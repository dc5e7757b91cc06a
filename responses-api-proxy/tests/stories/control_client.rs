//! What tests of records share: a client of the control socket that speaks HTTP by hand, the traces that a proxy
//! leaves of its exchanges, and an upstream that answers by hand.

// Named, because other programs' tests take this file from elsewhere.
#[path = "control_client/descriptors.rs"]
mod descriptors;

use std::fmt::Debug;
use std::fs;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use descriptors::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::support::*;

/// The keys of a record, in their order.
pub(crate) const KEYS: [&str; 18] = [
    "id",
    "started_at",
    "peer",
    "method",
    "path",
    "outcome",
    "reason",
    "detail",
    "status",
    "model",
    "stream",
    "bytes_in",
    "bytes_out",
    "first_byte_ms",
    "duration_ms",
    "usage",
    "upstream_request_id",
    "upstream_error",
];

/// Asks the control socket, and takes the whole answer: its status and its body.
pub(crate) fn get(socket: &Path, target: &str) -> (u16, String) {
    ask(socket, "GET", target)
}

/// The same with POST, and no body.
pub(crate) fn post(socket: &Path, target: &str) -> (u16, String) {
    ask(socket, "POST", target)
}

/// What the proxy with this control socket says of itself.
pub(crate) fn status(socket: &Path) -> Value {
    let (status, said) = get(socket, "/v1/status");
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

fn ask(socket: &Path, method: &str, target: &str) -> (u16, String) {
    let (status, mut body) = open(socket, method, target).unwrap();
    let mut said = String::new();
    body.read_to_string(&mut said).unwrap();
    (status, said)
}

/// Sends a request of its own connection, and reads the head of its answer.
fn open(socket: &Path, method: &str, target: &str) -> std::io::Result<(u16, Body)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let head = "Host: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(format!("{method} {target} HTTP/1.1\r\n{head}").as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, format!("only {head:?} came")));
        }
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let chunked = head.contains("transfer-encoding: chunked\r\n");
    let left = match length {
        Some(length) => length.trim().parse().unwrap(),
        None if chunked => 0,
        None => u64::MAX, // To the end of the connection.
    };
    Ok((status, Body { stream, chunked, left }))
}

/// The body of an answer as it comes.
struct Body {
    stream: BufReader<UnixStream>,
    /// More chunks follow.
    chunked: bool,
    /// Bytes that are left of this chunk, or of all.
    left: u64,
}

impl Body {
    fn next_chunk(&mut self) -> std::io::Result<u64> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if !line.trim().is_empty() {
                return u64::from_str_radix(line.trim(), 16).map_err(Error::other);
            }
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && self.chunked {
            self.left = self.next_chunk()?;
            self.chunked = self.left > 0;
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.stream.read(&mut buffer[..most])?;
        if count == 0 && most > 0 && self.left != u64::MAX {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if self.left != u64::MAX {
            self.left -= count as u64;
        }
        Ok(count)
    }
}

/// An answer that comes line by line.
pub(crate) struct Lines {
    pub(crate) status: u16,
    body: BufReader<Body>,
    was_cut: bool,
}

impl Lines {
    pub(crate) fn get(socket: &Path, target: &str) -> Self {
        Self::open(socket, "GET", target)
    }

    pub(crate) fn post(socket: &Path, target: &str) -> Self {
        Self::open(socket, "POST", target)
    }

    /// The same where the proxy may have no place for us, and not even read what we ask.
    pub(crate) fn try_get(socket: &Path, target: &str) -> std::io::Result<Self> {
        let (status, body) = open(socket, "GET", target)?;
        Ok(Self { status, body: BufReader::new(body), was_cut: false })
    }

    fn open(socket: &Path, method: &str, target: &str) -> Self {
        let (status, body) = open(socket, method, target).unwrap();
        Self { status, body: BufReader::new(body), was_cut: false }
    }

    /// The next line; none once the answer has ended.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.body.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches('\n').to_owned()),
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "no line came: {line:?}");
                self.was_cut = true;
                None
            }
        }
    }

    /// The answer ended without its last chunk.
    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The next line that is a record. Heartbeats in between do not make it wait for ever.
    pub(crate) fn next_record(&mut self) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let line = self.next().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if is_record(&line) {
                return line;
            }
            assert!(Instant::now() < deadline, "no record came");
        }
    }
}

/// Neither a gap nor a heartbeat.
pub(crate) fn is_record(line: &Value) -> bool {
    line.get("id").is_some()
}

/// How many records this line says are missing.
pub(crate) fn gap(line: &Value) -> u64 {
    line["gap"]["records"].as_u64().unwrap_or(0)
}

/// Looks until there is something to see: what the proxy does for itself, no answer tells of.
pub(crate) fn look_for<T, F: Debug>(what: &str, mut look: impl FnMut() -> Result<T, F>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        match look() {
            Ok(found) => return found,
            Err(found) => assert!(Instant::now() < deadline, "{what} never came: {found:#?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The whole lines of a log file: each of them must be JSON.
pub(crate) fn lines_of(log: &Path) -> Vec<Value> {
    let written = fs::read_to_string(log).unwrap_or_default();
    let whole = written.rfind('\n').map_or("", |end| &written[..end]);
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(line) => line,
        Err(error) => panic!("{error} in {line:?}"),
    };
    whole.lines().map(parse).collect()
}

/// Its records, by id.
pub(crate) fn records_of(log: &Path) -> Vec<Value> {
    by_id(lines_of(log))
}

fn by_id(mut lines: Vec<Value>) -> Vec<Value> {
    lines.retain(is_record);
    lines.sort_by_key(|record| record["id"].as_u64());
    lines
}

/// The log file and the control socket of one proxy, in a folder of their own.
pub(crate) struct Traces {
    folder: tempfile::TempDir,
    pub(crate) log: PathBuf,
    pub(crate) socket: PathBuf,
}

impl Traces {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, socket) =
            (folder.path().join("requests.jsonl"), folder.path().join("control.sock"));
        Self { folder, log, socket }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The flags that name them, and more.
    pub(crate) fn flags<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut flags = vec!["--control-socket", str(&self.socket), "--log-file", str(&self.log)];
        flags.extend_from_slice(more);
        flags
    }

    /// The records that the control socket still has, by id.
    pub(crate) fn on_socket(&self) -> Vec<Value> {
        let (status, said) = get(&self.socket, "/v1/records?last=1000");
        assert_eq!(status, 200, "{said}");
        by_id(said.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// Waits until there are so many records, which must be all, and the same in the file and on the socket.
    pub(crate) fn records(&self, count: usize) -> Vec<Value> {
        look_for("the records", || {
            let (in_file, on_socket) = (records_of(&self.log), self.on_socket());
            assert!(in_file.len() <= count && on_socket.len() <= count, "{in_file:#?}");
            if in_file.len() == count && in_file == on_socket { Ok(in_file) } else { Err(in_file) }
        })
    }

    pub(crate) fn status(&self) -> Value {
        status(&self.socket)
    }

    pub(crate) fn metrics(&self) -> String {
        let (status, said) = get(&self.socket, "/metrics");
        assert_eq!(status, 200, "{said}");
        said
    }
}

/// An upstream that is called with each request, head and body, and its connection, which ends with the call.
/// Returns its URL.
pub(crate) fn answering(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/responses", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                if let Some(request) = read_request(&mut stream) {
                    answer(&request, &mut stream);
                }
            });
        }
    });
    url
}

/// The request once it is whole, however its body is framed.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut got, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let request = text(&got);
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let is_whole = match length {
                Some(length) => body.len() >= length.trim().parse().ok()?,
                None => !head.contains("transfer-encoding:") || body.ends_with("0\r\n\r\n"),
            };
            if is_whole {
                return Some(request);
            }
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => got.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

/// The head of an answer by hand whose body comes in chunks; `fields` have their line ends.
pub(crate) fn chunked_head(status: &str, content_type: &str, fields: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {content_type}\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"
    )
}

/// A piece of such a body; an empty one ends it.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// A document as a server-sent event.
pub(crate) fn event(document: &Value) -> String {
    format!("event: {}\ndata: {document}\n\n", document["type"].as_str().unwrap_or_default())
}

/// A body in gzip.
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Sends a request as a program would, and takes the whole body as it comes, without undoing any coding.
pub(crate) async fn fetch(url: String, body: String) -> Vec<u8> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.post(url).body(body).timeout(LIMIT).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().to_vec()
}
