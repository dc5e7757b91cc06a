//! What an upstream answers: heads that are none, too large or not the last, and frames that lie.

use std::io::Write;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{OK, Upstream, ask, fails, read_request};
use crate::support::*;

#[test]
fn an_answer_that_can_not_be_parsed_is_told_and_the_next_one_is_as_good_as_ever() {
    let of_length =
        |length: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
    let with = |field: &str| format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 2\r\n\r\nhi");
    let lengths = ["-1", "+5", "0x5", "5;", "five", "", "5, 6", "5\r\nContent-Length: 6"];
    let too_long = ["99999999999999999999", "184467440737095516150"];
    let fields = [
        "X-A: a\0b",
        "X-A: a\u{1}b",
        "X-A: a\u{7f}b",
        "X-A: a\rb",
        "X A: b",
        "X-A : b",
        "X-A",
        ": b",
        "X-A: a\r\n folded",
    ];
    let others = [
        "HTTP/1.1 1000 Much\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 099 Little\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "\0\0\u{12}\u{4}\0\0\0\0\0\0\u{3}\0\0\0\u{64}\0\u{4}\0\0\0\u{1}\0\u{5}\0\0\u{40}\0",
        "<html>hi</html>\r\n\r\n",
    ];
    let bad = lengths.into_iter().chain(too_long).map(of_length);
    let bad = bad.chain(fields.into_iter().map(with)).chain(others.map(str::to_owned));
    let bad: Vec<String> = bad.collect();
    let answers = bad.iter().flat_map(|bad| [bad.clone().into_bytes(), OK.to_vec()]);
    let upstream = Upstream::answering(answers.collect::<Vec<_>>());
    let proxy = Proxy::start_for(&upstream.url(), &[]);
    let what = format!("what {} answered is not HTTP/1.1", upstream.hop());
    for bad in &bad {
        let answer = ask(&proxy);
        assert_eq!(answer.status, 502, "{bad:?}");
        let (code, message) = answer.error();
        assert_eq!(code, "upstream_protocol", "{bad:?}: {message}");
        assert!(
            message.contains(&what) && message.contains("--upstream-url"),
            "{bad:?}: {message}"
        );
        assert_eq!(ask(&proxy).status, 200, "after {bad:?}");
    }
    assert_eq!(upstream.requests(), 2 * bad.len(), "a request was repeated");
}

#[test]
fn an_answer_whose_head_is_too_large_is_told() {
    let one_field = format!("X-Long: {}\r\n", "x".repeat(1 << 20));
    let long_fields: String =
        (0..64).map(|n| format!("X-{n}: {}\r\n", "x".repeat(16 << 10))).collect();
    let many_fields: String = (0..101).map(|n| format!("X-{n}: x\r\n")).collect();
    for fields in [one_field, long_fields, many_fields] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nhi");
        let upstream = Upstream::answering([answer.into_bytes(), OK.to_vec()]);
        let mut proxy = Proxy::start_for(&upstream.url(), &[]);
        fails(&mut proxy, 502, "upstream_protocol", &[&upstream.hop(), "too large"]);
        assert_eq!(ask(&proxy).status, 200);
    }
}

/// RFC 9110 section 15.2 would have interim answers passed on. No client of this API waits for any, and some take the
/// first answer for the last.
#[test]
fn of_several_answers_the_client_gets_the_final_one() {
    let interim = [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nX-Interim: 1\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Own\r\nX-Interim: 1\r\nContent-Length: 5\r\n\r\n",
    ];
    let upstream = Upstream::answering(interim.map(|head| [head.as_bytes(), OK].concat()));
    let proxy = Proxy::start_for(&upstream.url(), &[]);
    let mut client = proxy.connect();
    for head in interim {
        client.send_request("POST /v1/responses", &[], b"{}");
        let answer = client.answer();
        assert_eq!((answer.status, text(&answer.body).as_str()), (200, "hi"), "{head}");
        assert!(!answer.head.contains("x-interim"), "{}", answer.head);
        assert!(client.got.is_empty(), "{:?}", text(&client.got));
    }
    assert_eq!(upstream.requests(), interim.len());
}

#[test]
fn an_upstream_that_switches_protocols_is_told() {
    for fields in ["", "Connection: upgrade\r\nUpgrade: websocket\r\n"] {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n").into_bytes();
        let upstream = Upstream::answering([answer]);
        let mut proxy = Proxy::start_for(&upstream.url(), &[]);
        fails(&mut proxy, 502, "upstream_protocol", &[&upstream.hop(), "101", "--upstream-url"]);
    }
}

#[test]
fn an_upstream_that_never_gets_beyond_interim_answers_is_given_up() {
    let (left, has_left) = channel();
    let upstream = Upstream::serving(move |mut stream, _| {
        let is_there = read_request(&mut stream);
        while is_there && stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(10)); // Something moves all the time.
        }
        let _ = left.send(());
    });
    let mut proxy = Proxy::start_for(&upstream.url(), &["--header-timeout", "300ms"]);
    fails(&mut proxy, 504, "upstream_timeout", &[&upstream.hop(), "300ms", "--header-timeout"]);
    has_left.recv_timeout(LIMIT).unwrap();
}

