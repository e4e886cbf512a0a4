//! The peer, as far as it is heard: heartbeats, liveness, its roles.

use super::roles::for_all;
use super::{Event, Output, Replica};
use crate::channel::Greeting;
use crate::model::{BootId, GroupTag, Role};
use crate::store::DigestKey;
use crate::time::Timestamp;
use crate::wire::{Beat, Section};
use serde::{Deserialize, Serialize};

/// Whether the peer is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Liveness {
    /// It never was.
    #[default]
    Unknown,
    /// It is.
    Alive,
    /// It isn't any more.
    Silent,
    /// It has said that it stops.
    Gone,
}

/// What is known of the peer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) boot: Option<BootId>,
    /// When it was met, it had more than what its kernel had at its start.
    proven: bool,
    pub(super) liveness: Liveness,
    /// When it was heard last, or when this node began to listen.
    pub(super) heard: Timestamp,
    pub(super) beat: Beat,
    /// Contact was lost and the peer hasn't said yet what it did meanwhile.
    pub(super) awaits_hello: bool,
    /// It was silent for so long that it is not counted on.
    pub(super) lost: bool,
    pub(super) next_beat: Timestamp,
    /// What the last heartbeat said is in the kernel here.
    told_applied: u64,
    both_active: Vec<GroupTag>,
    /// Heartbeats in a row with another digest, though nobody had anything to send.
    pub(super) differing: u32,
}

impl Replica {
    pub(super) fn greeted(&mut self, now: Timestamp, greeting: &Greeting, out: &mut Vec<Output>) {
        if self.peer.boot == Some(greeting.boot) {
            return;
        }
        self.peer.boot = Some(greeting.boot);
        self.peer.beat = Beat::default();
        self.peer.told_applied = 0;
        self.peer.proven = greeting.met;
        self.forget_stream();
        self.take_all();
        self.choose_digest_key(greeting, out);
        self.policy.peer_started(greeting.keyspace);
        self.announce_keyspace();
        self.say_hello(false);
        out.push(Output::Event(Event::PeerStarted));
        self.heard(now, out);
        self.begin_resync(now, super::ResyncReason::Started, out);
    }

    /// The peer was heard.
    pub(super) fn heard(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.peer.heard = now;
        if self.peer.liveness == Liveness::Alive {
            return;
        }
        if self.peer.liveness != Liveness::Unknown {
            self.link.hasten();
            self.say_hello(false);
        }
        self.peer.liveness = Liveness::Alive;
        self.peer.next_beat = now;
        if std::mem::take(&mut self.peer.lost) {
            self.begin_walk();
        }
        out.push(Output::Event(Event::PeerAlive));
    }

    /// Looks whether the peer has become silent.
    pub(super) fn listen(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.excuse_delay(now);
        let silent = now.since(self.peer.heard);
        if self.peer.liveness == Liveness::Alive && silent >= self.config.silent_after {
            self.peer.liveness = Liveness::Silent;
            self.peer.awaits_hello = true;
            self.roles.contact_lost();
            self.forget_peer_roles(out);
            self.look_at_homes();
            out.push(Output::Event(Event::PeerSilent));
        }
        if !self.peer.lost
            && self.peer.liveness != Liveness::Alive
            && silent >= self.config.abandon_after
        {
            self.peer.lost = true;
            self.begin_walk();
            // Nobody is there who could know better.
            self.believe_start(out);
        }
    }

    /// While this node was busy or kept from its processor, it didn't listen: as late as its own
    /// heartbeat is, the peer may be too. Both are busy when they have met.
    fn excuse_delay(&mut self, now: Timestamp) {
        let due = self.peer.next_beat;
        let delay = now.since(due);
        let is_delayed = due > Timestamp::ZERO && delay > self.config.beat_every;
        if self.peer.liveness == Liveness::Alive && is_delayed {
            self.peer.heard = self.peer.heard.after(delay).min(now);
        }
    }

    pub(super) fn goodbye(&mut self, out: &mut Vec<Output>) {
        self.peer.liveness = Liveness::Gone;
        self.peer.awaits_hello = true;
        self.roles.contact_lost();
        self.forget_peer_roles(out);
        self.look_at_homes();
        out.push(Output::Event(Event::PeerGone));
    }

    pub(super) fn next_listen(&self) -> Option<Timestamp> {
        if self.peer.liveness == Liveness::Alive {
            return Some(self.peer.heard.after(self.config.silent_after));
        }
        (!self.peer.lost).then(|| self.peer.heard.after(self.config.abandon_after))
    }

