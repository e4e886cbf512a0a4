//! What a rule matches, as sets that can be tested, intersected and compared.

use crate::address::AddressSet;
use crate::flow::Flow;
use crate::zone::ZoneSet;
use std::ops::RangeInclusive;

/// An inclusive range of ports, or of ICMP types or codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// Every port.
    pub const ANY: Self = Self { low: 0, high: u16::MAX };

    /// The range from `low` to `high`, or `None` when it would be empty.
    #[must_use]
    pub const fn new(low: u16, high: u16) -> Option<Self> {
        if low <= high { Some(Self { low, high }) } else { None }
    }

    /// The range of one port.
    #[must_use]
    pub const fn only(port: u16) -> Self {
        Self { low: port, high: port }
    }

    /// The first port.
    #[must_use]
    pub const fn low(self) -> u16 {
        self.low
    }

    /// The last port.
    #[must_use]
    pub const fn high(self) -> u16 {
        self.high
    }

    /// Whether the port is in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }

    /// Whether the ranges share a port.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }

    /// Whether every port of `other` is in this range.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    /// The ports as a standard range.
    #[must_use]
    pub const fn range(self) -> RangeInclusive<u16> {
        self.low..=self.high
    }
}

/// One entry of a service: a protocol and the ranges of its two upper-layer fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// IANA protocol number; `None` for any protocol, and then both ranges are [`PortRange::ANY`].
    pub protocol: Option<u8>,
    /// Source ports; ICMP types.
    pub src_port: PortRange,
    /// Destination ports; ICMP codes.
    pub dst_port: PortRange,
}

impl Service {
    /// Every packet.
    pub const ANY: Self =
        Self { protocol: None, src_port: PortRange::ANY, dst_port: PortRange::ANY };

    /// Whether a packet with these fields is of the service.
    #[must_use]
    pub fn contains(&self, protocol: u8, src_port: u16, dst_port: u16) -> bool {
        self.protocol.is_none_or(|own| own == protocol)
            && self.src_port.contains(src_port)
            && self.dst_port.contains(dst_port)
    }

    /// Whether a packet can be of both services.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        let protocols = match (self.protocol, other.protocol) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        protocols
            && self.src_port.intersects(other.src_port)
            && self.dst_port.intersects(other.dst_port)
    }

    /// Whether every packet of `other` is of this service.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let protocols = self.protocol.is_none() || self.protocol == other.protocol;
        protocols && self.src_port.covers(other.src_port) && self.dst_port.covers(other.dst_port)
    }
}

/// What a rule matches: a flow has to be in every one of the sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// Ingress zones.
    pub from: ZoneSet,
    /// Egress zones.
    pub to: ZoneSet,
    /// Source addresses.
    pub src: AddressSet,
    /// Destination addresses.
    pub dst: AddressSet,
    /// Services, any one of them; sorted and without repetition, never empty for a rule that can
    /// match.
    pub services: Vec<Service>,
}

impl Match {
    /// Whether the flow matches. One with an address of each family, which no packet has, doesn't.
    #[must_use]
    pub fn contains(&self, flow: &Flow) -> bool {
        let Flow { tuple, from, to } = flow;
        tuple.src.is_ipv4() == tuple.dst.is_ipv4()
            && self.from.contains(*from)
            && self.to.contains(*to)
            && self
                .services
                .iter()
                .any(|s| s.contains(tuple.protocol, tuple.src_port, tuple.dst_port))
            && self.src.contains(tuple.src)
            && self.dst.contains(tuple.dst)
    }

    /// Whether a flow can match both.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.from.intersects(other.from)
            && self.to.intersects(other.to)
            && self.packets_intersect(other)
    }

    /// Whether a packet can match both, zones aside.
    #[must_use]
    pub fn packets_intersect(&self, other: &Self) -> bool {
        self.services.iter().any(|a| other.services.iter().any(|b| a.intersects(b)))
            && self.families_intersect(other)
    }

    /// Both addresses of a flow are of one family, so one family has to overlap on both sides.
    fn families_intersect(&self, other: &Self) -> bool {
        (self.src.v4_intersects(&other.src) && self.dst.v4_intersects(&other.dst))
            || (self.src.v6_intersects(&other.src) && self.dst.v6_intersects(&other.dst))
    }

    /// Whether every flow that `other` matches is matched by this too. May say no where a union of
    /// several services would be needed to say yes; never says yes wrongly.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.from.covers(other.from) && self.to.covers(other.to) && self.packets_cover(other)
    }

    /// Like [`Self::covers`], zones aside.
    #[must_use]
    pub fn packets_cover(&self, other: &Self) -> bool {
        other.services.iter().all(|b| self.services.iter().any(|a| a.covers(b)))
            && self.src.covers(&other.src)
            && self.dst.covers(&other.dst)
    }
}
