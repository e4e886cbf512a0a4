//! Whether a packet is an advert for one of our virtual routers (RFC 9568 section 7.1), and what
//! is odd about it if it is.
//!
//! Goes in: what the IP header said, and the bytes after it. Comes out: the advert, or the reason
//! to discard it. Not here: what the advert does ([`crate::router`]), and counting
//! ([`crate::tally`]).

use crate::addresses::is_host;
use crate::config::{RouterConfig, Transport};
use crate::tally::Kind;
use crate::types::{Centiseconds, HOP_LIMIT, InterfaceId, Priority, Vrid};
use crate::wire::{AdvertView, ChecksumKind, Endpoints, HeaderError, Malformed};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// A packet of protocol 112 as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The interface that it came in by.
    pub interface: InterfaceId,
    /// Its TTL or hop limit.
    pub hop_limit: u8,
    /// Source and destination.
    pub endpoints: Endpoints,
    /// What follows the IP header.
    pub payload: &'a [u8],
}

/// Why a packet is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Discard {
    /// It is no whole IPv4 packet. The driver's, which takes IPv4 packets apart.
    #[error("{0}")]
    Header(HeaderError),
    /// No virtual router is on that interface.
    #[error("no virtual router is on the interface that it came in by")]
    Interface,
    /// It was forwarded, so it doesn't come from this link (sections 5.1.1.3 and 5.1.2.3).
    #[error("its TTL or hop limit is {0}, not 255")]
    HopLimit(u8),
    /// It is no advert of version 3.
    #[error("{0}")]
    Malformed(Malformed),
    /// No virtual router of this number is on the interface.
    #[error("VRID {0} is not configured on the interface that it came in by")]
    Vrid(Vrid),
    /// It went neither to the group nor, where peers are listed, to this router.
    #[error("it was sent to {0}")]
    Destination(IpAddr),
    /// No router can have sent it from there; in IPv6 adverts come from link-local addresses
    /// (section 5.1.2.1).
    #[error("{0} can't be the address of a router on this link")]
    Source(IpAddr),
    /// Our own packet came back, or another router uses our address.
    #[error("it comes from this router's own address, {0}")]
    OwnAddress(IpAddr),
    /// Peers are listed, and this is none of them.
    #[error("{0} is not one of the configured peers")]
    NotPeer(IpAddr),
}

impl Kind for Discard {
    const NAMES: &'static [&'static str] = &[
        "header",
        "interface",
        "hop-limit",
        "empty",
        "version-2",
        "carp",
        "version",
        "type",
        "truncated",
        "checksum",
        "vrid-zero",
        "no-address",
        "interval-zero",
        "first-not-link-local",
        "vrid",
        "destination",
        "source",
        "own-address",
        "not-peer",
    ];

    fn index(&self) -> usize {
        match self {
            Self::Header(_) => 0,
            Self::Interface => 1,
            Self::HopLimit(_) => 2,
            Self::Malformed(Malformed::Empty) => 3,
            Self::Malformed(Malformed::Version2) => 4,
            Self::Malformed(Malformed::Carp) => 5,
            Self::Malformed(Malformed::Version(_)) => 6,
            Self::Malformed(Malformed::Type(_)) => 7,
            Self::Malformed(Malformed::Truncated { .. }) => 8,
            Self::Malformed(Malformed::Checksum) => 9,
            Self::Malformed(Malformed::VridZero) => 10,
            Self::Malformed(Malformed::NoAddress) => 11,
            Self::Malformed(Malformed::IntervalZero) => 12,
            Self::Malformed(Malformed::FirstNotLinkLocal(_)) => 13,
            Self::Vrid(_) => 14,
            Self::Destination(_) => 15,
            Self::Source(_) => 16,
            Self::OwnAddress(_) => 17,
            Self::NotPeer(_) => 18,
        }
    }
}

