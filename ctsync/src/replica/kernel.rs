//! What the kernel says of its sessions.

use super::shared::SHOWN_AFTER;
use super::{DumpReason, Output, Replica};
use crate::model::{Delta, EventKind, Identity, KernelEvent, Origin, Session};
use crate::store::{Flags, Index};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Sessions that ended during a dump, at most; with more, another dump follows.
const ENDED_DURING_DUMP: usize = 1 << 16;
/// A dump that follows another one begins so long after it.
const DUMPS_APART: Duration = Duration::from_secs(1);
/// Entries that are looked at in one call.
const STRIDE: Index = 2048;

/// A dump of the kernel's sessions: what isn't in it has ended unheard.
///
/// A session that changes while the dump runs may come in the dump with an older state than in
/// its notification. So what was heard of since the dump began isn't taken from it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Dump {
    /// Which dump it is; entries remember the last one that they were seen in.
    number: u8,
    running: bool,
    /// The first one: what it finds may have ended elsewhere meanwhile.
    first: bool,
    /// Where the look for missing ones goes on.
    sweep: Option<Index>,
    ended: BTreeSet<Identity>,
    /// Another dump has to follow, but not at once: who couldn't read fast enough has enough to do.
    wanted: Option<DumpReason>,
    /// When the last one was over.
    last: Timestamp,
    /// When there is to be one, though nothing was lost.
    check: Option<Timestamp>,
    /// Sessions are held only now that may be this node's: whether packets go through them will
    /// show in the next one.
    unshown: bool,
    /// The first one is over.
    populated: bool,
}

impl Replica {
    /// Whether what the kernel had at the start is here.
    pub(super) fn is_populated(&self) -> bool {
        self.dump.populated
    }

    /// Whether a dump is under way, or one has to follow.
    pub(super) fn is_dumping(&self) -> bool {
        self.dump.running || self.dump.wanted.is_some()
    }

    pub(super) fn begin_dump(&mut self, reason: DumpReason, out: &mut Vec<Output>) {
        if self.dump.running {
            self.dump.wanted = Some(reason);
            return;
        }
        self.dump.number = self.dump.number.checked_add(1).unwrap_or(1);
        self.dump.running = true;
        self.dump.first = !self.dump.populated;
        self.dump.wanted = None;
        self.dump.sweep = None;
        self.dump.unshown = false;
        self.dump.ended.clear();
        self.stats.dumps += 1;
        // Entries of the dump that had this number 255 dumps ago.
        for index in 0..self.store.end() {
            if let Some(entry) = self.store.entry_mut(index) {
                entry.flags.set(Flags::TOUCHED, false);
                if entry.dump == self.dump.number {
                    entry.dump = 0;
                }
            }
        }
        out.push(Output::Dump(reason));
    }

    /// Notifications were lost. If they go on being lost, dumps don't follow each other closely.
    pub(super) fn overrun(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let soon = self.dump.populated && now.since(self.dump.last) < DUMPS_APART;
        if soon {
            self.dump.wanted = Some(DumpReason::Overrun);
        } else {
            self.begin_dump(DumpReason::Overrun, out);
        }
    }

    /// Has the kernel's sessions looked at again, soon.
    pub(super) fn dispute(&mut self) {
        self.dump.wanted = Some(DumpReason::Disputed);
    }

    /// When the next dump is due that nobody has to ask for.
    pub(super) fn next_dump(&self) -> Option<Timestamp> {
        let wanted = self.dump.wanted.is_some();
        let apart = if wanted { DUMPS_APART } else { self.config.check_every };
        let due = self.dump.last.after(apart);
        let due = self.dump.check.map_or(due, |check| check.min(due));
        (self.dump.populated && !self.dump.running).then_some(due)
    }

    /// Has the kernel's sessions looked at then.
    pub(super) fn check_at(&mut self, at: Timestamp) {
        self.dump.check = Some(at);
    }

    pub(super) fn look_at_dump(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if self.next_dump().is_some_and(|due| due <= now) {
            let reason = self.dump.wanted.unwrap_or(DumpReason::Check);
            self.dump.check.take_if(|check| *check <= now);
            self.begin_dump(reason, out);
        }
    }

    pub(super) fn kernel_event(&mut self, event: &KernelEvent, out: &mut Vec<Output>) {
        self.stats.events += 1;
        let identity = event.delta.identity();
        let found = self.store.find(&identity);
        match (event.kind, found) {
            (EventKind::Destroy, found) => {
                if self.dump.running {
                    self.ended_during_dump(identity);
                }
                if let Some(index) = found {
                    self.destroyed(index, event.origin, out);
                }
            }
            (_, None) => self.begun(&event.delta, event.origin, out),
            (_, Some(index)) => self.changed(index, event, true),
        }
    }

    fn ended_during_dump(&mut self, identity: Identity) {
        if self.dump.ended.len() < ENDED_DURING_DUMP {
            self.dump.ended.insert(identity);
        } else {
            self.dump.wanted = Some(DumpReason::Overrun);
        }
    }

