//! What VRRP and session replication tell each other.
//!
//! Goes in: what the sync channel knows of the peer. Comes out: what this node is for its groups,
//! and questions whether the peer has everything. Without replication nothing waits.

use super::Link;
use super::bound::Bound;
use super::driver::Driver;
use crate::sync;
use std::collections::BTreeMap;
use std::time::Duration;
use twinwall_ctsync::model::{GroupTag, Role};
use twinwall_vrrp::action::State;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::GroupId;

/// How long the groups of a node that has just started wait for the sync channel's first word of
/// the peer. With short intervals the election would be over before: a machine that starts a daemon
/// is busy, and three adverts are soon missed.
const FIRST_WORD: Duration = Duration::from_millis(300);

/// The other side, and what waits for it.
#[derive(Debug)]
pub(super) struct Replication {
    sync: Option<sync::Sender>,
    told: Option<Vec<(GroupTag, Role)>>,
    /// Groups don't take part before then, unless the peer is heard of.
    start_at: Option<Timestamp>,
    /// A peer of lower priority is not relieved before then.
    hold_until: Option<Timestamp>,
    /// Groups whose handover waits until the peer has everything, by the number of the question.
    asked: BTreeMap<u32, GroupId>,
    questions: u32,
}

impl Replication {
    /// The sync thread starts later than this one, so preemption is held from the beginning.
    pub(super) fn new(link: Option<Link>, now: Timestamp) -> Self {
        let hold_until = link.as_ref().map(|link| now.after(link.preempt_wait));
        let start_at = link.as_ref().map(|_| now.after(FIRST_WORD));
        let sync = link.map(|link| link.sync);
        Self { sync, told: None, start_at, hold_until, asked: BTreeMap::new(), questions: 0 }
    }
}

impl Driver {
    /// Tells what this node is for its groups, if that has changed.
    pub(super) fn tell_roles(&mut self) {
        let Some(sync) = &self.replication.sync else { return };
        let role = |bound: &Bound| {
            let group = bound.seat.as_ref().ok().and_then(|seat| self.node.group(seat.id));
            match group.map(twinwall_vrrp::group::Group::state) {
                Some(State::Active) => Role::Active,
                Some(State::Backup | State::Initialize) | None => Role::Backup,
            }
        };
        let roles: Vec<_> = self.tags().map(|(tag, bound)| (tag, role(bound))).collect();
        if self.replication.told.as_ref() != Some(&roles) {
            sync.roles(roles.clone());
            self.replication.told = Some(roles);
        }
    }

    /// Has the groups take part that don't yet, unless the sync channel's first word is waited for.
    pub(super) fn start(&mut self, now: Timestamp) {
        if self.replication.start_at.is_none() {
            self.node.start(now, &mut self.out);
        }
    }

    /// Ends that wait: the peer was heard of, or the time is over.
    pub(super) fn start_at_last(&mut self, now: Timestamp, heard: bool) {
        if self.replication.start_at.take_if(|at| heard || *at <= now).is_some() {
            self.start(now);
        }
    }

    /// The groups with the numbers that replication knows them by. All sessions belong to the only
    /// group, or where there are several to none of these: nothing tells which. The number of a
    /// group is the place of its name among all names, so it is the same on both nodes.
    fn tags(&self) -> impl Iterator<Item = (GroupTag, &Bound)> {
        let mut bounds: Vec<&Bound> = self.groups.iter().collect();
        bounds.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
        let first = u8::from(bounds.len() > 1);
        (first..=u8::MAX).map(GroupTag).zip(bounds)
    }

    /// Sessions of the peer are still to come.
    pub(super) fn hold(&mut self, until: Timestamp, now: Timestamp) {
        self.replication.hold_until = Some(until);
        self.node.hold_preemption(now, until);
    }

    /// The same for groups that are new.
    pub(super) fn hold_on(&mut self, now: Timestamp) {
        if let Some(until) = self.replication.hold_until.filter(|until| *until > now) {
            self.node.hold_preemption(now, until);
        }
    }

    /// All sessions of the peer are here.
    pub(super) fn allow(&mut self, now: Timestamp) {
        self.replication.hold_until = None;
        self.node.allow_preemption(now);
    }

    /// The state of one of the peer's groups.
    pub(super) fn peer_state(&mut self, group: GroupTag, state: State, now: Timestamp) {
        let found = self.tags().find(|(tag, _)| *tag == group);
        let id = found.and_then(|(_, bound)| Some(bound.seat.as_ref().ok()?.id));
        if let Some(id) = id {
            self.node.peer_state(id, state, now, &mut self.out);
            self.perform(now, None);
        }
    }

    /// A handover waits until the peer has everything.
    pub(super) fn ask_whether_ready(&mut self, group: GroupId, now: Timestamp) {
        let replication = &mut self.replication;
        let Some(sync) = &replication.sync else {
            return self.node.peer_ready(group, now, &mut self.out);
        };
        if replication.asked.values().any(|asked| *asked == group) {
            return;
        }
        replication.questions = replication.questions.wrapping_add(1);
        replication.asked.insert(replication.questions, group);
        sync.barrier(replication.questions);
    }

    /// The answer.
    pub(super) fn peer_is_ready(&mut self, question: u32, now: Timestamp) {
        if let Some(group) = self.replication.asked.remove(&question) {
            self.node.peer_ready(group, now, &mut self.out);
            self.perform(now, None);
        }
    }

    /// The handover of a group has come to an end, so nothing waits for the answer any more.
    pub(super) fn no_longer_asked(&mut self, group: GroupId) {
        self.replication.asked.retain(|_, asked| *asked != group);
    }
}
