//! Who carries which session, and what follows from it: timeouts in the kernel, and what a split
//! leaves behind.

use super::peer::Liveness;
use super::shared::{Forwards, SHOWN_AFTER};
use super::{Event, Output, Replica};
use crate::model::{GroupTag, Role};
use crate::store::{Flags, Index};
use crate::time::Timestamp;
use crate::wire::{Hello, Section};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Entries that are looked at in one call, so that no call takes long.
const STRIDE: Index = 2048;
/// What the kernel has refused is tried again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A node that forwards again before it could hold a session need not renew a timeout of more seconds
/// than these.
const SOON: u32 = 600;
/// A walk waits while so many writes wait.
const WRITES_WAITING: usize = 4096;

/// What this node is for its VRRP groups.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Roles {
    pub(super) roles: BTreeMap<GroupTag, Role>,
    /// Groups for which it was active at any time since the peer was heard last.
    active: [u64; 4],
    /// What was seen to when roles changed last.
    pub(super) forwards: Forwards,
    /// Heartbeats in which it didn't add up whose the sessions of all groups are.
    pub(super) unsettled: u32,
}

impl Roles {
    /// What this node is for sessions of a group. That of sessions which belong to all groups is
    /// unknown while it is active for some of them.
    pub(super) fn of(&self, group: GroupTag) -> Role {
        self.roles.get(&group).copied().unwrap_or_else(|| for_all(self.roles.values().copied()))
    }

    /// Whether sessions of this group belong to several.
    pub(super) fn is_shared(&self, group: GroupTag) -> bool {
        self.roles.len() > 1 && !self.roles.contains_key(&group)
    }

    pub(super) fn mine(&self) -> Vec<(GroupTag, Role)> {
        self.roles.iter().map(|(group, role)| (*group, *role)).collect()
    }

    /// For which groups this node is active is noted from now on, or anew.
    pub(super) fn contact_lost(&mut self) {
        self.active = [0; 4];
        self.note_active();
    }

    fn note_active(&mut self) {
        for (group, role) in &self.roles {
            if *role == Role::Active
                && let Some(bits) = self.active.get_mut(usize::from(group.0 / 64))
            {
                *bits |= 1 << (group.0 % 64);
            }
        }
    }
}

/// What a node is for all groups together.
pub(super) fn for_all(mut roles: impl Iterator<Item = Role>) -> Role {
    let Some(first) = roles.next() else { return Role::Unknown };
    let active = |role: Role| role == Role::Active;
    match roles.all(|role| active(role) == active(first)) {
        true if active(first) => Role::Active,
        true => Role::Backup,
        false => Role::Unknown,
    }
}

/// Walks over all entries, a stretch with each call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Walk {
    /// Where it goes on, if one is under way.
    at: Option<Index>,
    /// Whether what is held is written anew, so that its timeout doesn't run out.
    refresh: bool,
    /// When the next refresh is due.
    next_refresh: Timestamp,
    /// The kernel has refused something, and when that is tried again.
    pub(super) parked: bool,
    next_retry: Timestamp,
    /// Whether what was refused is tried again.
    retry: bool,
    /// What this node has begun to carry since a walk was through: what its kernel has left of their
    /// timeouts knows nothing of the packets that the peer has forwarded.
    taken: BTreeSet<GroupTag>,
}

impl Replica {
    pub(super) fn take_roles(
        &mut self,
        now: Timestamp,
        roles: Vec<(GroupTag, Role)>,
        out: &mut Vec<Output>,
    ) {
        let roles: BTreeMap<_, _> = roles.into_iter().collect();
        if roles == self.roles.roles {
            return;
        }
        let roles_before = std::mem::replace(&mut self.roles.roles, roles);
        self.note_taken(&roles_before);
        let given_up = roles_before.iter().any(|(group, role)| {
            *role == Role::Active && self.roles.roles.get(group) != Some(&Role::Active)
        });
        if given_up {
            self.catch_up();
        }
        self.look_at_homes();
        if self.roles.roles.len() > 1 {
            self.check_at(now.after(SHOWN_AFTER));
        }
        if self.peer.liveness == Liveness::Alive {
            self.roles.contact_lost();
        } else {
            self.roles.note_active();
        }
        self.look_for_both_active(out);
        self.peer.next_beat = Timestamp::ZERO;
        self.begin_walk();
    }

