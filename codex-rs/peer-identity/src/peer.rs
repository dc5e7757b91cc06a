//! Who a connection belongs to, as far as it is known.

use std::fmt;

use nix::unistd::Uid;

/// The account behind a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The account that made the client's socket.
    User(Uid),
    /// It could not be told. Never to be taken for anybody.
    Unknown,
}

impl Peer {
    /// The account, if it is known.
    pub fn uid(self) -> Option<Uid> {
        match self {
            Self::User(uid) => Some(uid),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(formatter, "uid {uid}"),
            Self::Unknown => formatter.write_str("an unknown account"),
        }
    }
}
