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
    /// A socket of our own, whose account is known, was not recognised.
    #[error(
        "asked about a socket of our own, the kernel did not name this account (uid {expected}) but {found}"
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
    /// A number that stands for many accounts here, and so for none (user_namespaces(7)).
    #[error("uid {uid} stands for every account that has no number in this user namespace")]
    Shared {
        /// The number.
        uid: u32,
    },
}

impl IdentityError {
    pub(crate) fn of_socket(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Unsupported => Self::Unavailable,
            _ => Self::Socket(error),
        }
    }
}
