//! Finding the key in what somebody else wrote: every run of 8 or more of its bytes, however the stream is cut.
//!
//! What looks like a part of the key is compared with the key where it stands: no part of it is copied. What
//! is looked at that closely is decided by a filter, so that most bytes of a stream cost one multiplication.
//! The filter sits in ordinary memory, and so it must not give the key away. It has 4 to 8 bits for each place
//! in the key, of which it sets one: that says less than 4.4 bits about a byte that has about 6. A larger one
//! would say it all, and so would several with different hashes: hence a fixed one.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::ApiKey;

/// The shortest part of the key that counts as the key, in bytes. (A key that is shorter is none, and can't be told
/// from ordinary words.)
pub(crate) const REVEALING_BYTES: usize = 8;

/// What stands in place of a byte of the key. No key has it (RFC 6750 section 2.1).
const MASKED: u8 = b'*';

/// 2^64 divided by the golden ratio: neighbouring windows are spread over the whole filter.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the key stands that is compared with. It is not kept alive: whoever masks may be slow, a disk say.
#[derive(Clone)]
enum Place<'key> {
    Custody(Weak<ApiKey>),
    Lent(&'key [u8]),
}

/// The key, while it is compared with.
enum Key<'key> {
    Held(Arc<ApiKey>),
    Lent(&'key [u8]),
}

impl<'key> Place<'key> {
    /// `None` if it is gone.
    fn key(&self) -> Option<Key<'key>> {
        match self {
            Self::Custody(key) => key.upgrade().map(Key::Held),
            Self::Lent(bytes) => Some(Key::Lent(bytes)),
        }
    }
}

impl Key<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Held(key) => key.bytes(),
            Self::Lent(bytes) => bytes,
        }
    }
}

/// Where a stream of bytes shows the key.
struct Runs<'key> {
    key: Place<'key>,
    /// The hashes of all windows of 8 bytes of the key, a bit each.
    filter: Arc<[u64]>,
    /// How far to the right a hash is to be shifted to count the filter's bits.
    shift: u32,
    /// The last bytes of the stream, the latest lowest. No key has a NUL, so a stream that has just begun
    /// can't be taken for it.
    window: u64,
}

impl<'key> Runs<'key> {
    /// For a stream that has not begun.
    fn of(key: &[u8], stands: Place<'key>) -> Self {
        let places = key.windows(REVEALING_BYTES).count();
        let bits = (4 * places).next_power_of_two().max(64);
        let shift = u64::BITS - bits.trailing_zeros();
        let mut filter = vec![0_u64; bits / 64];
        for window in key.windows(REVEALING_BYTES) {
            let window = window.iter().fold(0_u64, |window, byte| (window << 8) | u64::from(*byte));
            let at = place(window, shift);
            filter[at / 64] |= 1_u64 << (at % 64);
        }
        Self { key: stands, filter: filter.into(), shift, window: 0 }
    }

    /// The same key for a stream of its own.
    fn another(&self) -> Self {
        let (key, filter) = (self.key.clone(), Arc::clone(&self.filter));
        Self { key, filter, shift: self.shift, window: 0 }
    }

    /// Takes the stream's next byte. Returns whether a run of the key's bytes ends with it.
    fn ends_with(&mut self, byte: u8, key: &Key<'_>) -> bool {
        self.window = (self.window << 8) | u64::from(byte);
        let at = place(self.window, self.shift);
        (self.filter[at / 64] >> (at % 64)) & 1 == 1 && self.is_in(key.bytes())
    }

    /// Whether the window is a part of the key, and not only of the same hash as one.
    fn is_in(&self, key: &[u8]) -> bool {
        let run = self.window.to_be_bytes();
        let (first, last) = (run[0], run[REVEALING_BYTES - 1]);
        // Both ends at every place, without a branch: that is many places in one instruction.
        let ends = key.iter().zip(&key[REVEALING_BYTES - 1..]);
        let ends_are =
            ends.fold(false, |found, (begin, end)| found | ((*begin == first) & (*end == last)));
        ends_are && key.windows(REVEALING_BYTES).any(|part| part == run)
    }
}

/// Where a window's bit is.
fn place(window: u64, shift: u32) -> usize {
    (window.wrapping_mul(SPREAD) >> shift) as usize
}

/// Which bytes of a text are the key's: those in a run of 8 or more.
pub(crate) fn revealing(key: &[u8], text: &[u8]) -> Vec<bool> {
    let (mut runs, key) = (Runs::of(key, Place::Lent(key)), Key::Lent(key));
    let mut revealing = vec![false; text.len()];
    for (at, byte) in text.iter().enumerate() {
        if runs.ends_with(*byte, &key) {
            revealing[at + 1 - REVEALING_BYTES..=at].fill(true);
        }
    }
    revealing
}

