//! What holds for any bytes: tried with the corpus by the tests, with anything by `fuzz/`.

use crate::Line;
use crate::line::gap_to_words;

/// Whatever is taken for a line is written as one line without control characters, which reads back equal.
///
/// # Panics
///
/// When the property is broken.
pub fn log_line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(line) = Line::parse(text) {
        let json = line.to_json();
        assert!(!json.contains(char::is_control), "{json:?}");
        assert_eq!(Line::parse(&json).as_ref(), Some(&line));
        let words = match &line {
            Line::Record(record) => record.to_string(),
            Line::Gap { records, because } => gap_to_words(*records, because),
            Line::Heartbeat => String::new(),
        };
        assert!(!words.contains(char::is_control), "{words:?}");
    }
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_breaks_no_property() {
        replay("log_line", super::log_line);
    }
}
