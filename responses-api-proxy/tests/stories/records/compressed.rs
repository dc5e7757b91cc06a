//! A body that costs a decoder much and has nothing in it: it passes, is not read for long, and holds nobody up.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::facts;
use crate::control_client::*;
use crate::support::*;

/// Of each body; what is decoded for nothing ends far earlier.
const LONG_BYTES: usize = 20 << 20;
const SHORT_BYTES: usize = 1_000;

fn turn() -> String {
    let usage = json!({ "input_tokens": 3, "output_tokens": 4, "total_tokens": 7 });
    let response = json!({ "model": "gpt-of-the-answer", "status": "completed", "usage": usage });
    event(&json!({ "type": "response.completed", "response": response }))
}

/// Members without content, and then one with a turn.
fn gzip_of_nothing(bytes: usize) -> Vec<u8> {
    let empty = gzip(b"");
    let mut body = empty.repeat(bytes / empty.len());
    body.extend(gzip(turn().as_bytes()));
    body
}

/// Meta-blocks without content, and then one with a turn as it is (RFC 7932, section 9.2).
fn brotli_of_nothing(bytes: usize) -> Vec<u8> {
    let turn = turn();
    // WBITS 16; ISLAST 0, MNIBBLES none, reserved, MSKIPBYTES 0; and to the end of the byte.
    let mut body = vec![0b0000_1100];
    body.resize(bytes, 0b0000_0110); // The same without WBITS.
    // ISLAST 0, MNIBBLES 4, MLEN - 1 in 16 bits, ISUNCOMPRESSED 1.
    let head = (u32::try_from(turn.len() - 1).unwrap() << 3) | (1 << 19);
    body.extend_from_slice(&head.to_le_bytes()[..3]);
    body.extend_from_slice(turn.as_bytes());
    body.push(0b11); // ISLAST 1, ISLASTEMPTY 1.
    body
}

fn send(stream: &mut TcpStream, body: &[u8]) {
    for piece in body.chunks(1 << 16) {
        let _ = stream.write_all(&chunk(piece));
    }
}

/// Sends the long body in two halves, with a word after the first, and the second only when told to; any number of
/// short ones meanwhile.
fn in_halves(coding: &'static str, bodies: Arc<Bodies>) -> (String, Receiver<()>, Sender<()>) {
    let (tell, half_is_sent) = channel();
    let (go_on, told) = channel();
    let told = Mutex::new(told);
    let url = answering(move |request, stream| {
        let fields = format!("Content-Encoding: {coding}\r\n");
        let head = chunked_head("200 OK", "text/event-stream", &fields);
        let _ = stream.write_all(head.as_bytes());
        if request.contains(r#""input":"long""#) {
            let (half, rest) = bodies.long.split_at(LONG_BYTES / 2);
            send(stream, half);
            let _ = tell.send(());
            let _ = told.lock().unwrap().recv();
            send(stream, rest);
        } else {
            send(stream, &bodies.short);
        }
        let _ = stream.write_all(&chunk(b""));
    });
    (url, half_is_sent, go_on)
}

/// Makes a body of about so many bytes.
type Make = fn(usize) -> Vec<u8>;

struct Bodies {
    short: Vec<u8>,
    long: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_that_is_all_work_passes_and_is_not_read() {
    let codings: [(&str, Make); 2] = [("gzip", gzip_of_nothing), ("br", brotli_of_nothing)];
    for (coding, of_nothing) in codings {
        let bodies = Bodies { short: of_nothing(SHORT_BYTES), long: of_nothing(LONG_BYTES) };
        let bodies = Arc::new(bodies);
        let (url, half_is_sent, go_on) = in_halves(coding, Arc::clone(&bodies));
        let traces = Traces::new();
        let proxy = Proxy::start_for(&url, &traces.flags(&[]));
        let ask = |body: &str| fetch(proxy.url(), format!(r#"{{"input":"{body}","model":"m"}}"#));

        let long = tokio::spawn(ask("long"));
        half_is_sent.recv_timeout(LIMIT).unwrap();
        let short = ask("short").await; // It has to be answered before the other one goes on.
        go_on.send(()).unwrap();
        let long = long.await.unwrap();
        assert!(short == bodies.short, "{coding}: {} bytes came", short.len());
        assert!(long == bodies.long, "{coding}: {} bytes came", long.len());

        let names = ["outcome", "reason", "status", "model", "stream", "bytes_out", "usage"];
        let [long, short]: [Value; 2] = traces.records(2).try_into().unwrap();
        let expected = json!(["completed", null, 200, "m", true, bodies.long.len(), null]);
        assert_eq!(facts(&long, names), expected, "{coding}");
        // The body is what it should be: of a short one everything is read.
        assert_eq!(short["model"], "gpt-of-the-answer", "{coding}: {short}");
        assert_eq!(short["usage"]["total_tokens"], 7, "{coding}: {short}");
    }
}
