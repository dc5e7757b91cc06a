//! Where a request's body ends in what an HTTP client writes, so that what comes next is known to be a head.
//!
//! It follows a body that is framed by our own client, which writes each framing in one way only (RFC 9112 sections 6.2 and
//! 7.1, without extensions and trailers); what is written otherwise is an error. No library that we have does this from the
//! writer's side.

use memchr::memmem;

/// A body that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are to come.
    Sized(u64),
    Chunked(Chunk),
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// A digit of a chunk's size, or the end of the line; so far it is that, if there is one.
    Size(Option<u64>),
    /// The rest of this, and then so much of the chunk; nothing of the last one.
    SizeEnd(u64),
    Data(u64),
    /// The rest of what stands behind a chunk. After the last one, that ends the body.
    DataEnd {
        written: usize,
        is_last: bool,
    },
    Ended,
}

const LINE_END: &[u8; 2] = b"\r\n";

impl Framing {
    /// Of the body that follows a whole head; `None` if the head says nothing of one, or is not whole.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        if !head.ends_with(b"\r\n\r\n") {
            return None;
        }
        // No field's value has a line end in it, so these are fields. There is one of them: a client's own are left out.
        if let Some(at) = memmem::find(head, b"\r\ncontent-length: ") {
            let value = &head[at + b"\r\ncontent-length: ".len()..];
            let end = memchr::memchr(b'\r', value)?;
            return Some(Self::Sized(std::str::from_utf8(&value[..end]).ok()?.parse().ok()?));
        }
        memmem::find(head, b"\r\ntransfer-encoding: chunked\r\n")?;
        Some(Self::Chunked(Chunk::Size(None)))
    }

    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Sized(0) | Self::Chunked(Chunk::Ended))
    }

    /// These bytes of it have been written. Returns false if they do not belong to it.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some(count) = self.step(bytes) else { return false };
            bytes = &bytes[count..];
        }
        true
    }

    /// Follows the first of some bytes; returns how many. `None` if they do not belong to it.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        let most =
            |left: u64| usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let chunk = match self {
            Self::Sized(0) => return None,
            Self::Sized(left) => {
                let count = most(*left);
                *left -= count as u64;
                return Some(count);
            }
            Self::Chunked(chunk) => chunk,
        };
        let count = match *chunk {
            Chunk::Data(left) => most(left),
            _ => 1,
        };
        *chunk = match (*chunk, bytes[0]) {
            (Chunk::Size(Some(size)), b'\r') => Chunk::SizeEnd(size),
            (Chunk::Size(size), digit) => {
                let digit = char::from(digit).to_digit(16)?;
                let size = size.unwrap_or_default().checked_mul(16)?;
                Chunk::Size(Some(size + u64::from(digit)))
            }
            (Chunk::SizeEnd(0), b'\n') => Chunk::DataEnd { written: 0, is_last: true },
            (Chunk::SizeEnd(size), b'\n') => Chunk::Data(size),
            (Chunk::Data(left), _) if left > count as u64 => Chunk::Data(left - count as u64),
            (Chunk::Data(_), _) => Chunk::DataEnd { written: 0, is_last: false },
            (Chunk::DataEnd { written, is_last }, byte) if byte == LINE_END[written] => {
                match (written + 1 == LINE_END.len(), is_last) {
                    (false, _) => Chunk::DataEnd { written: written + 1, is_last },
                    (true, false) => Chunk::Size(None),
                    (true, true) => Chunk::Ended,
                }
            }
            _ => return None,
        };
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: Framing = Framing::Chunked(Chunk::Size(None));

    fn head(fields: &str) -> Vec<u8> {
        format!("POST / HTTP/1.1\r\n{fields}\r\n").into_bytes()
    }

    #[test]
    fn a_head_says_how_its_body_is_framed() {
        for (fields, framing) in [
            ("content-length: 0\r\n", Some(Framing::Sized(0))),
            ("a: b\r\ncontent-length: 18446744073709551615\r\n", Some(Framing::Sized(u64::MAX))),
            ("x: content-length: 7\r\ntransfer-encoding: chunked\r\nhost: x\r\n", Some(CHUNKED)),
            ("content-length: -1\r\n", None),
            ("content-length: 1, 1\r\n", None),
            ("transfer-encoding: gzip, chunked\r\n", None),
            ("x: y\r\n", None),
        ] {
            assert_eq!(Framing::of(&head(fields)), framing, "{fields:?}");
        }
        let whole = head("content-length: 3\r\n");
        assert_eq!(Framing::of(&whole[..whole.len() - 1]), None);
    }

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_is_cut() {
        let large = [&b"1F4\r\n"[..], &[b'x'; 0x1f4], b"\r\n0\r\n\r\n"].concat();
        for (framing, body) in [
            (Framing::Sized(5), &b"hello"[..]),
            (CHUNKED, b"0\r\n\r\n"),
            (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
            (CHUNKED, b"2\r\n\r\n\r\nA\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
            (CHUNKED, &large),
        ] {
            for at_once in 1..=body.len() {
                let mut framing = framing;
                for (number, piece) in body.chunks(at_once).enumerate() {
                    assert!(!framing.is_over(), "{at_once} at once: over before {number}");
                    assert!(framing.follow(piece), "{at_once} at once: lost in {number}");
                }
                assert!(framing.is_over(), "{at_once} at once: {framing:?}");
                assert!(!framing.follow(b"P"));
            }
        }
    }

    #[test]
    fn what_is_framed_otherwise_is_not_followed() {
        for body in [
            &b"\r\n"[..],
            b"g\r\n",
            b"5;a=b\r\n",
            b" 5\r\n",
            b"5\nhello",
            b"5\r\nhello0\r\n",
            b"5\r\nhello\n",
            b"0\r\na: b\r\n\r\n",
            b"10000000000000000\r\n",
            b"0\r\n\r\nPOST",
        ] {
            let mut framing = CHUNKED;
            assert!(!framing.follow(body), "{:?}", String::from_utf8_lossy(body));
        }
        assert!(!Framing::Sized(3).follow(b"four"));
    }
}
