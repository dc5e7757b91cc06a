//! Codex's configuration: where it is, what its layers say together, and how it is pointed at a proxy and back.
//!
//! What a user has written is theirs: [`edit`] changes two places of a text and gives back the same bytes when asked to,
//! [`Change`] puts the result in place at once or not at all. Nothing else here writes.
//!
//! Nothing here knows a proxy, asks the network, prints, or keeps a word of a file in an error.
//!
//! Start reading at [`edit::point`].
#![cfg(unix)] // codex-process-hardening says why, in one sentence.
#![forbid(unsafe_code)]

mod change;
pub mod edit;
mod effective;
mod error;
mod home;
mod installed;
mod place;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod regular;
mod replace;
mod route;
mod words;

pub use change::{Applied, Change, Deed};
pub use edit::EditError;
pub use effective::{Effective, Layer, Layers, Problem, SYSTEM_FOLDER, Said, effective};
pub use error::ConfigError;
pub use home::{CodexHome, HomeError};
pub use installed::{FileId, Lookup, NotInstalled, PublicCodex, find_public_codex};
pub use route::{Mend, Route, Where, exempting_loopback};
pub use words::shell_word;

/// The id of our provider, and the name of our profile. Codex keeps its sessions by provider: it never changes.
pub const PROVIDER: &str = "openai-proxy";
/// The name in our table, which tells it from any other of that id. (Codex treats the name "OpenAI" in a way of its own.)
pub const PROVIDER_NAME: &str = "Codex key guard";

/// What Codex's `base_url` is for a proxy on this port of 127.0.0.1.
pub fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/v1")
}
