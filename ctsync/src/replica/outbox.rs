//! What waits to be sent, and how it is put into packets.
//!
//! A changed session waits as its index, once; what is sent is its state at that moment. So the
//! queues are no longer than the store, whatever happens while the peer can't be reached.
//!
//! Order: messages of the protocol, what has just changed, lists of leaves, the rest of a resync.
//! The last two are paced.

use super::{Event, Output, Replica};
use crate::store::{Flags, Index};
use crate::time::Timestamp;
use crate::wire::{
    Change, RecordWriter, Section, Writer, section_head, write_list_head, write_packet,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Packets of one call at most, so that what comes in isn't kept waiting.
const PACKETS: usize = 32;
/// Tags, lengths, acknowledgement: what a packet has besides records.
const HEAD: usize = 96;
/// Queues are cleared of what was sent already when they are longer than twice the store by this.
const STALE: usize = 4096;

/// What waits.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Outbox {
    /// What has just changed.
    fresh: VecDeque<Index>,
    /// What a resync found.
    bulk: VecDeque<Index>,
    /// Leaves to be listed whole.
    leaves: BTreeSet<u16>,
    /// The leaf that is being listed, and the place where it goes on.
    listing: Option<(u16, u32)>,
    pushed: u64,
    popped: u64,
    /// The last packet of a resync.
    last_bulk: u64,
    bulk_sent: u32,
    bulk_second: u64,
    ended_told: bool,
}

impl Outbox {
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// So many of the changes that were pushed have been sent.
    pub(super) fn popped(&self) -> u64 {
        self.popped
    }

    pub(super) fn waiting(&self) -> usize {
        self.fresh.len() + self.bulk.len()
    }

    pub(super) fn leaves(&self) -> usize {
        self.leaves.len() + usize::from(self.listing.is_some())
    }

    /// No list waits.
    pub(super) fn has_listed(&self) -> bool {
        self.leaves.is_empty() && self.listing.is_none()
    }

    pub(super) fn last_bulk(&self) -> u64 {
        self.last_bulk
    }

    pub(super) fn list(&mut self, leaf: u16) {
        self.leaves.insert(leaf);
    }

    fn has_bulk(&self) -> bool {
        !self.bulk.is_empty() || !self.has_listed()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && !self.has_bulk()
    }

    /// Nothing of a resync waits.
    pub(super) fn is_bulk_sent(&self) -> bool {
        !self.has_bulk()
    }

    pub(super) fn clear(&mut self) {
        self.popped += self.fresh.len() as u64;
        self.fresh.clear();
        self.bulk.clear();
        self.leaves.clear();
        self.listing = None;
        self.last_bulk = 0;
        self.ended_told = false;
    }

    /// Memory of the queues.
    pub(super) fn memory(&self) -> usize {
        (self.fresh.capacity() + self.bulk.capacity()) * size_of::<Index>()
    }

    fn bulk_allowed(&mut self, now: Timestamp, rate: u32) -> bool {
        // A hundred slices a second: a whole second's packets at once would be no pacing.
        let slice = (now.since_origin().as_millis() / 10) as u64;
        if slice != self.bulk_second {
            (self.bulk_second, self.bulk_sent) = (slice, 0);
        }
        self.bulk_sent < (rate / 100).max(1)
    }
}

impl Replica {
    /// A session has changed and the peer has to know.
    pub(super) fn send_soon(&mut self, index: Index, bulk: bool) {
        let Some(entry) = self.store.entry_mut(index) else { return };
        entry.flags.set(Flags::SYNCED | Flags::SENT, false);
        if entry.flags.has(Flags::QUEUED) {
            return;
        }
        entry.flags.set(Flags::QUEUED, true);
        if bulk {
            self.outbox.bulk.push_back(index);
        } else {
            self.outbox.fresh.push_back(index);
            self.outbox.pushed += 1;
        }
        if self.outbox.waiting() > 2 * self.store.end() as usize + STALE {
            self.drop_stale();
        }
    }

    /// Sessions that ended before they were sent leave their indices behind.
    fn drop_stale(&mut self) {
        let mut seen = BTreeSet::new();
        let Self { outbox, store, .. } = self;
        let mut keep =
            |index: &Index| store.flags(*index).has(Flags::QUEUED) && seen.insert(*index);
        let before = outbox.fresh.len();
        outbox.fresh.retain(&mut keep);
        outbox.popped += (before - outbox.fresh.len()) as u64;
        outbox.bulk.retain(&mut keep);
    }

