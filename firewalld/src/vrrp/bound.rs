//! A group of the settings, and what it is tied to while everything that it needs is there: its
//! place in the state machine, and for each virtual router an interface.
//!
//! Plain data. Not here: tying and untying ([`super::driver`]).

use super::settings::{Group, Mac, Router};
use std::net::IpAddr;
use twinwall_netlink::gate::MACVLANS;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::{Family, GroupId};

/// A group.
#[derive(Debug)]
pub(super) struct Bound {
    /// What it is told.
    pub(super) settings: Group,
    /// Where it is in the state machine, or what it lacks for that.
    pub(super) seat: Result<Seat, String>,
}

/// What a group is tied to.
#[derive(Debug)]
pub(super) struct Seat {
    /// Its place in the state machine.
    pub(super) id: GroupId,
    /// Its virtual routers, in the order of the settings.
    pub(super) legs: Vec<Leg>,
}

/// A virtual router on an interface.
#[derive(Debug)]
pub(super) struct Leg {
    /// Index of the interface.
    pub(super) parent: u32,
    /// Index of the interface that the addresses are put on: a macvlan, or the interface itself.
    pub(super) device: u32,
    /// The Ethernet address of its addresses.
    pub(super) mac: [u8; 6],
    /// Its addresses.
    pub(super) addresses: Box<[IpAddr]>,
    /// Whether the addresses are to be there, and whether packets to them are to be taken in.
    pub(super) placed: Option<Placed>,
    /// When a macvlan that is no longer used is switched off.
    pub(super) off_at: Option<Timestamp>,
}

/// How addresses are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Whether packets to them are taken in.
    pub(super) accept: bool,
}

impl Leg {
    /// Whether the addresses are on an interface of their own.
    pub(super) fn has_macvlan(&self) -> bool {
        self.device != self.parent
    }
}

impl Bound {
    /// The virtual routers with what they are tied to.
    pub(super) fn legs(&self) -> impl Iterator<Item = (&Router, &Leg)> {
        let legs = self.seat.iter().flat_map(|seat| &seat.legs);
        self.settings.routers.iter().zip(legs)
    }
}

/// The name of the macvlan of a virtual router; `None` where there is none.
pub(super) fn macvlan_name(router: &Router, parent: u32) -> Option<String> {
    let [v4, v6] = MACVLANS;
    let prefix = match router.family() {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    match router.mac {
        Mac::Virtual => Some(format!("{prefix}{}-{parent}", router.vrid)),
        Mac::Interface => None,
    }
}
