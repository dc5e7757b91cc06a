//! What holds for any bytes: tried with the corpus by the tests, with anything by `fuzz/`.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::message::{Answer, answer, listener_answer};

const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50_000);
const DESTINATION: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4_321);

/// `TCP_LISTEN`
const LISTEN: u8 = 10;

/// Who is named stands in an answer to this very question, which has both ports of the connection in it; and who
/// listens, in one about a socket that listens on this port. Nobody is named as both.
///
/// # Panics
///
/// When the property is broken.
pub fn peer_answer(bytes: &[u8]) {
    let (sequence, bytes) = bytes.split_first_chunk().unwrap_or((&[0; 4], bytes));
    let sequence = u32::from_ne_bytes(*sequence);
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
    let connected = answer(bytes, SOURCE, DESTINATION, sequence);
    let listener = listener_answer(bytes, SOURCE.port(), sequence);
    if let Answer::Owner(uid) = connected {
        assert_eq!(bytes[8..12], sequence.to_ne_bytes());
        assert!(holds(&SOURCE.port().to_be_bytes()) && holds(&DESTINATION.port().to_be_bytes()));
        assert!(holds(&uid.to_ne_bytes()) && holds(&Ipv4Addr::LOCALHOST.octets()));
    }
    if let Answer::Owner(uid) = listener {
        assert_eq!((&bytes[8..12], bytes[17]), (&sequence.to_ne_bytes()[..], LISTEN));
        assert!(holds(&SOURCE.port().to_be_bytes()) && holds(&uid.to_ne_bytes()));
        assert_eq!(connected, Answer::Nobody);
    }
}

#[cfg(test)]
#[path = "../../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::replay::replay;

    #[test]
    fn the_corpus_breaks_no_property() {
        replay("peer_answer", super::peer_answer);
    }
}