    pub(super) fn touch(&mut self, index: Index) {
        let number = self.dump.number;
        if self.dump.running
            && let Some(entry) = self.store.entry_mut(index)
        {
            entry.dump = number;
            entry.flags.set(Flags::TOUCHED, true);
        }
    }

    /// A session that isn't here yet.
    fn begun(&mut self, delta: &Delta, origin: Origin, out: &mut Vec<Output>) {
        if origin == Origin::Replication {
            // Written here and ended by the peer since; its deletion is on the way.
            return;
        }
        if !delta.is_whole() {
            self.dispute();
            return;
        }
        let by_packet = origin == Origin::Traffic;
        let Some(session) = self.usable(delta.begin(), by_packet) else { return };
        if self.store.live() >= self.config.max_sessions {
            self.full(out);
            return;
        }
        let Some(index) = self.store.insert(&session, 1, Flags::MINE | Flags::KERNEL) else {
            self.full(out);
            return;
        };
        self.touch(index);
        self.send_soon(index, false);
    }

    /// A session that is here. `packet`: something happened to it just now.
    fn changed(&mut self, index: Index, event: &KernelEvent, packet: bool) {
        let flags = self.store.flags(index);
        self.touch(index);
        if event.origin == Origin::Replication {
            // What came from the peer doesn't go back there.
            self.look_at_own_write(index, &event.delta);
            return;
        }
        let by_packet = packet && event.origin == Origin::Traffic;
        let Some((before, version)) = self.store.get(index) else { return };
        let entry_carried = self.carries(before.group, flags);
        if flags.has(Flags::DEAD) {
            if event.delta.is_whole() {
                if let Some(session) = self.usable(event.delta.begin(), by_packet) {
                    self.begun_again(index, &session, version);
                }
            } else {
                self.dispute();
            }
            return;
        }
        self.store.set(index, Flags::KERNEL, true);
        let mut session = before.clone();
        let status = event.delta.status.map_or(before.status, |status| status.sticky());
        // A dump says everything: a bit that is never cleared and isn't there any more shows that
        // it is another session.
        let another = !packet && before.status.sticky().0 & !status.0 != 0;
        if event.kind == EventKind::New || another {
            session = event.delta.begin();
        } else {
            event.delta.merge_into(&mut session);
        }
        let Some(session) = self.usable(session, by_packet) else { return };
        if event.origin == Origin::Local && !entry_carried {
            // This node's own key for a session that the peer carries.
            let owned = self.config.owned;
            let mut kept = before;
            kept.mark = kept.mark & !owned | session.mark & owned;
            self.store.update(index, &kept, version);
            return;
        }
        if session.same_but_timeout(&before) {
            if by_packet && !entry_carried {
                if self.is_divided(session.group) {
                    self.claim(index);
                } else {
                    self.extend_soon(index);
                }
            }
            return;
        }
        self.store.update(index, &session, version.saturating_add(1));
        self.store.set(index, Flags::UNPROVEN | Flags::FOREIGN, false);
        self.store.set(index, Flags::REPLACE | Flags::PARKED, false);
        self.store.set(index, Flags::MINE, true);
        // The kernel's timeout is that of its protocol again.
        self.store.set(index, Flags::HELD, false);
        if !self.carries(session.group, self.store.flags(index)) {
            self.extend_soon(index);
        }
        self.send_soon(index, false);
    }

    /// A session as the kernel says it, if it can be one. `by_packet`: its timeout is the one that a
    /// packet has just given it.
    fn usable(&mut self, mut session: Session, by_packet: bool) -> Option<Session> {
        if !by_packet {
            session.timeout = self.config.own(&session);
        }
        let usable = session.is_valid();
        self.stats.unusable += u64::from(!usable);
        usable.then_some(session)
    }

    /// Between a change by traffic and the news of it, a write may have undone it.
    fn look_at_own_write(&mut self, index: Index, delta: &Delta) {
        if self.store.flags(index).any(Flags::DEAD | Flags::WRITE | Flags::WRITING) {
            return;
        }
        let Some((session, _)) = self.store.get(index) else { return };
        let mut there = session.clone();
        delta.merge_into(&mut there);
        if there.proto != session.proto
            || there.labels != session.labels
            || there.mark != session.mark
            || there.seq_adjust != session.seq_adjust
        {
            self.write_soon(index);
        }
    }

    /// A session that had ended has begun again before everybody knew.
    fn begun_again(&mut self, index: Index, session: &Session, version: u32) {
        self.store.update(index, session, version.saturating_add(1));
        let gone = Flags::UNPROVEN | Flags::FOREIGN | Flags::REPLACE | Flags::HELD | Flags::WRITE;
        self.store.set(index, gone, false);
        self.store.set(index, Flags::MINE | Flags::KERNEL, true);
        self.send_soon(index, false);
    }

