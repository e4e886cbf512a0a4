//! What goes into the state machine and what comes out.

use crate::channel::Greeting;
use crate::model::{BootId, Delta, GroupTag, Identity, KernelEvent, Role, Session};
use crate::wire::RuleIdentity;
use serde::{Deserialize, Serialize};

/// What goes in. The flight recorder keeps these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The driver is ready. A dump is asked for; nothing is said to the peer before it is over.
    Start,
    /// The channel has new keys.
    Greeted(Greeting),
    /// Plaintext of the peer.
    Message {
        /// The run of the peer's daemon that wrote it.
        boot: BootId,
        /// The plaintext.
        plaintext: Vec<u8>,
    },
    /// A notification of the kernel.
    Kernel(KernelEvent),
    /// Notifications were lost (ENOBUFS). A dump is asked for.
    Overrun,
    /// A session that a dump found.
    Dumped(Delta),
    /// The dump is over.
    DumpEnd {
        /// Whether it went through; if not, another is asked for.
        complete: bool,
    },
    /// What became of the writes of [`Output::Write`], in their order.
    Written {
        /// Which output.
        batch: u64,
        /// A result for each write.
        results: Vec<WriteResult>,
    },
    /// What this node is for its VRRP groups. A session of a group that is left out belongs to
    /// all of them, see [`crate::replica`].
    Roles(Vec<(GroupTag, Role)>),
    /// This node decides by another key table now.
    Policy {
        /// A digest of the table: keys with what they stand for. Equal only if each key number
        /// means the same on both nodes, so not the digest of the policy alone.
        keyspace: u128,
        /// What each key stands for.
        rules: Vec<(u32, RuleIdentity)>,
    },
    /// The answer to [`Output::Classify`].
    Classified {
        /// Which session.
        identity: Identity,
        /// Its key; 0 for none, so that its next packet is classified; `None` to leave what it has,
        /// which is 0 unless this node has classified it by itself meanwhile.
        key: Option<u32>,
    },
    /// Tells with [`Event::PeerReady`] when the peer has all that this node has now, in its
    /// kernel.
    Barrier {
        /// What the event will say.
        id: u32,
    },
    /// The operator wants both nodes to compare what they have.
    Resync,
    /// The daemon stops: the peer is told.
    Stop,
    /// The time has come.
    Poll,
    /// This node is about to decide by another key table; [`Input::Policy`] follows once it does, or
    /// with the one before. To be fed in before the first [`Input::Poll`] that may send a key of the
    /// new one.
    PolicyChanges,
}

/// What comes out, to be done in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Seal this and send it.
    Send(Vec<u8>),
    /// Write sessions into the kernel, one after the other in the order given, and report with
    /// [`Input::Written`]. Batches are written in order.
    Write {
        /// For the report.
        batch: u64,
        /// What to write.
        writes: Vec<Write>,
    },
    /// Dump all sessions of the kernel, feed them in, then [`Input::DumpEnd`].
    Dump(DumpReason),
    /// Find out the key of a session of a peer with another key table: of one whose rule this node
    /// doesn't have, and whether the rule that it has decides here too.
    Classify {
        /// The session; its key is 0, or that of the same rule here. It has none until the answer.
        session: Box<Session>,
        /// The rule that the peer has it under, if that has one.
        rule: Option<RuleIdentity>,
    },
    /// What the next greeting of the channel is to say.
    Greet {
        /// Whether this node has more than what its kernel had at its start.
        met: bool,
        /// What it hashes sessions with.
        digest_key: crate::store::DigestKey,
        /// The digest of its key table.
        keyspace: u128,
    },
    /// Nothing to do, something to tell.
    Event(Event),
}

/// A session to write into the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// What to do.
    pub op: WriteOp,
    /// The session. Its mark is to be written as it is, its timeout is in seconds.
    pub session: Session,
}

