//! The segments that a testbed's nodes attach to, and which addresses they give.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of the gateway on the WAN that translations to inside servers can use.
pub const PUBLISHED_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// The host part of the second address that hosts use as their gateway.
pub(super) const SECOND: u8 = 4;

/// What joins interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segment {
    /// Outside.
    Wan,
    /// Inside.
    Lan,
    /// Published servers.
    Dmz,
    /// Between the two gateways only, without a bridge.
    Sync,
}

impl Segment {
    /// The segments that are bridges of the `switch`.
    pub const BRIDGED: [Self; 3] = [Self::Wan, Self::Lan, Self::Dmz];

    /// Short name; the bridge is called `br-` and this.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Lan => "lan",
            Self::Dmz => "dmz",
            Self::Sync => "sync",
        }
    }

    /// A gateway's interface on this segment.
    #[must_use]
    pub const fn gateway_interface(self) -> &'static str {
        match self {
            Self::Wan => "eth0",
            Self::Lan => "eth1",
            Self::Dmz => "eth2",
            Self::Sync => "eth3",
        }
    }

    /// The IPv4 addresses that the pair's active gateway has here.
    #[must_use]
    pub fn virtual_v4(self) -> Vec<IpAddr> {
        let published = (self == Self::Wan).then_some(IpAddr::V4(PUBLISHED_V4));
        [self.v4(1).address].into_iter().chain(published).collect()
    }

    /// The IPv6 addresses that the pair's active gateway has here, a link-local one first.
    #[must_use]
    pub fn virtual_v6(self) -> Vec<IpAddr> {
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, self.number());
        vec![IpAddr::V6(link_local), self.v6(1).address]
    }

    /// The second IPv4 address of a pair of which both gateways are active.
    #[must_use]
    pub fn second_v4(self) -> Vec<IpAddr> {
        vec![self.v4(SECOND).address]
    }

    /// The second IPv6 addresses, a link-local one first.
    #[must_use]
    pub fn second_v6(self) -> Vec<IpAddr> {
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 2, self.number());
        vec![IpAddr::V6(link_local), self.v6(SECOND.into()).address]
    }

    /// The IPv4 address with this host part.
    pub(crate) const fn address(self, host: u8) -> IpAddr {
        self.v4(host).address
    }

    /// The part of the segment's IPv6 prefix that is its own.
    const fn number(self) -> u16 {
        match self {
            Self::Wan => 0x30,
            Self::Lan => 0x10,
            Self::Dmz => 0x20,
            Self::Sync => 0xff,
        }
    }

    /// The address with this host part, with the segment's prefix length.
    pub(super) const fn v4(self, host: u8) -> Prefix {
        let (address, length) = match self {
            Self::Wan => (Ipv4Addr::new(203, 0, 113, host), 24),
            Self::Lan => (Ipv4Addr::new(10, 0, 0, host), 16),
            Self::Dmz => (Ipv4Addr::new(10, 20, 0, host), 24),
            Self::Sync => (Ipv4Addr::new(10, 255, 0, host), 24),
        };
        Prefix { address: IpAddr::V4(address), length }
    }

    /// The same for IPv6.
    pub(super) const fn v6(self, host: u16) -> Prefix {
        let address = Ipv6Addr::new(0x2001, 0xdb8, self.number(), 0, 0, 0, 0, host);
        Prefix { address: IpAddr::V6(address), length: 64 }
    }
}

/// An address with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address, host bits included.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub length: u8,
}

impl Prefix {
    /// The address alone.
    pub(super) const fn host(address: IpAddr) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_first() {
        for segment in Segment::BRIDGED {
            let addresses = segment.virtual_v6();
            assert!(matches!(addresses[0], IpAddr::V6(first) if first.is_unicast_link_local()));
        }
        let text = |address: &IpAddr| address.to_string();
        let lan: Vec<_> = Segment::Lan.virtual_v6().iter().map(text).collect();
        assert_eq!(lan, ["fe80::1:10", "2001:db8:10::1"]);
        let wan: Vec<_> = Segment::Wan.virtual_v4().iter().map(text).collect();
        assert_eq!(wan, ["203.0.113.1", "203.0.113.10"]);
    }
}
