//! The state machine behind the channel: sessions of both nodes, the stream between them, and the
//! kernel on this side.
//!
//! ```text
//!   notifications ─► kernel ──┐             ┌─► outbox ─► link ─► Send
//!   dump          ─► kernel ──┼─► store ────┤
//!   the peer      ─► inbox  ──┘   leaves    └─► writes ─────────► Write
//!                     │             │
//!   heartbeats        ├─► peer      └─► resync: digests, lists
//!   VRRP              └─► roles: who carries what
//! ```
//!
//! Every session has one state that both nodes come to agree on, with the number of its version.
//! A change that the kernel reports makes the next version; it is sent to the peer, which takes
//! it if it is later than its own. Two versions of the same number are joined, see
//! [`crate::model::join`]. An ended session is kept until the peer knows.
//!
//! # Whose a session is
//!
//! That of the node which is active for the session's VRRP group. Where there are several groups
//! and nothing tells which one a session belongs to, it belongs to all of them: to the node that
//! is active for all, and while each is active for some, to the one that saw its last change. That
//! may be the wrong one, since packets that change nothing are not told of:
//!
//! - a timeout that ran out on the one ends the session on the other only if no packets go through
//!   it there ([`WriteOp::DeleteIdle`]); otherwise it is the other's from then on;
//! - a dump shows in the timeouts through which sessions packets have gone: those become this
//!   node's. One follows each change of roles.
//!
//! Goes in: [`Input`]. Comes out: [`Output`]. It needs neither keys nor random numbers, so its
//! inputs can be recorded and replayed. Not here: sealing, see [`crate::channel`].

mod catch_up;
mod config;
mod inbox;
mod io;
mod kernel;
mod link;
mod outbox;
mod peer;
pub mod policy;
mod resync;
mod roles;
mod shared;
mod status;
mod writes;

pub use config::Config;
pub use io::{DumpReason, Event, Input, Output, ResyncReason, Write, WriteOp, WriteResult};
pub use peer::Liveness;
pub use status::{Place, Stats, Status};

use crate::channel::{Greeting, MAX_PLAINTEXT};
use crate::model::{BootId, Session};
use crate::store::{Flags, Index, Store};
use crate::time::Timestamp;
use crate::wire::Section;
use catch_up::CatchUp;
use kernel::Dump;
use link::Link;
use outbox::Outbox;
use peer::Peer;
use policy::Policy;
use resync::Resync;
use roles::{Barriers, Roles, Walk};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use writes::Writes;

/// No datagram is planned shorter than this: the longest record has to fit.
const SHORTEST_DATAGRAM: usize = 1000;

/// The state machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replica {
    config: Config,
    store: Store,
    link: Link,
    outbox: Outbox,
    control: VecDeque<Vec<u8>>,
    /// Ended sessions that the peer knows of, and the packet of the peer's up to which older news
    /// of them may come.
    buried: VecDeque<(u64, Index)>,
    writes: Writes,
    dump: Dump,
    peer: Peer,
    roles: Roles,
    walk: Walk,
    resync: Resync,
    catch_up: CatchUp,
    policy: Policy,
    keys_agreed: Option<bool>,
    barriers: Barriers,
    stats: Stats,
}

impl Replica {
    /// One that knows of no session yet.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.datagram = config.datagram.clamp(SHORTEST_DATAGRAM, MAX_PLAINTEXT);
        config.window = config.window.clamp(8, 1 << 16);
        config.batch = config.batch.max(1);
        config.batches = config.batches.max(1);
        Self {
            store: Store::new(config.digest_key, config.owned),
            config,
            link: Link::default(),
            outbox: Outbox::default(),
            control: VecDeque::new(),
            buried: VecDeque::new(),
            writes: Writes::default(),
            dump: Dump::default(),
            peer: Peer::default(),
            roles: Roles::default(),
            walk: Walk::default(),
            resync: Resync::default(),
            catch_up: CatchUp::default(),
            policy: Policy::default(),
            keys_agreed: None,
            barriers: Barriers::default(),
            stats: Stats::default(),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What this node says of itself in a handshake.
    #[must_use]
    pub fn greeting(&self) -> Greeting {
        Greeting {
            node: self.config.node,
            boot: self.config.boot,
            met: self.is_proven(),
            digest_key: self.store.key(),
            keyspace: self.policy.keyspace(),
        }
    }

    /// Whether the dump of the start is over: only then the channel is opened.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_populated()
    }

    /// Whether all sessions of the kernel are known, but for those of notifications that are still
    /// to be read: no dump is under way, and none has to follow.
    #[must_use]
    pub fn knows_all(&self) -> bool {
        self.is_populated() && !self.is_dumping()
    }