    pub(super) fn beat_due(&self) -> Option<Timestamp> {
        (self.is_populated() && self.peer.boot.is_some()).then_some(self.peer.next_beat)
    }

    pub(super) fn send_beat(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if self.beat_due().is_none_or(|due| due > now) {
            return;
        }
        self.peer.next_beat = now.after(self.config.beat_every);
        self.peer.told_applied = self.applied();
        let beat = Beat {
            complete: self.is_complete(),
            idle: self.is_idle(),
            asks: self.has_barriers(),
            applied: self.peer.told_applied,
            sessions: self.store.live() as u64,
            root: self.store.root(),
            roles: self.roles.mine(),
            homes: Some(self.store.homes().mine),
        };
        self.send_now(&[Section::Beat(beat)], out);
    }

    /// A peer that waits for this node to have everything hears of it at once.
    pub(super) fn answer_if_asked(&mut self) {
        if self.peer.beat.asks && self.applied() > self.peer.told_applied {
            self.peer.next_beat = Timestamp::ZERO;
        }
    }

    pub(super) fn take_beat(&mut self, now: Timestamp, beat: Beat, out: &mut Vec<Output>) {
        for (group, role) in &beat.roles {
            if self.peer.beat.roles.iter().find(|(other, _)| other == group).map(|(_, role)| role)
                != Some(role)
            {
                out.push(Output::Event(Event::PeerRole { group: *group, role: *role }));
            }
        }
        let idle = beat.idle && self.is_idle() && beat.complete && self.is_complete();
        let differs = idle && beat.root != self.store.root();
        self.peer.differing = if differs { self.peer.differing.saturating_add(1) } else { 0 };
        self.peer.beat = beat;
        self.look_at_homes();
        self.compare_homes(now, idle && !differs, out);
        self.look_for_both_active(out);
        self.look_at_differences(now, out);
        self.look_whether_complete(out);
        self.look_at_barriers(out);
        self.answer_if_asked();
    }

    /// What the peer is for a group, if it is heard.
    pub(super) fn peer_role(&self, group: GroupTag) -> Role {
        let roles = self.peer_roles();
        let role = roles.iter().find(|(other, _)| *other == group);
        role.map_or_else(|| for_all(roles.iter().map(|(_, role)| *role)), |(_, role)| *role)
    }

    /// What the peer is for its groups; nothing if it isn't heard.
    pub(super) fn peer_roles(&self) -> &[(GroupTag, Role)] {
        match self.peer.liveness {
            Liveness::Alive => &self.peer.beat.roles,
            _ => &[],
        }
    }

    pub(super) fn look_for_both_active(&mut self, out: &mut Vec<Output>) {
        let mine = self.roles.mine();
        let both = mine.iter().filter(|(group, role)| {
            *role == Role::Active && self.peer_role(*group) == Role::Active
        });
        let both: Vec<GroupTag> = both.map(|(group, _)| *group).collect();
        for group in &both {
            if !self.peer.both_active.contains(group) {
                out.push(Output::Event(Event::BothActive { group: *group }));
            }
        }
        self.peer.both_active = both;
    }

    fn forget_peer_roles(&mut self, out: &mut Vec<Output>) {
        for (group, _) in std::mem::take(&mut self.peer.beat.roles) {
            out.push(Output::Event(Event::PeerRole { group, role: Role::Unknown }));
        }
        self.peer.both_active.clear();
        self.peer.differing = 0;
    }

    /// Both have to hash with the same key. The node that leads chooses it: its own, unless it has
    /// only just started and the peer hasn't.
    fn choose_digest_key(&mut self, greeting: &Greeting, out: &mut Vec<Output>) {
        if !self.config.leads() {
            return;
        }
        let theirs = !self.is_proven() && greeting.met;
        let key = if theirs { greeting.digest_key } else { self.store.key() };
        self.use_digest_key(key, out);
        self.control.push_back(Section::DigestKey(key).to_bytes());
    }

    pub(super) fn use_digest_key(&mut self, key: DigestKey, out: &mut Vec<Output>) {
        self.store.rekey(key);
        self.tell_greeting(out);
    }

    /// Has the channel say the right things in its next handshake.
    pub(super) fn tell_greeting(&self, out: &mut Vec<Output>) {
        out.push(Output::Greet {
            met: self.is_proven(),
            digest_key: self.store.key(),
            keyspace: self.policy.keyspace(),
        });
    }

    pub(super) fn peer_is_proven(&self) -> bool {
        self.peer.proven
    }
}
