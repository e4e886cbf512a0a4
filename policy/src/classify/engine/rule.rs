//! Rules as the engine keeps them: one box in the space of headers each.
//!
//! Rules of a policy, with their lists of addresses and services, are broken into these by
//! [`crate::classify::TupleHash`].

use crate::matching::PortRange;
use crate::prefix::{Prefix, Word};
use crate::zone::ZoneSet;
use std::net::IpAddr;

pub use crate::flow::Flow as Header;

/// Source and destination network of a rule. Bits after a prefix's length are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Networks {
    /// Every packet of both families.
    Any,
    /// IPv4.
    V4 {
        /// Source network.
        src: Prefix<u32>,
        /// Destination network.
        dst: Prefix<u32>,
    },
    /// IPv6.
    V6 {
        /// Source network.
        src: Prefix<u128>,
        /// Destination network.
        dst: Prefix<u128>,
    },
}

/// A rule: a header has to be in every one of its ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Place in the order of decision; the lowest that matches decides. Of two rules of one order
    /// either may decide.
    pub order: u32,
    /// Source and destination.
    pub networks: Networks,
    /// IANA protocol number; `None` for any.
    pub protocol: Option<u8>,
    /// Source ports; ICMP types.
    pub src_port: PortRange,
    /// Destination ports; ICMP codes.
    pub dst_port: PortRange,
    /// Ingress zones.
    pub from: ZoneSet,
    /// Egress zones.
    pub to: ZoneSet,
    /// What a hit carries: a session key, an index, anything.
    pub value: u64,
}

/// The rule that decides a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The rule's [`Rule::order`].
    pub order: u32,
    /// The rule's [`Rule::value`].
    pub value: u64,
}

/// Names a rule of an engine, from its insertion to its removal; numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(super) u32);

impl RuleId {
    /// The rule at a place of the list that the engine was built from.
    #[must_use]
    pub const fn nth(place: u32) -> Self {
        Self(place)
    }
}

impl Rule {
    /// Whether the header matches, field by field.
    #[must_use]
    pub fn matches(&self, header: &Header) -> bool {
        let tuple = &header.tuple;
        let networks = match (self.networks, tuple.src, tuple.dst) {
            (Networks::Any, a, b) => a.is_ipv4() == b.is_ipv4(),
            (Networks::V4 { src, dst }, IpAddr::V4(a), IpAddr::V4(b)) => {
                holds(src, a.to_bits()) && holds(dst, b.to_bits())
            }
            (Networks::V6 { src, dst }, IpAddr::V6(a), IpAddr::V6(b)) => {
                holds(src, a.to_bits()) && holds(dst, b.to_bits())
            }
            _ => false,
        };
        networks
            && self.protocol.is_none_or(|own| own == tuple.protocol)
            && self.src_port.contains(tuple.src_port)
            && self.dst_port.contains(tuple.dst_port)
            && self.from.contains(header.from)
            && self.to.contains(header.to)
    }
}

fn holds<T: Word>(network: Prefix<T>, address: T) -> bool {
    network.bits.common_bits(address) >= network.len
}