    /// Takes an input in. What it brings about comes out now or with [`Input::Poll`], which is
    /// due at [`Self::next_deadline`].
    pub fn handle(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Start => {
                self.peer.heard = now;
                self.begin_dump(DumpReason::Start, out);
            }
            Input::Greeted(greeting) => self.greeted(now, &greeting, out),
            Input::Message { boot, plaintext } => self.message(now, boot, &plaintext, out),
            Input::Kernel(event) => self.kernel_event(&event, out),
            Input::Overrun => self.overrun(now, out),
            Input::Dumped(delta) => self.dumped(&delta, out),
            Input::DumpEnd { complete } => self.dump_end(complete, out),
            Input::Written { batch, results } => {
                self.written(batch, &results, out);
                self.answer_if_asked();
                self.look_whether_complete(out);
            }
            Input::Roles(roles) => self.take_roles(now, roles, out),
            Input::PolicyChanges => self.policy_changes(out),
            Input::Policy { keyspace, rules } => self.take_policy(keyspace, rules, out),
            Input::Classified { identity, key } => self.classified(&identity, key),
            Input::Barrier { id } => self.barrier(id),
            Input::Resync => self.begin_resync(now, ResyncReason::Asked, out),
            Input::Stop => self.send_now(&[Section::Goodbye], out),
            Input::Poll => self.poll(now, out),
        }
    }

    /// When [`Input::Poll`] is due. A moment that is past: at once, after what waits has been
    /// handled.
    #[must_use]
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let ready = self.is_sweeping()
            || self.can_write()
            || self.is_resync_over()
            || (self.is_populated() && (self.link.is_ack_due() || self.policy.wants_to_ask()));
        if ready {
            return Some(Timestamp::ZERO);
        }
        let alive = self.peer.liveness == Liveness::Alive;
        let deadlines = [
            self.beat_due(),
            self.next_listen().filter(|_| self.is_populated()),
            self.link.next_resend(alive).filter(|_| self.is_populated()),
            self.next_packet(now),
            self.next_walk(),
            self.next_dump(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The sessions that live, in no particular order.
    pub fn sessions(&self) -> impl Iterator<Item = Session> + '_ {
        let all = (0..self.store.end()).filter(|index| {
            let flags = self.store.flags(*index);
            flags.has(Flags::USED) && !flags.has(Flags::DEAD)
        });
        all.filter_map(|index| self.store.get(index)).map(|(session, _)| session)
    }

    /// How many sessions live, and how many ended ones are kept until both nodes know.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.store.live(), self.store.dead())
    }

    /// The run of the peer's daemon that this node knows.
    #[must_use]
    pub fn peer_boot(&self) -> Option<BootId> {
        self.peer.boot
    }

    /// Whether the peer is heard.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.peer.liveness
    }

    /// All packets of the peer up to this number were taken in.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.link.received()
    }

    /// The digest of all sessions. Equal digests of both nodes: equal sessions.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.store.root()
    }

    /// Bytes that a checkpoint of the flight recorder takes at least.
    pub(crate) fn least_frozen(&self) -> usize {
        self.store.least_frozen()
    }

    fn poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.sweep_on(now, out);
        self.look_at_dump(now, out);
        self.walk_on(now);
        if self.is_populated() {
            self.listen(now, out);
            self.end_resync(now, out);
            self.ask_for_rules();
        }
        self.write_batches(out);
        if self.is_populated() {
            self.send_packets(now, out);
            self.resend(now, out);
            self.look_at_barriers(out);
            self.answer_catch_up();
            self.send_beat(now, out);
            if self.link.is_ack_due() {
                self.send_now(&[], out);
            }
        }
    }

    /// The peer knows nothing any more: the stream begins anew, and whether it has a session is
    /// to be found out.
    fn forget_stream(&mut self) {
        self.link = Link::default();
        self.control.clear();
        self.buried.clear();
        self.outbox.clear();
        self.writes.restart();
        for index in 0..self.store.end() {
            if let Some(entry) = self.store.entry_mut(index) {
                entry.sent = 0;
                let stream = Flags::QUEUED | Flags::SENT | Flags::SYNCED | Flags::KNOWN;
                entry.flags.set(stream, false);
                if entry.flags.has(Flags::DEAD) {
                    entry.flags.set(Flags::BURIED, false);
                }
                self.forget_if_done(index);
            }
        }
        self.barriers.restart(self.outbox.pushed());
        self.catch_up.restart();
    }
}
