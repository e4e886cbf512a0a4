//! Sessions that belong to all VRRP groups, since nothing tells through which one they go: whose
//! they are while each node is active for some.
//!
//! A node that is active for all groups while the peer isn't for any has all of them, and one that
//! is active for none has none. From then on news of a session make it the node's that saw it. That
//! may end with sessions of both nodes or of neither, after a split or because news were under way
//! when roles changed; and one that is nobody's never ends. So heartbeats tell which are whose, as
//! one number. When they don't add up, the node that leads claims all, and packets show afterwards
//! which ones are the other's.
//!
//! Goes in: roles, what the peer claims, signs of packets. Comes out: the mark of each session that
//! it is this node's. Not here: what follows for timeouts ([`super::roles`]).

use super::{Event, Output, Replica};
use crate::model::{GroupTag, Role};
use crate::store::{Flags, Index};
use crate::time::Timestamp;
use crate::wire::{Hello, Section};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long packets are given, after a change of roles, to show which sessions go through this
/// node.
pub(super) const SHOWN_AFTER: Duration = Duration::from_secs(10);
/// Heartbeats in which homes don't add up, between which none did, before all are claimed.
const UNSETTLED: u32 = 5;

/// What a node forwards of the sessions that belong to all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Forwards {
    #[default]
    Some,
    All,
    Nothing,
}

impl Replica {
    /// Whether a session belongs to all groups, and each node is active for some.
    pub(super) fn is_divided(&self, group: GroupTag) -> bool {
        self.roles.is_shared(group) && self.roles.of(group) == Role::Unknown
    }

    /// Roles have changed, here or on the peer.
    pub(super) fn look_at_homes(&mut self) {
        let all = GroupTag::SHARED;
        let role = if self.roles.is_shared(all) { self.roles.of(all) } else { Role::Unknown };
        let forwards = match role {
            Role::Active if !self.peer_forwards() => Forwards::All,
            Role::Backup => Forwards::Nothing,
            _ => Forwards::Some,
        };
        let before = std::mem::replace(&mut self.roles.forwards, forwards);
        if before == forwards {
            return;
        }
        match (before, forwards) {
            (_, Forwards::All) => self.set_mine(true),
            // A stray packet doesn't make a session that of a node that doesn't forward.
            (_, Forwards::Nothing) | (Forwards::Nothing, _) => self.set_mine(false),
            _ => {}
        }
    }

    /// Whether this node alone forwards, so that news from the peer don't make a session the peer's.
    pub(super) fn forwards_alone(&self, group: GroupTag) -> bool {
        self.roles.forwards == Forwards::All && self.roles.is_shared(group)
    }

    /// Whether the peer is heard and active for any group.
    fn peer_forwards(&self) -> bool {
        self.peer_roles().iter().any(|(_, role)| *role == Role::Active)
    }

    /// Heartbeats tell whose the sessions are. `idle`: both nodes have nothing to tell.
    pub(super) fn compare_homes(&mut self, now: Timestamp, idle: bool, out: &mut Vec<Output>) {
        let all = GroupTag::SHARED;
        let divided = self.is_divided(all) && self.peer_role(all) == Role::Unknown;
        let Some(theirs) = self.peer.beat.homes.filter(|_| divided && self.config.leads()) else {
            self.roles.unsettled = 0;
            return;
        };
        let homes = self.store.homes();
        if homes.mine ^ theirs == homes.all {
            self.roles.unsettled = 0;
        } else if idle {
            self.roles.unsettled += 1;
        }
        if self.roles.unsettled >= UNSETTLED {
            self.roles.unsettled = 0;
            self.claim_all(now, out);
        }
    }

    /// All sessions are this node's for now.
    fn claim_all(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        out.push(Output::Event(Event::HomesClaimed));
        self.set_mine(true);
        self.begin_walk();
        self.check_at(now.after(SHOWN_AFTER));
        self.tell(&Section::Hello(Hello { answer: true, claims: true, active: [0; 4] }));
    }

    /// The peer, which leads, claims all sessions that belong to all groups.
    pub(super) fn yield_to_peer(&mut self, now: Timestamp) {
        if self.is_divided(GroupTag::SHARED) && !self.config.leads() {
            self.set_mine(false);
            self.begin_walk();
            self.check_at(now.after(SHOWN_AFTER));
        }
    }

    /// The peer's daemon is another one and carries nothing yet.
    pub(super) fn take_all(&mut self) {
        if self.is_divided(GroupTag::SHARED) {
            self.set_mine(true);
            self.begin_walk();
        }
    }

    /// Packets go through a session here that was thought to be the peer's.
    pub(super) fn claim(&mut self, index: Index) {
        let Some((_, version)) = self.store.get(index) else { return };
        self.store.set_version(index, version.saturating_add(1));
        self.store.set(index, Flags::MINE, true);
        self.store.set(index, Flags::HELD | Flags::UNPROVEN, false);
        self.send_soon(index, false);
    }

    /// Whether sessions that belong to all groups are this node's.
    fn set_mine(&mut self, mine: bool) {
        let roles = &self.roles;
        self.store.set_home(mine, |group| roles.is_shared(group));
    }
}
