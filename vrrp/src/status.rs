//! What `vrrp status` shows, as plain data.
//!
//! Goes in: a node, the time. Comes out: a snapshot that depends on nothing. Not here: whether the
//! addresses are on the interface, which the driver adds, and the words.

use crate::action::{State, Why};
use crate::group::Group;
use crate::router::{Adverts, Heard, PeerReport, Preemption, Router};
use crate::tally::Tallied;
use crate::time::Timestamp;
use crate::track::Blame;
use crate::types::{Centiseconds, Family, InterfaceId, MacAddress, Priority, RouterId, Vrid};
use std::net::IpAddr;
use std::time::Duration;

/// A node.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its groups, in the order in which they were added.
    pub groups: Vec<GroupStatus>,
    /// Packets that were discarded.
    pub discarded: Vec<DiscardStatus>,
}

/// Packets that an interface brought and that were discarded.
#[derive(Clone, Debug)]
pub struct DiscardStatus {
    /// The interface; `None` for all that have no virtual router.
    pub interface: Option<InterfaceId>,
    /// By reason.
    pub discarded: Vec<Tallied>,
}

/// A group.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// Active if all legs are.
    pub state: State,
    /// The state of the peer's group, as the sync channel says.
    pub peer: Option<State>,
    /// The priority while all is well.
    pub base_priority: Priority,
    /// The priority now.
    pub priority: Priority,
    /// What makes the difference, and what is a fault.
    pub blame: Vec<Blame>,
    /// The legs that could be active while others could not, so that the group waits.
    pub waiting: Vec<RouterId>,
    /// Its virtual routers.
    pub legs: Vec<RouterStatus>,
}

/// A virtual router.
#[derive(Clone, Debug)]
pub struct RouterStatus {
    /// Which one it is.
    pub id: RouterId,
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: InterfaceId,
    /// Its number there.
    pub vrid: Vrid,
    /// Its family.
    pub family: Family,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The address that adverts come from.
    pub primary: IpAddr,
    /// The state.
    pub state: State,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Why it is in that state.
    pub why: Why,
    /// Advertisement_Interval.
    pub interval: Centiseconds,
    /// In Backup: Active_Adver_Interval, which the active router's adverts carry.
    pub active_interval: Option<Centiseconds>,
    /// Whether a router of lower priority is relieved.
    pub preemption: Preemption,
    /// Whether packets to the addresses are taken in while it is active.
    pub accepts: bool,
    /// The router that was last heard.
    pub heard: Option<Heard>,
    /// How long ago that was.
    pub heard_ago: Option<Duration>,
    /// Whether the sync channel hears the peer, if it has said so.
    pub peer: Option<PeerReport>,
    /// Adverts sent, received and missed.
    pub adverts: Adverts,
    /// How often it became active.
    pub takeovers: u64,
    /// What was odd.
    pub warnings: Vec<Tallied>,
    /// When something happens by itself.
    pub next_deadline: Option<Timestamp>,
}

impl GroupStatus {
    /// A snapshot of a group.
    #[must_use]
    pub fn of(group: &Group, now: Timestamp) -> Self {
        let base = group.base_priority();
        let waiting = group.legs().iter().filter(|leg| leg.ready().is_some());
        Self {
            name: group.name().to_owned(),
            state: group.state(),
            peer: group.peer(),
            base_priority: base,
            priority: group.legs().first().map_or(base, Router::priority),
            blame: group.blame(),
            waiting: waiting.map(Router::id).collect(),
            legs: group.legs().iter().map(|leg| leg.status(now)).collect(),
        }
    }
}
