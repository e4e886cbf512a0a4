//! A rule as a few entries: fields as bits, and which of the bits are fixed.
//!
//! Together the entries of a rule hold every flow that the rule matches, and possibly more. Where
//! a rule has too many combinations of networks and ports, the list that is longest is made
//! coarser until they fit: neighbouring networks become one larger, ports become blocks of ports.

use crate::flow::Flow;
use crate::matching::{Match, PortRange, Service};
use crate::prefix::{Prefix, Word, prefixes};
use crate::zone::{ZoneId, ZoneSet};

/// The most entries that a rule may have in one address family.
pub(super) const LIMIT: usize = 64;

/// The fields of a flow as bits, or a mask over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits<T> {
    /// Source address.
    pub(super) src: T,
    /// Destination address.
    pub(super) dst: T,
    /// The rest, packed by [`pack`].
    pub(super) rest: u64,
}

/// A rule's bits; those outside the mask are clear and match everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<T> {
    /// The bits to be found.
    pub(super) bits: Bits<T>,
    /// Which bits are compared.
    pub(super) mask: Bits<T>,
}

/// Places of the fields in [`Bits::rest`].
pub(super) mod layout {
    /// Protocol, 8 bits.
    pub(in super::super) const PROTOCOL: u32 = 48;
    /// Destination port, 16 bits.
    pub(in super::super) const DST_PORT: u32 = 32;
    /// Source port, 16 bits.
    pub(in super::super) const SRC_PORT: u32 = 16;
    /// Ingress zone, 8 bits.
    pub(in super::super) const FROM: u32 = 8;
    /// Egress zone, 8 bits.
    pub(in super::super) const TO: u32 = 0;
}

/// The fields of a flow besides its addresses.
pub(super) fn pack(flow: &Flow) -> u64 {
    u64::from(flow.tuple.protocol) << layout::PROTOCOL
        | u64::from(flow.tuple.dst_port) << layout::DST_PORT
        | u64::from(flow.tuple.src_port) << layout::SRC_PORT
        | u64::from(flow.from.index()) << layout::FROM
        | u64::from(flow.to.index()) << layout::TO
}

/// Calls `emit` with each entry of a rule in one address family, whose ranges are `src` and `dst`.
/// `zones` are those that exist.
pub(super) fn of<T: Word>(
    matches: &Match,
    src: &[(T, T)],
    dst: &[(T, T)],
    zones: ZoneSet,
    mut emit: impl FnMut(Entry<T>),
) {
    let mut src = networks(src, LIMIT);
    let mut dst = networks(dst, LIMIT);
    let mut services = blocks(&matches.services, LIMIT);
    while src.len() * dst.len() * services.len() > LIMIT {
        let longest = src.len().max(dst.len()).max(services.len());
        if longest == services.len() {
            services = blocks(&matches.services, longest / 2);
        } else if longest == dst.len() {
            dst = coarser(dst, longest / 2);
        } else {
            src = coarser(src, longest / 2);
        }
    }
    let from = one_zone(matches.from.and(zones), layout::FROM);
    let to = one_zone(matches.to.and(zones), layout::TO);
    let zone_bits = from.0 | to.0;
    let zone_mask = from.1 | to.1;
    for src in &src {
        for dst in &dst {
            for (bits, mask) in &services {
                let rest = bits | zone_bits;
                emit(Entry {
                    bits: Bits { src: src.bits, dst: dst.bits, rest },
                    mask: Bits {
                        src: T::mask(src.len),
                        dst: T::mask(dst.len),
                        rest: mask | zone_mask,
                    },
                });
            }
        }
    }
}

/// Bits and mask of a set of zones: fixed when it is one zone, open otherwise.
fn one_zone(zones: ZoneSet, place: u32) -> (u64, u64) {
    let mut all = zones.iter();
    match (all.next(), all.next()) {
        (Some(zone), None) => (u64::from(ZoneId::index(zone)) << place, 0xff << place),
        _ => (0, 0),
    }
}

/// The prefixes of sorted ranges, or at most `limit` larger ones around them.
fn networks<T: Word>(ranges: &[(T, T)], limit: usize) -> Vec<Prefix<T>> {
    let exact: Vec<_> = ranges.iter().flat_map(|(low, high)| prefixes(*low, *high)).collect();
    coarser(exact, limit)
}

/// Sorted prefixes shortened, as little as need be, until there are at most `limit`.
fn coarser<T: Word>(mut networks: Vec<Prefix<T>>, limit: usize) -> Vec<Prefix<T>> {
    if networks.len() <= limit {
        return networks;
    }
    // Shortened to n bits, neighbours stay apart if they differ within those: so the number of
    // neighbours by the length of what they share says how many are left at each length.
    let mut shared = [0usize; 129];
    for (a, b) in networks.iter().zip(networks.iter().skip(1)) {
        if let Some(count) = shared.get_mut(usize::from(a.bits.common_bits(b.bits))) {
            *count += 1;
        }
    }
    let mut left = 1;
    let mut len = 0;
    for count in shared {
        left += count;
        if left > limit {
            break;
        }
        len += 1;
    }
    for network in &mut networks {
        *network = network.shortened(len);
    }
    networks.dedup();
    networks
}

/// Bits and masks of services, or at most `limit` that hold them all; at least one.
fn blocks(services: &[Service], limit: usize) -> Vec<(u64, u64)> {
    let limit = limit.max(1);
    for len in [16, 12, 8, 4, 0] {
        let mut blocks: Vec<_> =
            services.iter().flat_map(|service| service_blocks(service, len)).collect();
        blocks.sort_unstable();
        blocks.dedup();
        if blocks.len() <= limit {
            return blocks;
        }
    }
    vec![(0, 0)]
}

/// One service, with destination ports as prefixes of at most `len` bits.
fn service_blocks(service: &Service, len: u8) -> impl Iterator<Item = (u64, u64)> {
    let (protocol, protocol_mask) = match service.protocol {
        Some(protocol) => (u64::from(protocol) << layout::PROTOCOL, 0xff << layout::PROTOCOL),
        None => (0, 0),
    };
    // Source ports serve only where there is nothing better: ICMP types, and rules for any
    // destination port.
    let by_source = service.dst_port == PortRange::ANY && len == u16::BITS as u8;
    let (ports, place) = if by_source {
        (service.src_port, layout::SRC_PORT)
    } else {
        (service.dst_port, layout::DST_PORT)
    };
    prefixes(ports.low(), ports.high()).map(move |prefix| {
        let prefix = prefix.shortened(len);
        let bits = u64::from(prefix.bits) << place;
        let mask = u64::from(u16::mask(prefix.len)) << place;
        (protocol | bits, protocol_mask | mask)
    })
}
