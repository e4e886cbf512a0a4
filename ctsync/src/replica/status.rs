//! What `twinwall sync status` shows.

use super::{Liveness, Replica, ResyncReason};
use crate::model::{BootId, GroupTag, Identity, Role};
use crate::store::Flags;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Notifications of the kernel.
    pub events: u64,
    /// Notifications and dumped sessions that are of no form that can be replicated.
    pub unusable: u64,
    /// Dumps that were asked for.
    pub dumps: u64,
    /// Sessions that a dump found in another state than was thought.
    pub found_changed: u64,
    /// Packets that were sent, resends and those that needn't arrive left out.
    pub packets: u64,
    /// Changes of sessions that were sent, lists left out.
    pub records: u64,
    /// Changes of sessions that came, lists included.
    pub received: u64,
    /// Writes into the kernel.
    pub writes: u64,
    /// Sessions that the kernel refused.
    pub write_refused: u64,
    /// What it said last, an `errno`.
    pub last_errno: i32,
    /// Sessions for which there was no room.
    pub full: u64,
    /// Ended sessions that are told by the list of their leaf.
    pub ended_overflow: u64,
    /// Packets with content that can't be read.
    pub malformed: u64,
    /// Questions of the peer that were too many.
    pub unanswered: u64,
    /// Sessions that had to be classified because their rule isn't here.
    pub classified: u64,
}

/// The state of replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether the peer is heard.
    pub liveness: Liveness,
    /// The run of its daemon.
    pub peer_boot: Option<BootId>,
    /// When it was heard last.
    pub heard: Timestamp,
    /// What it is for which VRRP group.
    pub peer_roles: Vec<(GroupTag, Role)>,
    /// The digest of the key table here.
    pub keyspace: u128,
    /// The digest of the peer's.
    pub peer_keyspace: Option<u128>,
    /// Sessions here.
    pub sessions: u64,
    /// Sessions that the peer has said that it holds.
    pub peer_sessions: u64,
    /// Sessions that the peer isn't known to have in their present state.
    pub differing: u64,
    /// Whether the digests are equal, as far as both have nothing to send.
    pub equal: bool,
    /// How long the oldest unacknowledged packet has been under way; zero if there is none.
    pub lag: Duration,
    /// Changes and leaves that wait to be sent.
    pub waiting: u64,
    /// Sessions that wait to be written into the kernel.
    pub writes_waiting: u64,
    /// Sessions whose key isn't translated yet.
    pub keys_waiting: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Packets that came more than once.
    pub repeated: u64,
    /// Whether a resync is under way.
    pub resyncing: bool,
    /// Why the last one was begun.
    pub resync_reason: Option<ResyncReason>,
    /// When.
    pub resync_began: Timestamp,
    /// How many leaves differed; known to the node that leads.
    pub resync_leaves: u32,
    /// How many there were.
    pub resyncs: u64,
    /// Whether all that the peer had when the nodes met is in the kernel here.
    pub has_everything: bool,
    /// Whether the peer has acknowledged all that was here when they met.
    pub peer_complete: bool,
    /// Bytes that sessions, queues and unacknowledged packets take.
    pub memory: u64,
    /// Counts.
    pub stats: Stats,
}

/// Where a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Whether this node carries it.
    pub here: bool,
    /// Whether this node saw its last change.
    pub changed_here: bool,
    /// Whether the peer has it in its present state.
    pub synced: bool,
    /// Whether it is in the kernel here.
    pub in_kernel: bool,
}

impl Replica {
    /// The state of replication. Takes time with the number of sessions; for an operator's
    /// question, not for each packet.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        let lives = |flags: Flags| flags.has(Flags::USED) && !flags.has(Flags::DEAD);
        let differing = (0..self.store.end()).map(|index| self.store.flags(index));
        let differing = differing.filter(|f| lives(*f) && !f.has(Flags::SYNCED)).count();
        Status {
            liveness: self.peer.liveness,
            peer_boot: self.peer.boot,
            heard: self.peer.heard,
            peer_roles: self.peer.beat.roles.clone(),
            keyspace: self.policy.keyspace(),
            peer_keyspace: self.policy.peer_keyspace(),
            sessions: self.store.live() as u64,
            peer_sessions: self.peer.beat.sessions,
            differing: differing as u64,
            equal: self.peer.beat.root == self.store.root(),
            lag: self.link.oldest().map_or(Duration::ZERO, |at| now.since(at)),
            waiting: (self.outbox.waiting() + self.outbox.leaves()) as u64,
            writes_waiting: self.writes.waiting() as u64,
            keys_waiting: self.policy.waiting() as u64,
            resent: self.link.resent(),
            repeated: self.link.repeated(),
            resyncing: self.is_resyncing(),
            resync_reason: self.resync.last_reason,
            resync_began: self.resync.last_began,
            resync_leaves: self.resync.last_leaves,
            resyncs: self.resync.count,
            has_everything: self.has_everything(),
            peer_complete: self.is_complete(),
            memory: self.memory() as u64,
            stats: self.stats.clone(),
        }
    }

    /// Bytes that sessions, queues and unacknowledged packets take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.store.memory() + self.link.memory() + self.outbox.memory() + self.writes.memory()
    }

    /// Where a session lives; `None` if there is none.
    #[must_use]
    pub fn place(&mut self, identity: &Identity) -> Option<Place> {
        let index = self.store.find(identity)?;
        let entry = *self.store.entry(index)?;
        (!entry.flags.has(Flags::DEAD)).then(|| Place {
            here: self.carries(entry.group, entry.flags),
            changed_here: entry.flags.has(Flags::MINE),
            synced: entry.flags.has(Flags::SYNCED),
            in_kernel: entry.flags.has(Flags::KERNEL),
        })
    }
}
