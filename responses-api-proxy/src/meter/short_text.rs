//! A short text that comes in pieces: kept without allocation, and not at all when it is too long.

/// Up to `N` bytes.
pub(super) struct ShortText<const N: usize> {
    bytes: [u8; N],
    len: usize,
    is_over: bool,
}

impl<const N: usize> ShortText<N> {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], len: 0, is_over: false }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.is_over = false;
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        match self.bytes.get_mut(self.len..self.len + piece.len()) {
            Some(room) if !self.is_over => {
                room.copy_from_slice(piece);
                self.len += piece.len();
            }
            _ => self.is_over = true,
        }
    }

    /// The text, unless it was too long.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        (!self.is_over).then(|| &self.bytes[..self.len])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0 && !self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_whole_or_not_there() {
        let mut text = ShortText::<4>::new();
        assert_eq!(text.whole(), Some(&b""[..]));
        let pieces: &[(&[u8], Option<&[u8]>)] = &[
            (b"ab", Some(b"ab")),
            (b"", Some(b"ab")),
            (b"cd", Some(b"abcd")),
            (b"", Some(b"abcd")),
            (b"e", None),
            (b"", None),
        ];
        for (piece, whole) in pieces {
            text.push(piece);
            assert_eq!(text.whole(), *whole);
            assert!(!text.is_empty());
        }
        text.clear();
        assert!(text.is_empty());
        text.push(b"12345");
        assert!(!text.is_empty() && text.whole().is_none());
    }
}
