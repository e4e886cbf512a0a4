//! Comparing what both nodes have, and sending only what differs.
//!
//! ```text
//!   leader                                     follower
//!     │ AskGroups                                 │
//!     │ ────────────────────────────────────────► │  digests of 128 groups
//!     │ AskLeaves, for each group that differs    │
//!     │ ────────────────────────────────────────► │  digests of its 128 leaves
//!     │ List, for each leaf that differs          │
//!     │ ────────────────────────────────────────► │  what is listed is taken in; what is newer
//!     │ ◄──────────────────────────────────────── │  here or not listed goes back as records
//!     │ ResyncDone, once all lists have arrived   │
//!     │ ────────────────────────────────────────► │
//! ```
//!
//! All of it is in the stream, so that nothing has to be asked twice. It goes on while sessions
//! change: a leaf that differs only for the moment costs its list.

use super::{Event, Output, Replica, ResyncReason};
use crate::store::Flags;
use crate::time::Timestamp;
use crate::wire::{GROUPS, LEAVES_PER_GROUP, Section};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Groups that are asked for at a time.
const ASKED: usize = 8;
/// Heartbeats in a row that must show a difference before it is believed.
const DIFFERING: u32 = 5;
/// Resyncs because of a difference are so far apart at least.
const APART: Duration = Duration::from_secs(1);

/// A resync.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Resync {
    stage: Stage,
    /// Groups that differ and weren't asked for yet.
    to_ask: Vec<u8>,
    asked: usize,
    again: Option<ResyncReason>,
    /// Both have compared what they had since they met.
    settled: bool,
    /// This node has more than what its kernel had at its start.
    proven: bool,
    have: Have,
    leaves: u32,
    pub(super) last_reason: Option<ResyncReason>,
    pub(super) last_began: Timestamp,
    pub(super) last_leaves: u32,
    pub(super) count: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    Idle,
    Groups,
    Leaves,
    Lists,
}

/// Whether all that the peer has is in the kernel here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Have {
    #[default]
    No,
    /// All of it is here; when so many writes are done it is in the kernel.
    Marked(u64),
    Told,
}

impl Replica {
    pub(super) fn begin_resync(
        &mut self,
        now: Timestamp,
        reason: ResyncReason,
        out: &mut Vec<Output>,
    ) {
        let first = reason == ResyncReason::Started;
        if first {
            self.resync.settled = false;
            self.lack_something();
            self.resync.stage = Stage::Idle;
        }
        if !self.config.leads() {
            if reason != ResyncReason::Asked {
                self.note_resync(now, reason, out);
            }
            // The other node need not have noticed a split.
            if matches!(reason, ResyncReason::Asked | ResyncReason::Split) {
                self.tell(&Section::AskResync);
            }
            return;
        }
        if self.resync.stage != Stage::Idle {
            self.resync.again = Some(reason);
            return;
        }
        self.resync.again = None;
        self.resync.stage = Stage::Groups;
        self.resync.to_ask.clear();
        self.resync.asked = 0;
        self.resync.leaves = 0;
        self.note_resync(now, reason, out);
        self.tell(&Section::AskGroups);
    }

    fn note_resync(&mut self, now: Timestamp, reason: ResyncReason, out: &mut Vec<Output>) {
        self.resync.last_reason = Some(reason);
        self.resync.last_began = now;
        self.resync.count += 1;
        out.push(Output::Event(Event::ResyncBegan { reason }));
    }