#[test]
fn an_answer_without_a_body_leaves_both_its_connections_usable() {
    const ROUNDS: usize = 20;
    for (status, fields) in [
        ("204 No Content", "X-A: 1\r\n"),
        ("204 No Content", "Transfer-Encoding: chunked\r\n"),
        ("304 Not Modified", "ETag: \"x\"\r\n"),
        ("304 Not Modified", "Content-Length: 50\r\n"), // What a 200 would have had.
    ] {
        let answer = format!("HTTP/1.1 {status}\r\n{fields}\r\n").into_bytes();
        let upstream = Upstream::answering(vec![answer; ROUNDS]);
        let proxy = Proxy::start_for(&upstream.url(), &[]);
        let mut client = proxy.connect();
        for _ in 0..ROUNDS {
            client.send_request("POST /v1/responses", &[], b"{}");
            client.until("\r\n\r\n");
            let got = text(&std::mem::take(&mut client.got));
            assert!(got.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{got}");
            assert!(got.ends_with("\r\n\r\n") && !got.contains("transfer-encoding"), "{got}");
        }
        assert!(upstream.connections() < ROUNDS, "the upstream's connection was never used again");
        let said = proxy.stop();
        assert!(!said.contains("upstream_"), "{said}");
    }
}

/// What an upstream sends beyond its answer's length is nobody's: not this client's, nor the next one's.
#[test]
fn what_is_beyond_an_answers_length_is_never_the_next_answer() {
    const ROUNDS: usize = 20;
    let surplus = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Surplus: 1\r\n\r\nevil";
    for (head, body) in [
        ("200 OK\r\nContent-Length: 5", "hello"),
        ("200 OK\r\nContent-Length: 0", ""),
        ("200 OK\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("204 No Content", ""),
        ("304 Not Modified", ""),
    ] {
        let numbered = |number| {
            format!("HTTP/1.1 {head}\r\nX-Number: {number}.\r\n\r\n{body}{surplus}").into_bytes()
        };
        let upstream = Upstream::answering((0..ROUNDS).map(numbered).collect::<Vec<_>>());
        let proxy = Proxy::start_for(&upstream.url(), &[]);
        let mut client = proxy.connect();
        for number in 0..ROUNDS {
            client.send_request("POST /v1/responses", &[], b"{}");
            let answer = client.answer();
            let field = format!("x-number: {number}.\r\n");
            assert!(answer.head.contains(&field), "no {field:?} in {:?}", answer.head);
            assert_eq!(text(&answer.body), body);
            assert!(client.got.is_empty(), "{:?}", text(&client.got));
        }
        assert_eq!(upstream.requests(), ROUNDS);
    }
}

/// RFC 9110 section 8.6: such a length may be believed, but only one is passed on.
#[test]
fn a_length_that_is_said_twice_is_passed_on_once() {
    for length in ["5, 5", "5\r\nContent-Length: 5", "5, 5\r\nContent-Length: 5"] {
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello").into_bytes();
        let upstream = Upstream::answering([answer]);
        let proxy = Proxy::start_for(&upstream.url(), &[]);
        let mut client = proxy.connect();
        client.send_request("POST /v1/responses", &[], b"{}");
        client.until("\r\n\r\nhello");
        let got = text(&client.got);
        assert_eq!(got.matches("content-length: ").count(), 1, "{got}");
        assert!(got.contains("\r\ncontent-length: 5\r\n"), "{got}");
    }
}

#[test]
fn an_answer_whose_chunks_are_none_is_a_visible_cut() {
    let cases = [
        ("zz\r\nhello\r\n0\r\n\r\n", ""),
        ("-5\r\nhello\r\n0\r\n\r\n", ""),
        ("FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", ""),
        ("\r\n0\r\n\r\n", ""),
        ("5\r\nhello\r\nzz\r\nworld\r\n0\r\n\r\n", "hello"),
        ("5\r\nhelloXX5\r\nworld\r\n0\r\n\r\n", "hello"),
    ];
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream =
        Upstream::answering(cases.map(|(chunks, _)| [head, chunks].concat().into_bytes()));
    let mut proxy = Proxy::start_for(&upstream.url(), &[]);
    for (chunks, before) in cases {
        let mut client = proxy.connect();
        client.send_request("POST /v1/responses", &[], b"{}");
        let _ = client.read_to_end(); // Ends: that it does is the point.
        let got = text(&client.got);
        assert!(
            got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains(before),
            "{chunks:?}: {got:?}"
        );
        assert!(!got.contains("world") && !got.ends_with("0\r\n\r\n"), "{chunks:?}: {got:?}");
        proxy.line_with("cut 200 upstream_cut POST");
    }
}
