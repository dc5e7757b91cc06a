//! A body in a dump: masked, as text or as Base64, piece by piece, up to a limit.
//!
//! Nothing of it is kept but a few bytes that the next piece may continue: twice 7 that could begin a part of
//! the key, 3 of a character, 2 of a Base64 group.

use base64::prelude::{BASE64_STANDARD, Engine};
use codex_key_custody::Masker;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use serde_json::Value;

/// A body of which a part may have been written.
#[derive(Debug)]
pub(crate) struct DumpBody {
    form: Form,
    /// For the bytes as they came.
    masker: Masker,
    bytes: u64,
    limit_bytes: u64,
    is_over: bool,
}

#[derive(Debug)]
enum Form {
    /// What could be the beginning of a character, at the end of what has come. An escape ends in a letter or a
    /// digit, with which the bytes after it may be the key again: hence a second masker, for what is written.
    Text(Vec<u8>, Masker),
    /// One or two bytes that are not a group yet. Who knows the key can choose bytes whose Base64 is the key:
    /// hence a second masker, for what is written.
    Base64(Vec<u8>, Masker),
}

impl DumpBody {
    /// A body under these fields: text, unless they say that it is compressed.
    pub(crate) fn of(fields: &HeaderMap, masker: &Masker, limit_bytes: u64) -> Self {
        let mut codings = fields.get_all(CONTENT_ENCODING).iter();
        let form = if codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            Form::Text(Vec::new(), masker.another())
        } else {
            Form::Base64(Vec::new(), masker.another())
        };
        Self { form, masker: masker.another(), bytes: 0, limit_bytes, is_over: false }
    }

    /// Appends what stands before the data.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) {
        let encoding = match self.form {
            Form::Text(..) => "text",
            Form::Base64(..) => "base64",
        };
        out.extend_from_slice(format!(r#"{{"encoding":"{encoding}","data":""#).as_bytes());
    }

    /// Takes the next piece, and appends what is certain by now. What is over the limit is left out.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let room = self.limit_bytes - self.bytes;
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(piece.len());
        self.is_over |= fits < piece.len();
        self.bytes += fits as u64;
        let mut masked = Vec::new();
        self.masker.feed(&piece[..fits], &mut masked);
        self.form.feed(&masked, out);
    }

    /// Appends what was held back and what stands after the data. `is_whole`: the body has come to its end,
    /// and every piece of it was fed.
    pub(crate) fn end(mut self, is_whole: bool, out: &mut Vec<u8>) {
        let mut masked = Vec::new();
        self.masker.finish(&mut masked);
        self.form.feed(&masked, out);
        self.form.finish(out);
        let (bytes, truncated) = (self.bytes, self.is_over || !is_whole);
        out.extend_from_slice(format!(r#"","bytes":{bytes},"truncated":{truncated}}}"#).as_bytes());
    }
}

impl Form {
    fn feed(&mut self, masked: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Text(held, masker) => {
                held.extend_from_slice(masked);
                let (text, kept) = decode(held);
                held.drain(..held.len() - kept);
                escape(&text, masker, out);
            }
            Self::Base64(held, masker) => {
                held.extend_from_slice(masked);
                let groups = held.len() - held.len() % 3;
                let text = BASE64_STANDARD.encode(&held[..groups]);
                held.drain(..groups);
                masker.feed(text.as_bytes(), out);
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Text(held, masker) => {
                if !held.is_empty() {
                    escape(REPLACEMENT, masker, out); // A character that has no end.
                }
                masker.finish(out);
            }
            Self::Base64(held, masker) => {
                masker.feed(BASE64_STANDARD.encode(held).as_bytes(), out);
                masker.finish(out);
            }
        }
    }
}

/// In place of what is no UTF-8: U+FFFD, as `String::from_utf8_lossy` does.
const REPLACEMENT: &str = "\u{fffd}";

/// These bytes as text, and how many at the end may be continued by what comes next.
fn decode(mut bytes: &[u8]) -> (String, usize) {
    let mut decoded = String::with_capacity(bytes.len());
    loop {
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => {
                decoded.push_str(text);
                return (decoded, 0);
            }
            Err(error) => error,
        };
        let (text, rest) = bytes.split_at(error.valid_up_to());
        decoded.push_str(&String::from_utf8_lossy(text));
        let Some(bad) = error.error_len() else { return (decoded, rest.len()) };
        decoded.push_str(REPLACEMENT);
        bytes = &rest[bad..];
    }
}

/// Appends text as the inside of a JSON string, masked.
fn escape(text: &str, masker: &mut Masker, out: &mut Vec<u8>) {
    let quoted = Value::from(text).to_string();
    let escaped = &quoted.as_bytes()[1..quoted.len() - 1];
    let mut fixed = vec![false; escaped.len()];
    let mut at = 0;
    while at < escaped.len() {
        let bytes = match &escaped[at..] {
            [b'\\', b'u', ..] => UNICODE_ESCAPE_BYTES,
            [b'\\', ..] => 2,
            _ => {
                at += 1;
                continue;
            }
        };
        fixed[at..at + bytes].fill(true);
        at += bytes;
    }
    masker.feed_around(escaped, |at| fixed[at], out);
}

