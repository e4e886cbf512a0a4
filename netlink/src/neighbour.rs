//! Neighbours that the kernel looks for in vain.
//!
//! Goes in: interfaces, or an address that packets go to. Comes out: how many of these neighbours the
//! kernel has given up or is still looking for; it forgets those. Not here: neighbours that are known.
//!
//! The kernel asks for a neighbour once a second, three times. One that was asked for while its
//! link was down is thus not asked for again for up to a second after the link is back, and
//! packets to it wait that long, or are dropped.

use crate::socket::{Error, Socket};
use crate::wire::{self, Message, Writer, attributes};
use std::net::IpAddr;

/// `RTM_NEWNEIGH`, `RTM_DELNEIGH` and `RTM_GETNEIGH`.
const NEW: u16 = 28;
const DELETE: u16 = 29;
const GET: u16 = 30;

/// `RTM_NEWROUTE` and `RTM_GETROUTE`.
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

/// `NDA_DST`, and `RTA_DST`.
const DESTINATION: u16 = 1;
/// `RTA_OIF` and `RTA_GATEWAY`.
const EGRESS: u16 = 4;
const GATEWAY: u16 = 5;
/// `NUD_INCOMPLETE` and `NUD_FAILED`.
const UNRESOLVED: u16 = 0x01 | 0x20;
/// Bytes of `struct ndmsg`, and of `struct rtmsg`.
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
    found.iter().try_for_each(|one| forget(&mut socket, one))?;
    Ok(found.len())
}

/// The same for the one that packets to an address go to: itself, or a router. Returns whether it
/// was looked for in vain.
///
/// # Errors
/// When the socket fails, or there is no route.
pub fn forget_unresolved_to(address: IpAddr) -> Result<bool, Error> {
    let mut socket = Socket::open_route()?;
    let (family, address) = match address {
        IpAddr::V4(address) => (libc::AF_INET as u8, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6 as u8, address.octets().to_vec()),
    };
    let bits = address.len() as u8 * 8;
    let seq = socket.next_seq();
    let mut writer = Writer::default();
    // struct rtmsg: family, length of the destination, ten bytes that don't matter.
    let header = [&[family, bits][..], &[0; 10]].concat();
    writer.message_with(GET_ROUTE, wire::F_ACK, seq, &header);
    writer.bytes(DESTINATION, &address);
    let mut way = None;
    socket.request(writer.finished().ok_or(Error::TooLong)?, seq, |message| {
        way = way.take().or_else(|| route(message));
    })?;
    let Some((interface, gateway)) = way else { return Ok(false) };
    let next = Unresolved { family, interface, address: gateway.unwrap_or(address) };
    let mut found = false;
    match ask(&mut socket, GET, &next, |message| found |= unresolved(message).is_some()) {
        // It isn't looked for at all.
        Err(error) if error.errno() == Some(libc::ENOENT) => {}
        outcome => outcome?,
    }
    if found {
        forget(&mut socket, &next)?;
    }
    Ok(found)
}

/// Forgets a neighbour. One that is gone by itself is no error.
fn forget(socket: &mut Socket, one: &Unresolved) -> Result<(), Error> {
    match ask(socket, DELETE, one, |_| ()) {
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

fn ask(
    socket: &mut Socket,
    kind: u16,
    one: &Unresolved,
    each: impl FnMut(&Message<'_>),
) -> Result<(), Error> {
    let seq = socket.next_seq();
    let mut writer = Writer::default();
    let mut header = vec![one.family, 0, 0, 0];
    header.extend_from_slice(&one.interface.to_ne_bytes());
    header.extend_from_slice(&[0; 4]);
    writer.message_with(kind, wire::F_ACK, seq, &header);
    writer.bytes(DESTINATION, &one.address);
    socket.request(writer.finished().ok_or(Error::TooLong)?, seq, each)
}

/// The interface of a route, and its router.
fn route(message: &Message<'_>) -> Option<(u32, Option<Vec<u8>>)> {
    // struct rtmsg.
    let rest = message.payload.get(HEADER..).filter(|_| message.kind == NEW_ROUTE)?;
    let find = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let interface = u32::from_ne_bytes(*find(EGRESS)?.first_chunk()?);
    let gateway = find(GATEWAY).filter(|gateway| matches!(gateway.len(), 4 | 16));
    Some((interface, gateway.map(<[u8]>::to_vec)))
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
            let routes = wire::messages(&bytes).filter_map(|message| route(&message));
            prop_assert!(routes.count() <= bytes.len() / 16);
        }
    }
}
