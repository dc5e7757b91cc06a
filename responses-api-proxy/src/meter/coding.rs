//! Compressed bodies, decoded on the side: the body passes as it is, a meter sees what is in it.
//!
//! Whoever compresses chooses how much comes out. So there are bounds for the decoded bytes, for the memory of a
//! decoder and for how many there are; what is beyond them is not metered, and passes all the same.

use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::decoders::{Brotli, gzip};
use super::zstd_frames::ZstdFrames;

/// Decoders at once, in the whole process. Each takes up to 17 MiB, most take far less.
static DECODERS: Places = Places::new(32);

/// What is decoded of one body at most.
const DECODED_LIMIT_BYTES: u64 = 64 << 20;

/// What comes out at most for what has gone in: this much, and so many times what went in. Event streams that
/// repeat themselves in each event shrink to a tenth or twentieth.
const DECODED_HEAD_START_BYTES: u64 = 1 << 20;
const DECODED_RATIO_LIMIT: u64 = 100;

/// From here on more must have come out than has gone in: whoever sends blocks that cost much and hold nothing
/// does so for the cost.
const WASTE_HEAD_START_BYTES: u64 = 64 << 10;

/// Bytes go in in steps that end at multiples of this, and a step's bound is set by those before it: so the bound
/// strikes at the same byte however the body is cut.
const STEP_BYTES: u64 = 4_096;

/// A body's content coding, undone.
pub(super) struct Decoding {
    state: State,
    is_prompt: bool,
    compressed_bytes: u64,
    decoded_bytes: u64,
}

enum State {
    /// It is not compressed.
    Plain,
    /// Nothing has come yet: no decoder is needed.
    Due(Coding),
    Running(
        Box<dyn Decode + Send + Sync>,
        #[expect(dead_code, reason = "kept to be dropped")] Place,
    ),
    /// Its end was reached.
    Over,
    /// Given up: a bound was met.
    Left,
    /// Not in the coding that was promised.
    Spoilt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Decoding {
    /// What these fields say of a body (RFC 9110, section 8.4). None for several codings, and for unknown ones.
    pub(super) fn of(fields: &HeaderMap) -> Option<Self> {
        let mut coding = None;
        for value in fields.get_all(CONTENT_ENCODING) {
            for word in value.to_str().ok()?.split(',') {
                let named = match word.trim().to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Coding::Gzip,
                    "br" => Coding::Brotli,
                    "zstd" => Coding::Zstd,
                    _ => return None,
                };
                if coding.replace(named).is_some() {
                    return None;
                }
            }
        }
        let state = coding.map_or(State::Plain, State::Due);
        Some(Self { state, is_prompt: coding != Some(Coding::Zstd), ..Self::plain() })
    }

    /// Of a body that is as it is.
    pub(super) fn plain() -> Self {
        Self { state: State::Plain, is_prompt: true, compressed_bytes: 0, decoded_bytes: 0 }
    }

    /// Decodes a piece, and hands on what comes out.
    pub(super) fn decode(&mut self, mut piece: &[u8], into: &mut dyn FnMut(&[u8])) {
        if let State::Plain = self.state {
            return into(piece);
        }
        while !piece.is_empty() && matches!(self.state, State::Due(_) | State::Running(..)) {
            let step_bytes = STEP_BYTES - self.compressed_bytes % STEP_BYTES;
            let step_bytes = usize::try_from(step_bytes).unwrap_or(usize::MAX);
            let (step, rest) = piece.split_at(step_bytes.min(piece.len()));
            self.step(step, into);
            piece = rest;
        }
    }

    fn step(&mut self, step: &[u8], into: &mut dyn FnMut(&[u8])) {
        if let State::Due(coding) = self.state {
            self.state = match DECODERS.take() {
                Some(place) => State::Running(decoder(coding), place),
                None => State::Left,
            };
        }
        let State::Running(decoder, _) = &mut self.state else { return };
        let steps_before = self.compressed_bytes / STEP_BYTES;
        let allowed_bytes =
            DECODED_HEAD_START_BYTES + DECODED_RATIO_LIMIT * STEP_BYTES * steps_before;
        let room_bytes = allowed_bytes.min(DECODED_LIMIT_BYTES).saturating_sub(self.decoded_bytes);
        let mut decoded = Decoded { room_bytes, into };
        // A decoder that panics over a body that somebody made for it must not end the exchange.
        let result = panic::catch_unwind(AssertUnwindSafe(|| decoder.decode(step, &mut decoded)));
        self.decoded_bytes += room_bytes - decoded.room_bytes;
        self.compressed_bytes += step.len() as u64;
        let is_waste = self.is_prompt
            && self.compressed_bytes >= WASTE_HEAD_START_BYTES
            && self.compressed_bytes.is_multiple_of(STEP_BYTES)
            && self.decoded_bytes < self.compressed_bytes;
        // What is no longer needed goes at once, and its place with it.
        match result {
            Ok(Ok(())) if is_waste => self.state = State::Left,
            Ok(Ok(())) => {}
            Ok(Err(Halt::Over)) => self.state = State::Over,
            Ok(Err(Halt::Full)) => self.state = State::Left,
            Ok(Err(Halt::Spoilt)) | Err(_) => self.state = State::Spoilt,
        }
    }

