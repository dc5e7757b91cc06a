//! Asking who listens: before a client believes that what answers on a port is what it looks for.

use std::net::{Ipv4Addr, TcpListener};

use nix::unistd::{Uid, geteuid};

use crate::IdentityError;
use crate::peers::shared_number;
use crate::socket::Diag;

/// The account that made the socket that listens on 127.0.0.1:`port`, or on that port of every address; `None` when
/// nobody listens there.
///
/// # Errors
///
/// [`IdentityError`] when the kernel can't be asked here, or what it answers names no account.
pub fn listener(port: u16) -> Result<Option<Uid>, IdentityError> {
    let diag = Diag::open().map_err(IdentityError::of_socket)?;
    match diag.listener(port) {
        Some(uid) if shared_number() == Some(uid) => Err(IdentityError::Shared { uid }),
        Some(uid) => Ok(Some(Uid::from_raw(uid))),
        None => try_with_our_own(&diag).map(|()| None),
    }
}

/// "No such socket" is also what a kernel says that has no tcp_diag: so it is asked about a socket that is there.
fn try_with_our_own(diag: &Diag) -> Result<(), IdentityError> {
    let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(IdentityError::Trial)?;
    let port = ours.local_addr().map_err(IdentityError::Trial)?.port();
    let (expected, found) = (geteuid().as_raw(), diag.listener(port));
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or_else(|| "nobody".to_owned(), |uid| format!("uid {uid}"));
    Err(IdentityError::Untrue { expected, found })
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn bound(address: SocketAddr) -> (Socket, u16) {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if address.is_ipv6() {
            socket.set_only_v6(false).unwrap();
        }
        socket.bind(&address.into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    }

    #[test]
    fn who_listens_is_known_on_our_address_and_on_every_address() {
        let has_ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
        let v4 = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].map(IpAddr::from);
        let v6 = has_ipv6.then_some(IpAddr::from(Ipv6Addr::UNSPECIFIED));
        for address in v4.into_iter().chain(v6) {
            let (socket, port) = bound(SocketAddr::new(address, 0));
            assert_eq!(listener(port).unwrap(), None, "{address}: bound, but it does not listen");
            socket.listen(1).unwrap();
            assert_eq!(listener(port).unwrap(), Some(geteuid()), "{address}");
        }
    }

    #[test]
    fn a_listener_that_is_gone_is_nobody_even_while_its_connections_live() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = ours.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (accepted, _) = ours.accept().unwrap();
        assert_eq!(listener(port).unwrap(), Some(geteuid()));
        drop(ours);
        assert_eq!(listener(port).unwrap(), None);
        drop((client, accepted));
    }

    #[test]
    fn who_listens_on_another_address_alone_does_not_listen_for_us() {
        let (socket, port) = bound("127.0.0.2:0".parse().unwrap());
        socket.listen(1).unwrap();
        assert_eq!(listener(port).unwrap(), None);
    }
}
