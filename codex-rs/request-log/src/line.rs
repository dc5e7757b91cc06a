//! One line of the JSONL form: in the file, on standard error with `--log-format json`, over the control socket.

use std::fmt::Write;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::Record;

/// No line is longer, in bytes. [`crate::OpenRecord`] keeps far less of anybody's words.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// One line of the JSONL form.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A record, and nothing around it.
    Record(Box<Record>),
    /// Here records are missing: `{"gap":{"records":3,"because":"…"}}`.
    Gap {
        /// How many.
        records: u64,
        /// What became of them.
        because: String,
    },
    /// Nothing has happened, and whoever writes still lives: `{"heartbeat":{"at":"…"}}`.
    Heartbeat,
}

/// What a line that is no record looks like.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Gap {
        records: u64,
        because: String,
    },
    Heartbeat {
        #[serde(with = "crate::time")]
        at: SystemTime,
    },
}

impl Line {
    /// The line, without its end. There is no control character in it. A heartbeat says the present time.
    pub fn to_json(&self) -> String {
        match self {
            Self::Record(record) => record.to_json(),
            Self::Gap { records, because } => gap_to_json(*records, because),
            Self::Heartbeat => json(&Mark::Heartbeat { at: SystemTime::now() }),
        }
    }

    /// Reads a line, with or without its end. `None` if it is torn, or somebody else's: the beginning of a
    /// record is never a record.
    pub fn parse(text: &str) -> Option<Self> {
        // An array of the same values is not ours.
        if !text.starts_with('{') {
            return None;
        }
        if let Ok(record) = serde_json::from_str(text) {
            return Some(Self::Record(Box::new(record)));
        }
        match serde_json::from_str(text).ok()? {
            Mark::Gap { records, because } => Some(Self::Gap { records, because }),
            Mark::Heartbeat { .. } => Some(Self::Heartbeat),
        }
    }
}

pub(crate) fn gap_to_json(records: u64, because: &str) -> String {
    json(&Mark::Gap { records, because: because.to_owned() })
}

/// A gap for people.
pub(crate) fn gap_to_words(records: u64, because: &str) -> String {
    let were = if records == 1 { "record was" } else { "records were" };
    format!("{records} {were} dropped: {}", because.replace(char::is_control, " "))
}

