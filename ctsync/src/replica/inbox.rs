//! What the peer says, and what becomes of it.

use super::policy::Translated;
use super::{Event, Output, Replica, ResyncReason};
use crate::model::{BootId, Identity, Role, Session, join};
use crate::store::{Flags, Index};
use crate::time::Timestamp;
use crate::wire::{Change, Malformed, Reader, Section, read_packet};
use std::collections::BTreeSet;

/// Messages of the protocol that wait to be sent, at most: the peer can ask for no more.
const CONTROLS: usize = 64;

impl Replica {
    pub(super) fn message(
        &mut self,
        now: Timestamp,
        boot: BootId,
        plaintext: &[u8],
        out: &mut Vec<Output>,
    ) {
        if self.peer.boot != Some(boot) || !self.is_populated() {
            return;
        }
        self.heard(now, out);
        if self.read(now, plaintext, out).is_err() {
            self.stats.malformed += 1;
            if self.stats.malformed == 1 {
                out.push(Output::Event(Event::Malformed));
            }
        }
    }

    fn read(
        &mut self,
        now: Timestamp,
        plaintext: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Malformed> {
        let packet = read_packet(plaintext)?;
        for (number, sent) in self.link.take_ack(&packet.ack) {
            self.arrived(number, &sent.sessions, packet.ack.last);
        }
        let Some(number) = packet.number else {
            return self.sections(now, packet.sections, out);
        };
        self.link.arrive(number, packet.sections, self.config.window);
        let mut outcome = Ok(());
        while let Some(sections) = self.link.turn() {
            // What a packet holds after a fault is lost; the digests will show it.
            outcome = outcome.and(self.sections(now, &sections, out));
        }
        self.forget_buried();
        outcome
    }

    fn sections(
        &mut self,
        now: Timestamp,
        bytes: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        while let Some(section) = Section::read(&mut reader)? {
            match section {
                Section::Beat(beat) => self.take_beat(now, beat, out),
                Section::Records(records) => {
                    for change in records {
                        self.take_change(change?, out);
                    }
                }
                Section::List { leaf, low, high, received, records } => {
                    let mut listed = BTreeSet::new();
                    for change in records {
                        listed.extend(self.take_change(change?, out));
                    }
                    self.take_list(leaf, (low, high), received, &listed);
                }
                Section::AskGroups => {
                    self.tell(&Section::Groups(self.store.group_digests().to_vec()));
                }
                Section::Groups(digests) => self.take_groups(&digests),
                Section::AskLeaves(group) => {
                    self.tell(&Section::Leaves(group, self.store.leaf_digests(group)));
                }
                Section::Leaves(group, digests) => self.take_leaves(group, &digests),
                Section::ResyncDone => self.settle(out),
                Section::Hello(hello) => self.take_hello(now, &hello, out),
                Section::AskRules(keys) => {
                    let rules = self.policy.rules_of(&keys);
                    for part in rules.chunks(48) {
                        self.tell(&Section::Rules(part.to_vec()));
                    }
                }
                Section::Rules(rules) => self.take_rules(&rules, out),
                Section::Goodbye => self.goodbye(out),
                Section::DigestKey(key) => self.use_digest_key(key, out),
                Section::CatchUp(number) => self.take_catch_up(number),
                Section::CaughtUp(number) => self.take_caught_up(number, out),
                Section::AskResync => self.begin_resync(now, ResyncReason::Asked, out),
                Section::Keyspace(digest) => self.take_keyspace(digest, out),
            }
        }
        Ok(())
    }

    /// Says something that has to arrive. What the peer asks for beyond all measure isn't
    /// answered.
    pub(super) fn tell(&mut self, section: &Section<'_>) {
        if self.control.len() < CONTROLS {
            self.control.push_back(section.to_bytes());
        } else {
            self.stats.unanswered += 1;
        }
    }

    /// Returns where the session is now.
    fn take_change(&mut self, change: Change, out: &mut Vec<Output>) -> Option<Index> {
        self.stats.received += 1;
        match change {
            Change::Put { session, version } => self.take_session(session, version, out),
            Change::End { identity, version, ran_out } => {
                self.take_end(&identity, version, ran_out);
                None
            }
        }
    }

    fn take_session(
        &mut self,
        mut session: Session,
        version: u32,
        out: &mut Vec<Output>,
    ) -> Option<Index> {
        let identity = session.identity();
        let owned = self.config.owned;
        let found = self.store.find(&identity);
        let translated = match self.policy.translate(session.mark, owned) {
            // It was found right before.
            Translated::Likely(key, _) if self.key_of(found) == Some(key) => {
                Translated::Mark(session.mark & !owned | key)
            }
            other => other,
        };
        session.mark = match translated {
            Translated::Mark(mark) => mark,
            _ => session.mark & !owned,
        };
        let (index, taken) = match found {
            None => (self.take_new(&session, version, out)?, true),
            Some(index) => self.take_known(index, session, version)?,
        };
        match translated {
            _ if !taken => {}
            Translated::Mark(_) => self.store.set(index, Flags::FOREIGN, false),
            Translated::Likely(key, rule) => self.ask_whether_right(index, key, rule, out),
            Translated::Ask(key) => {
                self.store.set(index, Flags::FOREIGN, true);
                self.policy.wait(identity, key);
            }
            Translated::Unknown(rule) => {
                self.store.set(index, Flags::FOREIGN, true);
                self.ask_to_classify(index, rule, out);
            }
        }
        Some(index)
    }

    /// The key that a session has here, unless that is still to be found out.
    fn key_of(&self, found: Option<Index>) -> Option<u32> {
        let index =
            found.filter(|index| !self.store.flags(*index).any(Flags::FOREIGN | Flags::DEAD))?;
        self.store.get(index).map(|(session, _)| session.mark & self.config.owned)
    }

    /// A session that isn't here.
    fn take_new(
        &mut self,
        session: &Session,
        version: u32,
        out: &mut Vec<Output>,
    ) -> Option<Index> {
        if self.store.live() >= self.config.max_sessions {
            self.full(out);
            return None;
        }
        let index = self.store.insert(session, version, Flags::SYNCED | Flags::KNOWN)?;
        if version == 0 && self.knows_better(session.group) {
            // The peer has only found it in its kernel; the node that forwards doesn't have it.
            self.store.end_session(index, 1);
            self.send_soon(index, false);
            return None;
        }
        self.store.set(index, Flags::MINE, self.forwards_alone(session.group));
        self.write_soon(index);
        Some(index)
    }

    /// Whether this node would have a session if there were one.
    fn knows_better(&self, group: crate::model::GroupTag) -> bool {
        let active = self.roles.of(group) == Role::Active && self.peer_role(group) != Role::Active;
        self.is_proven() && (active || self.is_divided(group) && !self.peer_is_proven())
    }

    /// Returns where the session is, and whether the peer's version is what is kept.
    fn take_known(
        &mut self,
        index: Index,
        session: Session,
        version: u32,
    ) -> Option<(Index, bool)> {
        let (ours, our_version) = self.store.get(index)?;
        let flags = self.store.flags(index);
        let dead = flags.has(Flags::DEAD);
        // When the peer knows of the end, and nothing that it said before is still to come, this is
        // another session, whose versions begin anew.
        let another = dead && flags.has(Flags::SYNCED) && !flags.has(Flags::BURIED) && version > 0;
        // Where numbers are equal and one has ended, the other had a packet after that.
        let take = version > our_version || (dead && version == our_version) || another;
        if take {
            return Some((index, self.replace_by_theirs(index, &ours, session, version)));
        }
        if version < our_version {
            if flags.has(Flags::SYNCED) || !flags.any(Flags::QUEUED | Flags::SENT) {
                self.send_soon(index, true);
            }
            return (!dead).then_some((index, false));
        }
        let theirs = self.store.digest_of(&session, version);
        let mut joined = join(&ours, &session);
        let owned = self.config.owned;
        joined.mark = joined.mark & !owned | ours.mark & owned;
        let digest = self.store.digest_of(&joined, version);
        if digest != self.store.digest_of(&ours, version) {
            if flags.has(Flags::KERNEL) && !ours.updates_to(&joined) {
                self.store.set(index, Flags::REPLACE, true);
            }
            self.store.update(index, &joined, version);
            self.write_soon(index);
        }
        if digest == theirs {
            self.peer_has(index);
        } else {
            self.send_soon(index, true);
        }
        Some((index, false))
    }

    /// The peer has a later version. Returns whether it is kept as it is.
    fn replace_by_theirs(
        &mut self,
        index: Index,
        ours: &Session,
        mut session: Session,
        version: u32,
    ) -> bool {
        let flags = self.store.flags(index);
        let dead = flags.has(Flags::DEAD);
        let cleared = ours.status.sticky().0 & !session.status.0;
        let seen = flags.has(Flags::SYNCED)
            || (flags.has(Flags::UNPROVEN) && !self.carries(ours.group, flags));
        if cleared != 0 && !dead && !seen && ours.updates_to(&session) {
            // The peer didn't know yet what was seen here.
            session.status.0 |= cleared;
            session.mark = session.mark & !self.config.owned | ours.mark & self.config.owned;
            self.store.update(index, &session, version.saturating_add(1));
            self.send_soon(index, false);
            self.write_soon(index);
            return false;
        }
        let found = flags.has(Flags::UNPROVEN) && self.carries(ours.group, flags);
        if found && !dead && cleared == 0 && self.is_as_far(index, ours, &session, version) {
            return false;
        }
        // Such a bit is never cleared: it is another session with the same identity.
        let another = !dead && (cleared != 0 || !ours.updates_to(&session));
        if another && flags.has(Flags::KERNEL) {
            self.store.set(index, Flags::REPLACE, true);
        }
        self.store.update(index, &session, version);
        self.peer_has(index);
        self.store.set(index, Flags::UNPROVEN, false);
        self.store.set(index, Flags::MINE, self.forwards_alone(session.group));
        self.write_soon(index);
        true
    }

    /// What this node found in its kernel when it started has had packets there since, of which the
    /// peer knows nothing. If it lacks nothing that the peer knows, nothing of it is written: the
    /// kernel may be further by now.
    fn is_as_far(&mut self, index: Index, ours: &Session, theirs: &Session, version: u32) -> bool {
        if !ours.updates_to(theirs) {
            return false;
        }
        let mut joined = join(ours, theirs);
        joined.mark = joined.mark & !self.config.owned | ours.mark & self.config.owned;
        if !joined.same_but_timeout(ours) {
            return false;
        }
        self.store.set(index, Flags::UNPROVEN, false);
        let owned = self.config.owned;
        let mark = theirs.mark & !owned | ours.mark & owned;
        if joined.same_but_timeout(&Session { mark, ..theirs.clone() }) {
            self.store.update(index, &joined, version);
            self.peer_has(index);
        } else {
            self.store.update(index, &joined, version.saturating_add(1));
            self.store.set(index, Flags::MINE, true);
            self.send_soon(index, false);
        }
        true
    }

    /// The peer has this version, because it came from there.
    fn peer_has(&mut self, index: Index) {
        self.store.set(index, Flags::QUEUED, false);
        self.store.set(index, Flags::SENT, false);
        self.store.set(index, Flags::SYNCED | Flags::KNOWN, true);
    }

    fn take_end(&mut self, identity: &Identity, version: u32, ran_out: bool) {
        let Some(index) = self.store.find(identity) else { return };
        let Some((_, our_version)) = self.store.get(index) else { return };
        if self.store.flags(index).has(Flags::DEAD) {
            if version >= our_version {
                self.peer_has(index);
                self.forget_if_done(index);
            }
        } else if version > our_version {
            self.end_by_peer(index, version, ran_out);
        } else if !self.store.flags(index).any(Flags::QUEUED | Flags::SENT) {
            self.send_soon(index, true);
        }
    }

    /// The peer has ended a session: so it ends here, unless it only `ran_out` there and packets
    /// go through it here.
    fn end_by_peer(&mut self, index: Index, version: u32, ran_out: bool) {
        // What was found at the start has the timeout of somebody else.
        let ran_out = ran_out && !self.store.flags(index).has(Flags::UNPROVEN);
        self.store.end_session(index, version);
        self.peer_has(index);
        self.store.set(index, Flags::RAN_OUT, ran_out);
        self.store.set(index, Flags::REPLACE | Flags::UNPROVEN, false);
        if self.store.flags(index).any(Flags::KERNEL | Flags::WRITING) {
            self.write_soon(index);
        } else {
            self.store.set(index, Flags::WRITE, false);
            self.forget_if_done(index);
        }
    }

    /// The peer has no others than those listed. What it had and doesn't list, it has ended; what
    /// it never had, it is told.
    fn take_list(
        &mut self,
        leaf: u16,
        (low, high): (u32, u32),
        received: u64,
        listed: &BTreeSet<Index>,
    ) {
        for (place, index) in self.store.leaf_entries(leaf) {
            let Some(entry) = self.store.entry(index).copied() else { continue };
            let flags = entry.flags;
            if !(low..=high).contains(&place) || listed.contains(&index) || flags.has(Flags::DEAD) {
                continue;
            }
            // It may have been sent after the peer wrote the list.
            let unseen = entry.sent != 0 && (entry.sent.wrapping_sub(received as u32) as i32) > 0;
            // What is forwarded here lives, whatever the peer has forgotten or had no room for.
            let ended = flags.has(Flags::SYNCED) && !unseen && !self.carries(entry.group, flags);
            let leftover = flags.has(Flags::UNPROVEN)
                && self.peer_role(entry.group) == Role::Active
                && self.roles.of(entry.group) != Role::Active
                && self.peer_is_proven();
            if ended || leftover {
                let version = self.store.get(index).map_or(0, |(_, version)| version);
                self.end_by_peer(index, version, !leftover);
            } else if !flags.any(Flags::QUEUED | Flags::SENT) {
                self.send_soon(index, true);
            }
        }
    }

    pub(super) fn full(&mut self, out: &mut Vec<Output>) {
        self.stats.full += 1;
        if self.stats.full == 1 {
            out.push(Output::Event(Event::Full));
        }
    }
}
