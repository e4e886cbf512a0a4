//! The answers about VRRP. Field names are stable: scripts read them.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Answers `vrrp status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The groups, in the order of the settings.
    pub groups: Vec<Group>,
    /// Packets that were discarded, by interface and reason.
    pub discarded: Vec<Discarded>,
    /// Packets that no socket had room for. On kernels that look for room before they look for what
    /// a socket wants, adverts that another socket took are among them.
    pub not_looked_at: u64,
}

/// Virtual routers that are active together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// `active`, `backup` or `initialize`.
    pub state: String,
    /// Why the group can't take part at all, such as an interface that isn't there; else `null`.
    pub missing: Option<String>,
    /// The priority now, as adverts carry it.
    pub priority: u8,
    /// The priority while all is well.
    pub base_priority: u8,
    /// What lowers the priority, or is a fault.
    pub blame: Vec<Blame>,
    /// Its virtual routers.
    pub routers: Vec<Router>,
}

/// A tracked thing that is not well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blame {
    /// Its name.
    pub name: String,
    /// By how much it lowers the priority; `null` when it is a fault, which keeps the group out.
    pub lowers: Option<u8>,
    /// Whether nothing is known of it yet.
    pub unknown: bool,
    /// Milliseconds since it is so.
    pub since_ms: u64,
}

/// A virtual router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its number there.
    pub vrid: u8,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// `active`, `backup` or `initialize`.
    pub state: String,
    /// Milliseconds since it is in that state.
    pub since_ms: u64,
    /// Why it is.
    pub why: String,
    /// The Ethernet address of its addresses.
    pub mac: String,
    /// The address that its adverts come from.
    pub primary: IpAddr,
    /// Milliseconds between adverts.
    pub interval_ms: u64,
    /// Milliseconds between the adverts of the active router, while that is another.
    pub active_interval_ms: Option<u64>,
    /// Whether packets to its addresses are taken in while it is active.
    pub accepts: bool,
    /// Whether it takes over from a router of lower priority now.
    pub preempts: bool,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// The router that was last heard.
    pub peer: Option<Peer>,
    /// Counts of adverts.
    pub adverts: Adverts,
    /// How often it became active.
    pub takeovers: u64,
    /// What was odd, and no reason to discard an advert.
    pub warnings: Vec<Counted>,
}

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Whether it is on this node now.
    pub present: bool,
}

/// Another router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Its priority in its last advert; 0 if it gave up.
    pub priority: u8,
    /// Milliseconds since then.
    pub heard_ms: u64,
}

/// Adverts since the virtual router was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adverts {
    /// Sent, those of priority 0 included.
    pub sent: u64,
    /// Sent with priority 0.
    pub sent_resign: u64,
    /// Sent more than one interval late.
    pub late: u64,
    /// Received and not discarded.
    pub received: u64,
    /// Received with priority 0.
    pub received_resign: u64,
    /// Expected of the active router and not received.
    pub missed: u64,
}

/// Something counted by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The kind.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// Milliseconds since it happened last.
    pub last_ms: u64,
    /// Whose packet it was last, where it was one.
    pub last_from: Option<IpAddr>,
}

/// Packets that an interface brought and that were discarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// The interface; `null` for those without a virtual router.
    pub interface: Option<String>,
    /// By reason.
    pub reasons: Vec<Counted>,
}

/// Answers a request for events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
    /// The number of the newest event so far; ask for those after it next.
    pub newest: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 while the daemon runs; a gap means that events are no longer kept.
    pub number: u64,
    /// When, RFC 3339.
    pub time: String,
    /// The group.
    pub group: String,
    /// The virtual router; `null` when it concerns the whole group.
    pub router: Option<String>,
    /// What happened: `state`, `priority`, `handover`, `warning`, `discard` or `addresses`.
    pub event: String,
    /// The state or priority before; `null` for others.
    pub from: Option<String>,
    /// The state or priority from now on; `null` for others.
    pub to: Option<String>,
    /// In words.
    pub text: String,
}

/// Answers a handover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// What became of each group.
    pub groups: Vec<HandedOver>,
}

/// What became of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Its name.
    pub group: String,
    /// Whether the peer is active now, or the group may be taken back.
    pub done: bool,
    /// In words.
    pub text: String,
}