    fn note_taken(&mut self, before: &BTreeMap<GroupTag, Role>) {
        for (group, role) in &self.roles.roles {
            if *role != Role::Active {
                self.walk.taken.remove(group);
            } else if before.get(group) != Some(&Role::Active) {
                self.walk.taken.insert(*group);
            }
        }
    }

    /// Whether this node has begun to carry sessions of a group, and a walk has yet to see to them.
    /// Those of no group of their own are carried from when the last group is.
    fn is_taken(&self, group: GroupTag) -> bool {
        let listed = self.roles.roles.contains_key(&group);
        let all = || self.roles.of(group) == Role::Active && !self.walk.taken.is_empty();
        self.walk.taken.contains(&group) || !listed && all()
    }

    /// Whether the timeout of a session in the kernel is still to be set right after a takeover.
    pub(super) fn awaits_walk(&self, index: Index, group: GroupTag) -> bool {
        let unseen = self.walk.at.is_some_and(|at| index >= at) || !self.is_populated();
        unseen && self.is_taken(group)
    }

    /// Whether this node forwards a session, so that its kernel's word on it counts.
    pub(super) fn carries(&self, group: GroupTag, flags: Flags) -> bool {
        match self.roles.of(group) {
            Role::Active => true,
            Role::Backup => false,
            Role::Unknown if self.roles.is_shared(group) => flags.has(Flags::MINE),
            Role::Unknown => flags.has(Flags::MINE) || self.peer.lost,
        }
    }

    /// Looks over all entries whether their timeouts in the kernel are right.
    pub(super) fn begin_walk(&mut self) {
        self.walk.at = Some(0);
    }

    pub(super) fn next_walk(&self) -> Option<Timestamp> {
        if self.walk.at.is_some() {
            let blocked = self.writes.waiting() >= WRITES_WAITING;
            return (!blocked).then_some(Timestamp::ZERO);
        }
        if self.walk.parked {
            return Some(self.walk.next_retry.min(self.walk.next_refresh));
        }
        Some(self.walk.next_refresh)
    }

    pub(super) fn walk_on(&mut self, now: Timestamp) {
        if self.walk.next_refresh <= now {
            let half = Duration::from_secs((self.config.hold / 2).max(1).into());
            if self.walk.next_refresh > Timestamp::ZERO {
                self.walk.refresh = true;
                self.begin_walk();
            }
            self.walk.next_refresh = now.after(half);
        }
        if self.walk.parked && self.walk.next_retry <= now {
            self.walk.next_retry = now.after(RETRY_AFTER);
            (self.walk.parked, self.walk.retry) = (false, true);
            self.begin_walk();
        }
        let Some(from) = self.walk.at else { return };
        if self.writes.waiting() >= WRITES_WAITING {
            return;
        }
        let to = from.saturating_add(STRIDE);
        for index in from..to.min(self.store.end()) {
            self.look_at_timeout(index);
        }
        if to < self.store.end() {
            self.walk.at = Some(to);
        } else {
            (self.walk.at, self.walk.refresh, self.walk.retry) = (None, false, false);
            // What a dump still brings isn't seen to yet.
            if self.is_populated() {
                self.walk.taken.clear();
            }
        }
    }

    fn look_at_timeout(&mut self, index: Index) {
        let Some(entry) = self.store.entry(index).copied() else { return };
        if entry.flags.has(Flags::DEAD) {
            return;
        }
        if self.walk.retry && entry.flags.has(Flags::PARKED) {
            self.store.set(index, Flags::PARKED, false);
            if let Some(entry) = self.store.entry_mut(index) {
                entry.tries = 0;
            }
            self.write_soon(index);
        }
        let held = entry.flags.has(Flags::HELD);
        let to_hold = !self.carries(entry.group, entry.flags);
        let anew = match to_hold {
            true => held && self.walk.refresh,
            false => self.is_taken(entry.group) && self.runs_out_soon(index),
        };
        if entry.flags.has(Flags::KERNEL) && (held != to_hold || anew) {
            self.extend_soon(index);
        }
    }

