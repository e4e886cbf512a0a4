//! What the simulation speaks of: sides, what comes to pass, what a run went through.

use std::fmt;
use twinwall_ctsync::model::{GroupTag, Session};
use twinwall_ctsync::offer::Delivery;
use twinwall_ctsync::replica::Write;

/// Nanoseconds since the world began.
pub(crate) type Nanos = u64;

pub(crate) const MS: Nanos = 1_000_000;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A promise that was broken.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) seed: u64,
    pub(crate) step: u64,
    pub(crate) at: Nanos,
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at as f64 / 1e9;
        write!(f, "seed {}, step {}, {seconds:.6} s: {}", self.seed, self.step, self.what)
    }
}

/// What a run went through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) steps: u64,
    pub(crate) datagrams: u64,
    pub(crate) lost: u64,
    pub(crate) calms: u64,
    pub(crate) opened: u64,
    pub(crate) restarts: u64,
    pub(crate) reboots: u64,
    pub(crate) cuts: u64,
    pub(crate) splits: u64,
    pub(crate) overruns: u64,
    pub(crate) standstills: u64,
    pub(crate) reloads: u64,
    pub(crate) moves: u64,
    pub(crate) confirmed: u64,
    pub(crate) taken: u64,
    pub(crate) silences: u64,
    pub(crate) resyncs: u64,
    pub(crate) claims: u64,
    pub(crate) replayed: u64,
    /// Packets whose session wasn't in the kernel of the host that got them.
    pub(crate) missed: u64,
    pub(crate) worst_memory: usize,
    /// The longest time from the last fault until both had the same, in ms.
    pub(crate) worst_settling: u64,
    pub(crate) seconds: f64,
}

/// What comes to pass at a certain time.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    Datagram { to: Side, bytes: Vec<u8> },
    Notifications { side: Side },
    Written { side: Side, boot: u32, batch: u64, writes: Vec<Write> },
    Dumped { side: Side, boot: u32, found: Vec<Session>, last: bool },
    Boot { side: Side },
    Heal,
    Hear { side: Side },
    Move { group: GroupTag, to: Side },
    Unsplit,
    Rules { side: Side, boot: u32 },
    Load { side: Side, boot: u32, delivery: Delivery },
}

impl Due {
    /// The host whose daemon has to read it.
    pub(crate) fn reader(&self) -> Option<Side> {
        match self {
            Self::Datagram { to, .. } => Some(*to),
            Self::Notifications { side }
            | Self::Written { side, .. }
            | Self::Dumped { side, .. }
            | Self::Rules { side, .. }
            | Self::Load { side, .. } => Some(*side),
            Self::Boot { .. }
            | Self::Heal
            | Self::Hear { .. }
            | Self::Move { .. }
            | Self::Unsplit => None,
        }
    }
}