    /// The kernel has a session no longer.
    fn destroyed(&mut self, index: Index, origin: Origin, out: &mut Vec<Output>) {
        if origin == Origin::Replication {
            return;
        }
        let Some(entry) = self.store.entry(index).copied() else { return };
        self.store.set(index, Flags::KERNEL | Flags::HELD, false);
        // Its time has run out before it was set right: the peer's packets don't count here.
        let ran_out = origin == Origin::Traffic;
        let waits = entry.flags.any(Flags::WRITE | Flags::WRITING);
        let early = ran_out && (waits || self.awaits_walk(index, entry.group));
        let carried = self.carries(entry.group, entry.flags);
        if entry.flags.has(Flags::DEAD) {
            self.forget_if_done(index);
        } else if carried && !early {
            self.end_here(index, ran_out, out);
        } else {
            // It isn't for this node to end it, or not yet.
            self.write_soon(index);
        }
    }

    /// A session that this node carries has ended.
    fn end_here(&mut self, index: Index, ran_out: bool, out: &mut Vec<Output>) {
        let Some((_, version)) = self.store.get(index) else { return };
        self.store.end_session(index, version.saturating_add(1));
        self.store.set(index, Flags::WRITE | Flags::UNPROVEN, false);
        self.store.set(index, Flags::RAN_OUT, ran_out);
        if self.store.flags(index).has(Flags::KNOWN) {
            self.tell_end(index, out);
        } else {
            self.store.set(index, Flags::QUEUED, false);
            self.forget_if_done(index);
        }
    }

    /// A session that a dump found.
    pub(super) fn dumped(&mut self, delta: &Delta, out: &mut Vec<Output>) {
        if !self.dump.running || self.dump.ended.contains(&delta.identity()) {
            return;
        }
        let number = self.dump.number;
        let Some(index) = self.store.find(&delta.identity()) else {
            let Some(session) = self.usable(delta.begin(), false) else { return };
            if self.store.live() >= self.config.max_sessions {
                self.full(out);
            } else {
                let (version, flags) = if self.dump.first {
                    (0, Flags::UNPROVEN | Flags::KERNEL)
                } else {
                    (1, Flags::MINE | Flags::KERNEL)
                };
                let inserted = self.store.insert(&session, version, flags);
                if let Some(index) = inserted {
                    if let Some(entry) = self.store.entry_mut(index) {
                        entry.dump = number;
                    }
                    if !self.dump.first {
                        self.send_soon(index, false);
                    }
                }
            }
            return;
        };
        let Some(entry) = self.store.entry_mut(index) else { return };
        entry.dump = number;
        let (flags, group) = (entry.flags, entry.group);
        if flags.has(Flags::TOUCHED) || flags.any(Flags::WRITE | Flags::WRITING) {
            return;
        }
        // If it differs, a notification was lost. The key is that which the policy gave it here.
        let mut delta = delta.clone();
        let timeout = delta.timeout;
        if !self.carries(group, flags)
            && let (Some(mark), Some((kept, _))) = (&mut delta.mark, self.store.get(index))
        {
            *mark = *mark & !self.config.owned | kept.mark & self.config.owned;
        }
        let update = KernelEvent { kind: EventKind::Update, origin: Origin::Traffic, delta };
        let version = self.store.get(index).map(|(_, version)| version);
        self.changed(index, &update, false);
        if self.store.get(index).map(|(_, version)| version) != version {
            self.stats.found_changed += 1;
        }
        self.store.set(index, Flags::TOUCHED, false);
        let flags = self.store.flags(index);
        let Some((known, _)) = self.store.get(index) else { return };
        let below = |most: u32| timeout.is_some_and(|timeout| timeout < most);
        if self.carries(group, flags) {
            return;
        }
        let is_held = flags.has(Flags::HELD);
        if is_held && self.is_divided(group) && below(self.config.touched_below(&known)) {
            self.claim(index);
        } else if !is_held || below(self.config.held(&known) / 2) {
            self.dump.unshown |= self.is_divided(group);
            self.extend_soon(index);
        }
    }

    pub(super) fn dump_end(&mut self, complete: bool, out: &mut Vec<Output>) {
        if !self.dump.running {
            return;
        }
        if complete {
            self.dump.sweep = Some(0);
        } else {
            self.dump.running = false;
            self.begin_dump(DumpReason::Incomplete, out);
        }
    }

    pub(super) fn is_sweeping(&self) -> bool {
        self.dump.sweep.is_some()
    }

    /// Looks for sessions that the dump didn't find.
    pub(super) fn sweep_on(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Some(from) = self.dump.sweep else { return };
        let to = from.saturating_add(STRIDE);
        for index in from..to.min(self.store.end()) {
            let Some(entry) = self.store.entry(index).copied() else { continue };
            let busy = Flags::DEAD | Flags::WRITE | Flags::WRITING;
            if entry.dump != self.dump.number
                && entry.flags.has(Flags::KERNEL)
                && !entry.flags.any(busy)
            {
                self.destroyed(index, Origin::Traffic, out);
            }
        }
        if to < self.store.end() {
            self.dump.sweep = Some(to);
            return;
        }
        self.dump.sweep = None;
        self.dump.running = false;
        if !self.dump.populated {
            // What a standby node finds at its start has the timeout of a session that packets keep.
            self.begin_walk();
        }
        self.dump.populated = true;
        self.dump.ended.clear();
        self.dump.last = now;
        if self.dump.unshown {
            self.check_at(now.after(SHOWN_AFTER));
        }
    }
}
