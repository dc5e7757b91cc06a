//! What holds for any bytes: tried with the corpus by the tests, with anything by `fuzz/`.

use std::sync::{Arc, OnceLock};

use http::header::AUTHORIZATION;

use crate::heads::HeadStart;
use crate::mask::{Masker, REVEALING_BYTES};
use crate::read::key_bytes;
use crate::testing::{arrived, key};
use crate::{KeyRing, KeyedHeads, LentKey};

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

/// However little the upstream takes at a time, a request's head gets the key and its body stays what it was, also
/// where it repeats the head, or is another's. The first byte says how much is taken at once, the second how the body is cut
/// into chunks, if it is; 0xff and 0xfe in the body stand for whole heads.
///
/// # Panics
///
/// When the property is broken.
pub fn keyed_heads(bytes: &[u8]) {
    const START: &str = "POST / HTTP/1.1\r\nauthorization: ";
    const KEY: &str = "sk-abc";
    static RING: OnceLock<Arc<KeyRing>> = OnceLock::new();
    let ring = RING.get_or_init(|| Arc::new(KeyRing::new(key(KEY))));
    let ([at_once, cut, body @ ..], Some(lent), Some(other)) = (bytes, ring.lend(), ring.lend())
    else {
        return;
    };
    let name = |lent: &LentKey| String::from_utf8_lossy(lent.bare().as_bytes()).into_owned();
    let [own, others] = [&lent, &other].map(name);
    let lure = |name: &str| format!("{START}{name}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    let body: Vec<u8> = body
        .iter()
        .flat_map(|byte| match byte {
            0xff => lure(&own),
            0xfe => lure(&others),
            byte => vec![*byte],
        })
        .collect();
    let mut body_pieces = Vec::new();
    let framing = match usize::from(*cut) {
        0 => {
            body_pieces.push(body.clone());
            format!("content-length: {}", body.len())
        }
        cut => {
            for chunk in body.chunks(cut) {
                let size = format!("{:X}\r\n", chunk.len()).into_bytes();
                body_pieces.extend([size, chunk.to_vec(), b"\r\n".to_vec()]);
            }
            body_pieces.push(b"0\r\n\r\n".to_vec());
            "transfer-encoding: chunked".to_owned()
        }
    };
    let head = |name: &str| format!("{START}{name}\r\n{framing}\r\n\r\n").into_bytes();
    let (sent, expected) = (head(&own), [head(KEY), body_pieces.concat()].concat());
    let pieces: Vec<&[u8]> =
        [&*sent].into_iter().chain(body_pieces.iter().map(|piece| &**piece)).collect();
    let mut heads = KeyedHeads::new(Arc::clone(ring), HeadStart::new("/", &AUTHORIZATION, ""));
    match arrived(&mut heads, &pieces, usize::from(*at_once) + 1) {
        Ok(arrived) => assert!(arrived == expected, "{arrived:?}"),
        Err(error) => panic!("{error}"),
    }
    // And then the next head is due.
    let next = lure(&others);
    assert_eq!(arrived(&mut heads, &[&next], 20).ok(), Some(lure(KEY)));
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
        replay("keyed_heads", super::keyed_heads);
    }
}
