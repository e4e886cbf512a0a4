//! A filter rule as benchmark files have it: one prefix, one port range, one protocol a field.
//!
//! Goes in: what the parser or the generator made. Comes out: whether a header matches, and the
//! rule in the policy crate's own terms. The order of decision is the place in the list. Not here:
//! lists of addresses or services, which policies have and these files do not.

use std::net::IpAddr;
use twinwall_policy::flow::Flow;
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::{Prefix, Word};
use twinwall_policy::zone::ZoneSet;

/// The addresses of a rule. A rule is of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Networks {
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

/// What a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
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
}

impl Rule {
    /// Whether the header matches, field by field.
    #[must_use]
    pub fn matches(&self, header: &Flow) -> bool {
        self.networks_match(header) && self.rest_matches(header)
    }

    /// Whether the fields besides the addresses match.
    #[must_use]
    pub fn rest_matches(&self, header: &Flow) -> bool {
        self.protocol.is_none_or(|own| own == header.tuple.protocol)
            && self.src_port.contains(header.tuple.src_port)
            && self.dst_port.contains(header.tuple.dst_port)
            && self.from.contains(header.from)
            && self.to.contains(header.to)
    }

    /// Whether the rule is for every pair of zones.
    #[must_use]
    pub fn any_zone(&self) -> bool {
        self.from == ZoneSet::ALL && self.to == ZoneSet::ALL
    }

    fn networks_match(&self, header: &Flow) -> bool {
        match (self.networks, header.tuple.src, header.tuple.dst) {
            (Networks::V4 { src, dst }, IpAddr::V4(from), IpAddr::V4(to)) => {
                holds(src, from.to_bits()) && holds(dst, to.to_bits())
            }
            (Networks::V6 { src, dst }, IpAddr::V6(from), IpAddr::V6(to)) => {
                holds(src, from.to_bits()) && holds(dst, to.to_bits())
            }
            _ => false,
        }
    }
}

fn holds<T: Word>(network: Prefix<T>, address: T) -> bool {
    address.and(T::mask(network.len)) == network.bits
}
