//! From a file descriptor into the caller's page, and validated there: no copy is made here.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd;

use crate::tty::{HiddenInput, INTERRUPT};
use crate::{CustodyError, KeyInput, MAX_KEY_BYTES, MAX_TYPED_BYTES, wait};

/// Room for the longest key, a CRLF, and one byte more that proves "too long".
pub(crate) const ROOM_BYTES: usize = MAX_KEY_BYTES + 3;

/// Puts the key at the beginning of `room` and returns how many bytes it has.
///
/// `terminal` is given if the input is one: then a line is all there is.
pub(crate) fn read_key(
    from: KeyInput<'_>,
    terminal: Option<&HiddenInput<'_>>,
    room: &mut [u8],
) -> Result<usize, CustodyError> {
    let room = &mut room[..ROOM_BYTES];
    let read = read_to_end(from, terminal, room)?;
    key_bytes(&room[..read])
}

/// Fills `room` until the input ends, a terminal's line ends, or the room does.
fn read_to_end(
    KeyInput { input, given_up, .. }: KeyInput<'_>,
    terminal: Option<&HiddenInput<'_>>,
    room: &mut [u8],
) -> Result<usize, CustodyError> {
    let signals = terminal.and_then(|hidden| hidden.signals.arrivals());
    let ends: Vec<BorrowedFd<'_>> = signals.into_iter().chain(given_up).collect();
    let mut filled = 0;
    while filled < room.len() {
        // Also because whoever started us may have left the input non-blocking.
        if !wait::until_readable(input, &ends).map_err(CustodyError::Read)? {
            return Err(CustodyError::Interrupted);
        }
        match unistd::read(input, &mut room[filled..]) {
            Ok(0) => {
                terminal.inspect(|terminal| terminal.end_line()); // ^D, which is not echoed.
                break;
            }
            Ok(count) => filled += count,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(CustodyError::Read(errno)),
        }
        match (terminal, room[..filled].last()) {
            (Some(_), Some(b'\n')) if filled > MAX_TYPED_BYTES + 1 => {
                return Err(CustodyError::TooLongToType);
            }
            (Some(_), Some(b'\n')) => break,
            (Some(terminal), Some(&INTERRUPT)) => {
                terminal.end_line();
                return Err(CustodyError::Interrupted);
            }
            _ => {}
        }
    }
    Ok(filled)
}

/// How long the key at the beginning of the input is: all of it but one line end.
pub(crate) fn key_bytes(input: &[u8]) -> Result<usize, CustodyError> {
    let line =
        input.strip_suffix(b"\n").map_or(input, |line| line.strip_suffix(b"\r").unwrap_or(line));
    if line.is_empty() {
        return Err(CustodyError::Empty);
    }
    if line.contains(&b'\n') {
        return Err(CustodyError::MoreThanOneLine);
    }
    if line.len() > MAX_KEY_BYTES {
        return Err(CustodyError::TooLong);
    }
    // b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
    let padding = line.iter().rev().take_while(|byte| **byte == b'=').count();
    let body = line.len() - padding;
    let is_body = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    match line[..body].iter().position(|byte| !is_body(*byte)) {
        Some(offset) => Err(CustodyError::BadByte { offset }),
        None if body == 0 => Err(CustodyError::BadByte { offset: 0 }),
        None => Ok(line.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_a_key() {
        let longest = "k".repeat(MAX_KEY_BYTES);
        let too_long = "k".repeat(MAX_KEY_BYTES + 1);
        for (input, expected) in [
            ("sk-proj-abc_DEF", Ok(15)),
            ("sk-proj-abc_DEF\n", Ok(15)),
            ("sk-proj-abc_DEF\r\n", Ok(15)),
            ("a.b~c+d/e==", Ok(11)),
            (longest.as_str(), Ok(MAX_KEY_BYTES)),
            ("", Err(CustodyError::Empty)),
            ("\n", Err(CustodyError::Empty)),
            ("\r\n", Err(CustodyError::Empty)),
            ("key\n\n", Err(CustodyError::MoreThanOneLine)),
            ("\nkey", Err(CustodyError::MoreThanOneLine)),
            ("key\nkey\n", Err(CustodyError::MoreThanOneLine)),
            ("key\r", Err(CustodyError::BadByte { offset: 3 })),
            (" key", Err(CustodyError::BadByte { offset: 0 })),
            ("ke y", Err(CustodyError::BadByte { offset: 2 })),
            ("\"key\"", Err(CustodyError::BadByte { offset: 0 })),
            ("k=ey", Err(CustodyError::BadByte { offset: 1 })),
            ("==", Err(CustodyError::BadByte { offset: 0 })),
            ("k\0", Err(CustodyError::BadByte { offset: 1 })),
            ("schlüssel", Err(CustodyError::BadByte { offset: 4 })),
            (too_long.as_str(), Err(CustodyError::TooLong)),
            ("key\u{3}", Err(CustodyError::BadByte { offset: 3 })), // ^C means something at a terminal only.
        ] {
            assert_eq!(
                key_bytes(input.as_bytes()),
                expected,
                "{:?}",
                &input[..input.len().min(20)]
            );
        }
    }
}
