//! What holds for any bytes: tried with the corpus by the tests, with anything by `fuzz/`.

use crate::mask::{Masker, REVEALING_BYTES};
use crate::read::key_bytes;

/// What is taken for a key is one line of a token's characters (RFC 6750 section 2.1), and the whole input but
/// its line end.
///
/// # Panics
///
/// When the property is broken.
pub fn key_input(bytes: &[u8]) {
    if let Ok(length) = key_bytes(bytes) {
        let (key, rest) = bytes.split_at(length);
        assert!((1..=crate::MAX_KEY_BYTES).contains(&length));
        assert!(matches!(rest, b"" | b"\n" | b"\r\n"), "{rest:?}");
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        assert!(key.iter().all(is_token), "{key:?}");
    }
}

/// However a stream is cut, what comes out is as long as what went in, the same, and without any 8 bytes of the
/// key in a row. The first byte says how it is cut.
///
/// # Panics
///
/// When the property is broken.
pub fn key_mask(bytes: &[u8]) {
    const KEY: &[u8] = b"abcabcabdabcabcabcabcab";
    let Some((cut, stream)) = bytes.split_first() else { return };
    let mask = |piece_bytes: usize| {
        let (mut masker, mut out) = (Masker::of(KEY), Vec::new());
        for piece in stream.chunks(piece_bytes) {
            masker.feed(piece, &mut out);
        }
        masker.finish(&mut out);
        out
    };
    let whole = mask(stream.len().max(1));
    assert_eq!(mask(usize::from(*cut) + 1), whole);
    assert_eq!(whole.len(), stream.len());
    let shows = |run: &[u8]| KEY.windows(REVEALING_BYTES).any(|part| part == run);
    for (at, byte) in whole.iter().enumerate() {
        // A byte is masked if it stands in such a run, and else it is what it was.
        let nearby =
            &stream[at.saturating_sub(REVEALING_BYTES - 1)..stream.len().min(at + REVEALING_BYTES)];
        let is_masked = nearby.windows(REVEALING_BYTES).any(shows);
        assert_eq!(*byte, if is_masked { b'*' } else { stream[at] }, "at {at}");
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
        replay("key_input", super::key_input);
        replay("key_mask", super::key_mask);
    }
}
