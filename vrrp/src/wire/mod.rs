//! Adverts as bytes (RFC 9568 section 5.2), and what else a router sends on the link.
//!
//! Goes in: an advert, or bytes from the link. Comes out: bytes, or a view of an advert, or why
//! they are none. Not here: whether the advert is for one of our routers ([`crate::receive`]).

mod announce;
mod checksum;
mod ipv4;

pub use announce::{gratuitous_arp, neighbour_advertisement};
pub use checksum::{ChecksumKind, Endpoints, FamilyMismatch};
pub use ipv4::{HeaderError, Ipv4Packet};

use crate::addresses::VirtualAddresses;
use crate::types::{Centiseconds, Family, Priority, Vrid};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Version 3.
const VERSION: u8 = 3;

/// The only type that there is.
const ADVERTISEMENT: u8 = 1;

/// Bytes in front of the addresses.
const FIXED: usize = 8;

/// An advert to be sent.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------+-------+---------------+---------------+---------------+
/// |vers. 3|type 1 |     VRID      |   priority    | address count |
/// +-------+-------+---------------+---------------+---------------+
/// | rsvd  | max advertise interval|           checksum            |
/// +-------+-----------------------+-------------------------------+
/// |                  addresses, 4 or 16 bytes each                |
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Advert<'a> {
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority.
    pub priority: Priority,
    /// How often the sender sends.
    pub interval: Centiseconds,
    /// The virtual router's addresses.
    pub addresses: &'a VirtualAddresses,
}

impl Advert<'_> {
    /// Writes the message that follows the IP header into `buffer`, in place of what it held.
    ///
    /// `checksum` is for IPv4; IPv6 has only one kind.
    ///
    /// # Errors
    /// When the message is to be sent between addresses of the other family; the buffer is empty
    /// then.
    pub fn write(
        &self,
        endpoints: &Endpoints,
        checksum: ChecksumKind,
        buffer: &mut Vec<u8>,
    ) -> Result<(), FamilyMismatch> {
        buffer.clear();
        if endpoints.family() != self.addresses.family() {
            return Err(FamilyMismatch);
        }
        // Section 5.2.6: the reserved bits are zero, as those above the interval's twelve are.
        let [interval_high, interval_low] = self.interval.get().to_be_bytes();
        let head = [
            VERSION << 4 | ADVERTISEMENT,
            self.vrid.get(),
            self.priority.get(),
            self.addresses.count(),
            interval_high,
            interval_low,
        ];
        buffer.extend_from_slice(&head);
        buffer.extend_from_slice(&[0, 0]);
        for address in self.addresses.as_slice() {
            match address {
                IpAddr::V4(address) => buffer.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => buffer.extend_from_slice(&address.octets()),
            }
        }
        let sum = checksum::of(buffer, endpoints, checksum);
        if let Some(field) = buffer.get_mut(head.len()..FIXED) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        Ok(())
    }
}

/// Why bytes are no advert of version 3. The variants stand in the order in which they are looked
/// for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Malformed {
    /// Nothing follows the IP header.
    #[error("the packet is empty")]
    Empty,
    /// VRRPv2 (RFC 3768).
    #[error("it is of VRRP version 2")]
    Version2,
    /// CARP, OpenBSD's protocol of the same protocol number and group, which calls itself
    /// version 2.
    #[error("it is a CARP packet")]
    Carp,
    /// Another version.
    #[error("its version is {0}, not 3")]
    Version(u8),
    /// Type other than 1 (section 5.2.2).
    #[error("its type is {0}, not 1")]
    Type(u8),
    /// Shorter than its count of addresses asks for (section 7.1).
    #[error("it has {length} bytes and should have {expected}")]
    Truncated {
        /// Its bytes.
        length: usize,
        /// Bytes that it would need.
        expected: usize,
    },
    /// The checksum is neither the RFC's nor, in IPv4, keepalived's.
    #[error("its checksum is wrong")]
    Checksum,
    /// VRID 0 (section 5.2.3).
    #[error("its VRID is 0")]
    VridZero,
    /// No address (section 5.2.5, erratum 8299).
    #[error("it has no address")]
    NoAddress,
    /// Interval 0 (section 7.1, erratum 8301).
    #[error("its interval is 0")]
    IntervalZero,
    /// IPv6, and the first address is not link-local (section 5.2.9, erratum 8300).
    #[error("its first address, {0}, is not link-local")]
    FirstNotLinkLocal(Ipv6Addr),
}

