//! Asking who is behind a connection, in a way that nobody can be mistaken for somebody else.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};

use nix::unistd::{Uid, geteuid};

use crate::socket::Diag;
use crate::{IdentityError, Peer};

/// What the kernel shows in place of an account that has no number in this user namespace
/// (user_namespaces(7)).
const OVERFLOW_UID: &str = "/proc/sys/kernel/overflowuid";
const UID_MAP: &str = "/proc/self/uid_map";

/// Tells accounts apart. Cheap: one question to the kernel and one look at the connection, a few
/// microseconds together.
#[derive(Debug)]
pub struct Peers {
    diag: Diag,
    /// A number that stands for many accounts here, and so for none.
    nobody: Option<u32>,
}

impl Peers {
    /// Opens the way to the kernel, and tries it with a connection of our own.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] when accounts can't be told apart here.
    pub fn open() -> Result<Self, IdentityError> {
        let diag = Diag::open().map_err(IdentityError::of_socket)?;
        let peers = Self { diag, nobody: None };
        let expected = geteuid();
        let found = peers.try_with_our_own().map_err(IdentityError::Trial)?;
        if found != Peer::User(expected) {
            let (expected, found) = (expected.as_raw(), found.to_string());
            return Err(IdentityError::Untrue { expected, found });
        }
        Ok(Self { nobody: shared_number(), ..peers })
    }

    fn try_with_our_own(&self) -> io::Result<Peer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        // Somebody else may have found the port: theirs are not ours.
        let accepted = loop {
            let (accepted, from) = listener.accept()?;
            if from == client.local_addr()? {
                break accepted;
            }
        };
        Ok(self.identify(|| Ok((accepted.peer_addr()?, accepted.local_addr()?))))
    }

    /// Who is behind an accepted connection, whose (peer's, own) addresses `addresses` asks the kernel for.
    ///
    /// Ask at once after accept(2), and once: a connection's account never changes. And from one thread at a time: of
    /// two that ask at once, one may hear the other's answer, which makes its peer unknown. `addresses` is
    /// called twice. The second time is no formality: a client may have reset its connection, and somebody else may
    /// have taken its port before the question. getpeername(2) fails for a connection that is gone, and while
    /// ours is not gone, no other connection can have the same two addresses.
    pub fn identify(&self, addresses: impl Fn() -> io::Result<(SocketAddr, SocketAddr)>) -> Peer {
        let asked = addresses().ok().and_then(v4);
        let owner = asked.and_then(|(peer, own)| self.diag.owner(peer, own));
        match owner {
            Some(uid) if self.nobody != Some(uid) && addresses().ok().and_then(v4) == asked => {
                Peer::User(Uid::from_raw(uid))
            }
            _ => Peer::Unknown,
        }
    }
}

fn v4((peer, own): (SocketAddr, SocketAddr)) -> Option<(SocketAddrV4, SocketAddrV4)> {
    match (peer, own) {
        (SocketAddr::V4(peer), SocketAddr::V4(own)) => Some((peer, own)),
        _ => None,
    }
}

/// Within a user namespace that does not know every account, the number of all those it does not know.
pub(crate) fn shared_number() -> Option<u32> {
    let map = fs::read_to_string(UID_MAP).unwrap_or_default();
    let knows_all = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let overflow = || fs::read_to_string(OVERFLOW_UID).ok()?.trim().parse().ok();
    if knows_all { None } else { Some(overflow().unwrap_or(65_534)) }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use socket2::{Domain, SockRef, Socket, Type};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn identify(peers: &Peers, accepted: &TcpStream) -> Peer {
        peers.identify(|| Ok((accepted.peer_addr()?, accepted.local_addr()?)))
    }

    fn us() -> Peer {
        Peer::User(geteuid())
    }

    #[test]
    fn a_client_is_known_while_it_is_connected() {
        let peers = Peers::open().unwrap();
        let (client, accepted) = pair();
        assert_eq!(identify(&peers, &accepted), us());
        assert_eq!(identify(&peers, &client), us(), "either end can ask about the other");
        drop(client);
        assert_eq!(identify(&peers, &accepted), Peer::Unknown);
    }

    #[test]
    fn a_client_that_closed_its_sending_side_is_unknown() {
        let peers = Peers::open().unwrap();
        let (client, accepted) = pair();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(identify(&peers, &accepted), Peer::Unknown);
    }

    #[test]
    fn a_client_of_ipv6_that_uses_the_mapped_address_is_known() {
        let peers = Peers::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Ok(_client) = TcpStream::connect(("::ffff:127.0.0.1", port)) else {
            return assert!(!std::path::Path::new("/proc/net/if_inet6").exists());
        };
        assert_eq!(identify(&peers, &listener.accept().unwrap().0), us());
    }

    /// Its request can still be read, but its port may be somebody else's by now: whoever that is must not
    /// be taken for it.
    #[test]
    fn a_reset_connection_is_nobodys_even_when_its_port_is_taken_anew() {
        let peers = Peers::open().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        // Tried anew while a connection of another process has the port too.
        let (theirs, gone, _second) = std::iter::repeat_with(|| {
            let first = TcpStream::connect(ours).unwrap();
            let theirs = first.local_addr().unwrap();
            let (gone, _) = listener.accept().unwrap();
            SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
            drop(first);
            let second = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            second.set_reuse_address(true).unwrap();
            let taken = second.bind(&theirs.into()).and_then(|()| second.connect(&ours.into()));
            taken.is_ok().then_some((theirs, gone, second))
        })
        .take(100)
        .find_map(|taken| taken)
        .unwrap();
        let (accepted, from) = listener.accept().unwrap();
        assert_eq!(from, theirs, "the same two addresses");

        // The kernel does name an account for these addresses: that of the second connection.
        let (SocketAddr::V4(theirs), SocketAddr::V4(ours)) = (theirs, ours) else { panic!() };
        assert_eq!(peers.diag.owner(theirs, ours), Some(geteuid().as_raw()));
        // What a server knows of the first are the addresses that accept(2) gave it.
        let asked = std::cell::Cell::new(0);
        let first = peers.identify(|| {
            asked.set(asked.get() + 1);
            if asked.get() == 1 {
                Ok((theirs.into(), ours.into()))
            } else {
                Ok((gone.peer_addr()?, gone.local_addr()?))
            }
        });
        assert_eq!((first, asked.get()), (Peer::Unknown, 2));
        assert_eq!(identify(&peers, &accepted), us());
    }

    #[test]
    fn a_number_that_stands_for_many_accounts_is_nobodys() {
        let peers = Peers { nobody: Some(geteuid().as_raw()), ..Peers::open().unwrap() };
        let (_client, accepted) = pair();
        assert_eq!(identify(&peers, &accepted), Peer::Unknown);
    }
}
