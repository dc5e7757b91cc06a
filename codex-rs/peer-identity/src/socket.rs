//! The netlink socket through which the kernel is asked.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvfrom, sendto,
    socket,
};

use crate::message::{Answer, answer, listener_answer, listener_question, question};

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
    pub(crate) fn owner(&self, source: SocketAddrV4, destination: SocketAddrV4) -> Option<u32> {
        let sequence = self.number();
        let question = question(source, destination, sequence);
        self.ask(&question, |bytes| answer(bytes, source, destination, sequence))
    }

    /// The uid of whoever made the socket that listens for connections to 127.0.0.1 and this port.
    pub(crate) fn listener(&self, port: u16) -> Option<u32> {
        let sequence = self.number();
        let question = listener_question(port, sequence);
        self.ask(&question, |bytes| listener_answer(bytes, port, sequence))
    }

    fn number(&self) -> u32 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// The kernel works the question out within sendto(2), so its answer is there when that returns.
    fn ask(&self, question: &[u8], read: impl Fn(&[u8]) -> Answer) -> Option<u32> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), question, &kernel, MsgFlags::empty()).ok()?;
        let mut bytes = [0; ANSWER_LIMIT_BYTES];
        loop {
            let (count, sender) =
                recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut bytes).ok()?;
            if sender.is_none_or(|sender| sender.pid() != 0) {
                continue; // Not the kernel.
            }
            match read(&bytes[..count]) {
                Answer::Owner(uid) => return Some(uid),
                Answer::Nobody => return None,
                Answer::Elsewhere => {}
            }
        }
    }
}