    /// A session has ended here and the peer has to know. If too many are to be remembered, its
    /// whole leaf is told instead.
    pub(super) fn tell_end(&mut self, index: Index, out: &mut Vec<Output>) {
        if self.store.dead() <= self.config.max_ended {
            self.send_soon(index, false);
            return;
        }
        if !std::mem::replace(&mut self.outbox.ended_told, true) {
            out.push(Output::Event(Event::EndedOverflow));
        }
        self.stats.ended_overflow += 1;
        if let Some(leaf) = self.store.leaf(index) {
            self.outbox.list(leaf);
        }
        self.store.set(index, Flags::QUEUED, false);
        self.store.set(index, Flags::SENT, false);
        self.forget_if_done(index);
    }

    /// Whether packets may be sent at all.
    fn may_send(&self) -> bool {
        self.is_populated()
            && self.peer.liveness == super::Liveness::Alive
            && self.link.has_room(self.config.window)
    }

    /// When [`Self::send_packets`] has something to do.
    pub(super) fn next_packet(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.may_send() {
            return None;
        }
        if !self.control.is_empty() {
            return Some(Timestamp::ZERO);
        }
        if self.peer.awaits_hello || self.outbox.is_empty() {
            return None;
        }
        let slice = (now.since_origin().as_millis() / 10) as u64;
        let paced = self.outbox.fresh.is_empty()
            && slice == self.outbox.bulk_second
            && self.outbox.bulk_sent >= (self.config.bulk_rate / 100).max(1);
        let next =
            Timestamp::new(Duration::from_millis(slice.saturating_add(1).saturating_mul(10)));
        Some(if paced { next } else { Timestamp::ZERO })
    }

    pub(super) fn send_packets(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        for _ in 0..PACKETS {
            if !self.may_send() {
                return;
            }
            let mut sections = Writer::default();
            let mut sessions = Vec::new();
            while let Some(control) = self.control.front() {
                if !sections.is_empty() && sections.len() + control.len() > self.room() {
                    break;
                }
                sections.put(control);
                self.control.pop_front();
            }
            if !self.peer.awaits_hello {
                self.put_records(&mut sections, &mut sessions, false);
                if self.outbox.has_bulk() && self.outbox.bulk_allowed(now, self.config.bulk_rate) {
                    let before = sections.len();
                    self.put_lists(&mut sections, &mut sessions);
                    self.put_records(&mut sections, &mut sessions, true);
                    if sections.len() > before {
                        self.outbox.bulk_sent += 1;
                        self.outbox.last_bulk = self.link.next();
                    }
                }
            }
            if sections.is_empty() {
                return;
            }
            let number = self.link.next();
            let ack = self.link.ack();
            out.push(Output::Send(write_packet(&ack, Some(number), sections.as_slice())));
            self.link.keep(now, sections.finish(), sessions);
            self.stats.packets += 1;
        }
    }

    /// Sends what was lost once more.
    pub(super) fn resend(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let alive = self.peer.liveness == super::Liveness::Alive;
        for (number, sections) in self.link.lost(now, alive) {
            let ack = self.link.ack();
            out.push(Output::Send(write_packet(&ack, Some(number), &sections)));
        }
    }

