//! The stream of packets: each arrives once and in order, however often datagrams are lost,
//! repeated or reordered.
//!
//! ```text
//!              acknowledged │ unacknowledged, kept for resending │ window has room
//!   sender     ─────────────┼────────────────────────────────────┼────────────────►
//!   receiver   taken in     │ early ones wait for those missing  │ refused
//! ```
//!
//! Bounded: a window of packets on either side. What changes while the window is shut waits as a
//! flag on its session, not as a packet.
//!
//! Not here: what the packets hold.

use crate::store::Index;
use crate::time::Timestamp;
use crate::wire::Ack;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// A packet is sent again when so many later ones have arrived.
const REORDERED: u64 = 3;
/// Or after this time, doubled with each attempt.
const RESEND_AFTER: Duration = Duration::from_millis(20);
const RESEND_DOUBLINGS: u32 = 4;
/// Resends of one call at most.
const RESENDS: usize = 32;

/// Both directions.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Link {
    /// The number of the last packet.
    last: u64,
    unacked: BTreeMap<u64, Sent>,
    /// The highest number that is acknowledged.
    highest_acked: u64,
    /// All packets up to here were taken in.
    received: u64,
    early: BTreeMap<u64, Vec<u8>>,
    ack_due: bool,
    resent: u64,
    repeated: u64,
}

/// A packet that isn't acknowledged yet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    sections: Vec<u8>,
    at: Timestamp,
    attempts: u32,
    /// The sessions that it carries.
    pub(super) sessions: Vec<Index>,
}

impl Link {
    /// The number of the last packet that was sent.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// All packets of the peer up to here were taken in.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn resent(&self) -> u64 {
        self.resent
    }

    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    pub(super) fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// When the oldest unacknowledged packet was sent last.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.unacked.values().next().map(|sent| sent.at)
    }

    /// All packets up to here are acknowledged.
    pub(super) fn acked(&self) -> u64 {
        self.unacked.keys().next().map_or(self.last, |first| first - 1)
    }

    /// Whether another packet may be sent. The peer keeps no more early ones than that.
    pub(super) fn has_room(&self, window: usize) -> bool {
        self.last - self.acked() < window as u64
    }

    pub(super) fn is_ack_due(&self) -> bool {
        self.ack_due
    }

    /// What has been received; there is nothing to acknowledge after that.
    pub(super) fn ack(&mut self) -> Ack {
        self.ack_due = false;
        let mut selective = Vec::new();
        for number in self.early.keys() {
            let bit = number.saturating_sub(self.received + 2);
            let byte = (bit / 8) as usize;
            if byte >= Ack::LONGEST {
                break;
            }
            if selective.len() <= byte {
                selective.resize(byte + 1, 0);
            }
            if let Some(bits) = selective.get_mut(byte) {
                *bits |= 1u8 << (bit % 8);
            }
        }
        Ack { cumulative: self.received, selective, last: self.last }
    }

    /// The number of the next packet.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Keeps a packet that is being sent, under [`Self::next`].
    pub(super) fn keep(&mut self, now: Timestamp, sections: Vec<u8>, sessions: Vec<Index>) {
        self.last += 1;
        let sent = Sent { sections, at: now, attempts: 0, sessions };
        self.unacked.insert(self.last, sent);
    }

    /// Takes an acknowledgement in. Returns the packets that the peer has now.
    pub(super) fn take_ack(&mut self, ack: &Ack) -> Vec<(u64, Sent)> {
        // What was never sent can't have been received.
        let cumulative = ack.cumulative.min(self.last);
        let later = self.unacked.split_off(&cumulative.saturating_add(1));
        let mut arrived: Vec<_> = std::mem::replace(&mut self.unacked, later).into_iter().collect();
        self.highest_acked = self.highest_acked.max(cumulative);
        if !self.unacked.is_empty() {
            for number in ack.selected() {
                if let Some(sent) = self.unacked.remove(&number) {
                    arrived.push((number, sent));
                    self.highest_acked = self.highest_acked.max(number);
                }
            }
        }
        arrived
    }

    /// Packets that seem to be lost, to be sent again. If the peer isn't heard, only the first.
    pub(super) fn lost(&mut self, now: Timestamp, alive: bool) -> Vec<(u64, Vec<u8>)> {
        let mut lost = Vec::new();
        let highest = self.highest_acked;
        let most = if alive { RESENDS } else { 1 };
        for (number, sent) in &mut self.unacked {
            if lost.len() >= most {
                break;
            }
            let overtaken = sent.attempts == 0 && number + REORDERED <= highest;
            if overtaken || sent.due() <= now {
                sent.at = now;
                sent.attempts += 1;
                self.resent += 1;
                lost.push((*number, sent.sections.clone()));
            } else if !alive {
                break;
            }
        }
        lost
    }

    /// The peer is heard again: the first packet, which was sent now and then, is sent at once.
    pub(super) fn hasten(&mut self) {
        if let Some(sent) = self.unacked.values_mut().next() {
            sent.at = Timestamp::ZERO;
        }
    }

    /// When [`Self::lost`] will find something.
    pub(super) fn next_resend(&self, alive: bool) -> Option<Timestamp> {
        if !alive {
            return self.unacked.values().next().map(Sent::due);
        }
        let overtaken = |(number, sent): (&u64, &Sent)| {
            sent.attempts == 0 && number + REORDERED <= self.highest_acked
        };
        if self.unacked.iter().next().is_some_and(overtaken) {
            return Some(Timestamp::ZERO);
        }
        self.unacked.values().map(Sent::due).min()
    }

    /// Takes a packet of the peer in. Those whose turn it is come from [`Self::turn`].
    pub(super) fn arrive(&mut self, number: u64, sections: &[u8], window: usize) {
        self.ack_due = true;
        let ahead = number.saturating_sub(self.received);
        if ahead == 0 || self.early.contains_key(&number) {
            self.repeated += 1;
        } else if ahead <= window as u64 {
            self.early.insert(number, sections.to_vec());
        }
    }

    /// The next packet in order.
    pub(super) fn turn(&mut self) -> Option<Vec<u8>> {
        let sections = self.early.remove(&(self.received + 1))?;
        self.received += 1;
        Some(sections)
    }

    /// Bytes that are kept for resending and reordering.
    pub(super) fn memory(&self) -> usize {
        let sent = self
            .unacked
            .values()
            .map(|sent| sent.sections.capacity() + sent.sessions.capacity() * size_of::<Index>());
        sent.sum::<usize>() + self.early.values().map(Vec::capacity).sum::<usize>()
    }
}

impl Sent {
    fn due(&self) -> Timestamp {
        self.at.after(RESEND_AFTER * (1 << self.attempts.min(RESEND_DOUBLINGS)))
    }
}