    /// Whether a session that wasn't held may run out by the time that the peer may have forwarded it.
    fn runs_out_soon(&self, index: Index) -> bool {
        self.store.get(index).is_some_and(|(session, _)| session.timeout < SOON)
    }

    pub(super) fn say_hello(&mut self, answer: bool) {
        self.peer.awaits_hello |= !answer;
        let hello = Hello { answer, claims: false, active: self.roles.active };
        self.control.push_front(Section::Hello(hello).to_bytes());
    }

    /// The peer says what it did while it wasn't heard.
    pub(super) fn take_hello(&mut self, now: Timestamp, hello: &Hello, out: &mut Vec<Output>) {
        if hello.claims {
            return self.yield_to_peer(now);
        }
        if !hello.answer {
            self.say_hello(true);
        }
        self.peer.awaits_hello = false;
        let mut split = [0; 4];
        for ((split, mine), theirs) in split.iter_mut().zip(self.roles.active).zip(hello.active) {
            *split = mine & theirs;
        }
        self.roles.active = [0; 4];
        self.roles.note_active();
        if split != [0; 4] {
            self.heal(&split);
            self.begin_resync(now, super::ResyncReason::Split, out);
        }
    }

    /// Both nodes forwarded for these groups. What one of them ended may live on the other, so
    /// no end counts, and what the peer lacks isn't taken as ended.
    fn heal(&mut self, split: &[u64; 4]) {
        for index in 0..self.store.end() {
            let Some(entry) = self.store.entry(index).copied() else { continue };
            let bits = split.get(usize::from(entry.group.0 / 64)).copied().unwrap_or_default();
            if bits >> (entry.group.0 % 64) & 1 == 0 && !self.roles.is_shared(entry.group) {
                continue;
            }
            if entry.flags.has(Flags::DEAD) {
                if !entry.flags.has(Flags::SENT) {
                    self.store.set(index, Flags::QUEUED, false);
                    self.forget_if_done(index);
                }
            } else {
                self.store.set(index, Flags::SYNCED, false);
            }
        }
    }

    pub(super) fn barrier(&mut self, id: u32) {
        self.barriers.push(id, self.outbox.pushed());
        self.peer.next_beat = Timestamp::ZERO;
    }

    pub(super) fn has_barriers(&self) -> bool {
        !self.barriers.is_empty()
    }

    pub(super) fn look_at_barriers(&mut self, out: &mut Vec<Output>) {
        if self.barriers.is_empty() || !self.is_complete() {
            return;
        }
        let (popped, last) = (self.outbox.popped(), self.link.last());
        let applied = self.peer.beat.applied;
        for id in self.barriers.passed(popped, last, applied) {
            out.push(Output::Event(Event::PeerReady { id }));
        }
    }
}

/// Questions whether the peer has everything.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Barriers {
    waiting: Vec<Barrier>,
}

/// So many may wait; the oldest is given up.
const MAX_BARRIERS: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
struct Barrier {
    id: u32,
    /// So many changes have to be sent.
    changes: u64,
    /// The packet with the last of them, once it is sent.
    packet: Option<u64>,
}

impl Barriers {
    fn push(&mut self, id: u32, changes: u64) {
        if self.waiting.len() >= MAX_BARRIERS {
            self.waiting.remove(0);
        }
        self.waiting.push(Barrier { id, changes, packet: None });
    }

    fn passed(&mut self, popped: u64, last: u64, applied: u64) -> Vec<u32> {
        let mut passed = Vec::new();
        self.waiting.retain_mut(|barrier| {
            if barrier.packet.is_none() && popped >= barrier.changes {
                barrier.packet = Some(last);
            }
            let there = barrier.packet.is_some_and(|packet| applied >= packet);
            if there {
                passed.push(barrier.id);
            }
            !there
        });
        passed
    }

    /// The stream begins anew: what was sent has to be sent again.
    pub(super) fn restart(&mut self, changes: u64) {
        for barrier in &mut self.waiting {
            (barrier.changes, barrier.packet) = (changes, None);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
