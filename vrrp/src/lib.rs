//! VRRPv3 (RFC 9568 with its errata), without I/O: the wire format, and the state machine that
//! elects the active gateway of a pair.
//!
//! ```text
//!           bytes                    Received                  ready, give up
//!  link ──────────► wire ──► receive ────────► router (a leg) ◄──────────────► group
//!                                                  │                             │
//!  time, health, sync channel, operator ──► node ──┴── Output: send, add, ... ───┘
//! ```
//!
//! [`node::Node`], or [`recorded::Recorded`] for one that is recorded, is what a driver drives: packets and the time go in, actions and the time of the
//! next call come out. It holds sync groups ([`group::Group`]), whose legs are virtual routers
//! ([`router::Router`]).
//!
//! Goes in: received packets, the time, the health of tracked things, what the sync channel knows
//! of the peer. Comes out: adverts to send, addresses to add or remove, announcements, events.
//! Not here: sockets, clocks, addresses in the kernel, configuration files; those are the daemon's.
//!
//! Where it goes beyond the RFC or deviates from it, each with its reason at the place:
//!
//! - sync groups, tracking, start and preemption delay, handover in good order, and the sync
//!   channel's reports;
//! - a router that sent no advert for four intervals steps down before it does anything else;
//! - adverts that answer others are at least a millisecond apart;
//! - priority 0 never puts Active_Down_Timer off;
//! - addresses are added before the first advert, so that a peer that is relieved keeps them until
//!   they are here;
//! - IPv4 checksums with a pseudo-header, and unicast peers.
//!
//! ```
//! use std::time::Duration;
//! use twinwall_vrrp::action::{Action, State};
//! use twinwall_vrrp::addresses::VirtualAddresses;
//! use twinwall_vrrp::config::{Election, RouterConfig};
//! use twinwall_vrrp::group::{GroupConfig, Leg};
//! use twinwall_vrrp::node::Node;
//! use twinwall_vrrp::time::Timestamp;
//! use twinwall_vrrp::types::{InterfaceId, Vrid};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let addresses = VirtualAddresses::new(["192.0.2.1".parse()?])?;
//! let vrid = Vrid::new(7).ok_or("a VRID is 1 to 255")?;
//! let config = RouterConfig::new("lan", InterfaceId(2), vrid, addresses);
//! let leg = Leg { config, primary: "192.0.2.2".parse()? };
//!
//! let mut node = Node::new();
//! let group = node.add(GroupConfig::single(leg, Election::default()), Timestamp::ZERO)?;
//! let mut out = Vec::new();
//! node.start(Timestamp::ZERO, &mut out);
//!
//! // Nobody is heard for three intervals and the skew of priority 100.
//! let due = node.next_deadline().ok_or("a backup waits for something")?;
//! assert_eq!(due.since_origin(), Duration::from_micros(3_609_375));
//! out.clear();
//! node.poll(due, &mut out);
//! assert_eq!(node.group(group).map(|group| group.state()), Some(State::Active));
//! assert!(out.iter().any(|output| output.action == Action::Announce));
//! # Ok(())
//! # }
//! ```

pub mod action;
pub mod addresses;
pub mod config;
pub mod group;
pub mod node;
pub mod receive;
pub mod recorded;
pub mod router;
pub mod status;
pub mod tally;
pub mod time;
pub mod track;
pub mod types;
pub mod wire;