/// Puts `*` in place of each byte of a run of 8 or more bytes of the key, in a stream that comes in pieces.
///
/// What comes out is as long as what went in, and the same however the stream was cut. Once the key is gone, wiped, nothing
/// can be told from it: then all is masked.
pub struct Masker {
    runs: Runs<'static>,
    /// The last bytes of the stream, which the next ones may turn out to belong to; some may be masked already.
    held: [u8; REVEALING_BYTES - 1],
    /// Which of them stay what they are.
    held_fixed: [bool; REVEALING_BYTES - 1],
    held_bytes: usize,
}

impl Masker {
    pub(crate) fn of_key(key: &Arc<ApiKey>) -> Self {
        Self::new(Runs::of(key.bytes(), Place::Custody(Arc::downgrade(key))))
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn of(key: &'static [u8]) -> Self {
        Self::new(Runs::of(key, Place::Lent(key)))
    }

    fn new(runs: Runs<'static>) -> Self {
        let (held, held_fixed) = ([0; REVEALING_BYTES - 1], [false; REVEALING_BYTES - 1]);
        Self { runs, held, held_fixed, held_bytes: 0 }
    }

    /// A masker of the same key for another stream, which has not begun.
    pub fn another(&self) -> Self {
        Self::new(self.runs.another())
    }

    /// Takes the next piece, and appends to `out` what is certain by now: all but the last 7 bytes, or fewer.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.feed_around(piece, |_| false, out);
    }

    /// As [`Masker::feed`], but bytes at which `is_fixed`, by their place in the piece, stay what they are. Of any 8
    /// in a row some must not be.
    pub fn feed_around(
        &mut self,
        piece: &[u8],
        is_fixed: impl Fn(usize) -> bool,
        out: &mut Vec<u8>,
    ) {
        let (held_bytes, held_fixed) = (self.held_bytes, self.held_fixed);
        let stays = |at: usize| {
            if at < held_bytes { held_fixed[at] } else { is_fixed(at - held_bytes) }
        };
        let begin = out.len();
        out.extend_from_slice(&self.held[..self.held_bytes]);
        let piece_begin = out.len();
        out.extend_from_slice(piece);
        let mut mask = |places: Range<usize>| {
            for at in places.filter(|at| !stays(at - begin)) {
                out[at] = MASKED;
            }
        };
        match self.runs.key.key() {
            None => mask(begin..piece_begin + piece.len()),
            Some(key) => {
                for (at, byte) in piece.iter().enumerate() {
                    if self.runs.ends_with(*byte, &key) {
                        // It can't begin before `begin`: all but its last byte was held back, or is in this piece.
                        let end = piece_begin + at + 1;
                        mask(end - REVEALING_BYTES..end);
                    }
                }
            }
        }
        let certain = begin.max(out.len().saturating_sub(REVEALING_BYTES - 1));
        self.held_bytes = out.len() - certain;
        self.held[..self.held_bytes].copy_from_slice(&out[certain..]);
        for (held, at) in self.held_fixed.iter_mut().zip(certain..out.len()) {
            *held = stays(at - begin);
        }
        out.truncate(certain);
    }

