//! Why there is no key.

use nix::errno::Errno;
use thiserror::Error;

use crate::MAX_KEY_BYTES;

/// Why the key could not be taken into custody. No variant can hold key bytes, so no message can
/// leak them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CustodyError {
    /// Nothing, or nothing but one line end, arrived.
    #[error("no API key arrived")]
    Empty,
    /// More bytes than any key has.
    #[error("the API key is longer than {MAX_KEY_BYTES} bytes")]
    TooLong,
    /// The kernel keeps no more of a line (termios(3), "Canonical mode") and drops the rest.
    #[error("the API key is longer than the {max} bytes that can be typed at a terminal", max = crate::MAX_TYPED_BYTES)]
    TooLongToType,
    /// A byte that no bearer token has (RFC 6750 section 2.1, `b64token`).
    #[error("the API key has an unexpected byte at offset {offset}")]
    BadByte {
        /// Counted from 0 at the first byte of the input.
        offset: usize,
    },
    /// Something follows the first line end.
    #[error("more than one line arrived in place of an API key")]
    MoreThanOneLine,
    /// ^C at the prompt, or nobody waits for the key any more.
    #[error("interrupted while asking for the API key")]
    Interrupted,
    /// read(2) failed.
    #[error("the API key could not be read")]
    Read(#[source] Errno),
    /// The terminal's echo could not be switched off.
    #[error("the terminal could not be told to hide what is typed")]
    Terminal(#[source] Errno),
    /// There is no memory to put it in.
    #[error("no memory could be had for the API key")]
    Page(#[source] Errno),
    /// mlock(2) failed: the key could have been written to swap.
    #[error("the memory that is to hold the API key could not be locked")]
    Lock(#[source] Errno),
}

impl CustodyError {
    /// What the person who started the program can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => {
                "see whether the variable or file that it comes from is empty, or start this at a terminal to be asked"
            }
            Self::Read(_) => {
                "pipe the key in, name a file with --key-file, or start this at a terminal to be asked for it"
            }
            Self::Interrupted => "nothing was started",
            Self::TooLongToType => "pipe the key in instead of typing it",
            Self::TooLong => "pipe the key alone, not the file or the JSON that it stands in",
            Self::BadByte { .. } => {
                "a key has only A-Z a-z 0-9 - . _ ~ + / and = at its end: pipe it alone, without quotes or blanks"
            }
            Self::MoreThanOneLine => "pipe the key alone, with at most one line end after it",
            Self::Terminal(_) => "pipe the key in instead of typing it",
            Self::Page(_) => "see whether the machine is out of memory; else this is a defect",
            Self::Lock(_) => {
                "allow this account to lock memory: `ulimit -l` should show 64 or more; or accept with --allow-unlocked-key that the key may be written to swap"
            }
        }
    }
}