/// `\u0000`. Of 8 bytes in a row, it fixes 5 at most: what comes before it is a backslash.
const UNICODE_ESCAPE_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::dump::dumper::testing::{KEY, masker};

    const LIMIT_BYTES: u64 = 1_000;

    /// The document of a body under this encoding that comes in pieces of this size.
    fn document(encoding: Option<&'static str>, body: &[u8], piece_bytes: usize) -> Value {
        let fields: HeaderMap = encoding
            .into_iter()
            .map(|coding| (CONTENT_ENCODING, HeaderValue::from_static(coding)))
            .collect();
        let mut dumped = DumpBody::of(&fields, &masker(), LIMIT_BYTES);
        let mut out = Vec::new();
        dumped.begin(&mut out);
        for piece in body.chunks(piece_bytes) {
            dumped.feed(piece, &mut out);
        }
        dumped.end(true, &mut out);
        assert!(!KEY.as_bytes().windows(8).any(|part| out.windows(8).any(|found| found == part)));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn however_a_text_is_cut_it_is_the_same_text_without_the_key() {
        for body in [
            b"".to_vec(),
            b"{\"model\":\"gpt\",\"input\":\"a\\nb \\u0000\"}\n".to_vec(),
            "data: {\"delta\":\"h\u{e9}llo \u{2603} \u{1f511}\"}\n\n".as_bytes().to_vec(),
            b"\x00\x01\x1f\x7f\"\\/".to_vec(),
            b"ok \xff\xfe \xe2\x98 \xf0\x9f\x94 \xc0\xaf end \xe2\x98".to_vec(),
            format!("{{\"key\":\"{KEY}\",\"part\":\"{}\"}}", &KEY[4..13]).into_bytes(),
        ] {
            let visible = String::from_utf8_lossy(&body).into_owned();
            let visible = visible.replace(KEY, &"*".repeat(KEY.len()));
            let visible = visible.replace(&KEY[4..13], "*********");
            for piece_bytes in (1..=12).chain([1_000]) {
                let dumped = document(None, &body, piece_bytes);
                let expected = serde_json::json!({
                    "encoding": "text", "data": visible, "bytes": body.len(), "truncated": false,
                });
                assert_eq!(dumped, expected, "{piece_bytes}");
            }
        }
    }

    /// With the last digit of an escape, seven bytes of the key would be eight.
    #[test]
    fn an_escape_does_not_complete_the_key() {
        let part = KEY.find("aZ9").unwrap(); // What comes before it is a 0, as in \u0000.
        for piece_bytes in 1..=9 {
            let stream = format!("\0{}-", &KEY[part..part + 7]);
            let dumped = document(None, stream.as_bytes(), piece_bytes); // Checked there.
            assert_eq!(dumped["data"], "\0*******-");
        }
    }

    #[test]
    fn a_compressed_body_is_base64_however_it_is_cut() {
        let all: Vec<u8> = (0..=255).collect();
        for body in [&b""[..], b"a", b"ab", b"abc", &all[..]] {
            for piece_bytes in (1..=7).chain([1_000]) {
                let dumped = document(Some("zstd"), body, piece_bytes);
                assert_eq!(dumped["encoding"], "base64");
                assert_eq!(dumped["bytes"], body.len());
                let data = BASE64_STANDARD.decode(dumped["data"].as_str().unwrap()).unwrap();
                assert_eq!(data, body, "{piece_bytes}");
            }
        }
        assert_eq!(document(Some("identity"), b"plain", 2)["data"], "plain");
    }

    #[test]
    fn neither_plain_bytes_nor_chosen_ones_bring_the_key_into_base64() {
        // In a block that was stored, the bytes of a compressed body are the bytes that went in.
        let stored = [&b"\x1f\x8b.."[..], KEY.as_bytes(), b".."].concat();
        let dumped = document(Some("gzip"), &stored, 5);
        let data = BASE64_STANDARD.decode(dumped["data"].as_str().unwrap()).unwrap();
        assert_eq!(data, [&b"\x1f\x8b.."[..], "*".repeat(KEY.len()).as_bytes(), b".."].concat());

        // Four letters of the key are three bytes that may be sent.
        let letters = KEY.split(|letter: char| !letter.is_ascii_alphanumeric());
        let longest = letters.max_by_key(|run| run.len()).unwrap();
        let chosen = BASE64_STANDARD.decode(&longest[..longest.len() / 4 * 4]).unwrap();
        assert!(chosen.len() >= 6, "the key has too few letters in a row for this test");
        let dumped = document(Some("gzip"), &chosen, 1); // Checked there.
        assert!(dumped["data"].as_str().unwrap().starts_with("********"), "{dumped}");
    }

    #[test]
    fn what_is_over_the_limit_is_left_out_and_that_is_said() {
        let limit = usize::try_from(LIMIT_BYTES).unwrap();
        for (bytes, kept, truncated) in
            [(limit, limit, false), (limit + 1, limit, true), (5_000, limit, true)]
        {
            for encoding in [None, Some("gzip")] {
                let dumped = document(encoding, &vec![b'x'; bytes], 7);
                assert_eq!(dumped["bytes"], kept);
                assert_eq!(dumped["truncated"], truncated);
            }
        }
    }
}
