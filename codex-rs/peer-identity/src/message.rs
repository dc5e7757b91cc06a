//! The question and the answer of inet_diag, as bytes.
//!
//! Source: sock_diag(7), netlink(7), `include/uapi/linux/inet_diag.h`. Netlink's own fields are in the
//! byte order of this machine; ports and addresses are in network order. Everything that is read here comes
//! from outside: no length is believed.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// `SOCK_DIAG_BY_FAMILY`, the type of both question and answer.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`, without `NLM_F_DUMP`: one socket, not a list.
const REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `TCP_ESTABLISHED`, the one state in which the owner's uid is the owner's: a socket that its program has
/// closed is reported as uid 0, inode 0 (measured, Linux 6.18).
const ESTABLISHED: u8 = 1;
/// `TCP_LISTEN`
const LISTEN: u8 = 10;
/// What stands in place of the peer of a socket that listens.
const NO_PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// struct nlmsghdr
const HEADER_BYTES: usize = 16;
/// struct nlmsghdr, struct inet_diag_req_v2
const QUESTION_BYTES: usize = HEADER_BYTES + 56;
/// struct nlmsghdr, struct inet_diag_msg
const ANSWER_BYTES: usize = HEADER_BYTES + 72;

/// Where the parts of struct inet_diag_msg stand in an answer.
mod at {
    pub(super) const FAMILY: usize = super::HEADER_BYTES;
    pub(super) const STATE: usize = FAMILY + 1;
    pub(super) const SOURCE_PORT: usize = FAMILY + 4;
    pub(super) const DESTINATION_PORT: usize = SOURCE_PORT + 2;
    pub(super) const SOURCE: usize = DESTINATION_PORT + 2;
    pub(super) const DESTINATION: usize = SOURCE + 16;
    pub(super) const UID: usize = FAMILY + 64;
    pub(super) const INODE: usize = UID + 4;
}

/// Asks for the socket whose own address is `source` and whose peer is `destination`.
pub(crate) fn question(source: SocketAddrV4, destination: SocketAddrV4, sequence: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(QUESTION_BYTES);
    bytes.extend((QUESTION_BYTES as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes()); // Our port: the kernel knows it.
    bytes.extend([AF_INET, IPPROTO_TCP, /*extensions*/ 0, /*padding*/ 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // Any state: the answer says which.
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes.extend(address(source));
    bytes.extend(address(destination));
    bytes.extend(0_u32.to_ne_bytes()); // Any interface.
    bytes.extend([0xff; 8]); // INET_DIAG_NOCOOKIE
    bytes
}

/// Asks for the socket that listens for connections to 127.0.0.1 and this port.
pub(crate) fn listener_question(port: u16, sequence: u32) -> Vec<u8> {
    question(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), NO_PEER, sequence)
}

/// An IPv4 address in the sixteen bytes that an IPv6 address would need.
fn address(of: SocketAddrV4) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&of.ip().octets());
    bytes
}

/// What one datagram from the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The socket is there, in the state that was asked for, and belongs to a program: the uid of its maker.
    Owner(u32),
    /// There is no such socket, or none that belongs to anybody any more.
    Nobody,
    /// It answers another question.
    Elsewhere,
}

/// Reads the kernel's answer to [`question`] with the same arguments.
pub(crate) fn answer(
    bytes: &[u8],
    source: SocketAddrV4,
    destination: SocketAddrV4,
    sequence: u32,
) -> Answer {
    read(bytes, sequence, |bytes| {
        bytes[at::STATE] == ESTABLISHED
            && are_ports(bytes, source.port(), destination.port())
            && is_address(bytes, at::SOURCE, source)
            && is_address(bytes, at::DESTINATION, destination)
    })
}

