//! The addresses of a virtual router, all of one family.

use crate::types::Family;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Most addresses of an IPv4 virtual router: the count is one byte.
pub const MAX_V4: usize = 255;

/// Most addresses of an IPv6 virtual router: the advert with its IPv6 header has to fit into 1280
/// bytes, the MTU that every IPv6 link has.
pub const MAX_V6: usize = 77;

/// Why a list is not one of a virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The count in an advert is at least 1 (section 5.2.5).
    #[error("a virtual router needs an address")]
    Empty,
    /// See [`MAX_V4`] and [`MAX_V6`].
    #[error("{count} {family} addresses; an advert holds {limit} at most")]
    TooMany {
        /// Of the first address.
        family: Family,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An advert carries addresses of its own family only (section 5.2.9).
    #[error("{address} is not an {family} address, as the first one is")]
    Mixed {
        /// The other one.
        address: IpAddr,
        /// Of the first address.
        family: Family,
    },
    /// No interface can have it.
    #[error("{0} can't be the address of an interface")]
    NotUnicast(IpAddr),
    /// Twice in the list.
    #[error("{0} is there twice")]
    Duplicate(IpAddr),
    /// The virtual router's link-local address leads the list (section 5.2.9, erratum 8300).
    #[error("the first IPv6 address has to be link-local (fe80::/10), and {0} is not")]
    FirstNotLinkLocal(IpAddr),
}

/// The addresses of a virtual router: at least one, of one family, none twice, of IPv6 the first
/// one link-local.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<IpAddr>", into = "Vec<IpAddr>")]
pub struct VirtualAddresses {
    family: Family,
    listed: Box<[IpAddr]>,
    /// The same in order, for comparing with lists of other routers.
    sorted: Box<[IpAddr]>,
}

impl TryFrom<Vec<IpAddr>> for VirtualAddresses {
    type Error = AddressError;

    fn try_from(listed: Vec<IpAddr>) -> Result<Self, AddressError> {
        Self::new(listed)
    }
}

impl From<VirtualAddresses> for Vec<IpAddr> {
    fn from(addresses: VirtualAddresses) -> Self {
        addresses.listed.into()
    }
}

impl VirtualAddresses {
    /// The addresses, to be advertised in this order.
    ///
    /// # Errors
    /// When the list can't be that of a virtual router.
    pub fn new(listed: impl IntoIterator<Item = IpAddr>) -> Result<Self, AddressError> {
        let listed: Box<[IpAddr]> = listed.into_iter().collect();
        let Some(&first) = listed.first() else { return Err(AddressError::Empty) };
        let family = Family::of(first);
        let limit = match family {
            Family::V4 => MAX_V4,
            Family::V6 => MAX_V6,
        };
        if listed.len() > limit {
            return Err(AddressError::TooMany { family, count: listed.len(), limit });
        }
        if let Some(&address) = listed.iter().find(|address| Family::of(**address) != family) {
            return Err(AddressError::Mixed { address, family });
        }
        if let Some(&address) = listed.iter().find(|address| !is_host(**address)) {
            return Err(AddressError::NotUnicast(address));
        }
        let mut sorted = listed.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.iter().zip(sorted.iter().skip(1)).find(|(a, b)| a == b) {
            return Err(AddressError::Duplicate(*twice.0));
        }
        match first {
            IpAddr::V6(address) if !address.is_unicast_link_local() => {
                Err(AddressError::FirstNotLinkLocal(first))
            }
            _ => Ok(Self { family, listed, sorted }),
        }
    }

    /// Their family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// How many there are, as an advert says it.
    #[must_use]
    pub fn count(&self) -> u8 {
        // `new` has limited it.
        u8::try_from(self.listed.len()).unwrap_or(u8::MAX)
    }

    /// The addresses in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[IpAddr] {
        &self.listed
    }

    /// Whether these are the same addresses, in whatever order. Whoever is on the link can send such
    /// lists; the work is bounded by the length of this one.
    #[must_use]
    pub fn same_as(&self, mut others: impl ExactSizeIterator<Item = IpAddr> + Clone) -> bool {
        if others.len() != self.listed.len() {
            return false;
        }
        let mut seen = [false; MAX_V4];
        others.clone().eq(self.listed.iter().copied())
            || others.all(|other| {
                let place = self.sorted.binary_search(&other).ok();
                let slot = place.and_then(|place| seen.get_mut(place));
                slot.is_some_and(|slot| !std::mem::replace(slot, true))
            })
    }
}

impl fmt::Debug for VirtualAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.listed).finish()
    }
}

/// The solicited-node multicast group of an address, which its active router is a member of
/// (RFC 9568 section 6.4.2, RFC 4291 section 2.7.1). The kernel joins it for addresses of
/// interfaces.
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// Whether an interface can have the address.
pub(crate) fn is_host(address: IpAddr) -> bool {
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || matches!(address, IpAddr::V4(address) if address.is_broadcast()))
}
