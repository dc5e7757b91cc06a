//! Whole bodies through the meters: which are read, and that codings, cuts and bombs make no difference to it.

use std::io::Write;

use codex_request_log::Usage;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{AnswerMeter, Facts, RequestMeter, StreamEnd};

const STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

fn fields(media_type: &str, coding: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.append("content-type", HeaderValue::from_str(media_type).unwrap());
    fields.append("content-encoding", HeaderValue::from_str(coding).unwrap());
    fields
}

fn answer(media_type: &str, coding: &str) -> AnswerMeter {
    AnswerMeter::of(StatusCode::OK, &fields(media_type, coding))
}

/// What is read of a stream in this coding, which is the same however it is cut.
fn stream_facts(coding: &str, bytes: &[u8]) -> (Facts, bool) {
    let cut = |pieces: &[&[u8]]| {
        let mut meter = answer(STREAM, coding);
        pieces.iter().for_each(|piece| meter.observe(piece));
        (meter.facts(), meter.lacks_end())
    };
    let whole = cut(&[bytes]);
    for at in 0..=bytes.len().min(1_000) {
        assert_eq!(cut(&[&bytes[..at], &bytes[at..]]), whole, "{coding} cut at {at}");
    }
    for piece_bytes in [1, 2, 3, 1_460] {
        let pieces: Vec<_> = bytes.chunks(piece_bytes).collect();
        assert_eq!(cut(&pieces), whole, "{coding} in pieces of {piece_bytes}");
    }
    whole
}

/// What the events of `TURN` say.
fn turn() -> Facts {
    let usage = Usage {
        input_tokens: Some(12),
        cached_tokens: Some(4),
        output_tokens: Some(34),
        reasoning_tokens: Some(5),
        total_tokens: Some(46),
    };
    Facts {
        model: Some("gpt-5-x".to_owned()),
        stream: Some(true),
        usage: Some(usage),
        error: None,
        end: Some(StreamEnd::Completed),
    }
}

/// What its first event says.
fn begun() -> Facts {
    Facts { model: Some("gpt-5".to_owned()), stream: Some(true), ..Facts::default() }
}