/// Reads the kernel's answer to [`listener_question`] with the same arguments.
///
/// A socket that listens on every address, of IPv6 too, listens on ours: the kernel names it when there is none that
/// listens on ours alone (measured, Linux 6.18).
pub(crate) fn listener_answer(bytes: &[u8], port: u16, sequence: u32) -> Answer {
    read(bytes, sequence, |bytes| {
        bytes[at::STATE] == LISTEN
            && are_ports(bytes, port, NO_PEER.port())
            && (is_address(bytes, at::SOURCE, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
                || is_every_address(bytes, at::SOURCE))
            && is_every_address(bytes, at::DESTINATION)
    })
}

/// Reads an answer about the one socket that was asked for, as far as `is_it` finds it to be that; what `is_it` gets
/// is as long as an answer has to be.
fn read(bytes: &[u8], sequence: u32, is_it: impl Fn(&[u8]) -> bool) -> Answer {
    if u32_at(bytes, 8) != Some(sequence) {
        return Answer::Elsewhere;
    }
    let length = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok());
    let is_whole = length.is_some_and(|length| (ANSWER_BYTES..=bytes.len()).contains(&length));
    if u16_at(bytes, 4) != Some(BY_FAMILY) || !is_whole {
        return Answer::Nobody; // NLMSG_ERROR: no such socket.
    }
    let inode = u32_at(bytes, at::INODE).unwrap_or(0);
    match u32_at(bytes, at::UID) {
        Some(uid) if inode != 0 && is_it(bytes) => Answer::Owner(uid),
        _ => Answer::Nobody,
    }
}

fn are_ports(bytes: &[u8], source: u16, destination: u16) -> bool {
    bytes[at::SOURCE_PORT..at::DESTINATION_PORT] == source.to_be_bytes()
        && bytes[at::DESTINATION_PORT..at::SOURCE] == destination.to_be_bytes()
}

/// Whether this address stands there, plain or, for a socket of AF_INET6, mapped (`::ffff:127.0.0.1`).
fn is_address(bytes: &[u8], at: usize, expected: SocketAddrV4) -> bool {
    let found = &bytes[at..at + 16];
    match bytes[at::FAMILY] {
        AF_INET => found[..4] == expected.ip().octets(),
        AF_INET6 => found == expected.ip().to_ipv6_mapped().octets(),
        _ => false,
    }
}

