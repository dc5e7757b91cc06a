//! The key joins a request here, and only here: in the bytes of its head, on their way to the upstream.
//!
//! An HTTP client is given a placeholder. It writes that into a buffer of its own, from which nobody wipes it; but what
//! it writes from there goes through [`KeyedHeads`], which puts the key in the placeholder's place. The key itself is
//! never copied: it is one more piece of a vectored write, and lies in its page.
//!
//! It is put in where all of this is so, and nowhere else:
//! - A head is due: nothing was written on this connection yet, or the body of the request before has been written to its
//!   end. So no body is ever looked at, whatever it contains.
//! - What is written is a head of ours: it begins with the very bytes that ours begin with, and then a placeholder.
//! - The placeholder is one that was lent to an exchange and has not been used. Each works once.
//!
//! Where a head is due and something else comes, nothing is written at all: no placeholder ever leaves.

use std::borrow::Cow;
use std::io::{self, IoSlice};
use std::sync::Arc;

use http::HeaderName;

use crate::framing::Framing;
use crate::placeholder::PLACEHOLDER_BYTES;
use crate::{ApiKey, KeyRing};

/// What our own heads begin with, up to the key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct HeadStart {
    http_1_1: Arc<[u8]>,
    /// To an upstream that answers in HTTP/1.0 and keeps its connection, hyper writes like this.
    http_1_0: Arc<[u8]>,
}

impl HeadStart {
    /// POST to `target` (in origin form), and the field of that name with this before the key: `Bearer `, or nothing.
    ///
    /// It must be written as hyper does it (RFC 9112 section 3): names in small letters, one blank, and this field first.
    pub fn new(target: &str, field: &HeaderName, scheme: &str) -> Self {
        let start = |minor| {
            format!("POST {target} HTTP/1.{minor}\r\n{field}: {scheme}").into_bytes().into()
        };
        Self { http_1_1: start(1), http_1_0: start(0) }
    }

    fn len(&self) -> usize {
        self.http_1_1.len()
    }

    /// What comes after it.
    fn strip<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        head.strip_prefix(&*self.http_1_1).or_else(|| head.strip_prefix(&*self.http_1_0))
    }
}

/// What is written on one connection to the upstream, with the key in its heads.
#[derive(Debug)]
pub struct KeyedHeads {
    keys: Arc<KeyRing>,
    start: HeadStart,
    next: Next,
}

/// What is written next.
#[derive(Debug)]
enum Next {
    Head,
    RestOfHead(Begun),
    Body(Framing),
    /// Something was written that nobody expected: nobody knows what comes next.
    Unknown,
}

/// A head of which not all has been written.
#[derive(Debug)]
struct Begun {
    key: Arc<ApiKey>,
    /// How its body is framed.
    framing: Framing,
    /// How much of it there was, with the placeholder.
    head_bytes: usize,
    /// How much of it has been written, with the key.
    written: usize,
}

impl KeyedHeads {
    /// For a new connection, on which heads begin like this.
    pub fn new(keys: Arc<KeyRing>, start: HeadStart) -> Self {
        Self { keys, start, next: Next::Head }
    }

