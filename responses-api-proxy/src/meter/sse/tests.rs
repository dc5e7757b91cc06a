//! Streams, and what is read of them: the same wherever they are cut.

use codex_request_log::Usage;

use super::super::StreamEnd;
use super::*;

const CREATED: &str = r#"{"type":"response.created","response":{"model":"gpt-5","status":"in_progress","usage":null}}"#;
const DELTA: &str =
    r#"{"type":"response.output_text.delta","delta":"\"usage\":{\"total_tokens\":9}"}"#;
const COMPLETED: &str =
    r#"{"type":"response.completed","response":{"model":"gpt-5-x","usage":{"total_tokens":3}}}"#;
const FAILED: &str =
    r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"no"}}}"#;
const ERROR: &str = r#"{"type":"error","code":"rate_limit_exceeded","message":"slow down"}"#;

/// What is read of a stream, which is the same however it is cut.
fn read(stream: &[u8]) -> (Facts, bool) {
    let cut = |pieces: &[&[u8]]| {
        let mut events = EventReader::new();
        pieces.iter().for_each(|piece| events.feed(piece));
        (events.facts().clone(), events.has_output())
    };
    let whole = cut(&[stream]);
    for at in 0..=stream.len() {
        assert_eq!(cut(&[&stream[..at], &stream[at..]]), whole, "cut at {at}");
    }
    for piece_bytes in [1, 2, 3, 7] {
        let pieces: Vec<_> = stream.chunks(piece_bytes).collect();
        assert_eq!(cut(&pieces), whole, "in pieces of {piece_bytes}");
    }
    whole
}

fn ended(stream: &str) -> Option<StreamEnd> {
    read(stream.as_bytes()).0.end
}

fn turn() -> Facts {
    Facts {
        model: Some("gpt-5-x".to_owned()),
        stream: None,
        usage: Some(Usage { total_tokens: Some(3), ..Usage::default() }),
        error: None,
        end: Some(StreamEnd::Completed),
    }
}

#[test]
fn a_turn_is_read_whatever_ends_its_lines() {
    let named = format!(
        "event: response.created\ndata: {CREATED}\n\nevent: response.output_text.delta\ndata: {DELTA}\n\n\
         event: response.completed\ndata: {COMPLETED}\n\n"
    );
    let bare = format!("data:{CREATED}\n\ndata:{DELTA}\n\ndata:{COMPLETED}\n\ndata: [DONE]\n\n");
    let odd = format!(
        ": comment\n\n:\nid: 1\nretry: 10\ndata: {CREATED}\nevent: response.created\n\n\n\nevent\nunknown\n\
         dat: x\ndatas: x\nDATA: x\n data: x\ndata: {DELTA}\n\nevent: message\ndata: {COMPLETED}\n: end\n\n"
    );
    for stream in [named, bare, odd] {
        for line_end in ["\n", "\r\n", "\r"] {
            for beginning in ["", "\u{feff}"] {
                let stream = format!("{beginning}{}", stream.replace('\n', line_end));
                assert_eq!(read(stream.as_bytes()), (turn(), true), "{stream:?}");
            }
        }
    }
}

#[test]
fn lines_of_data_are_one_text() {
    let lines = COMPLETED.replace(',', ",\ndata:  ").replace(':', ":\ndata:");
    let lines = lines.replace("data:\ndata:", "data:"); // The colons of what was just put in.
    for stream in [
        format!("data: {lines}\n\n"),
        format!("event: response.completed\r\ndata\r\ndata: {COMPLETED}\r\ndata:\r\n\r\n"),
    ] {
        assert_eq!(read(stream.as_bytes()), (turn(), false), "{stream}");
    }
    // Twelve is not one and two.
    assert_eq!(ended("data: {\"type\":\"response.failed\",\"n\":1\ndata: 2}\n\n"), None);
}

#[test]
fn an_event_counts_once_its_blank_line_has_come() {
    let stream = format!("data: {COMPLETED}");
    assert_eq!(ended(&stream), None);
    assert_eq!(ended(&format!("{stream}\n")), None);
    assert_eq!(ended(&format!("{stream}\r\n")), None);
    assert_eq!(ended(&format!("{stream}\r\r")), Some(StreamEnd::Completed));
    assert_eq!(ended(&format!("{stream}\n\n")), Some(StreamEnd::Completed));
    assert_eq!(ended(&format!("{stream}\n\r")), Some(StreamEnd::Completed));
}

#[test]
fn what_is_no_event_is_none() {
    for stream in [
        "event: response.completed\n\n".to_owned(),
        format!("event: response.completed\n: {COMPLETED}\n\n"),
        format!("xdata: {COMPLETED}\n\n"),
        format!(" data: {COMPLETED}\n\n"),
        format!("\n\u{feff}data: {COMPLETED}\n\n"),
        format!("\u{feff}\u{feff}data: {COMPLETED}\n\n"),
        "event: response.completed\ndata: {\"type\":\"response.completed\"\n\n".to_owned(),
        "event: response.completed\ndata: text\n\n".to_owned(),
        "event: response.output_text.delta\n\n".to_owned(),
        format!("event: response.output_text.done\ndata: {COMPLETED}\n\n"),
    ] {
        assert_eq!(read(stream.as_bytes()), (Facts::default(), false), "{stream:?}");
    }
    // Two bytes of a mark, and then another: the line is lost, the next one is not.
    let stream = [&b"\xef\xbbdata: x\n\n"[..], format!("data: {ERROR}\n\n").as_bytes()].concat();
    assert_eq!(read(&stream).0.end, Some(StreamEnd::Failed));
}

#[test]
fn a_broken_event_does_not_spoil_the_next() {
    let deep = "[".repeat(200);
    let stream = format!("data: {{\"type\":\n\ndata: \"\n\ndata: {deep}\n\ndata: {COMPLETED}\n\n");
    assert_eq!(read(stream.as_bytes()), (turn(), false));
}

#[test]
fn the_data_s_own_word_decides_and_else_the_field_s() {
    let unknown = "e".repeat(100);
    for (stream, end) in [
        (format!("event: response.completed\ndata: {FAILED}\n\n"), Some(StreamEnd::Failed)),
        (format!("event: {unknown}\ndata: {COMPLETED}\n\n"), Some(StreamEnd::Completed)),
        ("event: response.incomplete\ndata: {}\n\n".into(), Some(StreamEnd::Incomplete)),
        ("data: {}\nevent: response.incomplete\n\n".into(), Some(StreamEnd::Incomplete)),
        ("event: response.failed\nevent\ndata: {}\n\n".into(), None),
        // The name of one event is not the next one's.
        ("event: response.failed\n\ndata: {}\n\n".into(), None),
        ("event: response.failed\ndata: x\n\ndata: {}\n\n".into(), None),
    ] {
        assert_eq!(ended(&stream), end, "{stream}");
    }
}

#[test]
fn failures_tell_their_code() {
    for (data, error) in [
        (FAILED, Some("server_error")),
        (ERROR, Some("rate_limit_exceeded")),
        (r#"{"type":"error","error":{"type":"overloaded","code":null}}"#, Some("overloaded")),
        (r#"{"type":"error","message":"no code"}"#, None),
        (r#"{"type":"error","code":"two words"}"#, None),
    ] {
        let (facts, _) = read(format!("data: {CREATED}\n\ndata: {data}\n\n").as_bytes());
        let expected = Facts {
            model: Some("gpt-5".to_owned()),
            error: error.map(str::to_owned),
            end: Some(StreamEnd::Failed),
            ..Facts::default()
        };
        assert_eq!(facts, expected, "{data}");
    }
}
