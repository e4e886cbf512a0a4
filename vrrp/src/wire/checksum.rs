//! The checksum of RFC 9568 section 5.2.8, and the one that keepalived sends.
//!
//! RFC 5798 could be read as asking for a pseudo-header in IPv4 too, and keepalived has one unless
//! it is told otherwise. RFC 9568 says that IPv4 has none.

use crate::types::{Family, PROTOCOL};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the checksum goes over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum ChecksumKind {
    /// As RFC 9568 has it: IPv4 the message only, IPv6 with a pseudo-header.
    #[default]
    Standard,
    /// IPv4 with a pseudo-header, as keepalived has it. In IPv6 the same as the standard.
    PseudoHeader,
}

/// Addresses of different families where one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("IPv4 and IPv6 addresses don't go together in one packet")]
pub struct FamilyMismatch;

/// Source and destination of a packet, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoints {
    /// IPv4.
    V4 {
        /// Where it comes from.
        source: Ipv4Addr,
        /// Where it goes.
        destination: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Where it comes from.
        source: Ipv6Addr,
        /// Where it goes.
        destination: Ipv6Addr,
    },
}

impl Endpoints {
    /// Source and destination.
    ///
    /// # Errors
    /// When they are of different families.
    pub const fn new(source: IpAddr, destination: IpAddr) -> Result<Self, FamilyMismatch> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Ok(Self::V4 { source, destination }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Ok(Self::V6 { source, destination }),
            _ => Err(FamilyMismatch),
        }
    }

    /// Their family.
    #[must_use]
    pub const fn family(&self) -> Family {
        match self {
            Self::V4 { .. } => Family::V4,
            Self::V6 { .. } => Family::V6,
        }
    }

    /// Where the packet comes from.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        match self {
            Self::V4 { source, .. } => IpAddr::V4(*source),
            Self::V6 { source, .. } => IpAddr::V6(*source),
        }
    }

    /// Where the packet goes.
    #[must_use]
    pub const fn destination(&self) -> IpAddr {
        match self {
            Self::V4 { destination, .. } => IpAddr::V4(*destination),
            Self::V6 { destination, .. } => IpAddr::V6(*destination),
        }
    }
}

/// The checksum of a message whose checksum field is zero.
pub(super) fn of(message: &[u8], endpoints: &Endpoints, kind: ChecksumKind) -> u16 {
    !fold(words(message) + beside(message.len(), endpoints, kind))
}

/// Which kind of checksum a message has, the standard's first; `None` if neither fits.
pub(super) fn fits(message: &[u8], endpoints: &Endpoints) -> Option<ChecksumKind> {
    let words = words(message);
    // Over a message whose checksum is right the sum is all ones.
    [ChecksumKind::Standard, ChecksumKind::PseudoHeader]
        .into_iter()
        .find(|kind| fold(words + beside(message.len(), endpoints, *kind)) == u16::MAX)
}

/// What a kind of checksum adds to the sum over the message.
fn beside(length: usize, endpoints: &Endpoints, kind: ChecksumKind) -> u64 {
    match endpoints {
        Endpoints::V4 { .. } if kind == ChecksumKind::Standard => 0,
        _ => pseudo_header(endpoints, PROTOCOL, length),
    }
}

/// The checksum of an ICMPv6 message whose checksum field is zero.
pub(super) fn icmpv6(message: &[u8], endpoints: &Endpoints) -> u16 {
    !fold(pseudo_header(endpoints, 58, message.len()) + words(message))
}

/// The unfolded sum over the pseudo-header: the addresses, the length, and the protocol (RFC 8200
/// section 8.1; of IPv4 the fields are the same, of other sizes).
fn pseudo_header(endpoints: &Endpoints, protocol: u8, length: usize) -> u64 {
    let addresses = match endpoints {
        Endpoints::V4 { source, destination } => {
            words(&source.octets()) + words(&destination.octets())
        }
        Endpoints::V6 { source, destination } => {
            words(&source.octets()) + words(&destination.octets())
        }
    };
    // A message has far less than 64 KiB, so its length is one word.
    addresses + u64::from(protocol) + length as u64
}

/// The unfolded sum of 16-bit words; an odd byte at the end counts as the upper half of one.
fn words(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let rest: u64 = rest.iter().map(|byte| u64::from(*byte) << 8).sum();
    pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>() + rest
}

/// The one's complement sum of what [`words`] added up.
fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & u64::from(u16::MAX)) + (sum >> 16);
    }
    sum as u16
}
