//! The key's type: what may be done with it, and what may not.

use std::borrow::Cow;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd;

use crate::mask::{self, Masker};
use crate::page::{BlankPage, PageKind, SecretPage};
use crate::{CustodyError, KeyInput, read, tty};

/// An API key in custody.
///
/// It has no `Clone`, `Display` or `Serialize`, and `Debug` shows nothing of it. Its bytes leave this crate in two ways
/// only: into the upstream's stream in place of a placeholder ([`KeyedHeads`](crate::KeyedHeads)), and by
/// [`ApiKey::hand_over`] to another process that takes it into custody.
///
/// Dropped, its page is wiped. Exchanges share it (`Arc`), so that is when the last of them has ended.
pub struct ApiKey(SecretPage);

impl ApiKey {
    /// Reads a key straight into its page: everything up to the input's end or, on a terminal, one line that is not
    /// echoed.
    ///
    /// One line end (LF or CRLF) after the key is dropped. Blocks until the input ends or is given up.
    ///
    /// # Errors
    ///
    /// [`CustodyError`] says what is wrong with the input without showing any of it. The terminal is
    /// as it was before, also after ^C, and what was read is wiped.
    pub fn read(from: KeyInput<'_>) -> Result<Self, CustodyError> {
        let mut page = BlankPage::new(read::ROOM_BYTES, from.allow_unlocked)?;
        let hidden = tty::hide_input(from.input, from.prompt)?;
        let key_bytes = read::read_key(from, hidden.as_ref(), page.room())?;
        drop(hidden);
        Ok(Self(page.seal(key_bytes)?))
    }

    /// Which memory it stands in.
    pub fn page(&self) -> PageKind {
        self.0.kind()
    }

    /// Writes the key from its page to a pipe, whose reader is to take it into custody.
    ///
    /// # Errors
    ///
    /// write(2)'s. A pipe without a reader, say; part of the key may have been written.
    pub fn hand_over(&self, output: BorrowedFd<'_>) -> nix::Result<()> {
        let mut left = self.bytes();
        while !left.is_empty() {
            match unistd::write(output, left) {
                Ok(count) => left = &left[count..],
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
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

    /// Masks the key in a stream that comes in pieces. It compares with the key where it stands, and does not keep it.
    pub fn masker(self: &Arc<Self>) -> Masker {
        Masker::of_key(self)
    }

    /// The key itself.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
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
        let (reader, writer) = unistd::pipe().unwrap();
        let input = input.to_vec();
        // A thread, because a pipe holds less than a key that is too long may have.
        let writing = std::thread::spawn(move || {
            let _ = File::from(writer).write_all(&input); // Closed early when the key is too long.
        });
        let key = ApiKey::read(KeyInput::of(reader.as_fd()));
        drop(reader);
        writing.join().unwrap();
        key
    }

    #[test]
    fn a_key_that_is_handed_over_arrives_whole() {
        let longest = "k".repeat(MAX_KEY_BYTES);
        let key = read(longest.as_bytes()).unwrap();
        let (reader, writer) = unistd::pipe().unwrap();
        key.hand_over(writer.as_fd()).unwrap();
        drop(writer);
        let again = ApiKey::read(KeyInput::of(reader.as_fd())).unwrap();
        assert_eq!(again.bytes(), longest.as_bytes());
        drop(reader);
        let (_, writer) = unistd::pipe().unwrap();
        assert_eq!(key.hand_over(writer.as_fd()), Err(Errno::EPIPE));
    }

    #[test]
    fn a_key_that_nobody_waits_for_is_not_read() {
        let (input, _writer) = unistd::pipe().unwrap();
        let (given_up, end) = unistd::pipe().unwrap();
        let from = KeyInput { given_up: Some(given_up.as_fd()), ..KeyInput::of(input.as_fd()) };
        drop(end);
        assert_eq!(ApiKey::read(from).unwrap_err(), CustodyError::Interrupted);
    }

    #[test]
    fn every_character_of_a_token_is_accepted() {
        let key = "ABCXYZabcxyz0189-._~+/==";
        assert_eq!(read(key.as_bytes()).unwrap().bytes(), key.as_bytes());
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
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
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
