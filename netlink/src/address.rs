//! Addresses of interfaces: a list of them, news about them, and changes.
//!
//! Goes in: interfaces and addresses to add and remove. Comes out: which addresses there are, what
//! changed, and which change failed why. Not here: which addresses there should be.

//! Crate netlink-packet-route decodes the attributes, one by one and only those that are used, so
//! that one that a later kernel writes differently costs no more than itself.

mod batch;

pub use batch::{Batch, BatchError, Step};

use crate::news::News;
use crate::socket::{Error, Socket};
use crate::wire::{self, Message, Writer};
use netlink_packet_core::{NlasIterator, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeader};
use std::io;
use std::net::IpAddr;

/// `RTM_NEWADDR`, `RTM_DELADDR` and `RTM_GETADDR`.
const NEW: u16 = 20;
const DELETE: u16 = 21;
const GET: u16 = 22;

/// `RTNLGRP_IPV4_IFADDR` and `RTNLGRP_IPV6_IFADDR`.
const GROUPS: [u32; 2] = [5, 9];

/// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_LABEL` and `IFA_FLAGS`.
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const LABEL: u16 = 3;
const FLAGS: u16 = 8;

/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// What the kernel says about an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// IPv4: another address of its prefix came first.
    pub secondary: bool,
    /// IPv6: one of those that change for privacy.
    pub temporary: bool,
    /// Its preferred lifetime is over.
    pub deprecated: bool,
    /// IPv6: it is not known yet whether somebody else has it; it isn't used before.
    pub tentative: bool,
    /// IPv6: somebody else has it.
    pub duplicate: bool,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix in bits, at most 32 or 128.
    pub prefix_length: u8,
    /// `RT_SCOPE_` number: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// What the kernel says about it.
    pub flags: Flags,
    /// IPv4: its label, usually the interface's name.
    pub label: Option<String>,
}

/// What became of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is new, or something else about it has changed.
    Added(Address),
    /// It is gone.
    Removed(Address),
}

/// The addresses of all interfaces of this network namespace.
///
/// # Errors
/// [`Error::Refused`] with the kernel's errno.
pub fn list() -> Result<Vec<Address>, Error> {
    let mut socket = Socket::open_route()?;
    let seq = socket.next_seq();
    let mut writer = Writer::default();
    writer.message_with(GET, wire::F_DUMP, seq, &[0; HEADER]);
    let mut addresses = Vec::new();
    socket.dump(writer.finished().unwrap_or_default(), seq, |message| {
        if let Some(Event::Added(address)) = event(message) {
            addresses.push(address);
        }
    })?;
    Ok(addresses)
}

/// Hears of changes.
pub type Watcher = News<Event>;

impl Watcher {
    /// Begins to listen.
    ///
    /// # Errors
    /// What `socket`, `bind` and `setsockopt` fail with.
    pub fn open() -> io::Result<Self> {
        Self::listen(&GROUPS, event)
    }
}

/// The events of a datagram. Messages that can't be read or are about something else are left out.
pub fn events(datagram: &[u8]) -> impl Iterator<Item = Event> + '_ {
    wire::messages(datagram).filter_map(|message| event(&message))
}

fn event(message: &Message<'_>) -> Option<Event> {
    match message.kind {
        NEW => address(message.payload).map(Event::Added),
        DELETE => address(message.payload).map(Event::Removed),
        _ => None,
    }
}

/// `None` without an address of the family that the header says.
fn address(payload: &[u8]) -> Option<Address> {
    let header = AddressHeader::parse(payload).ok()?;
    // On a link to a single peer, IPv4 calls the peer's address IFA_ADDRESS and ours IFA_LOCAL.
    let (mut ours, mut peer, mut label) = (None, None, None);
    let mut bits = u32::from(header.flags.bits());
    for attribute in NlasIterator::new(payload.get(HEADER..)?).map_while(Result::ok) {
        if !matches!(attribute.kind(), ADDRESS | LOCAL | LABEL | FLAGS) {
            continue;
        }
        match AddressAttribute::parse(&attribute) {
            Ok(AddressAttribute::Local(address)) => ours = Some(address),
            Ok(AddressAttribute::Address(address)) => peer = Some(address),
            Ok(AddressAttribute::Label(text)) => label = Some(text),
            // All 32 bits, of which the header has the lowest eight.
            Ok(AddressAttribute::Flags(all)) => bits = all.bits(),
            _ => {}
        }
    }
    let address = ours.or(peer)?;
    let (family, longest) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    let valid = header.family == family && header.prefix_len <= longest && header.index != 0;
    valid.then(|| Address {
        interface: header.index,
        address,
        prefix_length: header.prefix_len,
        scope: header.scope.into(),
        flags: flags(AddressFlags::from_bits_retain(bits), address.is_ipv4()),
        label,
    })
}

