//! The rows of the pair's table: what each measures, and what is aimed at. Plain data.

use super::fault::Fault;
use crate::scenario::run::Event;

/// A row, or a few of them that one run fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// What a stream loses, with both peers as in `bench-vrrp`.
    Gap(Event),
    /// The longest stall of TCP sessions while a node dies and comes back.
    Stall,
    /// Many new sessions: rate, processor time, bytes, memory.
    Copy,
    /// One new session at a time.
    One,
    /// What is missing after a fault.
    Fault(Fault),
    /// A node that has lost all its sessions gets them again.
    Resync,
    /// The same with more sessions than the machine's own limit allows.
    ResyncMany,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// The median is at most this.
    AtMost(f64),
    /// The median is at least this.
    AtLeast(f64),
    /// Every run has at most this.
    Never(f64),
    /// As good as the peer's median or better.
    AsPeer,
    /// Nothing: it says more about the row above.
    None,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// The value's name in JSON.
    pub value: &'static str,
    /// What it is, with its unit.
    pub what: &'static str,
    /// Decimal places.
    pub digits: usize,
    /// What is aimed at.
    pub aim: Aim,
}

impl Row {
    /// All, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::Gap(Event::NodeDeath),
        Self::Gap(Event::LegDown),
        Self::Gap(Event::Graceful),
        Self::Gap(Event::Failback),
        Self::Gap(Event::Kill9),
        Self::Gap(Event::Stopped),
        Self::Stall,
        Self::Copy,
        Self::One,
        Self::Fault(Fault::Loss),
        Self::Fault(Fault::Cut),
        Self::Fault(Fault::SenderStopped),
        Self::Fault(Fault::ReceiverStopped),
        Self::Fault(Fault::PeerRestarted),
        Self::Resync,
        Self::ResyncMany,
    ];

    /// Its name in options, tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap(event) => event.name(),
            Self::Stall => "pair-stall",
            Self::Copy => "pair-copy",
            Self::One => "pair-one",
            Self::Fault(fault) => fault.name(),
            Self::Resync => "pair-resync",
            Self::ResyncMany => "pair-resync-many",
        }
    }

    /// The row of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name() == name)
    }

    /// How often it is run when the others are run so often: the largest one once.
    #[must_use]
    pub const fn runs(self, others: u32) -> u32 {
        match self {
            Self::ResyncMany => 1,
            _ => others,
        }
    }

    /// Its lines.
    #[must_use]
    pub const fn measures(self) -> &'static [Measure] {
        match self {
            Self::Gap(Event::NodeDeath) => &GAP_OF_A_NODE,
            Self::Gap(Event::LegDown) => &GAP_OF_A_LEG,
            Self::Gap(Event::Graceful | Event::Failback) => &LOST,
            Self::Gap(_) => &OWNERS,
            Self::Stall => &STALL,
            Self::Copy => &COPY,
            Self::One => &ONE,
            Self::Fault(_) => &MISSING,
            Self::Resync => &RESYNC,
            Self::ResyncMany => &RESYNC_MANY,
        }
    }
}

const fn measure(value: &'static str, what: &'static str, digits: usize, aim: Aim) -> Measure {
    Measure { value, what, digits, aim }
}

const GAP_OF_A_NODE: [Measure; 2] = [
    measure("gap_ms_to_server", "gap to the server, ms", 1, Aim::AtMost(10.0)),
    measure("gap_ms_to_client", "gap to the client, ms", 1, Aim::AtMost(10.0)),
];
const GAP_OF_A_LEG: [Measure; 2] = [
    measure("gap_ms_to_server", "gap to the server, ms", 1, Aim::AtMost(5.0)),
    measure("gap_ms_to_client", "gap to the client, ms", 1, Aim::AtMost(5.0)),
];
const LOST: [Measure; 2] = [
    measure("lost_to_server", "lost to the server", 0, Aim::Never(0.0)),
    measure("lost_to_client", "lost to the client", 0, Aim::Never(0.0)),
];
const OWNERS: [Measure; 2] = [
    measure("two_owners_arp_ms", "two answer ARP, ms", 0, Aim::Never(1000.0)),
    measure("two_owners_nd_ms", "two answer neighbour solicitations, ms", 0, Aim::Never(1000.0)),
];
const STALL: [Measure; 4] = [
    measure(
        "death_stall_ms",
        "node death: longest stall of 100 TCP sessions, ms",
        0,
        Aim::AtMost(45.0),
    ),
    measure("death_broken", "node death: sessions broken", 0, Aim::Never(0.0)),
    measure("failback_stall_ms", "fail-back: longest stall, ms", 0, Aim::AtMost(45.0)),
    measure("failback_broken", "fail-back: sessions broken", 0, Aim::Never(0.0)),
];
const COPY: [Measure; 8] = [
    measure("per_second", "sessions/s into the peer's kernel", 0, Aim::AtLeast(120_000.0)),
    measure("made_per_second", "made there per second", 0, Aim::None),
    measure("missing", "missing", 0, Aim::Never(0.0)),
    measure("sender_cpu_s", "CPU of the sender for 100,000, s", 2, Aim::AtMost(0.35)),
    measure("receiver_cpu_s", "CPU of the receiver for 100,000, s", 2, Aim::AtMost(0.55)),
    measure("bytes", "bytes a session on the wire", 1, Aim::AtMost(40.0)),
    measure("sender_memory", "memory a session, sender, B", 0, Aim::AtMost(100.0)),
    measure("receiver_memory", "memory a session, receiver, B", 0, Aim::AtMost(100.0)),
];
const ONE: [Measure; 2] = [
    measure("median_us", "one session, kernel to kernel: median, us", 0, Aim::AsPeer),
    measure("p99_us", "one session, kernel to kernel: p99, us", 0, Aim::AsPeer),
];
const MISSING: [Measure; 2] = [
    measure("missing_after_2s", "missing 2 s after", 0, Aim::Never(0.0)),
    measure("missing_at_the_end", "missing at the end of the observation", 0, Aim::Never(0.0)),
];
const RESYNC: [Measure; 4] = [
    measure("seconds", "100,000 again on both, s", 2, Aim::AtMost(0.45)),
    measure("missing", "missing", 0, Aim::Never(0.0)),
    measure("stream_lost", "datagrams of a 1 ms stream lost meanwhile", 0, Aim::Never(0.0)),
    measure("stream_p99_ms", "their p99, ms", 2, Aim::None),
];
const RESYNC_MANY: [Measure; 4] = [
    measure("seconds", "1,000,000 again on both, s", 2, Aim::AtMost(4.5)),
    measure("missing", "missing", 0, Aim::Never(0.0)),
    measure("stream_lost", "datagrams of a 1 ms stream lost meanwhile", 0, Aim::Never(0.0)),
    measure("stream_p99_ms", "their p99, ms", 2, Aim::None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        for row in Row::ALL {
            assert_eq!(Row::named(row.name()), Some(row));
        }
    }
}
