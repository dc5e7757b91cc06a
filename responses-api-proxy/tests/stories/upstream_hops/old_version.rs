//! An upstream that answers in HTTP/1.0 and keeps the connection: an HTTP client would go on in its version, which knows
//! no chunked bodies (RFC 9112 appendix C.2). Ours takes another connection, and never leaves a body out.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;

use super::Upstream;
use crate::control_client::chunk;
use crate::support::*;

const OLD_OK: &[u8] = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";

const AT_ONCE: usize = 8;
const REQUESTS_EACH: usize = 25;

/// How long what stands for the key inside the proxy is.
const PLACEHOLDER_BYTES: usize = 43;

/// A request as it came.
#[derive(Debug)]
struct Came {
    head: String,
    /// None, if the connection ended before the body did.
    body: Option<Vec<u8>>,
}

type AllThatCame = Arc<Mutex<Vec<Came>>>;

fn old_upstream() -> (Upstream, AllThatCame) {
    let came = AllThatCame::default();
    let seen = Arc::clone(&came);
    (Upstream::serving(move |stream, _| answer_all(stream, &seen)), came)
}

fn answer_all(mut stream: TcpStream, seen: &Mutex<Vec<Came>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(reader.read_line(&mut head), Ok(1..)) {
                break;
            }
        }
        if head.is_empty() {
            return;
        }
        let body = read_body(&head, &mut reader).ok();
        let is_whole = body.is_some();
        seen.lock().unwrap().push(Came { head, body });
        if !is_whole || stream.write_all(OLD_OK).is_err() {
            return;
        }
    }
}

/// The body that comes after this head, if that is whole.
fn read_body(head: &str, reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    if !head.ends_with("\r\n\r\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if let Some(length) = field(head, "content-length") {
        let mut body = vec![0; length.parse().map_err(io::Error::other)?];
        reader.read_exact(&mut body)?;
        return Ok(body);
    }
    if field(head, "transfer-encoding") != Some("chunked") {
        return Ok(Vec::new());
    }
    let mut body = Vec::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        reader.read_exact(&mut [0; 2])?; // The line's end.
        if size == 0 {
            return Ok(body);
        }
    }
}

fn field<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// More than one chunk, and one that is no other request's.
fn body(number: usize) -> String {
    format!(r#"{{"number":{number},"input":"{}"}}"#, "word ".repeat(4_000))
}

/// Sends this request, every other one in chunks; returns the status of its answer.
fn ask(port: u16, number: usize) -> u16 {
    let (body, number_field) = (body(number), format!("X-Number: {number}"));
    let mut client = Client::connect(port);
    if number.is_multiple_of(2) {
        client.send_request("POST /v1/responses", &[&number_field], body.as_bytes());
    } else {
        let (one, other) = body.as_bytes().split_at(number);
        let chunks = [chunk(one), chunk(other), chunk(b"")].concat();
        let fields = [number_field.as_str(), "Transfer-Encoding: chunked"];
        client.send_request("POST /v1/responses", &fields, &chunks);
    }
    client.answer().status
}

/// Checks what came of each request, given the status of its answer.
fn judge(came: &[Came], statuses: &[u16]) {
    for Came { head, body: its_body } in came {
        let is_of_placeholder =
            |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        let mut words = head.split(|letter| !is_of_placeholder(letter));
        assert!(words.all(|word| word.len() != PLACEHOLDER_BYTES), "a placeholder went up: {head}");
        // Of what broke off, nobody has an answer.
        let Some(its_body) = its_body else { continue };
        // In the old version only with a length.
        let is_new = head.starts_with("POST /v1/responses HTTP/1.1\r\n");
        assert!(is_new || field(head, "content-length").is_some(), "{head}");
        let bearer = format!("Bearer {KEY}");
        assert_eq!(field(head, "authorization"), Some(bearer.as_str()), "{head}");
        let number: usize = field(head, "x-number").unwrap().parse().unwrap();
        assert!(text(its_body) == body(number), "{number} has another body of {}", its_body.len());
    }
    for (number, status) in statuses.iter().enumerate() {
        let number = number.to_string();
        let is_its = |came: &&Came| field(&came.head, "x-number") == Some(number.as_str());
        let whole = came.iter().filter(is_its).filter(|came| came.body.is_some()).count();
        match status {
            200 => assert_eq!(whole, 1, "{number}"),
            502 => assert!(whole <= 1, "{number} was sent twice"),
            status => panic!("{number}: {status}"),
        }
    }
}

#[test]
fn each_request_has_a_connection_of_its_own_and_goes_up_whole() {
    let (upstream, came) = old_upstream();
    let proxy = Proxy::start_for(&upstream.url(), &[]);
    let statuses: Vec<u16> = (0..REQUESTS_EACH).map(|number| ask(proxy.port, number)).collect();
    assert_eq!(statuses, [200; REQUESTS_EACH]);
    judge(&came.lock().unwrap(), &statuses);
    assert_eq!(upstream.connections(), REQUESTS_EACH);
}

/// A connection may be given to the next request before the answer has told its version. That one goes up in the old
/// version, but if its body would be chunked: then it fails, and is not sent.
#[test]
fn of_many_at_once_each_goes_up_whole_or_not_at_all() {
    let (upstream, came) = old_upstream();
    let proxy = Proxy::start_for(&upstream.url(), &[]);
    let port = proxy.port;
    let statuses: Vec<u16> = thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|client| {
                let numbers = client * REQUESTS_EACH..(client + 1) * REQUESTS_EACH;
                scope.spawn(move || numbers.map(|number| ask(port, number)).collect::<Vec<_>>())
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    drop(proxy);
    judge(&came.lock().unwrap(), &statuses);
    assert!(statuses.contains(&200), "none was served");
}