/// Of what is not read, it is known whether it is a stream.
fn unread() -> Facts {
    Facts { stream: Some(true), ..Facts::default() }
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A frame of zstd with a window of so many bits.
fn zstd_frame(window_bits: u8, blocks: &[Block<'_>]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (window_bits - 10) << 3];
    for (number, block) in blocks.iter().enumerate() {
        let (kind, size, content) = match block {
            Block::Raw(bytes) => (0, bytes.len(), *bytes),
            Block::Spaces(count) => (1, *count, &b" "[..]),
        };
        let is_last = usize::from(number + 1 == blocks.len());
        let header = u32::try_from((size << 3) | (kind << 1) | is_last).unwrap();
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.extend_from_slice(content);
    }
    frame
}

enum Block<'a> {
    Raw(&'a [u8]),
    Spaces(usize),
}

#[test]
fn what_is_read_is_told_by_the_fields() {
    let document = r#"{"model":"gpt-5","usage":{"total_tokens":3},"status":"incomplete"}"#;
    let read = Facts {
        model: Some("gpt-5".to_owned()),
        stream: None,
        usage: Some(Usage { total_tokens: Some(3), ..Usage::default() }),
        error: None,
        end: Some(StreamEnd::Incomplete),
    };
    for (status, media_type, body, expected) in [
        (200, "text/event-stream", TURN, turn()),
        (200, "Text/Event-Stream ; charset=utf-8", TURN, turn()),
        (500, "text/event-stream", TURN, Facts::default()),
        (200, "text/event-streams", TURN, Facts::default()),
        (200, "text/plain", TURN, Facts::default()),
        (200, "", TURN, Facts::default()),
        (200, "application/json", document, read.clone()),
        (404, "APPLICATION/JSON;charset=utf-8", document, read.clone()),
        (200, "application/problem+json", document, read.clone()),
        (200, "text/json", document, Facts::default()),
        (200, "json", document, Facts::default()),
        (200, "application/jsonl", document, Facts::default()),
        (200, "text/event-stream", document, unread()),
        (200, "application/json", TURN, Facts::default()),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut meter = AnswerMeter::of(status, &fields(media_type, "identity"));
        meter.observe(body.as_bytes());
        assert_eq!(meter.facts(), expected, "{status} {media_type}");
        assert_eq!(meter.has_output(), expected == turn(), "{status} {media_type}");
    }
    assert_eq!(AnswerMeter::of(StatusCode::OK, &HeaderMap::new()).facts(), Facts::default());
}

#[test]
fn a_refusal_of_the_upstream_tells_its_code() {
    let mut meter = AnswerMeter::of(StatusCode::BAD_REQUEST, &fields(JSON, "identity"));
    meter.observe(br#"{"error":{"message":"m","type":"invalid_request_error","code":null}}"#);
    let error = Some("invalid_request_error".to_owned());
    assert_eq!(meter.facts(), Facts { error, ..Facts::default() });
}

#[test]
fn a_request_tells_its_model_and_whether_it_wants_a_stream() {
    let read = Facts { model: Some("gpt-5".to_owned()), stream: Some(true), ..Facts::default() };
    let rows: [(&str, &str, &[u8], Facts); 5] = [
        (JSON, "identity", REQUEST.as_bytes(), read),
        (JSON, "zstd", ZSTD_REQUEST, Facts::default()), // What clients compress is not undone.
        (JSON, "gzip, zstd", ZSTD_REQUEST, Facts::default()),
        ("text/plain", "identity", REQUEST.as_bytes(), Facts::default()),
        (
            JSON,
            "identity",
            br#"{"stream":"yes","input":{"model":"x"},"usage":1}"#,
            Facts::default(),
        ),
    ];
    for (media_type, coding, body, expected) in rows {
        for piece_bytes in [1, 7, 1_000] {
            let mut meter = RequestMeter::of(&fields(media_type, coding));
            body.chunks(piece_bytes).for_each(|piece| meter.observe(piece));
            assert_eq!(meter.facts(), expected, "{media_type} {coding}");
        }
    }
}

#[test]
fn a_coding_makes_no_difference() {
    let halves = TURN.as_bytes().split_at(TURN.len() / 2);
    let members = [gzipped(halves.0), gzipped(halves.1)].concat();
    let frames = [
        zstd_frame(10, &[Block::Raw(&halves.0[..100]), Block::Raw(&halves.0[100..])]),
        b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec(), // Skippable.
        zstd_frame(23, &[Block::Raw(halves.1)]),
    ];
    let bodies: [(&str, &[u8]); 6] = [
        ("identity", TURN.as_bytes()),
        ("gzip", &gzipped(TURN.as_bytes())),
        ("x-gzip", &members),
        ("br", BROTLI),
        ("zstd", ZSTD),
        ("zstd", &frames.concat()),
    ];
    for (coding, bytes) in bodies {
        assert_eq!(stream_facts(coding, bytes), (turn(), false), "{coding}");
    }
}

#[test]
fn what_was_flushed_is_seen_at_once_except_in_zstd() {
    let second_event = TURN.find("event: response.completed").unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&TURN.as_bytes()[..second_event]).unwrap();
    encoder.flush().unwrap();
    let bodies: [(&str, &[u8], bool); 4] = [
        ("identity", &TURN.as_bytes()[..second_event], true),
        ("gzip", encoder.get_ref(), true),
        ("br", &BROTLI[..BROTLI_SECOND_EVENT], true),
        ("zstd", ZSTD, false),
    ];
    for (coding, bytes, is_seen) in bodies {
        let mut meter = answer(STREAM, coding);
        meter.observe(bytes);
        assert_eq!(meter.has_output(), is_seen, "{coding}");
    }
}

#[test]
fn a_stream_that_was_cut_tells_what_had_come() {
    let gzipped = gzipped(TURN.repeat(50).as_bytes());
    let (facts, lacks_end) = stream_facts("gzip", &gzipped[..gzipped.len() - 9]);
    assert_eq!((facts, lacks_end), (turn(), false));
    let (facts, lacks_end) = stream_facts("br", &BROTLI[..BROTLI_SECOND_EVENT]);
    assert_eq!((facts, lacks_end), (begun(), true));
}

#[test]
fn what_can_not_be_decoded_tells_nothing() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(TURN.as_bytes()).unwrap();
    encoder.flush().unwrap();
    let spoilt = [&encoder.get_ref()[..], &[0xff; 8]].concat(); // A kind of block that there is not.
    let too_wide = zstd_frame(24, &[Block::Raw(TURN.as_bytes())]);
    let mut reserved = zstd_frame(17, &[Block::Raw(TURN.as_bytes())]);
    reserved[6] |= 3 << 1; // Likewise.
    let bodies: [(&str, &[u8]); 9] = [
        ("gzip", &spoilt),
        ("gzip", TURN.as_bytes()),
        ("br", b"\x11\x18\x03\x04\x05\x06\x07\x08"), // A large window.
        ("zstd", TURN.as_bytes()),
        ("zstd", &too_wide),
        ("zstd", &reserved),
        ("zstd", b"\x28\xb5\x2f\xfd\x03\x38\x01\0\0\0\x01\0\0"), // A dictionary.
        ("deflate", TURN.as_bytes()),
        ("gzip, br", BROTLI),
    ];
    for (coding, bytes) in bodies {
        assert_eq!(stream_facts(coding, bytes), (unread(), false), "{coding} {bytes:?}");
    }
}

#[test]
fn bombs_end_the_metering_and_nothing_else() {
    let (first, rest) = TURN.split_at(TURN.find("event: response.output").unwrap());
    let (first, rest) = (format!("{first}:"), format!("\n\n{rest}"));
    let spaces = " ".repeat(4 << 20);
    let gzip = gzipped([&first, &spaces, &rest].map(String::as_str).concat().as_bytes());
    let mut blocks = vec![Block::Raw(first.as_bytes())];
    blocks.extend((0..200).map(|_| Block::Spaces(128 << 10)));
    blocks.push(Block::Raw(rest.as_bytes()));
    let zstd = zstd_frame(17, &blocks);
    // Shrinks to less than a hundredth, and not so much that its beginning alone would be too much.
    let lines: String = (0..8_000_u32)
        .map(|number| format!(":{:03x}{:995}\n", number.wrapping_mul(2_654_435_761) >> 20, ""))
        .collect();
    let slow = gzipped([&first, &lines, &rest].map(String::as_str).concat().as_bytes());
    let bombs: [(&str, &[u8]); 4] =
        [("gzip", &gzip), ("gzip", &slow), ("br", BROTLI_BOMB), ("zstd", &zstd)];
    for (coding, bytes) in bombs {
        for piece_bytes in [bytes.len(), 100] {
            let mut meter = answer(STREAM, coding);
            bytes.chunks(piece_bytes).for_each(|piece| meter.observe(piece));
            // Nobody says what was not read to its end: no model, and not that there was no last event.
            assert_eq!((meter.facts(), meter.lacks_end()), (unread(), false), "{coding}");
        }
    }
}

#[test]
fn a_giant_event_is_read_to_its_end() {
    let text = r#"all work and no play \" \\ "#.repeat(200_000); // 5 MB
    let giant = TURN.replace(r#""usage":{"#, &format!(r#""output":["{text}"],"usage":{{"#));
    for piece_bytes in [giant.len(), 16_384, 1_460] {
        let mut meter = answer(STREAM, "identity");
        giant.as_bytes().chunks(piece_bytes).for_each(|piece| meter.observe(piece));
        assert_eq!(meter.facts(), turn());
    }
}

#[test]
fn a_large_stream_that_is_no_bomb_is_read_to_its_end() {
    let numbers: String = (0..100_000).map(|number| format!(": {}\n", number * 7_919)).collect();
    let stream = [numbers.as_str(), TURN].concat(); // 1.2 MB, more than the head start.
    let mut meter = answer(STREAM, "gzip");
    gzipped(stream.as_bytes()).chunks(16_384).for_each(|piece| meter.observe(piece));
    assert_eq!(meter.facts(), turn());
}

#[test]
fn a_stream_that_ends_without_a_last_event_lacks_it() {
    let last = TURN.find("event: response.completed").unwrap();
    for (stream, lacks_end) in [("", true), (&TURN[..last], true), (TURN, false)] {
        let mut meter = answer(STREAM, "identity");
        meter.observe(stream.as_bytes());
        assert_eq!(meter.lacks_end(), lacks_end, "{stream}");
    }
    assert!(!answer(JSON, "identity").lacks_end());
    assert!(!answer("text/html", "identity").lacks_end());
    assert!(!answer(STREAM, "unknown").lacks_end());
}

#[test]
fn a_meter_shows_nothing_of_what_it_reads() {
    let mut meter = answer(STREAM, "identity");
    meter.observe(TURN.as_bytes());
    assert_eq!(format!("{meter:?}"), "AnswerMeter { .. }");
}

/// A turn of three events.
const TURN: &str = concat!(
    "event: response.created\ndata: ",
    r#"{"type":"response.created","response":{"id":"resp_1","model":"gpt-5","#,
    r#""status":"in_progress","usage":null}}"#,
    "\n\n",
    "event: response.output_text.delta\ndata: ",
    r#"{"type":"response.output_text.delta","item_id":"msg_1","delta":"hello "}"#,
    "\n\n",
    "event: response.completed\ndata: ",
    r#"{"type":"response.completed","response":{"id":"resp_1","model":"gpt-5-x","#,
    r#""status":"completed","usage":{"input_tokens":12,"#,
    r#""input_tokens_details":{"cached_tokens":4},"output_tokens":34,"#,
    r#""output_tokens_details":{"reasoning_tokens":5},"total_tokens":46}}}"#,
    "\n\n",
);

/// A request.
const REQUEST: &str = r#"{"id":"resp_1","model":"gpt-5","stream":true,"input":"a prompt a prompt a prompt a prompt "}"#;

/// `TURN` in Brotli.
const BROTLI: &[u8] = b"\
    \x8b}\0\0\x04\xa2\xcd\xed\xbfLr\xf3'4\xb4\xfc\xb6\x88\xa0\x88\x90\x15\xf8A\x10\xbemc_A\x9fxU\
    p\xfatF\xab\x17\x9d\xd5l\x8f\xa0v(\xda[\xea\xe8E\xe3#\xab\x16\x16HDX\x0c.i\xe1\xc7\ts\xc5`\
    \x0cmO\xd8O/\xdc\x7f\xdaQ\xc6]\xea\x89\xd1\x1e\xdf\x0e\x94\xe9\xd9\xdf\x89\xd1\xaf$\xd2Q\xa2\
    s\xab\x98\x93\xe4\xb9\x96\x88\x1a:\xf1\x90\xbc~\x1e_\xedL\xd7\x9e^P\xba\xd7\x91*\xc6lIS\x08\
    \xfc\xe2\n,\x11\x03\xb1\x11\0@\xccm\xd4W\xe2\xb2\x86g\x1aleE\x11\xe1\x05\x8b\x20g\xcb\x03\
    \x8d9\xc4\xbaO\xba.\xe8|\xe0\x03Z\x83\xf9\xc4'\xd3\x1b^\xda\xc3'V\xd8o?\xff\xfb\x9egTX\xd5\
    \xa1\xb8\xecC#\x81\xd7\xe7S\xb9\x8a\xfa{9;o\xb2\xa1\xb7\x92jUa\x16#\x81-\0i.H\xa3\xc0\xdb\
    \x89\xd1Wk\xa1\x08\x15\xd5\xc2;%\0D";

/// Here its second event is complete, and was flushed.
const BROTLI_SECOND_EVENT: usize = 134;

/// `TURN` in zstd: two blocks and a checksum.
const ZSTD: &[u8] = b"\
    (\xb5/\xfd\x04X\\\x04\x002I\x1b\x19\x90\xa7:\xb6Qh\x0b\xa6m\r\xb0D\x19I\xee\xae-u\xaa5'b\xa9\
    \xa2\x04\xa5$&\x98R'\x18\x9d\xf48\xc7\xd7\xb0q\xae:*\xd6\xf0=\xfb\xda>VJ\x92(\xf5\x16\xfa)\
    \xf5\xd9X\xf5.1\xd7\xce2\x8c\xd6\xb7\xb9jc\x01`[2Z\x1d\xb1\xc3\xc6\x81\x83\x0c#hc\xa3\xdf\
    \x0ek\x84\xc0\xdcD\x05}\xf3nP\\\x17kzG\xe0\xae\x17\x1e\t\0G\x08\xc8\xd8\r\x8di\xb9\xe9\x1c^l\
    Y\xdb0\x08\x1e\x95\x8b\xcd\x02\x7f\x20\xea\t\x85\x03\0r\x84\x10\x17\x80\xab\x0e<\xef\x1c+\
    \xb1\x8dP\x85\x10\x88\x8c3\x18\x18jR\x1aSa#\xe7tw\x91\\B\x86GM\x1c\xdb\x96_*\x93\x86\xa3NL\
    \x91\x95\xebQ\xfd\xb9\x96P\x99\x81\x84@\xfd\xad&\xbc\xed\xb1\x01\xd4-\n\xaf\x10\x005\xcb\x91Z\
    \x9c\x108\0:\xda\xe4\0@\t\xe1T\x11j\xae\xb3\xff\xd2\xc0n0\xa3\0\x05\xcb\xe1\x81\x05\xa3(\x01\
    \x02\xf6\xae\x1a\t@0e\xbe\xff";

/// `REQUEST` in zstd: a single segment.
const ZSTD_REQUEST: &[u8] = b"\
    (\xb5/\xfd\x20\\\x15\x02\0\x12D\x0e\x16\x90\xb5-\x06K\x91,l\x7fhV\r\xa9\xffK\xa6N\x80\x91\
    \xfd\x1fc\x81\xc9&J\x9a\xa4|\xef\xca\xe3l\xb8toTPWm\x0f\xc1f\xf1m\xa0Ih[\x20R\xa1~\x9b3\x20\
    \x01\0\xcf\xb0@\x01";

/// The first event of `TURN`, 100 MiB of a comment, the last event.
const BROTLI_BOMB: &[u8] = b"\
    \xcb\xff\xff?\0\x04\xfe\x7f\x9b\xdf-IN~\x1b,\xac\xdcVDPD\xd8\x0f|K\xa2\x1b\x1c8\xc4qQ\x12\
    \xce\x83\xe9\":x\xc8&4\xc1l\x84r\x80,U\x9c\x10/A\x0cq\xaf\n\x8b\x17\x9a\xf4\xd2\xbb\xa7\x03\
    \xe3~K\xbd\x10\xed\xf3\xed\xc4\x18\x9e\xfd\x1f\x88\xfe\xa43\xc6\xd0\xe4V\x111\xf2\x8c\xee\
    \xff\xd6\nA\xd1\xf8\xff\xff\x07\x80\x04@\x1c\x16\x80\xee\xfd\x1f\xff\xff\xff\0\x90\0\x88\xc3\
    \x02\xd0\xbd\xff\xe3\xff\xff\x1f\0\x12\0qX\0\xba\xf7\x7f\xfc\xff\xff\x03@\x02\x20\x0e\x0b@\
    \xf7\xfe\x8f\xff\xff\x7f\0H\0\xc4a\x01\xe8\xde\xff\xf1\xff\xff\x0f\0\t\x808,\0\xdd\xfb?\xfe\
    \xff\xff\x01\x20\x01\x10\x87\x05\xa0{\xff\xc7\xff\xff?\0$\0\xe2\xb0\0t\xef\xff\xf8\xff\xff\
    \x07\x80\x04@\x1c\x16\x80\xee\xfd\x1f\xff\xff\xff\0\x90\0\x88\xc3\x02\xd0\xbd\xff\xe3\xff\
    \xff\x1f\0\x12\0qX\0\xba\xf7\x7fi\x17\0\x04@\x94\x9c\xcb\xd7\xa8]\xf4\x88\x9daL\x87\xffO\x0f\
    4@\x0cjQ\x81&\x01\xb5\xc5-\xd0\x0b\xdd\xe8~\xc43\xdd\x9d\xa8\xcf\x86\xaf\xc5\xf5\xe9\xb7\xe0\
    \xff\xc4Y\x882c\x16+\x1f\xf8\xac\x15b8\t\0\x98n\x06\0\xe0%\xd4)\x88?t\xa5\xf2.\xb1\xa0bZ\xca\
    jD\x8cf\xa5\xe6i7T\x1c\xcc(\x8f\x1eGB\x1eY\x93\xcf\xf3*\x99p\x19\xaa\xf9@l\xd9*\xab\xc9\xe3\
    \xff?\xa2}(\xb2\xa2\xadJ9\xb8\x7f2.\0\x10\xac\x1c\x97\x1e\xc5\xce\x03\x03\xde\xcd\xcd\nx\xff\
    \x8d\x0b\xb3\xf1n\xf2\xff\xff\xbf\x10";
