//! What a program needs in order to find a running proxy: the server-info file.
//!
//! The proxy writes one JSON line, [`ServerInfo`], once it serves. [`ServerInfo::read`] takes such a
//! file only from root or from its own account, because anyone may plant a file in a shared folder.
//! A file that can be believed is still no proof that the proxy lives.
//!
//! Nothing here writes, connects, or knows how the proxy works inside.
#![cfg(unix)] // codex-process-hardening says why, in one sentence.
#![forbid(unsafe_code)]

#[cfg(any(test, fuzzing))]
pub mod properties;
mod server_info;

pub use server_info::{ServerInfo, ServerInfoError};
