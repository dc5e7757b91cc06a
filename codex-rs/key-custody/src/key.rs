//! The key's type: what may be done with it, and what may not.

use std::borrow::Cow;
use std::fmt;
use std::os::fd::BorrowedFd;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::mask::{self, Masker};
use crate::read::{self, BEARER};
use crate::{CustodyError, mlock, tty};

/// An API key in custody.
///
/// It has no `Clone`, `Display` or `Serialize`, and `Debug` shows nothing of it. The one way to its
/// bytes is a field's value: [`ApiKey::authorization`] or [`ApiKey::bare`].
///
/// The key lives as long as the process: the HTTP client wants a `'static` field value, so the page
/// is leaked and wiped by nobody but the kernel at exit.
pub struct ApiKey {
    /// `Bearer KEY`, leaked and locked.
    field: &'static str,
}

impl ApiKey {
    /// Reads the key from `input`: everything up to its end or, on a terminal, one line that is not
    /// echoed, after `prompt`.
    ///
    /// One line end (LF or CRLF) after the key is dropped. Blocks until the input ends.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] says what is wrong with the input without showing any of it. The terminal is
    /// as it was before, also after ^C.
    pub fn read(input: BorrowedFd<'_>, prompt: &str) -> Result<Self, CustodyError> {
        let hidden = tty::hide_input(input, prompt)?;
        let mut buffer = Zeroizing::new([0; read::BUFFER_BYTES]);
        let field_bytes = read::read_field(input, hidden.as_ref(), &mut buffer)?;
        Self::take(&buffer[..field_bytes])
    }

    /// Copies `Bearer KEY` to where it will stay. The page is locked before the key is in it.
    fn take(field: &[u8]) -> Result<Self, CustodyError> {
        let mut page = vec![0; field.len()].into_boxed_slice();
        mlock::lock(&mut page).map_err(CustodyError::Lock)?;
        page.copy_from_slice(field);
        let page: &'static [u8] = Box::leak(page);
        let field = std::str::from_utf8(page).expect("`read_field` lets ASCII through only");
        Ok(Self { field })
    }

    /// The value of the upstream's `Authorization` field, `Bearer KEY` (RFC 6750 section 2.1).
    ///
    /// It borrows the key instead of copying it, and its `Debug` shows `Sensitive`.
    pub fn authorization(&self) -> HeaderValue {
        let mut value = HeaderValue::from_static(self.field);
        value.set_sensitive(true);
        value
    }

    /// The key alone, for a field of the upstream's own choosing (`api-key`). As [`ApiKey::authorization`].
    pub fn bare(&self) -> HeaderValue {
        let mut value = HeaderValue::from_static(&self.field[BEARER.len()..]);
        value.set_sensitive(true);
        value
    }

    /// `text` with every run of 8 or more bytes of the key replaced by `[key]`.
    ///
    /// For text that somebody else wrote and that we are about to print.
    pub fn mask<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let revealing = mask::revealing(self.bytes(), text.as_bytes());
        if !revealing.contains(&true) {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            if !revealing[at] {
                masked.push(character);
            } else if at == 0 || !revealing[at - 1] {
                masked.push_str("[key]");
            }
        }
        Cow::Owned(masked)
    }

    /// Masks the key in a stream that comes in pieces. It compares with the key where it stands.
    pub fn masker(&self) -> Masker {
        Masker::of(self.bytes())
    }

    fn bytes(&self) -> &'static [u8] {
        &self.field.as_bytes()[BEARER.len()..]
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;
    use crate::MAX_KEY_BYTES;

    const KEY: &str = "sk-proj-0123456789abcdefghijklmnop";

    /// A key that came the way that every key comes: through a pipe.
    fn read(input: &[u8]) -> Result<ApiKey, CustodyError> {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let input = input.to_vec();
        // A thread, because a pipe holds less than a key that is too long may have.
        let writing = std::thread::spawn(move || {
            let _ = File::from(writer).write_all(&input); // Closed early when the key is too long.
        });
        let key = ApiKey::read(reader.as_fd(), "");
        drop(reader);
        writing.join().unwrap();
        key
    }

    #[test]
    fn the_field_is_the_scheme_and_the_key() {
        let key = read(format!("{KEY}\r\n").as_bytes()).unwrap();
        let field = key.authorization();
        assert_eq!(field.as_bytes(), format!("Bearer {KEY}").as_bytes());
        assert!(field.is_sensitive());
        assert_eq!(key.bare().as_bytes(), KEY.as_bytes());
        assert!(key.bare().is_sensitive());
    }

    #[test]
    fn every_character_of_a_token_is_accepted() {
        let key = "ABCXYZabcxyz0189-._~+/==";
        let read = read(key.as_bytes()).unwrap();
        assert_eq!(read.authorization().as_bytes(), format!("Bearer {key}").as_bytes());
    }

    #[test]
    fn a_key_that_is_too_long_is_not_read_to_its_end() {
        assert_eq!(read(&vec![b'k'; 1 << 20]).unwrap_err(), CustodyError::TooLong);
        assert_eq!(read(&vec![b'k'; MAX_KEY_BYTES + 1]).unwrap_err(), CustodyError::TooLong);
        assert!(read(&vec![b'k'; MAX_KEY_BYTES]).is_ok());
    }

    #[test]
    fn debug_output_and_errors_show_nothing_of_the_key() {
        let key = read(KEY.as_bytes()).unwrap();
        assert_eq!(format!("{key:?} {:?}", key.authorization()), "ApiKey(hidden) Sensitive");
        let error = read(format!("{KEY}!").as_bytes()).unwrap_err();
        let shown = format!("{error} {error:?} {}", error.hint());
        assert!(shown.contains(&format!("offset {}", KEY.len())));
        assert_eq!(key.mask(&shown), shown);
    }

    #[test]
    fn eight_bytes_of_the_key_are_masked_wherever_they_stand() {
        let key = read(KEY.as_bytes()).unwrap();
        for (text, masked) in [
            ("nothing here", "nothing here"),
            (KEY, "[key]"),
            ("GET /?k=89abcdef HTTP", "GET /?k=[key] HTTP"),
            ("9abcdef", "9abcdef"),
            ("é01234567é01234567", "é[key]é[key]"),
            ("0123456701234567", "[key]"),
        ] {
            assert_eq!(key.mask(text), masked, "{text}");
        }
        // However the key is cut out of, no run of 8 bytes of it is left.
        for begin in 0..KEY.len() {
            for end in begin..=KEY.len() {
                let masked = key.mask(&KEY[begin..end]).into_owned();
                assert!(end - begin < 8 || masked == "[key]", "{begin}..{end}: {masked}");
            }
        }
    }
}
