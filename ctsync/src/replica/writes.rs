//! Sessions on their way into the kernel.
//!
//! A session waits as its index, once, however often it changes meanwhile. Batches are written in
//! order. What the kernel refuses is tried again a few times, and then once a second.

use super::{Config, Event, Output, Replica, Write, WriteOp, WriteResult};
use crate::store::{Flags, Index};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A session that the kernel refused so often waits for a while.
const TRIES: u8 = 5;
/// After so many the master isn't named any more: better a session without one than none.
const TRIES_WITH_MASTER: u8 = 3;
/// The queue is cleared of what needs no write any more when it is longer than the store by this.
const STALE: usize = 4096;
/// EOPNOTSUPP of `errno.h`: the update would change what can't be changed.
const NOT_SUPPORTED: i32 = 95;

/// What waits and what is under way.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Writes {
    queue: VecDeque<Index>,
    under_way: BTreeMap<u64, Vec<(Index, WriteOp, bool)>>,
    in_batches: usize,
    last_batch: u64,
    pushed: u64,
    /// The packet and the number of writes behind which everything up to it is in the kernel.
    marker: Option<(u64, u64)>,
    applied: u64,
}

impl Writes {
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.in_batches
    }

    /// Writes that were asked for.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Writes that are done, in the order in which they were asked for.
    pub(super) fn done(&self) -> u64 {
        self.pushed.saturating_sub(self.waiting() as u64)
    }

    /// Up to which packet of the peer everything is in the kernel.
    fn advance(&mut self, received: u64) -> u64 {
        if self.marker.is_some_and(|(_, position)| self.done() >= position) {
            self.applied = self.marker.take().map_or(self.applied, |(packet, _)| packet);
        }
        if self.waiting() == 0 {
            (self.applied, self.marker) = (received, None);
        } else if self.marker.is_none() && self.applied < received {
            self.marker = Some((received, self.pushed));
        }
        self.applied
    }

    /// The peer's stream begins anew.
    pub(super) fn restart(&mut self) {
        (self.applied, self.marker) = (0, None);
    }

    pub(super) fn memory(&self) -> usize {
        self.queue.capacity() * size_of::<Index>()
    }
}

impl Replica {
    /// Up to which packet of the peer everything is in the kernel here.
    pub(super) fn applied(&mut self) -> u64 {
        let received = self.link.received();
        self.writes.advance(received)
    }

    /// Has a session written into the kernel, or deleted from it.
    pub(super) fn write_soon(&mut self, index: Index) {
        if let Some(entry) = self.store.entry_mut(index) {
            entry.content = true;
        }
        self.extend_soon(index);
    }

    /// Has the timeout of a session in the kernel set right. Everything else there stays as it
    /// is: packets may have changed it since it was last told.
    pub(super) fn extend_soon(&mut self, index: Index) {
        let flags = self.store.flags(index);
        if flags.any(Flags::WRITE | Flags::PARKED) || !flags.has(Flags::USED) {
            return;
        }
        self.store.set(index, Flags::WRITE, true);
        if !flags.has(Flags::WRITING) {
            self.push_write(index);
        }
    }

    fn push_write(&mut self, index: Index) {
        self.writes.queue.push_back(index);
        self.writes.pushed += 1;
        if self.writes.queue.len() > 2 * self.store.end() as usize + STALE {
            let store = &self.store;
            let mut seen = std::collections::BTreeSet::new();
            let keep = |index: &Index| store.flags(*index).has(Flags::WRITE) && seen.insert(*index);
            self.writes.queue.retain(keep);
        }
    }

    pub(super) fn can_write(&self) -> bool {
        !self.writes.queue.is_empty() && self.writes.under_way.len() < self.config.batches
    }

    pub(super) fn write_batches(&mut self, out: &mut Vec<Output>) {
        while self.can_write() {
            let mut writes = Vec::new();
            let mut items = Vec::new();
            while items.len() < self.config.batch {
                let Some(index) = self.writes.queue.pop_front() else { break };
                let flags = self.store.flags(index);
                if !flags.has(Flags::WRITE) || flags.has(Flags::WRITING) {
                    continue;
                }
                self.store.set(index, Flags::WRITE, false);
                if let Some((write, held)) = self.write_of(index) {
                    self.store.set(index, Flags::WRITING, true);
                    items.push((index, write.op, held));
                    writes.push(write);
                } else {
                    self.forget_if_done(index);
                }
            }
            if writes.is_empty() {
                return;
            }
            self.writes.last_batch += 1;
            let batch = self.writes.last_batch;
            self.writes.in_batches += items.len();
            self.writes.under_way.insert(batch, items);
            self.stats.writes += writes.len() as u64;
            out.push(Output::Write { batch, writes });
        }
    }

    /// What to write of an entry, and whether its timeout is that of a standby.
    fn write_of(&mut self, index: Index) -> Option<(Write, bool)> {
        let (mut session, version) = self.store.get(index)?;
        let flags = self.store.flags(index);
        let op = if flags.has(Flags::DEAD) {
            if !flags.has(Flags::KERNEL) {
                return None;
            }
            let asks = flags.has(Flags::RAN_OUT) && self.roles.is_shared(session.group);
            if asks && session.expectation.is_none() {
                session.timeout = self.config.touched_below(&session);
                return Some((Write { op: WriteOp::DeleteIdle, session }, false));
            }
            WriteOp::Delete
        } else if flags.has(Flags::REPLACE) {
            WriteOp::Replace
        } else if flags.has(Flags::KERNEL) {
            let content = self.store.entry(index).is_some_and(|entry| entry.content);
            if content { WriteOp::Update } else { WriteOp::Timeout }
        } else {
            WriteOp::Create
        };
        let makes = matches!(op, WriteOp::Create | WriteOp::Replace);
        if makes && !self.see_to_master(index, &mut session) {
            // Not refused, only too early, or too late: then the peer ends it too.
            self.store.set(index, Flags::PARKED, true);
            self.walk.parked = true;
            return None;
        }
        if let Some(entry) = self.store.entry_mut(index) {
            entry.content = false;
        }
        let held = !self.carries(session.group, flags);
        session.timeout = Config::carried(&session, version);
        // An expectation isn't held: it is short-lived, and comes again if it is wanted.
        if held && session.expectation.is_none() {
            session.timeout = self.config.held(&session);
        }
        Some((Write { op, session }, held))
    }