    /// Sends a packet that needn't arrive.
    pub(super) fn send_now(&mut self, sections: &[Section<'_>], out: &mut Vec<Output>) {
        let mut writer = Writer::default();
        sections.iter().for_each(|section| section.write(&mut writer));
        let ack = self.link.ack();
        out.push(Output::Send(write_packet(&ack, None, writer.as_slice())));
    }

    /// Bytes of sections that a packet has room for.
    fn room(&self) -> usize {
        self.config.datagram.saturating_sub(HEAD)
    }

    fn put_records(&mut self, sections: &mut Writer, sessions: &mut Vec<Index>, bulk: bool) {
        let room = self.room().saturating_sub(sections.len());
        let mut content = Writer::default();
        let mut records = RecordWriter::default();
        loop {
            let queue = if bulk { &mut self.outbox.bulk } else { &mut self.outbox.fresh };
            let Some(index) = queue.pop_front() else { break };
            let change = self.change(index).filter(|_| self.store.flags(index).has(Flags::QUEUED));
            let before = content.len();
            if let Some(change) = change {
                records.write(&mut content, &change);
                if content.len() > room {
                    content.truncate(before);
                    let queue = if bulk { &mut self.outbox.bulk } else { &mut self.outbox.fresh };
                    queue.push_front(index);
                    break;
                }
                self.mark_sent(index, sessions);
                self.stats.records += 1;
            }
            if !bulk {
                self.outbox.popped += 1;
            }
        }
        if !content.is_empty() {
            section_head(sections, false, &content);
        }
    }

    fn put_lists(&mut self, sections: &mut Writer, sessions: &mut Vec<Index>) {
        loop {
            let next = self.outbox.listing.take();
            let next = next.or_else(|| self.outbox.leaves.pop_first().map(|leaf| (leaf, 0)));
            let Some((leaf, low)) = next else { return };
            // The head of a list is of 21 bytes at most; a section's of 4.
            let room = self.room().saturating_sub(sections.len() + 32);
            let (content, high, listed) = self.list_part(leaf, low, room);
            let Some(high) = high else {
                self.outbox.listing = Some((leaf, low));
                return;
            };
            let mut section = Writer::default();
            write_list_head(&mut section, leaf, (low, high), self.link.received());
            section.put(content.as_slice());
            section_head(sections, true, &section);
            for index in listed {
                self.mark_sent(index, sessions);
            }
            if high < u32::MAX {
                self.outbox.listing = Some((leaf, high + 1));
                return;
            }
        }
    }

    /// The sessions of a leaf from a place on, as many as there is room for, and the last place
    /// that is covered; `None` if there is room for none.
    fn list_part(&mut self, leaf: u16, low: u32, room: usize) -> (Writer, Option<u32>, Vec<Index>) {
        let mut content = Writer::default();
        let mut records = RecordWriter::default();
        let mut listed = Vec::new();
        let mut ends = Vec::new();
        for (place, index) in self.store.leaf_entries(leaf) {
            if place < low || self.store.flags(index).has(Flags::DEAD) {
                continue;
            }
            let Some(change) = self.change(index) else { continue };
            let before = content.len();
            records.write(&mut content, &change);
            if content.len() > room {
                // Sessions of the same place go together.
                let same = ends.iter().take_while(|(earlier, _)| *earlier < place).count();
                listed.truncate(same);
                let end = same.checked_sub(1).and_then(|last| ends.get(last));
                content.truncate(end.map_or(0, |(_, end)| *end).min(before));
                return (content, end.map(|_| place - 1), listed);
            }
            listed.push(index);
            ends.push((place, content.len()));
        }
        let nothing_fits = room < 32 && listed.is_empty();
        (content, (!nothing_fits).then_some(u32::MAX), listed)
    }

    /// What is to be told of an entry.
    fn change(&self, index: Index) -> Option<Change> {
        let (session, version) = self.store.get(index)?;
        Some(if self.store.flags(index).has(Flags::DEAD) {
            let ran_out = self.store.flags(index).has(Flags::RAN_OUT);
            Change::End { identity: session.identity(), version, ran_out }
        } else {
            Change::Put { session, version }
        })
    }

    fn mark_sent(&mut self, index: Index, sessions: &mut Vec<Index>) {
        let number = (self.link.next() as u32).max(1);
        if let Some(entry) = self.store.entry_mut(index) {
            entry.sent = number;
            entry.flags.set(Flags::SENT | Flags::KNOWN, true);
            entry.flags.set(Flags::QUEUED | Flags::SYNCED, false);
            sessions.push(index);
        }
    }

    /// The peer has this packet. When it said so, it had sent all up to `last` itself.
    pub(super) fn arrived(&mut self, number: u64, sessions: &[Index], last: u64) {
        let number = (number as u32).max(1);
        for index in sessions {
            let Some(entry) = self.store.entry_mut(*index) else { continue };
            if entry.flags.has(Flags::SENT) && entry.sent == number {
                entry.flags.set(Flags::SENT, false);
                entry.flags.set(Flags::SYNCED, true);
                if entry.flags.has(Flags::DEAD) && last > self.link.received() {
                    entry.flags.set(Flags::BURIED, true);
                    self.buried.push_back((last, *index));
                }
                self.forget_if_done(*index);
            }
        }
    }

    /// Forgets ended sessions once all has arrived that the peer had sent before it knew.
    pub(super) fn forget_buried(&mut self) {
        while let Some((last, index)) = self.buried.front().copied()
            && last <= self.link.received()
        {
            self.buried.pop_front();
            if self.store.flags(index).has(Flags::DEAD) {
                self.store.set(index, Flags::BURIED, false);
                self.forget_if_done(index);
            }
        }
    }

    /// Forgets an ended session that everybody knows of.
    pub(super) fn forget_if_done(&mut self, index: Index) {
        let flags = self.store.flags(index);
        let busy = Flags::QUEUED | Flags::SENT | Flags::WRITE | Flags::WRITING | Flags::BURIED;
        if flags.has(Flags::DEAD) && !flags.any(busy) {
            self.store.remove(index);
        }
    }
}