    /// Appends what was held back: the stream has ended. What is fed from now on is another stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.held[..self.held_bytes]);
        self.held_bytes = 0;
        self.runs.window = 0;
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Masker(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"sk-proj-0123456789abcdefghijklmnop";

    /// The stream, masked, when it comes in pieces of this size.
    fn masked(key: &'static [u8], stream: &[u8], piece_bytes: usize) -> Vec<u8> {
        let mut masker = Masker::of(key);
        let mut out = Vec::new();
        for (count, piece) in stream.chunks(piece_bytes).enumerate() {
            masker.feed(piece, &mut out);
            let fed = stream.len().min((count + 1) * piece_bytes);
            assert!(fed - out.len() < REVEALING_BYTES, "too much is held back");
        }
        masker.finish(&mut out);
        out
    }

    /// The rule, without regard to time or cuts.
    fn expected(key: &[u8], stream: &[u8]) -> Vec<u8> {
        let mut out = stream.to_vec();
        for (at, window) in stream.windows(8).enumerate() {
            if key.windows(8).any(|part| part == window) {
                out[at..at + 8].fill(b'*');
            }
        }
        out
    }

    /// Bytes without an order, from a linear congruential generator (Knuth's MMIX).
    fn noise(count: usize, alphabet: &[u8]) -> Vec<u8> {
        let mut state: u64 = 1;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            alphabet[(state >> 33) as usize % alphabet.len()]
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn however_a_stream_is_cut_the_result_is_the_same() {
        let all: Vec<u8> = (0..=255).collect();
        let key = std::str::from_utf8(KEY).unwrap();
        for stream in [
            Vec::new(),
            KEY.to_vec(),
            KEY[3..17].to_vec(),
            [KEY, KEY].concat(),
            format!("{{\"a\":\"{key}\",\"b\":\"Bearer {}\"}}", &key[5..20]).into_bytes(),
            format!("{}{}{}", &key[..7], &key[..8], &key[1..8]).into_bytes(),
            format!("\0\0{}\0{}", &key[..8], &key[26..]).into_bytes(),
            "é0123456789é☃sk-proj-".as_bytes().to_vec(),
            noise(3_000, b"0123456789abc"),
            noise(3_000, &all),
        ] {
            let whole = expected(KEY, &stream);
            for piece_bytes in (1..=20).chain([1_000, 10_000]) {
                assert_eq!(masked(KEY, &stream, piece_bytes), whole, "{piece_bytes}");
            }
        }
    }

    #[test]
    fn no_eight_bytes_of_the_key_survive_and_shorter_parts_do() {
        for begin in 0..KEY.len() {
            for end in begin + 1..=KEY.len() {
                let part = &KEY[begin..end];
                let stream = [&b"<"[..], part, b">", part].concat();
                for piece_bytes in [1, 3, 8, 100] {
                    let out = masked(KEY, &stream, piece_bytes);
                    let survives = |run: &[u8]| out.windows(8).any(|window| window == run);
                    assert!(!KEY.windows(8).any(survives));
                    assert_eq!(out == stream, part.len() < 8);
                }
            }
        }
    }

    #[test]
    fn what_is_not_of_the_key_is_unchanged() {
        let all: Vec<u8> = (0..=255).rev().collect(); // Forwards, it has parts of the key.
        for stream in [vec![0; 1_000], all.repeat(50), noise(100_000, &all), b"********".to_vec()] {
            assert_eq!(masked(KEY, &stream, 333), stream);
        }
    }

    #[test]
    fn a_key_of_any_length_is_found() {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for key_bytes in [1, 2, 7, 8, 9, 64, 72, 164, 1_000, 4_096] {
            for alphabet in [LETTERS, b"ab", b"k"] {
                let key: &'static [u8] = noise(key_bytes, alphabet).leak();
                let stream =
                    [&b"{\"k\":\""[..], key, b"\"} ", &key[key_bytes / 2..], b" x"].concat();
                for piece_bytes in [5, 100_000] {
                    let out = masked(key, &stream, piece_bytes);
                    assert_eq!(out, expected(key, &stream), "{key_bytes} bytes");
                    let survives = out.windows(key_bytes).any(|part| part == key);
                    assert_eq!(survives, key_bytes < 8, "{key_bytes} bytes");
                }
            }
        }
    }

    #[test]
    fn a_masker_that_has_finished_begins_anew() {
        let mut masker = Masker::of(KEY);
        let mut out = Vec::new();
        masker.feed(&KEY[..5], &mut out);
        masker.finish(&mut out);
        masker.feed(&KEY[5..10], &mut out);
        let mut another = masker.another();
        masker.finish(&mut out);
        assert_eq!(out, &KEY[..10]);
        another.feed(&KEY[10..17], &mut out);
        assert_eq!(out, &KEY[..10], "it has taken over the other's stream");
        another.finish(&mut out);
        assert_eq!(out, &KEY[..17]);
    }

    #[test]
    fn what_is_fixed_stays_and_what_is_around_it_is_masked() {
        let stream = b"x0123456789y";
        for piece_bytes in 1..=stream.len() {
            let (mut masker, mut out) = (Masker::of(KEY), Vec::new());
            for (number, piece) in stream.chunks(piece_bytes).enumerate() {
                let is_fixed = |at| (3..6).contains(&(number * piece_bytes + at));
                masker.feed_around(piece, is_fixed, &mut out);
            }
            masker.finish(&mut out);
            assert_eq!(out, b"x**234*****y", "{piece_bytes}: {}", String::from_utf8_lossy(&out));
        }
    }

    /// The figures of the module's first words.
    #[test]
    fn the_filter_is_too_small_to_hold_the_key() {
        for key_bytes in [1, 8, 23, 24, 40, 72, 164, 1_000, 4_096] {
            let key = noise(key_bytes, b"0123456789abcdefABCDEF-_");
            let runs = Runs::of(&key, Place::Lent(&key));
            let places = key_bytes.saturating_sub(7);
            let bits = runs.filter.len() * 64;
            assert!(bits == 64 || (4 * places..8 * places).contains(&bits), "{key_bytes}: {bits}");
            assert!(
                runs.filter.iter().map(|word| word.count_ones()).sum::<u32>() as usize <= places
            );
        }
    }

    #[test]
    fn a_masker_does_not_keep_its_key_and_masks_all_once_that_is_gone() {
        let key = Arc::new(crate::testing::key("0123456789abcdef"));
        let (mut masker, mut out) = (key.masker(), Vec::new());
        masker.feed(b"no key, 0123456789", &mut out);
        assert_eq!(Arc::strong_count(&key), 1);
        drop(key);
        masker.feed_around(b"abc; and more", |at| at == 3, &mut out);
        masker.finish(&mut out);
        assert_eq!(out, b"no key, *************;*********", "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn debug_output_shows_nothing() {
        let mut masker = Masker::of(KEY);
        masker.feed(&KEY[..7], &mut Vec::new());
        assert_eq!(format!("{masker:?}"), "Masker(hidden)");
    }
}
