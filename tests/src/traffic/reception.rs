//! Counts numbered datagrams as they come, flow by flow.
//!
//! In: headers with source, port and time. Out: [`report::Reception`]. Bounded: see [`FLOWS`] and
//! [`NUMBERS`]. No sockets here.

use crate::traffic::packet::Header;
use crate::traffic::report;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Flows that are told apart; datagrams of more count as foreign.
pub const FLOWS: usize = 65_536;

/// Numbers that are told apart, over all flows; datagrams with higher ones count as foreign.
/// They take an eighth of this in bytes.
pub const NUMBERS: u64 = 1 << 28;

/// What has been received so far.
#[derive(Debug, Default)]
pub struct Reception {
    totals: report::Reception,
    flows: HashMap<(SocketAddr, u16, u32), Flow>,
    /// Bits that all flows' bitmaps have room for.
    room: u64,
}

#[derive(Debug, Default)]
struct Flow {
    seen: Vec<u64>,
    received: u64,
    duplicated: u64,
    reordered: u64,
    highest: u64,
    first: u64,
    last: u64,
    gap: u64,
    gap_end: u64,
    last_sent: u64,
    delay: u64,
}

impl Reception {
    /// Counts a datagram that came to a local port at this time.
    pub fn add(&mut self, source: SocketAddr, port: u16, datagram: &[u8], now: u64) {
        let header = Header::decode(datagram);
        let key = header.map(|header| (source, port, header.flow));
        let known = key.is_some_and(|key| self.flows.contains_key(&key));
        let Some((header, key)) = header.zip(key).filter(|_| known || self.flows.len() < FLOWS)
        else {
            self.totals.foreign += 1;
            return;
        };
        let flow = self.flows.entry(key).or_default();
        let Some(is_new) = flow.mark(header.number, &mut self.room) else {
            self.totals.foreign += 1;
            return;
        };
        flow.count(header, is_new, now);
        let totals = &mut self.totals;
        if totals.datagrams == 0 {
            totals.first_ns = now;
        } else {
            let gap = milliseconds(now.saturating_sub(totals.last_ns));
            if gap > totals.longest_gap_ms {
                (totals.longest_gap_ms, totals.longest_gap_end_ns) = (gap, now);
            }
        }
        totals.last_ns = now;
        totals.last_sent_ns = totals.last_sent_ns.max(header.sent);
        totals.datagrams += 1;
        totals.received += u64::from(is_new);
        totals.bytes += u64::try_from(datagram.len()).unwrap_or(0);
    }

    /// Distinct datagrams so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.totals.received
    }

    /// When the last datagram came; 0 if none did.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.totals.last_ns
    }

    /// The report, with what the sockets' buffers could not hold.
    #[must_use]
    pub fn report(self, overrun: u64) -> report::Reception {
        let counted = self.flows.into_iter().filter(|(_, flow)| flow.received > 0);
        let mut flows: Vec<_> = counted.map(|(key, flow)| flow.report(key)).collect();
        flows.sort_by_key(|flow| (flow.source, flow.port, flow.flow));
        let total = |field: fn(&report::Flow) -> u64| flows.iter().map(field).sum();
        report::Reception {
            lost: total(|flow| flow.lost),
            duplicated: total(|flow| flow.duplicated),
            reordered: total(|flow| flow.reordered),
            overrun,
            flows_total: flows.len(),
            flows: {
                flows.truncate(report::LISTED);
                flows
            },
            ..self.totals
        }
    }
}

impl Flow {
    /// Notes a number. Returns whether it is new; `None` if it is beyond what can be noted.
    fn mark(&mut self, number: u64, room: &mut u64) -> Option<bool> {
        let index = usize::try_from(number / 64).ok()?;
        if index >= self.seen.len() {
            let words = index.checked_add(1)?.next_power_of_two();
            let more = u64::try_from(words - self.seen.len()).ok()?.checked_mul(64)?;
            *room = room.checked_add(more).filter(|&room| room <= NUMBERS)?;
            self.seen.resize(words, 0);
        }
        let word = self.seen.get_mut(index)?;
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        Some(is_new)
    }

    fn count(&mut self, header: Header, is_new: bool, now: u64) {
        if self.received == 0 {
            self.first = now;
        } else if now.saturating_sub(self.last) > self.gap {
            (self.gap, self.gap_end) = (now.saturating_sub(self.last), now);
        }
        if !is_new {
            self.duplicated += 1;
        } else if header.number < self.highest {
            self.reordered += 1;
        }
        self.received += u64::from(is_new);
        self.highest = self.highest.max(header.number);
        self.last = now;
        self.last_sent = self.last_sent.max(header.sent);
        self.delay = self.delay.max(now.saturating_sub(header.sent));
    }

    fn report(self, (source, port, flow): (SocketAddr, u16, u32)) -> report::Flow {
        report::Flow {
            source,
            port,
            flow,
            received: self.received,
            lost: (self.highest + 1).saturating_sub(self.received),
            duplicated: self.duplicated,
            reordered: self.reordered,
            highest: self.highest,
            first_ns: self.first,
            last_ns: self.last,
            last_sent_ns: self.last_sent,
            longest_gap_ms: milliseconds(self.gap),
            longest_gap_end_ns: self.gap_end,
            longest_delay_ms: milliseconds(self.delay),
        }
    }
}

/// Nanoseconds as milliseconds, to the microsecond.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^52")]
pub fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds / 1_000) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(numbers: &[(u32, u64)]) -> report::Reception {
        let mut reception = Reception::default();
        let source = "10.0.0.5:7000".parse().unwrap();
        for (time, &(flow, number)) in (1_000_000..).step_by(1_000_000).zip(numbers) {
            let datagram = Header { flow, number, sent: time - 500_000 }.encode();
            reception.add(source, 9, &datagram, time);
        }
        reception.report(0)
    }

    #[test]
    fn a_whole_flow_has_no_loss() {
        let report = receive(&[(0, 0), (0, 1), (0, 2)]);
        assert_eq!((report.received, report.lost, report.reordered), (3, 0, 0));
        assert!((report.longest_gap_ms - 1.0).abs() < 1e-9);
        assert!((report.flows[0].longest_delay_ms - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_gap_is_a_loss_and_a_late_datagram_fills_it() {
        assert_eq!(receive(&[(0, 0), (0, 3)]).lost, 2);
        let report = receive(&[(0, 0), (0, 3), (0, 1)]);
        assert_eq!((report.lost, report.reordered, report.duplicated), (1, 1, 0));
    }

    #[test]
    fn a_repeated_number_is_a_duplicate() {
        let report = receive(&[(0, 0), (0, 1), (0, 0)]);
        assert_eq!((report.datagrams, report.received, report.duplicated), (3, 2, 1));
        assert_eq!(report.reordered, 0);
    }

    #[test]
    fn flows_are_counted_apart() {
        let report = receive(&[(0, 0), (1, 1), (0, 1)]);
        assert_eq!((report.flows_total, report.lost), (2, 1));
        assert_eq!(report.flows[1].lost, 1);
    }

    #[test]
    fn numbers_beyond_the_bound_take_no_memory() {
        let report = receive(&[(0, 0), (0, u64::MAX), (0, NUMBERS * 2)]);
        assert_eq!((report.received, report.foreign, report.lost), (1, 2, 0));
        let report = receive(&[(0, u64::MAX)]);
        assert_eq!((report.foreign, report.lost, report.flows_total), (1, 0, 0));
    }
}
