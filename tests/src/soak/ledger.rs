//! What each failover did to the traffic: stalls and losses, put down to the events that they
//! happened after.
//!
//! In: events with their times, and the reports of the traffic's two sides. Out: a [`Toll`] for
//! each event. No I/O. Not here: what counts as a failure ([`super::check`]).

use crate::traffic::report::{Stream, Tcp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What was under way so many nanoseconds before an event may be caught by it.
const UNDER_WAY: u64 = 20_000_000;

/// Something that moved sessions from one node to the other, or back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Which failover it belongs to, from 1.
    pub step: u32,
    /// What happened.
    pub name: String,
    /// Just before it, as a reading of the clock.
    pub at: u64,
}

/// What an event did to the traffic. Times in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Toll {
    /// The longest time that a TCP stream brought nothing.
    pub stream_stall_ms: f64,
    /// The longest time that an exchange of a TCP session waited for its answer.
    pub exchange_stall_ms: f64,
    /// Sessions that stalled for longer than 100 ms.
    pub stalled: u64,
    /// The longest time without an arrival of a UDP stream, in the worse direction.
    pub gap_ms: f64,
    /// Datagrams of the UDP streams that never came, both directions.
    pub lost: u64,
}

/// Stalls that count into [`Toll::stalled`], in nanoseconds.
const LONG: u64 = 100_000_000;

/// Puts stalls and losses down to events.
#[derive(Debug, Default)]
pub struct Ledger {
    events: Vec<Event>,
    tolls: BTreeMap<usize, Toll>,
}

impl Ledger {
    /// Notes an event. They come in the order of time.
    pub fn happened(&mut self, step: u32, name: &str, at: u64) {
        self.events.push(Event { step, name: name.to_owned(), at });
    }

    /// The events with their tolls.
    pub fn rows(&self) -> impl Iterator<Item = (&Event, Toll)> {
        let toll = |place| self.tolls.get(&place).cloned().unwrap_or_default();
        self.events.iter().enumerate().map(move |(place, event)| (event, toll(place)))
    }

    /// Takes in TCP stalls. `streams`: those of sides that only receive.
    pub fn tcp(&mut self, report: &Tcp, streams: bool) {
        for connection in &report.list {
            for &(end, time) in &connection.stalls {
                let ms = milliseconds(time);
                // A stall belongs to the event that was last when it began or soon after.
                let begun = end.saturating_sub(time);
                self.charge(begun.saturating_add(UNDER_WAY), |toll| {
                    let longest = if streams {
                        &mut toll.stream_stall_ms
                    } else {
                        &mut toll.exchange_stall_ms
                    };
                    *longest = longest.max(ms);
                    toll.stalled += u64::from(time >= LONG);
                });
            }
        }
    }

    /// Takes in one direction of a stream of datagrams.
    pub fn udp(&mut self, sender: &Stream, receiver: &Stream) {
        let unsent: BTreeSet<u64> = sender.unsent.iter().copied().collect();
        let mut last = 0;
        let mut by_number = BTreeMap::new();
        let mut before: Option<(u64, u64)> = None;
        for &(number, sent, came) in &receiver.arrivals {
            if let Some((earlier, then)) = before {
                // A pause of the sender is no gap.
                let paused = match earlier + 1 == number {
                    true => sent.saturating_sub(then).saturating_sub(sender.interval_ns),
                    false => 0,
                };
                let gap = came.saturating_sub(last).saturating_sub(paused);
                let begun = last.saturating_add(UNDER_WAY).min(came);
                self.charge(begun, |toll| toll.gap_ms = toll.gap_ms.max(milliseconds(gap)));
            }
            (last, before) = (came, Some((number, sent)));
            by_number.insert(number, sent);
        }
        let mut previous: Option<(u64, u64)> = None;
        for (&number, &sent) in &by_number {
            if let Some((earlier, then)) = previous {
                let missing = (earlier + 1..number).filter(|n| !unsent.contains(n)).count();
                if missing > 0 {
                    let begun = then.saturating_add(UNDER_WAY).min(sent);
                    let missing = u64::try_from(missing).unwrap_or(0);
                    self.charge(begun, |toll| toll.lost += missing);
                }
            }
            previous = Some((number, sent));
        }
    }

    /// Changes the toll of the last event before a time. What was before all events is nobody's.
    fn charge(&mut self, time: u64, change: impl FnOnce(&mut Toll)) {
        let behind = self.events.partition_point(|event| event.at <= time);
        if let Some(place) = behind.checked_sub(1) {
            change(self.tolls.entry(place).or_default());
        }
    }
}

/// Nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "times of a run are far below 2^52 ns")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::transfer::untried;

    const MS: u64 = 1_000_000;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.happened(1, "kill", 1_000 * MS);
        ledger.happened(1, "return", 2_000 * MS);
        ledger
    }

    #[test]
    fn lost_datagrams_are_put_down_to_the_event_before_them() {
        let arrivals = (0..3_000)
            .filter(|n| !(1_000..1_030).contains(n) && *n != 2_500 && *n != 500 && *n != 1_500)
            .map(|n| (n, n * MS, n * MS + MS / 10))
            .collect();
        let sender =
            Stream { sent: 3_000, interval_ns: MS, unsent: vec![1_500], ..Stream::default() };
        let receiver = Stream { arrivals, ..Stream::default() };
        let mut ledger = ledger();
        ledger.udp(&sender, &receiver);
        let tolls: Vec<Toll> = ledger.rows().map(|(_, toll)| toll).collect();
        assert_eq!((tolls[0].lost, tolls[1].lost), (30, 1), "{tolls:?}");
        assert!((tolls[0].gap_ms - 31.0).abs() < 0.01 && (tolls[1].gap_ms - 2.0).abs() < 0.01);
    }

    #[test]
    fn a_stall_is_put_down_to_the_event_at_which_it_began() {
        let mut connection = untried(None, "10.0.0.5:1".parse().unwrap());
        connection.stalls = vec![(1_300 * MS, 305 * MS), (2_030 * MS, 25 * MS), (500 * MS, MS)];
        let mut ledger = ledger();
        ledger.tcp(&Tcp::of(vec![connection]), true);
        let tolls: Vec<Toll> = ledger.rows().map(|(_, toll)| toll).collect();
        assert!((tolls[0].stream_stall_ms - 305.0).abs() < 0.01, "{tolls:?}");
        assert!((tolls[1].stream_stall_ms - 25.0).abs() < 0.01 && tolls[1].stalled == 0);
    }
}