/// An advert as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertView<'a> {
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority.
    pub priority: Priority,
    /// How often the sender sends.
    pub interval: Centiseconds,
    /// The virtual router's addresses in the sender's view; at least one.
    pub addresses: AddressList<'a>,
    /// Which checksum fitted.
    pub checksum: ChecksumKind,
    /// Bytes after the message, which are not part of it.
    pub trailing: usize,
}

impl<'a> AdvertView<'a> {
    /// Reads what followed the IP header.
    ///
    /// # Errors
    /// When it is not an advert of version 3.
    pub fn parse(packet: &'a [u8], endpoints: &Endpoints) -> Result<Self, Malformed> {
        let &[first, ..] = packet else { return Err(Malformed::Empty) };
        match first >> 4 {
            VERSION => {}
            2 if is_carp(packet) => return Err(Malformed::Carp),
            2 => return Err(Malformed::Version2),
            other => return Err(Malformed::Version(other)),
        }
        // Section 5.2.2: unknown types are discarded.
        if first & 0x0f != ADVERTISEMENT {
            return Err(Malformed::Type(first & 0x0f));
        }
        let Some((&[_, vrid, priority, count, interval_high, interval_low, _, _], rest)) =
            packet.split_first_chunk::<FIXED>()
        else {
            return Err(Malformed::Truncated { length: packet.len(), expected: FIXED });
        };
        // Section 5.2.9: the addresses are of the carrying packet's family.
        let family = endpoints.family();
        let expected = FIXED + usize::from(count) * family.address_size();
        let (Some(message), Some(bytes)) = (packet.get(..expected), rest.get(..expected - FIXED))
        else {
            return Err(Malformed::Truncated { length: packet.len(), expected });
        };
        let Some(checksum) = checksum::fits(message, endpoints) else {
            return Err(Malformed::Checksum);
        };
        let vrid = Vrid::new(vrid).ok_or(Malformed::VridZero)?;
        let addresses = AddressList { family, bytes };
        let first = addresses.iter().next().ok_or(Malformed::NoAddress)?;
        // Section 5.2.6: the four reserved bits are ignored.
        let interval = u16::from_be_bytes([interval_high & 0x0f, interval_low]);
        let interval = Centiseconds::new(interval).ok_or(Malformed::IntervalZero)?;
        match first {
            IpAddr::V6(first) if !first.is_unicast_link_local() => {
                Err(Malformed::FirstNotLinkLocal(first))
            }
            _ => Ok(Self {
                vrid,
                priority: Priority::new(priority),
                interval,
                addresses,
                checksum,
                trailing: packet.len() - expected,
            }),
        }
    }
}

/// The addresses of an advert that came in. Nothing is known of them but their family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressList<'a> {
    family: Family,
    bytes: &'a [u8],
}

impl<'a> AddressList<'a> {
    /// The addresses in the sender's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = IpAddr> + Clone + use<'a> {
        let family = self.family;
        self.bytes.chunks_exact(family.address_size()).map(move |bytes| {
            let short = || <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from);
            let long = || <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from);
            // The chunks have the size of an address.
            match family {
                Family::V4 => IpAddr::V4(short().unwrap_or(Ipv4Addr::UNSPECIFIED)),
                Family::V6 => IpAddr::V6(long().unwrap_or(Ipv6Addr::UNSPECIFIED)),
            }
        })
    }
}

/// Whether a packet of version 2 is CARP's: always 36 bytes, with the count of 32-bit words that
/// follow its own header in the place of the address count. VRRPv2 with seven addresses has 44.
fn is_carp(packet: &[u8]) -> bool {
    packet.len() == 36 && packet.get(3) == Some(&7)
}
