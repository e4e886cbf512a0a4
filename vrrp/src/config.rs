//! What a virtual router and a sync group are told once, and what is wrong with it.
//!
//! Not here: the file that it was read from.

use crate::addresses::{VirtualAddresses, is_host};
use crate::track::TrackConfig;
use crate::types::{Centiseconds, Family, InterfaceId, Priority, Vrid};
use crate::wire::ChecksumKind;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Most repetitions of the announcements after a takeover.
pub const MAX_REPEATS: usize = 16;

/// Most unicast peers of a virtual router.
pub const MAX_PEERS: usize = 16;

/// Where adverts go and come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// The multicast group of RFC 9568.
    #[default]
    Multicast,
    /// Each of these peers by itself, where the link carries no multicast. Not part of the RFC;
    /// the TTL or hop limit has to be 255 nevertheless.
    Unicast(Vec<IpAddr>),
}

/// A virtual router on one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterConfig {
    /// What messages and status call it.
    pub name: String,
    /// The interface that it is on.
    pub interface: InterfaceId,
    /// Its number there.
    pub vrid: Vrid,
    /// Its addresses; their family is its family.
    pub addresses: VirtualAddresses,
    /// Advertisement_Interval: how often it sends while it is active (section 6.1).
    pub interval: Centiseconds,
    /// Accept_Mode: whether it takes packets to its addresses though it doesn't own them
    /// (section 6.1).
    pub accept: bool,
    /// Where adverts go and come from.
    pub transport: Transport,
    /// The checksum of adverts sent over IPv4.
    pub checksum: ChecksumKind,
    /// When gratuitous ARP requests and neighbour advertisements are sent again, as times since
    /// the first ones; rising.
    pub repeats: Vec<Duration>,
}

impl RouterConfig {
    /// A virtual router with the RFC's defaults, and announcements after 0.1, 0.5, 2 and 5 s.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        interface: InterfaceId,
        vrid: Vrid,
        addresses: VirtualAddresses,
    ) -> Self {
        Self {
            name: name.into(),
            interface,
            vrid,
            addresses,
            interval: Centiseconds::DEFAULT,
            accept: false,
            transport: Transport::Multicast,
            checksum: ChecksumKind::Standard,
            repeats: [100, 500, 2_000, 5_000].map(Duration::from_millis).to_vec(),
        }
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.addresses.family()
    }

    /// # Errors
    /// When parts of it don't go together.
    pub(crate) fn check(&self, primary: IpAddr) -> Result<(), ConfigError> {
        let router = || self.name.clone();
        self.check_primary(primary)?;
        if let Transport::Unicast(peers) = &self.transport {
            if peers.is_empty() || peers.len() > MAX_PEERS {
                return Err(ConfigError::PeerCount { router: router(), count: peers.len() });
            }
            let odd = |peer: &&IpAddr| Family::of(**peer) != self.family() || !is_host(**peer);
            if let Some(&peer) = peers.iter().find(odd) {
                return Err(ConfigError::Peer { router: router(), peer, family: self.family() });
            }
        }
        let rising = [Duration::ZERO].iter().chain(&self.repeats).zip(&self.repeats);
        if self.repeats.len() > MAX_REPEATS || !rising.into_iter().all(|(a, b)| a < b) {
            return Err(ConfigError::Repeats { router: router() });
        }
        Ok(())
    }

    /// # Errors
    /// When adverts can't come from this address.
    pub(crate) fn check_primary(&self, primary: IpAddr) -> Result<(), ConfigError> {
        // Sections 5.1.1.1 and 5.1.2.1: the interface's primary or link-local address.
        let fits = match (self.family(), primary) {
            (Family::V4, IpAddr::V4(_)) => is_host(primary),
            (Family::V6, IpAddr::V6(primary)) => primary.is_unicast_link_local(),
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let router = self.name.clone();
        Err(ConfigError::Primary { router, primary, family: self.family() })
    }
}

/// What decides who is active; the same for all legs of a group, so that no two legs can be won
/// by different nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Election {
    /// The priority while nothing that is tracked lowers it; not [`Priority::RESIGN`].
    pub priority: Priority,
    /// Preempt_Mode: whether to take over from a router of lower priority (section 6.1). The owner
    /// always does.
    pub preempt: bool,
    /// How long a router of lower priority is left active after it was first heard.
    pub preempt_delay: Duration,
    /// How long to stay in Initialize after the start, while interfaces and bridges settle.
    pub start_delay: Duration,
    /// What is watched, and what it does to the priority.
    pub tracks: Vec<TrackConfig>,
}

impl Default for Election {
    /// The RFC's defaults: priority 100, preemption at once; nothing tracked.
    fn default() -> Self {
        Self {
            priority: Priority::DEFAULT,
            preempt: true,
            preempt_delay: Duration::ZERO,
            start_delay: Duration::ZERO,
            tracks: Vec::new(),
        }
    }
}

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Adverts can't come from this address.
    #[error("{router}: adverts of an {family} virtual router can't come from {primary}")]
    Primary {
        /// The virtual router.
        router: String,
        /// The address.
        primary: IpAddr,
        /// The virtual router's family.
        family: Family,
    },
    /// No peer, or more than [`MAX_PEERS`].
    #[error("{router}: {count} unicast peers; 1 to {MAX_PEERS} are possible")]
    PeerCount {
        /// The virtual router.
        router: String,
        /// How many there are.
        count: usize,
    },
    /// A peer that can't be one.
    #[error("{router}: {peer} can't be a peer of an {family} virtual router")]
    Peer {
        /// The virtual router.
        router: String,
        /// The peer.
        peer: IpAddr,
        /// The virtual router's family.
        family: Family,
    },
    /// The announcements' repetitions.
    #[error("{router}: announcements are repeated at up to {MAX_REPEATS} rising times above zero")]
    Repeats {
        /// The virtual router.
        router: String,
    },
    /// Priority 0 says that a router gives up; none can have it.
    #[error("group {group}: the priority is 1 to 255")]
    Priority {
        /// The group.
        group: String,
    },
    /// The owner's priority is always 255.
    #[error("group {group}: the priority of the addresses' owner can't be lowered by {track}")]
    OwnerLowered {
        /// The group.
        group: String,
        /// What would lower it.
        track: String,
    },
    /// Whether a node owns the addresses is no matter of priority alone: it takes packets to them.
    #[error("group {group}: whether this node owns the addresses can't change while it runs")]
    Ownership {
        /// The group.
        group: String,
    },
    /// Two tracked objects of one name.
    #[error("group {group}: {track} is tracked twice")]
    DuplicateTrack {
        /// The group.
        group: String,
        /// The name.
        track: String,
    },
    /// A group without a virtual router.
    #[error("group {group} has no virtual router")]
    NoLeg {
        /// The group.
        group: String,
    },
    /// Two virtual routers of the same VRID and family on one interface.
    #[error("{router}: {other} has the same VRID and family on the same interface")]
    DuplicateRouter {
        /// The later one.
        router: String,
        /// The earlier one.
        other: String,
    },
}