    /// A master that is gone can't be named; one that isn't written yet goes first, and the child
    /// is tried again when the kernel misses it. `false` for what can't be without its master.
    fn see_to_master(&mut self, index: Index, session: &mut crate::model::Session) -> bool {
        let needed = session.expectation.is_some();
        let Some(master) = session.master else { return !needed };
        let tries = self.store.entry(index).map_or(0, |entry| entry.tries);
        if tries >= TRIES_WITH_MASTER && !needed {
            session.master = None;
            return true;
        }
        let identity =
            crate::model::Identity { original: master, zone: session.zone, expected: false };
        match self.store.find(&identity) {
            Some(found) if found != index && !self.store.flags(found).has(Flags::DEAD) => {
                if !self.store.flags(found).has(Flags::KERNEL) {
                    self.write_soon(found);
                }
                true
            }
            _ => {
                session.master = None;
                !needed
            }
        }
    }

    pub(super) fn written(&mut self, batch: u64, results: &[WriteResult], out: &mut Vec<Output>) {
        let Some(items) = self.writes.under_way.remove(&batch) else { return };
        self.writes.in_batches = self.writes.in_batches.saturating_sub(items.len());
        for (place, (index, op, held)) in items.into_iter().enumerate() {
            // A result that is missing is as good as a refusal.
            let result = results.get(place).copied().unwrap_or(WriteResult::Refused(0));
            self.store.set(index, Flags::WRITING, false);
            let again = self.store.flags(index).has(Flags::WRITE);
            self.take_result(index, op, held, result, out);
            if result == WriteResult::Done {
                // A dump may have read it before it was written.
                self.touch(index);
            }
            if again && self.store.flags(index).has(Flags::WRITE) {
                self.push_write(index);
            }
            self.forget_if_done(index);
        }
    }

    fn take_result(
        &mut self,
        index: Index,
        op: WriteOp,
        held: bool,
        result: WriteResult,
        out: &mut Vec<Output>,
    ) {
        match (op, result) {
            (WriteOp::DeleteIdle, WriteResult::Busy) => {
                // It is alive again, unless it is none that is replicated.
                if self.store.flags(index).has(Flags::DEAD) {
                    self.store.set(index, Flags::RAN_OUT, false);
                    self.write_soon(index);
                }
            }
            (WriteOp::Delete | WriteOp::DeleteIdle, WriteResult::Done | WriteResult::Missing) => {
                self.store.set(index, Flags::KERNEL, false);
                if !self.store.flags(index).has(Flags::DEAD) {
                    self.write_soon(index);
                }
            }
            (_, WriteResult::Done) => {
                self.store.set(index, Flags::REPLACE, false);
                self.store.set(index, Flags::KERNEL, true);
                self.store.set(index, Flags::HELD, held);
                if let Some(entry) = self.store.entry_mut(index) {
                    entry.tries = 0;
                }
                let entry = self.store.entry(index).copied();
                let to_hold = entry.is_some_and(|entry| !self.carries(entry.group, entry.flags));
                // Roles changed, or it ended, while it was being written.
                if self.store.flags(index).has(Flags::DEAD) {
                    self.write_soon(index);
                } else if to_hold != held {
                    self.extend_soon(index);
                }
            }
            (WriteOp::Create, WriteResult::Exists) => {
                self.store.set(index, Flags::KERNEL, true);
                self.write_again(index, 0, out);
            }
            (_, WriteResult::Missing) => {
                self.store.set(index, Flags::KERNEL | Flags::REPLACE, false);
                self.write_again(index, 2, out);
            }
            (WriteOp::Update, _) => {
                // An update can't change what tells incarnations of a session apart.
                let ours = self.store.entry(index).is_some_and(|e| self.carries(e.group, e.flags));
                self.store.set(index, Flags::REPLACE, !ours);
                if ours && errno(result) == NOT_SUPPORTED {
                    // What this node forwards is what its kernel has, not what was thought.
                    self.dispute();
                }
                self.write_again(index, errno(result), out);
            }
            (_, result) => self.write_again(index, errno(result), out),
        }
    }

    fn write_again(&mut self, index: Index, errno: i32, out: &mut Vec<Output>) {
        let Some(entry) = self.store.entry_mut(index) else { return };
        entry.tries = entry.tries.saturating_add(1);
        if entry.tries < TRIES {
            self.write_soon(index);
            return;
        }
        if entry.flags.has(Flags::DEAD) {
            entry.flags.set(Flags::KERNEL, false);
            return;
        }
        entry.flags.set(Flags::PARKED, true);
        entry.flags.set(Flags::WRITE, false);
        self.walk.parked = true;
        self.stats.write_refused += 1;
        self.stats.last_errno = errno;
        if self.stats.write_refused == 1 {
            out.push(Output::Event(Event::WriteRefused { errno }));
        }
    }
}

fn errno(result: WriteResult) -> i32 {
    match result {
        WriteResult::Refused(errno) => errno,
        // EEXIST of `errno.h`.
        _ => 17,
    }
}
