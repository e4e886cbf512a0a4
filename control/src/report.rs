//! The answers, one type a verb. Field names are stable: scripts read them.

use crate::pair;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Apply {
    /// Counts up with every policy that was loaded.
    pub generation: u64,
    /// The policy's name.
    pub policy: String,
    /// Rules without the built-in ones.
    pub rules: usize,
    /// What became of the session keys.
    pub keys: KeyCounts,
    /// What became of the sessions.
    pub sessions: SessionCounts,
    /// Milliseconds from the request until no packet was decided by the old policy.
    pub effective_ms: f64,
    /// Milliseconds until the last session was looked at.
    pub total_ms: f64,
    /// Warnings of the linter, as text.
    pub warnings: Vec<String>,
    /// Milliseconds within which it has to be confirmed; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_ms: Option<u64>,
    /// A digest of the policy's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What became of it on the peer; absent without session replication, and before it is
    /// confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<pair::Outcome>,
}

/// Session keys of a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCounts {
    /// Same before and after.
    pub unchanged: usize,
    /// New.
    pub added: usize,
    /// Gone.
    pub removed: usize,
    /// Kept for running sessions by `on_change: keep`.
    pub kept: usize,
}

/// Sessions of a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounts {
    /// Still with their rule and key.
    pub unchanged: u64,
    /// Moved to another key, and still passing or still refused.
    pub remarked: u64,
    /// Cut off by the new policy.
    pub ended: u64,
    /// Left under a key of the old policy; 0 unless something went wrong.
    pub left: u64,
}

/// The daemon and the data plane at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When the daemon started, RFC 3339.
    pub started: String,
    /// Generation of the running policy.
    pub generation: u64,
    /// The running policy's name.
    pub policy: String,
    /// When it was loaded, RFC 3339.
    pub loaded: String,
    /// Rules without the built-in ones.
    pub rules: usize,
    /// Session keys in the kernel.
    pub keys: usize,
    /// Sessions in conntrack, classified or not.
    pub sessions: u64,
    /// What new sessions get without the daemon: `closed` or `open`.
    pub queue_failure: String,
    /// How packets get to the daemon: `native` or `compat`.
    pub queue_expression: String,
    /// Bits of the connmark that are Twinwall's.
    pub mark_mask: u32,
    /// NFQUEUE workers.
    pub queues: Vec<Queue>,
    /// Packets outside the rules, by reason.
    pub exceptions: Vec<Exception>,
    /// The zone of each interface that is present.
    pub interfaces: Vec<Interface>,
    /// Which policy was confirmed, here and on the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<pair::Policies>,
}

/// One NFQUEUE and its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Queue number.
    pub number: u16,
    /// Packets classified.
    pub classified: u64,
    /// Packets that could not be read and were dropped.
    pub malformed: u64,
    /// Packets in the queue now.
    pub waiting: u64,
    /// Packets that the kernel could not queue.
    pub overrun: u64,
}

/// Packets that no rule decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// `invalid`, `unclassified`, `again`, ...
    pub reason: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An interface and its zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Interface name.
    pub name: String,
    /// Zone name, or `(outside)`.
    pub zone: String,
}

/// All rules with their hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Generation of the running policy.
    pub generation: u64,
    /// Counted since, RFC 3339.
    pub since: String,
    /// In the order of decision; rules that only live on through `on_change: keep` at the end.
    pub rules: Vec<Rule>,
}

/// One rule and its hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// Order; `null` for built-in rules and for removed rules whose sessions are kept.
    pub seq: Option<u32>,
    /// `accept`, `drop` or `reject`.
    pub action: String,
    /// Sessions in conntrack.
    pub sessions: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions, with IP headers.
    pub bytes: u64,
    /// The last packet, RFC 3339, to within the sampling interval; `null` before the first.
    pub last_hit: Option<String>,
}

/// A list of sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// How many matched the filter, listed or not.
    pub total: u64,
    /// The sessions.
    pub sessions: Vec<Session>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The rule that decides it; `null` when its mark is no key of the running policy.
    pub rule: Option<String>,
    /// `accept`, `drop` or `reject`; `null` as above.
    pub action: Option<String>,
    /// Ingress zone; `null` as above.
    pub from: Option<String>,
    /// Egress zone; `null` as above.
    pub to: Option<String>,
    /// Protocol by name or number.
    pub protocol: String,
    /// Source as the first packet had it.
    pub src: IpAddr,
    /// Source port, or ICMP type.
    pub src_port: u16,
    /// Destination as the first packet had it.
    pub dst: IpAddr,
    /// Destination port, or ICMP code.
    pub dst_port: u16,
    /// Source that the destination sees, if source NAT changed it.
    pub snat: Option<String>,
    /// Destination that it really went to, if destination NAT changed it.
    pub dnat: Option<String>,
    /// Protocol state (TCP) or `null`.
    pub state: Option<String>,
    /// Whether both directions have been seen.
    pub replied: bool,
    /// Whether it belongs to another session (FTP data and the like).
    pub expected: bool,
    /// Seconds until it ends without traffic.
    pub timeout: u32,
    /// The owned bits of its mark.
    pub key: u32,
    /// Whether its key is none of the running policy's.
    pub stale: bool,
    /// On a pair: `here` or `peer`, whichever forwards it; absent for what isn't replicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<String>,
    /// On a pair: whether the other node has it as it is now; absent for what isn't replicated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<bool>,
}

/// Why a flow is decided as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explain {
    /// Every rule that was tried, the deciding one last.
    pub tried: Vec<Tried>,
    /// Rule that decides.
    pub rule: String,
    /// What it does.
    pub action: String,
    /// NAT that applies, as text; `null` for none.
    pub nat: Option<String>,
    /// The live session of this flow, if there is one and a daemon was asked.
    pub session: Option<Session>,
}

/// One rule of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Order; `null` for built-in rules.
    pub seq: Option<u32>,
    /// Name.
    pub name: String,
    /// Whether it matched.
    pub matched: bool,
    /// Why not, field by field; empty when it matched.
    pub reasons: Vec<String>,
}
