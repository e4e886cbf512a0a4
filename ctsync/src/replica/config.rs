//! How replication behaves.

use crate::model::{BootId, NodeId, Proto, Session, TcpState};
use crate::store::DigestKey;
use crate::wire::coarse;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds: kernels count timeouts in up to 1,000 ticks a second with 31 bits.
const LONGEST_HOLD: u32 = 2_000_000;
/// What the kernel gives a TCP session at most that isn't established, in seconds, and one that is
/// (`nf_conntrack_proto_tcp.c`).
const TCP: u32 = 120;
const TCP_ESTABLISHED: u32 = 432_000;
/// The same for protocols that it doesn't know (`nf_conntrack_proto_generic.c`); UDP, ICMP and GRE
/// have less.
const OTHERS: u32 = 600;
/// What a session has at least that was only found in a kernel, in seconds.
const LEFT_AT_LEAST: u32 = 60;

/// The configuration. It doesn't change while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// The other one.
    pub peer: NodeId,
    /// This run of the daemon, random.
    pub boot: BootId,
    /// What sessions are hashed with, random; the peer's is taken if that has met this node's
    /// predecessor.
    pub digest_key: DigestKey,
    /// The bits of the connmark that hold the session key.
    pub owned: u32,
    /// The time between heartbeats.
    pub beat_every: Duration,
    /// The peer is silent when nothing was heard for so long.
    pub silent_after: Duration,
    /// The peer counts as lost when it was silent for so long: sessions that belong to no known
    /// VRRP group are taken over then, and what was found in the kernel at the start is believed.
    pub abandon_after: Duration,
    /// The longest plaintext of a datagram, in bytes.
    pub datagram: usize,
    /// Packets that may be unacknowledged, each of at most `datagram` bytes: the memory for
    /// resending, and on the other side for what comes too early.
    pub window: usize,
    /// Packets of a resync within a second. What has just changed isn't held back.
    pub bulk_rate: u32,
    /// Sessions that are kept at most; `nf_conntrack_max` is a good value.
    pub max_sessions: usize,
    /// Ended sessions that are remembered until the peer knows. Beyond, their leaves are listed
    /// instead.
    pub max_ended: usize,
    /// The timeout of a session in the kernel of the node that doesn't carry it, in seconds, at
    /// least; see [`Self::held`]. It is written anew when half of it is over.
    pub hold: u32,
    /// What is known is held to a dump of the kernel's sessions this often: writes and packets can
    /// meet in ways that no notification tells.
    pub check_every: Duration,
    /// Sessions of one [`super::Output::Write`].
    pub batch: usize,
    /// How many of those may be under way.
    pub batches: usize,
}

impl Config {
    /// Heartbeats each 2 ms, silence after 7 ms, a window of 256 datagrams of 1,400 bytes,
    /// 20,000 datagrams of a resync a second, a million sessions.
    #[must_use]
    pub const fn new(node: NodeId, peer: NodeId, boot: BootId, digest_key: DigestKey) -> Self {
        Self {
            node,
            peer,
            boot,
            digest_key,
            owned: 0x00ff_ffff,
            beat_every: Duration::from_millis(2),
            silent_after: Duration::from_millis(7),
            abandon_after: Duration::from_secs(3),
            datagram: 1400,
            window: 256,
            bulk_rate: 20_000,
            max_sessions: 1 << 20,
            max_ended: 1 << 16,
            hold: 86_400,
            check_every: Duration::from_secs(300),
            batch: 64,
            batches: 8,
        }
    }

    /// The timeout of a session, in seconds, in the kernel of the node that doesn't carry it: far
    /// more than any packet gives it, so that it shows whether one came.
    #[must_use]
    pub fn held(&self, session: &Session) -> u32 {
        let longest = match session.proto {
            // Of days, which notifications of earlier states don't say.
            Proto::Tcp(tcp) if tcp.state == TcpState::ESTABLISHED => LONGEST_HOLD,
            _ => coarse::rounded(session.timeout).saturating_mul(4).min(LONGEST_HOLD),
        };
        self.hold.max(longest)
    }

    /// The timeout of a session whose kernel says this one, in seconds. More than any packet gives
    /// it is what [`Self::held`] gave, here or in an earlier run of the daemon; its own is the
    /// kernel's default then.
    pub(super) fn own(&self, session: &Session) -> u32 {
        let (longest, own) = match session.proto {
            Proto::Tcp(tcp) if tcp.state != TcpState::ESTABLISHED => (self.hold / 3, TCP),
            Proto::None if session.expectation.is_none() => (self.hold / 3, OTHERS),
            Proto::None => return session.timeout,
            Proto::Tcp(_) | Proto::Sctp { .. } | Proto::Dccp { .. } => {
                (coarse::LONGEST, TCP_ESTABLISHED)
            }
        };
        if session.timeout > longest { own } else { session.timeout }
    }

    /// The timeout of a session that this node carries from now on, in seconds. What was only found
    /// in a kernel has what was left of its timeout then, and packets may have renewed that since
    /// without a word.
    pub(super) fn carried(session: &Session, version: u32) -> u32 {
        let least = if version == 0 && session.expectation.is_none() { LEFT_AT_LEAST } else { 0 };
        coarse::rounded(session.timeout).max(least)
    }

    /// If fewer seconds than these are left of what [`Self::held`] gave, packets have come since.
    #[must_use]
    pub(super) fn touched_below(&self, session: &Session) -> u32 {
        self.held(session) / 3
    }

    /// Whether this node begins handshakes and resyncs.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.node < self.peer
    }
}
