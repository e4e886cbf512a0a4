//! What session replication is told by the daemon's settings. Plain data.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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
    pub except: Vec<Net>,
}

/// A prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// Its address.
    pub address: IpAddr,
    /// Its length in bits.
    pub length: u8,
}

impl Net {
    /// Whether it covers an address.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u8| {
            let rest = u32::from(width.saturating_sub(self.length));
            (a ^ b).checked_shr(rest).unwrap_or(0) == 0
        };
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_its_addresses_and_no_others() {
        let net = |text: &str, length| Net { address: text.parse().unwrap(), length };
        let covers = |net: Net, text: &str| net.contains(text.parse().unwrap());
        assert!(covers(net("10.0.0.0", 8), "10.255.0.1"));
        assert!(!covers(net("10.0.0.0", 8), "11.0.0.1"));
        assert!(covers(net("0.0.0.0", 0), "203.0.113.1"));
        assert!(!covers(net("0.0.0.0", 0), "::1"));
        assert!(covers(net("2001:db8::", 32), "2001:db8:1::1"));
        assert!(!covers(net("2001:db8::", 128), "2001:db8::1"));
    }
}
