//! Tuples: one direction of a session. Their form is that of ctnetlink's.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// One direction of a session. Both addresses are of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Upper-layer protocol, an IANA number.
    pub protocol: u8,
    /// What the protocol adds.
    pub layer4: Layer4,
}

/// What tells sessions of one protocol between two addresses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Layer4 {
    /// TCP, UDP, UDP-Lite, SCTP, DCCP; for GRE the keys of the two directions.
    Ports {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP and ICMPv6.
    Icmp {
        /// The echo identifier.
        id: u16,
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// All other protocols.
    None,
}

/// Which directions a conntrack zone is for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Direction {
    /// Both (`CTA_ZONE`).
    #[default]
    Both,
    /// The original direction only (`CTA_TUPLE_ZONE` in `CTA_TUPLE_ORIG`).
    Original,
    /// The reply direction only.
    Reply,
}

/// A conntrack zone; 0 in both directions if there are none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Zone {
    /// Its number.
    pub id: u16,
    /// Which directions it is for.
    pub direction: Direction,
}

/// What tells sessions apart. A session that is translated differently but has the same identity
/// is a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The direction of the first packet, before any translation.
    pub original: Tuple,
    /// The conntrack zone.
    pub zone: Zone,
    /// Whether it is an expectation; those have tuples of their own.
    pub expected: bool,
}

impl Tuple {
    /// Whether it is one of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.src.is_ipv6()
    }

    /// Whether both addresses are of one family; nothing else is taken in.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.src.is_ipv6() == self.dst.is_ipv6()
    }

    /// The other direction, if nothing is translated.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let layer4 = match self.layer4 {
            Layer4::Ports { src, dst } => Layer4::Ports { src: dst, dst: src },
            Layer4::Icmp { id, kind, code } => {
                Layer4::Icmp { id, kind: inverse_kind(self.protocol, kind), code }
            }
            Layer4::None => Layer4::None,
        };
        Self { src: self.dst, dst: self.src, protocol: self.protocol, layer4 }
    }
}

/// The type that answers (`invmap` of `nf_conntrack_proto_icmp.c` and `_icmpv6.c`); itself for
/// those that nothing answers.
fn inverse_kind(protocol: u8, kind: u8) -> u8 {
    match (protocol, kind) {
        (ICMP, 8) => 0,
        (ICMP, 0) => 8,
        (ICMP, 13 | 15 | 17) => kind + 1,
        (ICMP, 14 | 16 | 18) => kind - 1,
        (ICMPV6, 128 | 139) => kind + 1,
        (ICMPV6, 129 | 140) => kind - 1,
        _ => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_of_the_inverse_is_the_tuple() {
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        for protocol in [1, 6, 17, 47, 58, 132] {
            for kind in 0..=255 {
                for layer4 in [
                    Layer4::Icmp { id: 7, kind, code: 3 },
                    Layer4::Ports { src: 1000, dst: kind.into() },
                    Layer4::None,
                ] {
                    let tuple = Tuple { src: address(1), dst: address(2), protocol, layer4 };
                    assert_eq!(tuple.inverse().inverse(), tuple);
                }
            }
        }
    }
}
