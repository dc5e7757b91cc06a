//! Custody of the API key: the one type that holds it and the one way to borrow it.
//!
//! The key goes from a file descriptor by read(2) into a stack buffer, is validated there, copied
//! once into a page locked in memory, and the buffer is wiped. From then on [`ApiKey`] lends it as
//! an `Authorization` field and in no other form.
//!
//! It never passes the key through `std::io::stdin` (whose 8 KiB buffer would keep a copy), never
//! prints it, and no [`CustodyError`] can carry a byte of it. What the HTTP client copies into its
//! write buffers is outside this crate's reach; see `responses-api-proxy/README.md`.
//!
//! Start reading at [`ApiKey::read`].
#![cfg(unix)] // codex-process-hardening says why, in one sentence.

mod error;
mod key;
mod mask;
mod mlock;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod read;
mod tty;
mod wait;

pub use error::CustodyError;
pub use key::ApiKey;
pub use mask::Masker;

/// The longest key that is accepted, in bytes. Today's OpenAI keys have 164.
pub const MAX_KEY_BYTES: usize = 4_096;

/// The longest key that can be typed, in bytes: one fewer than the kernel keeps of a line, which proves that
/// it has dropped nothing.
pub const MAX_TYPED_BYTES: usize = 4_094;
