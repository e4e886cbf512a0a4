//! Neighbours that the kernel looks for in vain.
//!
//! Goes in: interfaces. Comes out: how many of their neighbours the kernel has given up or is still
//! looking for; it forgets those. Not here: neighbours that are known.
//!
//! The kernel asks for a neighbour once a second, three times. One that was asked for while its
//! link was down is thus not asked for again for up to a second after the link is back, and
//! packets to it wait that long, or are dropped.

use crate::socket::{Error, Socket};
use crate::wire::{self, Message, Writer, attributes};

/// `RTM_NEWNEIGH`, `RTM_DELNEIGH` and `RTM_GETNEIGH`.
const NEW: u16 = 28;
const DELETE: u16 = 29;
const GET: u16 = 30;

/// `NDA_DST`.
const DESTINATION: u16 = 1;
/// `NUD_INCOMPLETE` and `NUD_FAILED`.
const UNRESOLVED: u16 = 0x01 | 0x20;
/// Bytes of `struct ndmsg`.
const HEADER: usize = 12;

/// A neighbour that isn't known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unresolved {
    family: u8,
    interface: u32,
    /// Its address as the kernel writes it.
    address: Vec<u8>,
}

/// Makes the kernel forget the neighbours on these interfaces that it doesn't know, so that it asks
/// for them with the next packet. What waits for them is dropped. Returns how many there were.
///
/// # Errors
/// When the socket fails, or a dump is refused. A neighbour that is known by then is no error.
pub fn forget_unresolved(interfaces: &[u32]) -> Result<usize, Error> {
    let mut socket = Socket::open_route()?;
    let seq = socket.next_seq();
    let mut writer = Writer::default();
    writer.message_with(GET, wire::F_DUMP, seq, &[0; HEADER]);
    let mut found = Vec::new();
    socket.dump(writer.finished().unwrap_or_default(), seq, |message| {
        found.extend(unresolved(message).filter(|one| interfaces.contains(&one.interface)));
    })?;
    for one in &found {
        let seq = socket.next_seq();
        let mut writer = Writer::default();
        let mut header = vec![one.family, 0, 0, 0];
        header.extend_from_slice(&one.interface.to_ne_bytes());
        header.extend_from_slice(&[0; 4]);
        writer.message_with(DELETE, wire::F_ACK, seq, &header);
        writer.bytes(DESTINATION, &one.address);
        match socket.request(writer.finished().ok_or(Error::TooLong)?, seq, |_| ()) {
            // Gone by itself.
            Err(error) if error.errno() == Some(libc::ENOENT) => {}
            outcome => outcome?,
        }
    }
    Ok(found.len())
}

fn unresolved(message: &Message<'_>) -> Option<Unresolved> {
    if message.kind != NEW {
        return None;
    }
    // struct ndmsg: family, three bytes of padding, interface, state, flags, type.
    let header = message.payload.first_chunk::<HEADER>()?;
    let [family, _, _, _, a, b, c, d, e, f, ..] = *header;
    let state = u16::from_ne_bytes([e, f]);
    let rest = message.payload.get(HEADER..)?;
    let (_, address) = attributes(rest).find(|(kind, _)| *kind == DESTINATION)?;
    let interface = u32::from_ne_bytes([a, b, c, d]);
    let wanted = state & UNRESOLVED != 0 && matches!(address.len(), 4 | 16);
    wanted.then(|| Unresolved { family, interface, address: address.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message about 10.0.0.9 on interface 5.
    fn datagram(kind: u16, state: u16) -> Vec<u8> {
        let mut writer = Writer::default();
        let mut header = vec![2, 0, 0, 0];
        header.extend(5u32.to_ne_bytes());
        header.extend(state.to_ne_bytes());
        header.extend([0, 0]);
        writer.message_with(kind, 0, 1, &header);
        writer.bytes(DESTINATION, &[10, 0, 0, 9]);
        writer.finished().unwrap().to_vec()
    }

    fn read(bytes: &[u8]) -> Vec<Unresolved> {
        wire::messages(bytes).filter_map(|message| unresolved(&message)).collect()
    }

    #[test]
    fn those_that_are_asked_for_and_those_given_up_are_unresolved() {
        let found = Unresolved { family: 2, interface: 5, address: vec![10, 0, 0, 9] };
        for state in [0x01, 0x20] {
            assert_eq!(read(&datagram(NEW, state)), std::slice::from_ref(&found));
        }
        // Reachable, stale, permanent; and one that was removed.
        for state in [0x02, 0x04, 0x80] {
            assert_eq!(read(&datagram(NEW, state)), []);
        }
        assert_eq!(read(&datagram(DELETE, 0x20)), []);
    }

    proptest! {
        #[test]
        fn random_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(read(&bytes).len() <= bytes.len() / 16);
        }
    }
}
