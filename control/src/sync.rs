//! The answers about session replication. Field names are stable: scripts read them.

use crate::pair;
use serde::{Deserialize, Serialize};

/// Answers `sync status` and `sync resync`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `alive`, `silent`, `gone` (it said that it stops) or `unknown` (never heard).
    pub peer: String,
    /// Milliseconds since it was heard last.
    pub heard_ms: u64,
    /// A digest of this node's session keys and what they stand for.
    pub policy: String,
    /// The peer's; with the same one keys are taken as they are.
    pub peer_policy: Option<String>,
    /// Replicated sessions here.
    pub sessions: u64,
    /// Those that the peer has said that it has.
    pub peer_sessions: u64,
    /// Sessions that the peer isn't known to have in their present state.
    pub differing: u64,
    /// Whether the digests of all sessions are equal.
    pub equal: bool,
    /// Whether everything that the peer had when the nodes met is here.
    pub complete: bool,
    /// Whether the peer has everything that was here then.
    pub peer_complete: bool,
    /// Microseconds that the oldest unacknowledged packet has been under way; 0 if there is none.
    pub lag_us: u64,
    /// Changes that wait to be sent.
    pub waiting: u64,
    /// Sessions that wait to be written into the kernel.
    pub writes_waiting: u64,
    /// Changes of sessions that were sent.
    pub sent: u64,
    /// Changes of sessions that came.
    pub received: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Sessions that were written into the kernel.
    pub written: u64,
    /// Sessions that the kernel refused.
    pub write_refused: u64,
    /// Sessions that there was no room for.
    pub no_room: u64,
    /// How often notifications of the kernel were lost; all sessions were listed then.
    pub overruns: u64,
    /// Datagrams that were refused, by reason.
    pub refused: Vec<Refused>,
    /// How often the nodes have compared what they have.
    pub resyncs: u64,
    /// The last time; `null` if there was none.
    pub resync: Option<Resync>,
    /// Bytes of memory for sessions and packets.
    pub memory: u64,
    /// Which policy was confirmed, here and on the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<pair::Policies>,
}

/// Datagrams that were refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A comparison of what both nodes have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resync {
    /// Why it was begun.
    pub reason: String,
    /// Milliseconds since then.
    pub ago_ms: u64,
    /// How many of 16,384 groups of sessions differed.
    pub differed: u32,
    /// Whether it is under way.
    pub running: bool,
}
