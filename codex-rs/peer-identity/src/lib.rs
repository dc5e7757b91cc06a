//! Which account owns the other end of a loopback TCP connection.
//!
//! The kernel is asked about the one socket that is connected to ours (inet_diag, sock_diag(7)), so the
//! client takes no part in it and can't lie. The answer is the account that *made* that socket: who
//! inherits it or is handed it speaks for its maker.
//!
//! It never guesses: a client that has left, a port that somebody else has taken since, an answer that is
//! not exactly about this connection are [`Peer::Unknown`], and so is everybody where the kernel can't be
//! asked. It needs no privilege, reads no file of /proc per connection, and never blocks.
//!
//! In the same way [`listener()`] tells a client which account it is that would accept its connection.
//!
//! Start reading at [`Peers::identify`].
#![forbid(unsafe_code)]

mod error;
mod listener;
mod message;
mod peer;
mod peers;
#[cfg(any(test, fuzzing))]
pub mod properties;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "socket_elsewhere.rs")]
mod socket;

pub use error::IdentityError;
pub use listener::listener;
pub use nix::unistd::Uid;
pub use peer::Peer;
pub use peers::Peers;
