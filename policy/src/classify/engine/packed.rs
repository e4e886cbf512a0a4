//! What a rule asks of a header, packed so that comparing takes few steps and no jump.
//!
//! ```text
//! addresses  1 word for IPv4, 4 for IPv6
//! ports      bounds of the ports, see [`edges`]
//! head       order | bits that source << 32 and destination << 40 leave open | protocol << 48
//!            | whether the protocol counts << 56 | class << 57 | odd << 63
//! ```

use super::family::{Family, Pair, Probe, edges};
use super::record::Entry;
use super::simd;
use crate::matching::PortRange;

pub(super) const PROTOCOL: u64 = 1 << 56;
pub(super) const ODD: u64 = 1 << 63;
/// Bounds that no ports are within.
const NO_PORTS: u64 = u64::MAX;

/// Addresses, ports and protocol of a rule, and what is known of it besides.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Packed<A> {
    pub(super) addresses: Pair<A>,
    pub(super) ports: u64,
    pub(super) head: Head,
}

/// A rule's order, class, and whether it is odd.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Head(pub(super) u64);

/// What a lookup learns from a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    /// Whether addresses, ports and protocol match.
    pub(super) matches: bool,
    pub(super) head: Head,
}

impl Head {
    #[inline]
    pub(super) const fn order(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) const fn class(self) -> u8 {
        (self.0 >> 57) as u8 & 63
    }

    /// Whether there is more to be asked of a header that matches otherwise.
    #[inline]
    pub(super) const fn odd(self) -> bool {
        self.0 & ODD != 0
    }

    pub(super) const fn with_odd(self, odd: bool) -> Self {
        Self(self.0 & !ODD | if odd { ODD } else { 0 })
    }

    pub(super) const fn with_order(self, order: u32) -> Self {
        Self(self.0 >> 32 << 32 | order as u64)
    }
}

impl<A: Family> Packed<A> {
    /// What no header matches.
    pub(super) const NOTHING: Self =
        Self { addresses: Pair { src: A::ZERO, dst: A::ZERO }, ports: NO_PORTS, head: Head(0) };

    /// A rule's, not odd.
    pub(super) fn new(entry: &Entry<A>, class: u8) -> Self {
        let (src, dst) = (entry.src_port, entry.dst_port);
        let protocol = entry.protocol.map_or(0, |number| u64::from(number) << 48 | PROTOCOL);
        let open = |len: u8| u64::from(A::BITS.saturating_sub(len));
        let cuts = open(entry.src_len) << 32 | open(entry.dst_len) << 40;
        Self {
            addresses: entry.addresses,
            ports: edges((src.low(), src.high()), (dst.low(), dst.high())),
            head: Head(u64::from(entry.order) | cuts | protocol | u64::from(class) << 57),
        }
    }

    /// Compares addresses, ports and protocol, without a jump: whether they match is hard to
    /// foresee.
    #[inline(always)]
    pub(super) fn compare(&self, probe: &Probe<A>) -> Compared {
        let Self { addresses, ports, head: Head(word) } = *self;
        let addresses = A::apart(addresses, probe.addresses, word >> 32);
        let ports = simd::below(probe.edges, ports);
        let protocol =
            ((word >> 48) as u8 ^ probe.protocol()) & ((word >> 56 & 1) as u8).wrapping_neg();
        Compared { matches: addresses | ports | u64::from(protocol) == 0, head: self.head }
    }

    /// Whether there is a rule.
    pub(super) const fn is_rule(&self) -> bool {
        self.ports != NO_PORTS
    }

    /// The rule, but for its zones and what it carries.
    pub(super) fn entry(&self, zones: u32, coarse: bool, value: u64) -> Entry<A> {
        let Self { addresses, ports, head: Head(word) } = *self;
        let range = |shift: u32| {
            let (low, high) = ((ports >> shift) as u16, !(ports >> (shift + 16)) as u16);
            PortRange::new(low, high).unwrap_or(PortRange::ANY)
        };
        Entry {
            order: self.head.order(),
            src_len: A::BITS.saturating_sub((word >> 32) as u8),
            dst_len: A::BITS.saturating_sub((word >> 40) as u8),
            addresses,
            protocol: (word & PROTOCOL != 0).then_some((word >> 48) as u8),
            src_port: range(0),
            dst_port: range(32),
            zones,
            coarse,
            value,
        }
    }
}