    pub(super) fn take_groups(&mut self, digests: &[u64]) {
        if self.resync.stage != Stage::Groups {
            return;
        }
        let ours = self.store.group_digests();
        let differing = (0u8..).zip(ours.iter().zip(digests)).take(GROUPS);
        self.resync.to_ask = differing
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(group, _)| group)
            .collect();
        self.resync.stage = Stage::Leaves;
        self.ask_for_leaves();
    }

    fn ask_for_leaves(&mut self) {
        while self.resync.asked < ASKED
            && let Some(group) = self.resync.to_ask.pop()
        {
            self.resync.asked += 1;
            self.tell(&Section::AskLeaves(group));
        }
        if self.resync.asked == 0 {
            self.resync.stage = Stage::Lists;
        }
    }

    pub(super) fn take_leaves(&mut self, group: u8, digests: &[u64]) {
        if self.resync.stage != Stage::Leaves {
            return;
        }
        let first = u16::from(group) * LEAVES_PER_GROUP as u16;
        let ours = self.store.leaf_digests(group);
        for (leaf, (ours, theirs)) in (first..).zip(ours.iter().zip(digests)) {
            if ours != theirs {
                self.outbox.list(leaf);
                self.resync.leaves += 1;
            }
        }
        self.resync.asked = self.resync.asked.saturating_sub(1);
        self.ask_for_leaves();
    }

    /// Whether all lists have arrived.
    pub(super) fn is_resync_over(&self) -> bool {
        self.resync.stage == Stage::Lists
            && self.outbox.has_listed()
            && self.link.acked() >= self.outbox.last_bulk()
    }

    pub(super) fn end_resync(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if !self.is_resync_over() {
            return;
        }
        self.tell(&Section::ResyncDone);
        self.resync.stage = Stage::Idle;
        self.resync.last_leaves = self.resync.leaves;
        out.push(Output::Event(Event::ResyncEnded { leaves: self.resync.leaves }));
        self.settle(out);
        if let Some(reason) = self.resync.again.take() {
            self.begin_resync(now, reason, out);
        }
    }

    /// What wasn't found to differ, the peer has too.
    pub(super) fn settle(&mut self, out: &mut Vec<Output>) {
        for index in 0..self.store.end() {
            let flags = self.store.flags(index);
            if !flags.has(Flags::USED) || flags.has(Flags::DEAD) {
                continue;
            }
            self.store.set(index, Flags::UNPROVEN, false);
            if !flags.any(Flags::QUEUED | Flags::SENT) {
                self.store.set(index, Flags::SYNCED | Flags::KNOWN, true);
            }
        }
        self.resync.settled = true;
        self.resync.proven = true;
        self.tell_greeting(out);
    }

    /// Nobody is there who knows whether what was found in the kernel at the start still lives.
    pub(super) fn believe_start(&mut self, out: &mut Vec<Output>) {
        if std::mem::replace(&mut self.resync.proven, true) {
            return;
        }
        for index in 0..self.store.end() {
            let flags = self.store.flags(index);
            if flags.has(Flags::UNPROVEN) && !flags.has(Flags::DEAD) {
                self.store.set(index, Flags::UNPROVEN, false);
                self.store.set_version(index, 1);
            }
        }
        self.tell_greeting(out);
    }

    pub(super) fn is_proven(&self) -> bool {
        self.resync.proven
    }

    /// Whether the peer has acknowledged all that was here when the nodes met.
    pub(super) fn is_complete(&self) -> bool {
        self.resync.settled
            && self.resync.stage == Stage::Idle
            && self.outbox.is_bulk_sent()
            && self.link.acked() >= self.outbox.last_bulk()
    }

    /// Whether nothing waits to be sent or acknowledged.
    pub(super) fn is_idle(&self) -> bool {
        self.outbox.is_empty()
            && self.control.is_empty()
            && self.link.unacked() == 0
            && !self.peer.awaits_hello
            && self.resync.stage == Stage::Idle
    }

    pub(super) fn look_at_differences(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if self.peer.differing >= DIFFERING
            && self.config.leads()
            && now.since(self.resync.last_began) >= APART
        {
            self.peer.differing = 0;
            self.begin_resync(now, ResyncReason::Differs, out);
        }
    }

    pub(super) fn look_whether_complete(&mut self, out: &mut Vec<Output>) {
        let complete = self.peer.beat.complete && self.resync.settled && !self.catch_up.waits();
        match self.resync.have {
            Have::No if complete => {
                self.resync.have = Have::Marked(self.writes.pushed());
                self.look_whether_complete(out);
            }
            Have::Marked(writes) if self.writes.done() >= writes => {
                self.resync.have = Have::Told;
                out.push(Output::Event(Event::HaveEverything));
            }
            _ => {}
        }
    }

    /// What the peer has is yet to come.
    pub(super) fn lack_something(&mut self) {
        self.resync.have = Have::No;
    }

    /// Whether all that the peer had when the nodes met, or this one was relieved, is in the kernel
    /// here.
    pub(super) fn has_everything(&self) -> bool {
        self.resync.have == Have::Told
    }

    pub(super) fn is_resyncing(&self) -> bool {
        self.resync.stage != Stage::Idle
    }
}