/// One bit means secondary for IPv4 and temporary for IPv6.
fn flags(bits: AddressFlags, v4: bool) -> Flags {
    let first = bits.contains(AddressFlags::Secondary);
    Flags {
        secondary: v4 && first,
        temporary: !v4 && first,
        deprecated: bits.contains(AddressFlags::Deprecated),
        tentative: bits.contains(AddressFlags::Tentative),
        duplicate: bits.contains(AddressFlags::Dadfailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message about an address: family, prefix length, flags, scope.
    fn datagram(kind: u16, header: [u8; 4], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::default();
        let mut fixed = header.to_vec();
        fixed.extend(5u32.to_ne_bytes());
        writer.message_with(kind, 0, 1, &fixed);
        attributes.iter().for_each(|(kind, payload)| writer.bytes(*kind, payload));
        writer.finished().unwrap().to_vec()
    }

    fn inet(attributes: &[(u16, &[u8])]) -> Option<Address> {
        match events(&datagram(NEW, [2, 24, 0x81, 253], attributes)).next() {
            Some(Event::Added(address)) => Some(address),
            _ => None,
        }
    }

    fn v6(flags: u32) -> Vec<u8> {
        let octets = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let attributes = [(ADDRESS, &octets[..]), (FLAGS, &flags.to_ne_bytes())];
        datagram(DELETE, [10, 64, 0xff, 0], &attributes)
    }

    #[test]
    fn an_address_is_read_with_all_its_fields() {
        let wanted = Address {
            interface: 5,
            address: "10.0.0.7".parse().unwrap(),
            prefix_length: 24,
            scope: 253,
            flags: Flags { secondary: true, ..Flags::default() },
            label: Some("eth0:1".into()),
        };
        let attributes: &[(u16, &[u8])] =
            &[(ADDRESS, &[10, 0, 0, 9]), (LOCAL, &[10, 0, 0, 7]), (LABEL, b"eth0:1\0")];
        assert_eq!(inet(attributes), Some(wanted));
    }

    #[test]
    fn an_ipv6_address_has_the_flags_of_the_attribute() {
        let Some(Event::Removed(address)) = events(&v6(0x269)).next() else { panic!("no event") };
        assert_eq!(address.address, "2001:db8::7".parse::<IpAddr>().unwrap());
        let wanted = Flags {
            temporary: true,
            deprecated: true,
            tentative: true,
            duplicate: true,
            ..Flags::default()
        };
        assert_eq!((address.flags, address.scope, address.label), (wanted, 0, None));
    }

    #[test]
    fn an_address_of_another_family_than_the_header_says_is_left_out() {
        assert_eq!(inet(&[(LOCAL, &[0; 16])]), None);
        assert_eq!(events(&datagram(NEW, [10, 64, 0, 0], &[(ADDRESS, &[0; 4])])).next(), None);
        assert_eq!(events(&datagram(NEW, [2, 33, 0, 0], &[(ADDRESS, &[0; 4])])).next(), None);
    }

    #[test]
    fn an_attribute_that_can_not_be_read_costs_only_itself() {
        let attributes: &[(u16, &[u8])] =
            &[(ADDRESS, &[1, 2, 3]), (LABEL, &[0xff]), (FLAGS, &[1]), (LOCAL, &[10, 0, 0, 7])];
        let address = inet(attributes).unwrap();
        assert_eq!((address.label, address.flags.secondary), (None, true));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn random_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(events(&bytes).count() <= bytes.len() / 16);
        }

        #[test]
        fn a_cut_or_overwritten_message_is_read_or_left_out(
            cut in 0usize..80,
            at in any::<proptest::sample::Index>(),
            value in any::<u8>(),
        ) {
            let mut bytes = v6(0);
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(cut);
            prop_assert!(events(&bytes).count() <= 1 + bytes.len() / 16);
        }
    }
}
