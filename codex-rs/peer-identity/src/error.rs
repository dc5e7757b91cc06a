//! Why accounts can't be told apart here.

use std::io;

use thiserror::Error;

/// Why the kernel can't be asked who is behind a connection.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// This system has no inet_diag.
    #[error("only Linux tells which account is behind a connection")]
    Unavailable,
    /// No socket to ask through: a seccomp filter, for example.
    #[error("the kernel can't be asked which account is behind a connection (NETLINK_SOCK_DIAG)")]
    Socket(#[source] io::Error),
    /// A connection of our own, whose account is known, was not recognised.
    #[error(
        "asked about a connection of our own, the kernel did not name this account (uid {expected}) but {found}"
    )]
    Untrue {
        /// This process's account.
        expected: u32,
        /// What was answered.
        found: String,
    },
    /// The connection for that trial could not be made.
    #[error("a connection of our own, to try it with, could not be made")]
    Trial(#[source] io::Error),
}