/// What to do with a session in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOp {
    /// Create it, with `NLM_F_CREATE | NLM_F_EXCL`. An expectation is created likewise.
    Create,
    /// Update status, protocol state, timeout, mark and labels; not NAT, helper and master.
    Update,
    /// Update nothing but the timeout (`CTA_TIMEOUT` alone).
    Timeout,
    /// There is an older session of this identity: delete it, then create this one.
    Replace,
    /// Delete it.
    Delete,
    /// Delete it, unless less than the session's timeout is left of the one that it has in the
    /// kernel: then packets go through it, which is answered with [`WriteResult::Busy`] once the
    /// session was fed in as a notification of an update by traffic that says everything.
    DeleteIdle,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteResult {
    /// It is done.
    Done,
    /// There is such a session already (EEXIST).
    Exists,
    /// There is no such session (ENOENT).
    Missing,
    /// The kernel refuses it with this `errno`.
    Refused(i32),
    /// Packets go through it, so it wasn't deleted.
    Busy,
}

/// Why a dump is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DumpReason {
    /// The daemon has started.
    Start,
    /// Notifications were lost.
    Overrun,
    /// Now and then, as a check.
    Check,
    /// The kernel has something else than was thought.
    Disputed,
    /// The last one didn't go through.
    Incomplete,
}

/// Why the nodes compare what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ResyncReason {
    /// They haven't met since one of them started.
    #[error("a node has started")]
    Started,
    /// Their digests differ though nothing is under way.
    #[error("the digests differ")]
    Differs,
    /// Both were active while they didn't hear each other.
    #[error("both were active while they did not hear each other")]
    Split,
    /// The operator wanted it.
    #[error("asked for")]
    Asked,
}

/// Something to tell. `Display` words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Event {
    /// The peer is heard: `PeerReport::Alive` for VRRP.
    #[error("the peer is heard")]
    PeerAlive,
    /// The peer is not heard any more: `PeerReport::Silent` for VRRP.
    #[error("the peer is silent")]
    PeerSilent,
    /// The peer has said that it stops: `PeerReport::Gone` for VRRP.
    #[error("the peer has stopped")]
    PeerGone,
    /// The peer's daemon has started, or is met for the first time: preemption has to wait.
    #[error("the peer's daemon has started")]
    PeerStarted,
    /// What the peer is for a VRRP group.
    #[error("the peer is {role:?} for group {}", group.0)]
    PeerRole {
        /// The group.
        group: GroupTag,
        /// What it is.
        role: Role,
    },
    /// Both nodes say that they are active for a group.
    #[error("both nodes are active for group {}", group.0)]
    BothActive {
        /// The group.
        group: GroupTag,
    },
    /// This node has all that the peer had, in its kernel: it may preempt. Comes after a start, and
    /// whenever this node was relieved of a group.
    #[error("everything that the peer has is here")]
    HaveEverything,
    /// The peer has all that was here at [`Input::Barrier`], in its kernel: it may take over.
    #[error("the peer has everything")]
    PeerReady {
        /// What the barrier said.
        id: u32,
    },
    /// The nodes begin to compare what they have.
    #[error("resync: {reason}")]
    ResyncBegan {
        /// Why.
        reason: ResyncReason,
    },
    /// They have compared it.
    #[error("resync is over: {leaves} of 16384 leaves differed")]
    ResyncEnded {
        /// How many leaves differed.
        leaves: u32,
    },
    /// The peer has another key table: keys are translated.
    #[error("the peer's key table is another one")]
    KeysDiffer,
    /// The peer has the same key table again.
    #[error("the peer's key table is the same")]
    KeysAgree,
    /// There is no room for another session; they are counted.
    #[error("no room for more sessions")]
    Full,
    /// The kernel has refused a session several times. It is tried again later.
    #[error("the kernel refuses a session (errno {errno})")]
    WriteRefused {
        /// What it said.
        errno: i32,
    },
    /// More sessions ended than are remembered: their leaves will be listed to the peer.
    #[error("more sessions ended than are remembered")]
    EndedOverflow,
    /// Some sessions that belong to all groups were both nodes' or neither's: all are this node's
    /// until packets show which ones the peer forwards.
    #[error("it was unclear which node forwards which sessions: packets will show")]
    HomesClaimed,
    /// Authenticated content of the peer can't be read; it is counted.
    #[error("malformed content from the peer")]
    Malformed,
}
