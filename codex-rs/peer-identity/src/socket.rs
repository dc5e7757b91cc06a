//! The netlink socket through which the kernel is asked.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendto,
    socket,
};

use crate::message::{Answer, answer, question};

/// More than the kernel ever answers about one socket without being asked for extensions.
const ANSWER_LIMIT_BYTES: usize = 4_096;

/// A socket of NETLINK_SOCK_DIAG that never blocks.
#[derive(Debug)]
pub(crate) struct Diag {
    socket: OwnedFd,
    /// Numbers the questions, so that no answer is taken for that of another.
    sequence: AtomicU32,
}

impl Diag {
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkSockDiag;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol)?;
        Ok(Self { socket, sequence: AtomicU32::new(1) })
    }

    /// The uid of whoever made the socket that is connected from `source` to `destination`.
    ///
    /// The kernel works the question out within sendto(2), so its answer is there when that returns.
    pub(crate) fn owner(&self, source: SocketAddrV4, destination: SocketAddrV4) -> Option<u32> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let question = question(source, destination, sequence);
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &question, &kernel, MsgFlags::empty()).ok()?;
        let mut bytes = [0; ANSWER_LIMIT_BYTES];
        loop {
            let (count, sender) =
                recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut bytes).ok()?;
            if sender.is_none_or(|sender| sender.pid() != 0) {
                continue; // Not the kernel.
            }
            match answer(&bytes[..count], source, destination, sequence) {
                Answer::Owner(uid) => return Some(uid),
                Answer::Nobody => return None,
                Answer::Elsewhere => {}
            }
        }
    }
}
