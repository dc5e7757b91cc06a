//! Custody of the API key: the one type that holds it, and the two ways out of it: into a request's head, and to another
//! process that takes custody.
//!
//! The key goes from a file descriptor by read(2) straight into a page of its own (memfd_secret(2) where the kernel has
//! it), is validated there, and stays there, read-only, until the page is wiped. An HTTP client gets a
//! placeholder; [`KeyedHeads`] puts the key in its place in the bytes of a request's head, as they go to the
//! upstream.
//!
//! It never passes the key through `std::io::stdin` (whose 8 KiB buffer would keep a copy), never copies or
//! prints it, and no [`CustodyError`] can carry a byte of it.
//!
//! Start reading at [`ApiKey::read`], then [`KeyedHeads`].
#![cfg(unix)] // codex-process-hardening says why, in one sentence.

mod error;
mod framing;
mod heads;
mod key;
mod key_input;
mod mapping;
mod mask;
#[cfg(target_os = "linux")]
mod memfd_secret;
mod page;
mod placeholder;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod read;
mod ring;
#[cfg(any(test, fuzzing))]
mod testing;
mod tty;
mod wait;

pub use error::CustodyError;
pub use heads::{HeadStart, KeyedHeads};
pub use key::ApiKey;
pub use key_input::KeyInput;
pub use mask::Masker;
pub use page::PageKind;
pub use ring::{KeyRing, LentKey};

/// The longest key that is accepted, in bytes. Today's OpenAI keys have 164.
pub const MAX_KEY_BYTES: usize = 4_096;

/// The longest key that can be typed, in bytes: one fewer than the kernel keeps of a line, which proves that
/// it has dropped nothing.
pub const MAX_TYPED_BYTES: usize = 4_094;