    /// Whether there is nothing to undo.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.state, State::Plain)
    }

    /// Whether the body turned out not to be what it should be, or met a bound.
    pub(super) fn has_given_up(&self) -> bool {
        matches!(self.state, State::Left | State::Spoilt)
    }

    /// Whether what has come is shown as soon as it can be.
    pub(super) fn is_prompt(&self) -> bool {
        self.is_prompt
    }
}

fn decoder(coding: Coding) -> Box<dyn Decode + Send + Sync> {
    match coding {
        Coding::Gzip => Box::new(gzip()),
        Coding::Brotli => Box::new(Brotli::new()),
        Coding::Zstd => Box::new(ZstdFrames::new()),
    }
}

/// Undoes one coding.
pub(super) trait Decode {
    /// Takes all of the next piece, and hands on what comes out.
    fn decode(&mut self, piece: &[u8], decoded: &mut Decoded<'_>) -> Result<(), Halt>;
}

/// Why decoding ends.
pub(super) enum Halt {
    /// All is decoded; what follows is not of the body.
    Over,
    /// No more may come out.
    Full,
    /// This is not the coding that was promised.
    Spoilt,
}

/// Where decoded bytes go, as far as they may.
pub(super) struct Decoded<'a> {
    room_bytes: u64,
    into: &'a mut dyn FnMut(&[u8]),
}

impl Decoded<'_> {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        let room = usize::try_from(self.room_bytes).unwrap_or(usize::MAX);
        let fitting = &bytes[..bytes.len().min(room)];
        self.room_bytes -= fitting.len() as u64;
        (self.into)(fitting);
        if fitting.len() < bytes.len() { Err(Halt::Full) } else { Ok(()) }
    }
}

impl Write for Decoded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::Other.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A number of places.
struct Places {
    taken: AtomicUsize,
    limit: usize,
}

/// One of them, free again when dropped.
struct Place(&'static Places);

impl Places {
    const fn new(limit: usize) -> Self {
        Self { taken: AtomicUsize::new(0), limit }
    }

    fn take(&'static self) -> Option<Place> {
        let one_more = |taken| (taken < self.limit).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.ok().map(|_| Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_coding_is_undone_and_no_other() {
        let rows: &[(&[&str], Option<Option<Coding>>)] = &[
            (&[], Some(None)),
            (&["identity"], Some(None)),
            (&[""], Some(None)),
            (&["gzip"], Some(Some(Coding::Gzip))),
            (&["X-GZip"], Some(Some(Coding::Gzip))),
            (&["br"], Some(Some(Coding::Brotli))),
            (&[" ZSTD "], Some(Some(Coding::Zstd))),
            (&["identity, br,"], Some(Some(Coding::Brotli))),
            (&["gzip, br"], None),
            (&["gzip", "gzip"], None),
            (&["deflate"], None),
            (&["gzip;q=1"], None),
        ];
        for (values, expected) in rows {
            let mut fields = HeaderMap::new();
            for value in *values {
                fields.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
            }
            let coding = Decoding::of(&fields).map(|decoding| match decoding.state {
                State::Due(coding) => Some(coding),
                _ => None,
            });
            assert_eq!(coding, *expected, "{values:?}");
        }
    }

    #[test]
    fn a_place_is_free_again_once_it_is_left() {
        static TWO: Places = Places::new(2);
        let (first, second) = (TWO.take(), TWO.take());
        assert!(first.is_some() && second.is_some() && TWO.take().is_none());
        drop(first);
        let third = TWO.take();
        assert!(third.is_some() && TWO.take().is_none());
    }
}
