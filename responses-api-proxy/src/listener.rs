//! The socket that clients connect to, and how many of them there can be.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use crate::StartError;

/// Connections that may wait to be accepted (listen(2)).
const BACKLOG: i32 = 1_024;

/// Binds `port` on 127.0.0.1 and listens; 0 takes any free port.
pub(crate) fn listen(port: u16) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // A port whose last connections are in TIME_WAIT can be taken at once; one in use can't.
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    bind().map_err(|source| StartError::Listen { port, source })
}

/// Raises the soft limit of open files to the hard one: an exchange needs two. Returns what it is then.
pub(crate) fn raise_open_files() -> u64 {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // macOS refuses an infinite limit. Serving fewer clients at once is no reason not to serve.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}
