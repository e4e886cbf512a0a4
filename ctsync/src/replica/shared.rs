//! Sessions that belong to all VRRP groups, since nothing tells through which one they go: whose
//! they are while each node is active for some.
//!
//! Goes in: roles, what the peer claims, signs of packets. Comes out: the mark of each session that
//! it is this node's. One node at least has to have it there, or the session would never end. Not
//! here: what follows for timeouts ([`super::roles`]).

use super::Replica;
use super::roles::for_all;
use crate::model::{GroupTag, Role};
use crate::store::{Flags, Index};
use crate::time::Timestamp;
use crate::wire::{Hello, Section};
use std::time::Duration;

/// How long packets are given, after a change of roles, to show which sessions go through this
/// node.
pub(super) const SHOWN_AFTER: Duration = Duration::from_secs(10);

impl Replica {
    /// Whether a session belongs to all groups, and each node is active for some.
    pub(super) fn is_divided(&self, group: GroupTag) -> bool {
        self.roles.is_shared(group) && self.roles.of(group) == Role::Unknown
    }

    /// Sessions that belong to all groups have been those of the node that was active for all.
    /// Packets will show which ones are the other's now.
    pub(super) fn divide(&mut self, now: Timestamp, before: Role) {
        let after = for_all(self.roles.roles.values().copied());
        self.roles.contested &= after != Role::Backup;
        match (before, after) {
            (_, Role::Backup) => self.set_mine(false),
            (Role::Active, Role::Unknown) => self.claim_divided(),
            _ => {}
        }
        if self.roles.roles.len() > 1 {
            self.check_at(now.after(SHOWN_AFTER));
        }
    }

    /// Both nodes have forwarded, or this one alone: all sessions are this node's for now. In case
    /// that both say so, that of the node that leads counts.
    pub(super) fn claim_divided(&mut self) {
        if !self.is_divided(GroupTag::default()) {
            return;
        }
        self.set_mine(true);
        self.begin_walk();
        if self.config.leads() {
            self.roles.contested = self.peer_role(GroupTag::default()) != Role::Backup;
            let hello = Hello { answer: true, claims: true, active: [0; 4] };
            self.tell(&Section::Hello(hello));
        }
    }

    /// The peer claims all sessions that belong to all groups. One that has given up all groups
    /// since carries nothing any more.
    pub(super) fn yield_to_peer(&mut self, now: Timestamp) {
        let group = GroupTag::default();
        let stands = self.is_divided(group) && self.peer_role(group) != Role::Backup;
        if stands && !self.config.leads() {
            self.set_mine(false);
            self.begin_walk();
            self.check_at(now.after(SHOWN_AFTER));
        }
    }

    /// The peer has told its roles. When it was active for all groups and isn't any more, it has
    /// claimed all sessions; if both have, what the node that leads says comes after that.
    pub(super) fn look_at_peer_roles(&mut self, before: Role) {
        let after = self.peer_role(GroupTag::default());
        let resolved = before == Role::Active && after == Role::Unknown;
        if self.config.leads() && self.roles.contested && resolved {
            self.claim_divided();
        }
    }

    /// The peer's daemon is another one and carries nothing yet.
    pub(super) fn take_all(&mut self) {
        if self.is_divided(GroupTag::default()) {
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
        for index in 0..self.store.end() {
            let Some(entry) = self.store.entry_mut(index) else { continue };
            if self.roles.is_shared(entry.group) && !entry.flags.has(Flags::DEAD) {
                entry.flags.set(Flags::MINE, mine);
            }
        }
    }
}