/// What is odd and yet no reason to discard a packet, or to change state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Warning {
    /// Section 7.1: the advert is used nevertheless.
    #[error("its interval is {theirs}, ours is {ours}")]
    Interval {
        /// The advert's.
        theirs: Centiseconds,
        /// The configured one.
        ours: Centiseconds,
    },
    /// Section 7.1: the advert is used nevertheless.
    #[error("its addresses are not those of our virtual router")]
    Addresses,
    /// Both routers think that they own the addresses (section 8.3.2, erratum 8298).
    #[error("its priority is 255, and this router is the owner of the addresses")]
    SecondOwner,
    /// The checksum has IPv4's pseudo-header, as keepalived's has.
    #[error("its checksum goes over a pseudo-header too, which RFC 9568 doesn't have for IPv4")]
    PseudoHeader,
    /// Bytes after the last address.
    #[error("{0} bytes follow its addresses")]
    Trailing(usize),
    /// Another router of lower priority, or of a lower address, is active too.
    #[error("it says that its sender is active with priority {0}, and so is this router")]
    SecondActive(Priority),
    /// The sync channel says that the peer is active too, and so is this router.
    #[error("the peer is active, and so is this router")]
    BothActive,
    /// The driver came late with an advert (section 2.5).
    #[error("an advert was sent {0:?} late")]
    Late(Duration),
    /// The adverts were missing, and as soon as this router was active they were there again:
    /// they are delayed or lost (section 2.5).
    #[error("became active because adverts were missing, and heard one {0:?} later")]
    InVain(Duration),
}

impl Kind for Warning {
    const NAMES: &'static [&'static str] = &[
        "interval",
        "addresses",
        "second-owner",
        "pseudo-header",
        "trailing-bytes",
        "second-active",
        "both-active",
        "late-advert",
        "in-vain",
    ];

    fn index(&self) -> usize {
        match self {
            Self::Interval { .. } => 0,
            Self::Addresses => 1,
            Self::SecondOwner => 2,
            Self::PseudoHeader => 3,
            Self::Trailing(_) => 4,
            Self::SecondActive(_) => 5,
            Self::BothActive => 6,
            Self::Late(_) => 7,
            Self::InVain(_) => 8,
        }
    }
}

/// Reads a packet as far as that is possible without knowing which virtual router it is for.
///
/// # Errors
/// When it is no advert.
pub fn read<'a>(datagram: &Datagram<'a>) -> Result<AdvertView<'a>, Discard> {
    // Section 7.1, first of all: it comes from this link.
    if datagram.hop_limit != HOP_LIMIT {
        return Err(Discard::HopLimit(datagram.hop_limit));
    }
    AdvertView::parse(datagram.payload, &datagram.endpoints).map_err(Discard::Malformed)
}

/// Whether an advert that was sent so may be for this virtual router, whose own address is
/// `primary`.
///
/// # Errors
/// When it may not.
pub fn admit(endpoints: &Endpoints, config: &RouterConfig, primary: IpAddr) -> Result<(), Discard> {
    let (source, destination) = (endpoints.source(), endpoints.destination());
    let on_link = match source {
        IpAddr::V6(source) => source.is_unicast_link_local(),
        IpAddr::V4(_) => is_host(source),
    };
    if !on_link {
        return Err(Discard::Source(source));
    }
    if source == primary {
        return Err(Discard::OwnAddress(source));
    }
    match &config.transport {
        Transport::Multicast if destination == config.addresses.family().group() => Ok(()),
        Transport::Multicast => Err(Discard::Destination(destination)),
        Transport::Unicast(_) if destination != primary => Err(Discard::Destination(destination)),
        Transport::Unicast(peers) if peers.contains(&source) => Ok(()),
        Transport::Unicast(_) => Err(Discard::NotPeer(source)),
    }
}

/// What is odd about an advert for this virtual router, of which `priority` is the priority here.
pub fn oddities<'a>(
    advert: &AdvertView<'a>,
    config: &'a RouterConfig,
    priority: Priority,
) -> impl Iterator<Item = Warning> + use<'a> {
    let (theirs, ours) = (advert.interval, config.interval);
    let odd = |is: bool, what: Warning| is.then_some(what);
    [
        odd(theirs != ours, Warning::Interval { theirs, ours }),
        odd(!config.addresses.same_as(advert.addresses.iter()), Warning::Addresses),
        odd(priority.is_owner() && advert.priority.is_owner(), Warning::SecondOwner),
        odd(advert.checksum == ChecksumKind::PseudoHeader, Warning::PseudoHeader),
        odd(advert.trailing > 0, Warning::Trailing(advert.trailing)),
    ]
    .into_iter()
    .flatten()
}
