//! The protocol's numbers as types: whatever has one of them has a valid value.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::time::Duration;

/// The IP protocol number of VRRP (RFC 9568 section 5.1.1.4).
pub const PROTOCOL: u8 = 112;

/// The TTL or hop limit of every advert; a packet with another one came over a router
/// (sections 5.1.1.3 and 5.1.2.3).
pub const HOP_LIMIT: u8 = 255;

/// The multicast group of IPv4 adverts (section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// The multicast group of IPv6 adverts (section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// An address family. The virtual routers of the two are independent, even with the same VRID
/// on the same interface (section 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bytes of an address.
    #[must_use]
    pub const fn address_size(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// The multicast group of the adverts.
    #[must_use]
    pub const fn group(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(GROUP_V4),
            Self::V6 => IpAddr::V6(GROUP_V6),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The number of a virtual router on its link, 1 to 255 (section 5.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// The VRID of a number, or `None` for zero.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// The virtual router's Ethernet address (section 7.3).
    #[must_use]
    pub const fn mac(self, family: Family) -> MacAddress {
        let family = match family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        MacAddress([0x00, 0x00, 0x5e, 0x00, family, self.get()])
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The priority that an advert carries (section 5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Priority(u8);

impl Priority {
    /// The active router gives up: the others needn't wait until its adverts are missing.
    pub const RESIGN: Self = Self(0);
    /// The lowest of a router that may become active.
    pub const LOWEST: Self = Self(1);
    /// Of a router that isn't configured otherwise.
    pub const DEFAULT: Self = Self(100);
    /// The highest of a router that doesn't own the addresses.
    pub const HIGHEST: Self = Self(254);
    /// The router that has the virtual addresses as its own.
    pub const OWNER: Self = Self(255);

    /// Any value, as adverts carry it.
    #[must_use]
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The value.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether the sender gives up.
    #[must_use]
    pub const fn is_resign(self) -> bool {
        self.0 == Self::RESIGN.0
    }

    /// Whether the sender owns the addresses.
    #[must_use]
    pub const fn is_owner(self) -> bool {
        self.0 == Self::OWNER.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An advertisement interval: 1 to 4095 hundredths of a second, 10 ms to 40.95 s (section 5.2.7;
/// zero is refused, erratum 8301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Centiseconds(u16);

impl TryFrom<u16> for Centiseconds {
    type Error = &'static str;

    fn try_from(centiseconds: u16) -> Result<Self, Self::Error> {
        Self::new(centiseconds).ok_or("an interval is 1 to 4095 centiseconds")
    }
}

impl From<Centiseconds> for u16 {
    fn from(interval: Centiseconds) -> Self {
        interval.get()
    }
}

impl Centiseconds {
    /// 10 ms.
    pub const MIN: Self = Self(1);
    /// One second, of a router that isn't configured otherwise (section 6.1).
    pub const DEFAULT: Self = Self(100);
    /// 40.95 s: the field has 12 bits.
    pub const MAX: Self = Self(0x0fff);

    /// The interval of a number of centiseconds, or `None` outside 1 to 4095.
    #[must_use]
    pub const fn new(centiseconds: u16) -> Option<Self> {
        if centiseconds >= Self::MIN.0 && centiseconds <= Self::MAX.0 {
            Some(Self(centiseconds))
        } else {
            None
        }
    }

    /// The number of centiseconds.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The same as a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 10)
    }
}

impl fmt::Display for Centiseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.duration(), f)
    }
}

/// An interface, by a number of the driver's choice; on Linux its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InterfaceId(pub u32);

/// A sync group within its node. Not used again while the node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub(crate) u32);

/// A virtual router within its node: its group, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouterId {
    /// The group.
    pub group: GroupId,
    /// The place in [`crate::group::GroupConfig::legs`], from 0.
    pub leg: usize,
}