/// One line of JSON that no terminal can stumble over.
pub(crate) fn json(value: &impl Serialize) -> String {
    // Plain numbers and strings: nothing that JSON could refuse.
    let json = serde_json::to_string(value).unwrap_or_default();
    if !json.contains(is_odd) {
        return json;
    }
    // They stand in strings, where an escape means the same.
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_odd(character) {
            // One that is beyond 16 bits is written as two halves (RFC 8259 §7).
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}"); // A String takes everything.
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// What JSON lets through, but a terminal should not get: DEL and the C1 controls, whatever ends a line
/// for some readers, what makes text run the other way, and what nobody sees.
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}')
        || matches!(character, '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{bare, record};

    #[test]
    fn a_record_is_written_with_every_key_in_order() {
        let line = Line::Record(Box::new(record()));
        let expected = concat!(
            r#"{"id":7,"started_at":"2027-01-15T08:00:00.025Z","peer":{"uid":1000,"user":"alice"},"#,
            r#""method":"POST","path":"/v1/responses","outcome":"completed","reason":"response_incomplete","#,
            r#""detail":"max_output_tokens","status":200,"model":"gpt-5","stream":true,"bytes_in":400,"#,
            r#""bytes_out":1200,"first_byte_ms":80,"duration_ms":1234,"usage":{"input_tokens":1200,"#,
            r#""cached_tokens":1024,"output_tokens":42,"reasoning_tokens":7,"total_tokens":1242},"#,
            r#""upstream_request_id":"req_1","upstream_error":"rate_limit_exceeded"}"#,
        );
        assert_eq!(line.to_json(), expected);
        assert_eq!(Line::parse(expected), Some(line));

        let line = Line::Record(Box::new(bare()));
        let json = line.to_json();
        assert!(json.contains(r#""peer":{"uid":1000,"user":null},"#), "{json}");
        assert!(json.ends_with(r#""upstream_request_id":null,"upstream_error":null}"#), "{json}");
        assert_eq!(Line::parse(&json), Some(line));
    }

    #[test]
    fn the_beginning_of_a_record_is_no_record() {
        let mut record = record();
        record.path = "/ü}\"}]".to_owned();
        let json = Line::Record(Box::new(record)).to_json();
        for end in (0..json.len()).filter(|end| json.is_char_boundary(*end)) {
            assert_eq!(Line::parse(&json[..end]), None, "{}", &json[..end]);
        }
        assert!(Line::parse(&json).is_some());
        assert!(Line::parse(&format!("{json}\r\n")).is_some());
    }

    #[test]
    fn gaps_and_heartbeats_are_told_from_records() {
        let gap = Line::Gap { records: 3, because: "of \"that\"".to_owned() };
        assert_eq!(gap.to_json(), r#"{"gap":{"records":3,"because":"of \"that\""}}"#);
        assert_eq!(Line::parse(&gap.to_json()), Some(gap));
        assert_eq!(gap_to_words(3, "of \"that\""), "3 records were dropped: of \"that\"");
        assert_eq!(gap_to_words(1, "x\ny"), "1 record was dropped: x y");
        let beat = Line::Heartbeat.to_json();
        assert!(
            beat.starts_with(r#"{"heartbeat":{"at":"2"#) && beat.ends_with(r#"Z"}}"#),
            "{beat}"
        );
        assert_eq!(Line::parse(&beat), Some(Line::Heartbeat));
    }

    #[test]
    fn what_others_write_is_no_line_of_ours() {
        let json = Line::Record(Box::new(record())).to_json();
        let newer = json.replacen('{', r#"{"colour":"blue","#, 1);
        assert!(Line::parse(&newer).is_some(), "a key that came later costs no record");
        for foreign in [
            "",
            "{}",
            "null",
            "[]",
            "warning: something",
            r#"{"id":7}"#,
            r#"{"gap":{"records":-1,"because":""}}"#,
            r#"{"gap":{"records":1,"because":""},"heartbeat":{"at":"2027-01-15T08:00:00Z"}}"#,
            r#""heartbeat""#,
            &format!("\0\0{json}"),
            &format!("{json}{json}"),
            &json.replace("completed", "finished"),
            &json.replace("08:00", "8:00"),
        ] {
            assert_eq!(Line::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn no_terminal_gets_a_control_character() {
        let mut record = record();
        record.path = "\u{0}\n\u{1b}[2J\u{7f}\u{85}\u{9b}\u{202e}\u{2028}".to_owned();
        let line = Line::Record(Box::new(record));
        let json = line.to_json();
        assert!(!json.contains(is_odd), "{json:?}");
        assert_eq!(Line::parse(&json), Some(line));
    }

    #[test]
    fn what_nobody_sees_is_written_so_that_it_is_seen() {
        let seen = |text: &str| json(&text);
        assert_eq!(seen("größer 模型 \u{1f600}"), "\"größer 模型 \u{1f600}\"");
        for (text, expected) in [
            ("a\u{ad}b", r#""a\u00adb""#),
            ("\u{200b}\u{200d}", r#""\u200b\u200d""#),
            ("\u{2060}\u{2064}\u{feff}", r#""\u2060\u2064\ufeff""#),
            ("\u{e0000}\u{e0041}\u{e007f}", r#""\udb40\udc00\udb40\udc41\udb40\udc7f""#),
        ] {
            assert_eq!(seen(text), expected);
            assert_eq!(serde_json::from_str::<String>(expected).unwrap(), text);
        }
    }
}