    /// What is to be written in place of `pieces`.
    ///
    /// A head comes in a piece of its own, which is the first. What was not written is to be offered again, as by any
    /// writer, and how much was written is to be told to [`KeyedHeads::written`].
    ///
    /// # Errors
    ///
    /// A head is due and comes otherwise, or does not come. The connection is of no use then.
    pub fn outgoing<'a>(
        &'a mut self,
        pieces: &'a [IoSlice<'a>],
    ) -> io::Result<Cow<'a, [IoSlice<'a>]>> {
        let Some((first, others)) = pieces.split_first() else { return Ok(Cow::Borrowed(pieces)) };
        if pieces.iter().all(|piece| piece.is_empty()) {
            return Ok(Cow::Borrowed(pieces));
        }
        if matches!(self.next, Next::Head) {
            let begun = self.head_in(first).ok_or_else(|| unexpected("no request of ours"))?;
            self.next = Next::RestOfHead(begun);
        }
        let begun = match &self.next {
            Next::RestOfHead(begun) => begun,
            Next::Body(_) => return Ok(Cow::Borrowed(pieces)),
            Next::Head | Next::Unknown => return Err(unexpected("not what its head announced")),
        };
        let (start_bytes, key) = (self.start.len(), begun.key.bytes());
        if first.len() != begun.head_bytes - begun.taken(start_bytes) {
            return Err(unexpected("no head in one piece"));
        }
        let key_left = key.get(begun.written.saturating_sub(start_bytes)..).unwrap_or_default();
        if key_left.is_empty() {
            return Ok(Cow::Borrowed(pieces)); // The key has gone, and perhaps some of what comes after it.
        }
        // As soon as some of the key has gone, the placeholder is what is offered first.
        let start_left = start_bytes.saturating_sub(begun.written);
        let (start, rest) = (&first[..start_left], &first[start_left + PLACEHOLDER_BYTES..]);
        let mut outgoing = Vec::with_capacity(pieces.len() + 2);
        outgoing.extend([start, key_left, rest].map(IoSlice::new));
        outgoing.extend_from_slice(others);
        Ok(Cow::Owned(outgoing))
    }

    /// So many bytes of what is outgoing for `pieces` have been written. Returns how many of the pieces' own bytes that is:
    /// none, if only a part of the key was written.
    pub fn written(&mut self, pieces: &[IoSlice<'_>], count: usize) -> usize {
        let (taken, of_head) = match &mut self.next {
            Next::RestOfHead(begun) => {
                let before = begun.taken(self.start.len());
                begun.written += count;
                let outgoing_bytes = begun.head_bytes - PLACEHOLDER_BYTES + begun.key.bytes().len();
                let Some(after_head) = begun.written.checked_sub(outgoing_bytes) else {
                    return begun.taken(self.start.len()) - before;
                };
                let of_head = begun.head_bytes - before;
                self.next = Next::Body(begun.framing);
                (of_head + after_head, of_head)
            }
            _ => (count, 0),
        };
        self.follow_body(pieces, of_head, taken);
        taken
    }

    /// The bytes from `begin` to `end` of all pieces, which are a body's, have been written.
    fn follow_body(&mut self, pieces: &[IoSlice<'_>], begin: usize, end: usize) {
        let Next::Body(framing) = &mut self.next else { return };
        let mut at = 0;
        for piece in pieces {
            let of_body =
                begin.clamp(at, at + piece.len()) - at..end.clamp(at, at + piece.len()) - at;
            at += piece.len();
            if !framing.follow(&piece[of_body]) {
                self.next = Next::Unknown;
                return;
            }
        }
        if framing.is_over() {
            self.next = Next::Head;
        }
    }

    /// The head that these bytes are, if they are one.
    fn head_in(&self, bytes: &[u8]) -> Option<Begun> {
        let framing = Framing::of(bytes)?;
        let (placeholder, rest) = self.start.strip(bytes)?.split_first_chunk()?;
        if !rest.starts_with(b"\r\n") {
            return None;
        }
        let key = self.keys.redeem(placeholder)?;
        Some(Begun { key, framing, head_bytes: bytes.len(), written: 0 })
    }
}

fn unexpected(what: &'static str) -> io::Error {
    io::Error::other(format!("what was to be written to the upstream is {what}"))
}

impl Begun {
    /// How much of the head that was offered has been written, the placeholder once all of the key has.
    fn taken(&self, start_bytes: usize) -> usize {
        match self.written.checked_sub(start_bytes + self.key.bytes().len()) {
            None => self.written.min(start_bytes),
            Some(after_key) => start_bytes + PLACEHOLDER_BYTES + after_key,
        }
    }
}

#[cfg(test)]
mod tests;