/// Whether what stands there is no address in particular: 0.0.0.0, plain or mapped, or `::`.
fn is_every_address(bytes: &[u8], at: usize) -> bool {
    is_address(bytes, at, NO_PEER)
        || (bytes[at::FAMILY] == AF_INET6 && bytes[at..at + 16] == Ipv6Addr::UNSPECIFIED.octets())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50_000);
    const OURS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4_321);

    /// What Linux 6.18 answered about an established socket of uid 1000, with these addresses.
    fn established() -> Vec<u8> {
        let mut bytes = question(CLIENT, OURS, 7);
        bytes.truncate(HEADER_BYTES);
        bytes[..4].copy_from_slice(&(ANSWER_BYTES as u32).to_ne_bytes());
        bytes.extend([AF_INET, ESTABLISHED, 0, 0]);
        bytes.extend(CLIENT.port().to_be_bytes());
        bytes.extend(OURS.port().to_be_bytes());
        bytes.extend(address(CLIENT));
        bytes.extend(address(OURS));
        bytes.resize(at::UID, 0);
        bytes.extend(1_000_u32.to_ne_bytes());
        bytes.extend(99_u32.to_ne_bytes());
        assert_eq!(bytes.len(), ANSWER_BYTES);
        bytes
    }

    fn changed(at: usize, to: &[u8]) -> Answer {
        let mut bytes = established();
        bytes[at..at + to.len()].copy_from_slice(to);
        answer(&bytes, CLIENT, OURS, 7)
    }

    #[test]
    fn only_an_established_socket_of_exactly_this_connection_has_an_owner() {
        assert_eq!(changed(0, &[]), Answer::Owner(1_000));
        assert_eq!(changed(at::UID, &0_u32.to_ne_bytes()), Answer::Owner(0));
        for state in (0..=13).filter(|state| *state != ESTABLISHED) {
            assert_eq!(changed(at::STATE, &[state]), Answer::Nobody, "state {state}");
        }
        assert_eq!(changed(at::INODE, &[0; 4]), Answer::Nobody);
        assert_eq!(changed(at::SOURCE_PORT, &[1, 1]), Answer::Nobody);
        assert_eq!(changed(at::DESTINATION_PORT, &[1, 1]), Answer::Nobody);
        assert_eq!(changed(at::SOURCE, &[127, 0, 0, 2]), Answer::Nobody);
        assert_eq!(changed(at::DESTINATION, &[127, 0, 0, 2]), Answer::Nobody);
        assert_eq!(changed(at::FAMILY, &[AF_INET6]), Answer::Nobody);
        assert_eq!(changed(at::FAMILY, &[1]), Answer::Nobody);
        assert_eq!(changed(4, &2_u16.to_ne_bytes()), Answer::Nobody);
        assert_eq!(changed(8, &8_u32.to_ne_bytes()), Answer::Elsewhere);
    }

    #[test]
    fn a_socket_of_ipv6_with_a_mapped_address_is_the_same_connection() {
        let mut bytes = established();
        bytes[at::FAMILY] = AF_INET6;
        bytes[at::SOURCE..][..16].copy_from_slice(&CLIENT.ip().to_ipv6_mapped().octets());
        bytes[at::DESTINATION..][..16].copy_from_slice(&OURS.ip().to_ipv6_mapped().octets());
        assert_eq!(answer(&bytes, CLIENT, OURS, 7), Answer::Owner(1_000));
    }

    #[test]
    fn an_answer_that_is_cut_short_or_lies_about_its_length_names_nobody() {
        let whole = established();
        for end in 0..whole.len() {
            assert_ne!(answer(&whole[..end], CLIENT, OURS, 7), Answer::Owner(1_000), "{end}");
        }
        for length in [0, 15, ANSWER_BYTES as u32 - 1, ANSWER_BYTES as u32 + 1, u32::MAX] {
            assert_eq!(changed(0, &length.to_ne_bytes()), Answer::Nobody, "{length}");
        }
    }

    /// What Linux 6.18 answered about a listening socket of uid 1000.
    fn listening() -> Vec<u8> {
        let mut bytes = established();
        bytes[at::STATE] = LISTEN;
        bytes[at::SOURCE_PORT..][..2].copy_from_slice(&OURS.port().to_be_bytes());
        bytes[at::DESTINATION_PORT..][..2].fill(0);
        bytes[at::DESTINATION..][..16].fill(0);
        bytes
    }

    fn listener(changes: &[(usize, &[u8])]) -> Answer {
        let mut bytes = listening();
        for (at, to) in changes {
            bytes[*at..*at + to.len()].copy_from_slice(to);
        }
        listener_answer(&bytes, OURS.port(), 7)
    }

    #[test]
    fn only_a_socket_that_listens_for_us_on_this_port_is_its_listener() {
        assert_eq!(listener(&[]), Answer::Owner(1_000));
        for state in (0..=13).filter(|state| *state != LISTEN) {
            assert_eq!(listener(&[(at::STATE, &[state])]), Answer::Nobody, "state {state}");
        }
        assert_eq!(listener(&[(at::INODE, &[0; 4])]), Answer::Nobody);
        assert_eq!(listener(&[(at::SOURCE_PORT, &[1, 1])]), Answer::Nobody);
        assert_eq!(listener(&[(at::DESTINATION_PORT, &[1, 1])]), Answer::Nobody);
        assert_eq!(listener(&[(at::SOURCE, &[127, 0, 0, 2])]), Answer::Nobody);
        assert_eq!(listener(&[(at::DESTINATION, &[127, 0, 0, 1])]), Answer::Nobody);
        assert_eq!(listener(&[(4, &2_u16.to_ne_bytes())]), Answer::Nobody);
        assert_eq!(listener(&[(8, &8_u32.to_ne_bytes())]), Answer::Elsewhere);
        let whole = listening();
        for end in 0..whole.len() {
            let answer = listener_answer(&whole[..end], OURS.port(), 7);
            assert_ne!(answer, Answer::Owner(1_000), "{end}");
        }
    }

    #[test]
    fn who_listens_on_every_address_listens_on_ours() {
        let (v4, v6) = ([AF_INET], [AF_INET6]);
        let mapped = |address: Ipv4Addr| address.to_ipv6_mapped().octets();
        let (ours, every) = (mapped(*OURS.ip()), mapped(Ipv4Addr::UNSPECIFIED));
        let unspecified = Ipv6Addr::UNSPECIFIED.octets();
        for (family, source) in [(v4, &unspecified), (v6, &unspecified), (v6, &ours), (v6, &every)]
        {
            let answer = listener(&[(at::FAMILY, &family), (at::SOURCE, source)]);
            assert_eq!(answer, Answer::Owner(1_000), "{family:?} {source:?}");
        }
        let loopback = Ipv6Addr::LOCALHOST.octets();
        let answer = listener(&[(at::FAMILY, &v6), (at::SOURCE, &loopback)]);
        assert_eq!(answer, Answer::Nobody, "a client of 127.0.0.1 does not get there");
    }
}
