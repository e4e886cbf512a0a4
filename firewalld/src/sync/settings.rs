//! What session replication is told by the daemon's settings. Plain data.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use twinwall_policy::address::AddressSet;

/// The section `sync`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address and port of this node on the sync link.
    pub local: SocketAddr,
    /// Those of the peer.
    pub peer: SocketAddr,
    /// The file with the keys that both nodes share.
    pub key_file: PathBuf,
    /// From one heartbeat to the next.
    pub beat: Duration,
    /// The peer is silent when nothing was heard for so long.
    pub silent_after: Duration,
    /// How long a node that has started waits for the peer's sessions before it takes over from
    /// it.
    pub preempt_wait: Duration,
    /// Bytes of the flight recorder's file; 0 for none.
    pub recorder: usize,
    /// Whether policies of the peer are kept until an operator takes them.
    pub hold: bool,
    /// Which sessions the peer gets.
    pub replicate: Replicate,
}

/// Which sessions are replicated: those that all parts let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicate {
    /// Zones by name: sessions from or to others are left out; all if empty.
    pub zones: Vec<String>,
    /// IANA protocol numbers; all if empty.
    pub protocols: Vec<u8>,
    /// Addresses that take part in no replicated session.
    pub except: AddressSet,
}
