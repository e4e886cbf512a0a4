//! What VRRP is told by the daemon's settings, in terms of names rather than of what is there now.
//!
//! Plain data. Not here: the text that it was read from ([`crate::config`]), and which interfaces
//! and addresses there are ([`super::surroundings`]).

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;
use twinwall_vrrp::addresses::VirtualAddresses;
use twinwall_vrrp::config::{Election, RouterConfig, Transport};
use twinwall_vrrp::track::{Effect, TrackConfig};
use twinwall_vrrp::types::{Centiseconds, Family, InterfaceId, Priority, Vrid};
use twinwall_vrrp::wire::ChecksumKind;

/// A sync group: its virtual routers are active together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The priority while all is well.
    pub priority: Priority,
    /// Whether to take over from a node of lower priority.
    pub preempt: bool,
    /// How long to leave such a node active.
    pub preempt_delay: Duration,
    /// How long to wait after the start.
    pub start_delay: Duration,
    /// What is watched.
    pub tracks: Vec<Track>,
    /// Its virtual routers.
    pub routers: Vec<Router>,
}

/// A virtual router.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// The interface that it is on.
    pub interface: String,
    /// Its number there.
    pub vrid: Vrid,
    /// Its addresses.
    pub addresses: VirtualAddresses,
    /// How often it sends while it is active.
    pub interval: Centiseconds,
    /// Whose Ethernet address its addresses have.
    pub mac: Mac,
    /// Whether it takes packets to its addresses.
    pub accept: bool,
    /// The checksum of IPv4 adverts.
    pub checksum: ChecksumKind,
    /// Where adverts go instead of to the multicast group.
    pub peers: Vec<IpAddr>,
    /// When announcements are repeated, since the first.
    pub announce_again: Vec<Duration>,
}

/// Whose Ethernet address the virtual addresses have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mac {
    /// The virtual router's (RFC 9568 section 7.3), on a macvlan.
    #[default]
    Virtual,
    /// The interface's own.
    Interface,
}

/// Something watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Its name.
    pub name: String,
    /// What is watched.
    pub what: Watched,
    /// What it does while it is not well.
    pub effect: Effect,
}

/// What can be watched.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// That an interface is there, up and has carrier.
    Interface(String),
    /// That the daemon's queue workers get on with their packets.
    Queue,
    /// That a program ends with 0.
    Script(Script),
}

/// A program whose exit code is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The program's path and its arguments.
    pub command: Vec<String>,
    /// From one start to the next.
    pub interval: Duration,
    /// How long it may take; then it is killed and counts as failed.
    pub timeout: Duration,
    /// Successes in a row until it counts as good.
    pub rise: NonZeroU8,
    /// Failures in a row until it counts as bad.
    pub fall: NonZeroU8,
}

impl Router {
    /// The settings in the state machine's terms.
    #[must_use]
    pub fn config(&self, interface: InterfaceId) -> RouterConfig {
        let transport = match self.peers.as_slice() {
            [] => Transport::Multicast,
            peers => Transport::Unicast(peers.to_vec()),
        };
        RouterConfig {
            name: self.name.clone(),
            interface,
            vrid: self.vrid,
            addresses: self.addresses.clone(),
            interval: self.interval,
            accept: self.accept,
            transport,
            checksum: self.checksum,
            repeats: self.announce_again.clone(),
        }
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.addresses.family()
    }
}

impl Group {
    /// The name of the track that says whether the group's addresses could be put where they
    /// belong.
    #[must_use]
    pub fn addresses_track(&self) -> String {
        format!("addresses of {}", self.name)
    }

    /// The settings in the state machine's terms.
    #[must_use]
    pub fn election(&self) -> Election {
        let tracks = self.tracks.iter().map(|track| (track.name.clone(), track.effect));
        let addresses = (self.addresses_track(), Effect::Fault);
        let config = |(name, effect)| TrackConfig { name, effect };
        Election {
            priority: self.priority,
            preempt: self.preempt,
            preempt_delay: self.preempt_delay,
            start_delay: self.start_delay,
            tracks: tracks.chain([addresses]).map(config).collect(),
        }
    }

    /// All its virtual addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.routers.iter().flat_map(|router| router.addresses.as_slice()).copied()
    }
}
