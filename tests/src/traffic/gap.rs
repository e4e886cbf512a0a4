//! What an event did to one direction of a stream: how long nothing came, and what is missing.
//!
//! In: the reports of the two sides, and a time. Out: [`Gap`]. No I/O.

use crate::traffic::report::Stream;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// One direction of a stream from an event on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The longest time without an arrival, in nanoseconds. It ends after the event; a stream that
    /// doesn't come back ends with the last datagram that was sent. Between two datagrams that
    /// follow each other, what the sender itself paused beyond its schedule doesn't count.
    pub longest_ns: u64,
    /// Datagrams sent after the event, or a moment before, that never came.
    pub lost: u64,
    /// The longest run of consecutive numbers among them.
    pub longest_run: u64,
    /// Datagrams that came more than once.
    pub duplicated: u64,
    /// The longest time that a datagram was under way, in nanoseconds.
    pub longest_delay_ns: u64,
}

/// A datagram sent so long before the event may still be caught by it, in nanoseconds.
const UNDER_WAY: u64 = 20_000_000;

/// Looks at one direction: what one side has sent and the other has received.
#[must_use]
pub fn measure(sender: &Stream, receiver: &Stream, event: u64) -> Gap {
    let from = event.saturating_sub(UNDER_WAY);
    let mut gap = Gap::default();
    let mut last = 0;
    let mut before = None;
    let mut seen = HashSet::new();
    let mut earlier = 0;
    for &(number, sent, came) in &receiver.arrivals {
        if last > 0 && came >= event {
            let paused = match before {
                Some((earlier, then)) if earlier + 1 == number => {
                    sent.saturating_sub(then).saturating_sub(sender.interval_ns)
                }
                _ => 0,
            };
            let time = came.saturating_sub(last).saturating_sub(paused);
            gap.longest_ns = gap.longest_ns.max(time);
        }
        (last, before) = (came, Some((number, sent)));
        if !seen.insert(number) {
            gap.duplicated += u64::from(sent >= from);
        } else if sent < from {
            earlier = earlier.max(number + 1);
        }
        if sent >= from {
            gap.longest_delay_ns = gap.longest_delay_ns.max(came.saturating_sub(sent));
        }
    }
    gap.longest_ns = gap.longest_ns.max(sender.last_ns.saturating_sub(last.max(event)));
    // What was not sent can't be lost.
    seen.extend(&sender.unsent);
    let numbers = sender.sent + u64::try_from(sender.unsent.len()).unwrap_or(0);
    let mut run = 0;
    for number in earlier..numbers {
        run = if seen.contains(&number) { 0 } else { run + 1 };
        gap.lost += u64::from(run > 0);
        gap.longest_run = gap.longest_run.max(run);
    }
    gap
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A stream with a datagram each millisecond; number `n` is sent at `n` ms after the start and
    /// takes 0.1 ms, unless `fate` says that it takes longer or never comes.
    fn stream(count: u64, fate: impl Fn(u64) -> Option<u64>) -> (Stream, Stream) {
        let start = 1_000 * MS;
        let sent = |number: u64| start + number * MS;
        let mut arrivals: Vec<_> = (0..count)
            .filter_map(|number| Some((number, sent(number), sent(number) + fate(number)?)))
            .collect();
        arrivals.sort_by_key(|&(_, _, came)| came);
        let sender = Stream {
            sent: count,
            interval_ns: MS,
            first_ns: sent(0),
            last_ns: sent(count - 1),
            ..Stream::default()
        };
        (sender, Stream { arrivals, ..Stream::default() })
    }

    #[test]
    fn a_whole_stream_has_no_gap_beyond_its_rate() {
        let (sender, receiver) = stream(1000, |_| Some(MS / 10));
        let gap = measure(&sender, &receiver, 1_500 * MS);
        assert_eq!((gap.longest_ns, gap.lost, gap.duplicated), (MS, 0, 0));
    }

    #[test]
    fn a_hole_after_the_event_is_measured_and_one_before_it_is_not() {
        let lost = |n: u64| (100..200).contains(&n) || (500..530).contains(&n);
        let (sender, receiver) = stream(1000, |n| (!lost(n)).then_some(MS / 10));
        let gap = measure(&sender, &receiver, 1_500 * MS);
        assert_eq!((gap.longest_ns, gap.lost, gap.longest_run), (31 * MS, 30, 30));
        let gap = measure(&sender, &receiver, 1_050 * MS);
        assert_eq!((gap.longest_ns, gap.lost, gap.longest_run), (101 * MS, 130, 100));
    }

    #[test]
    fn late_datagrams_make_a_gap_but_no_loss() {
        let late = |n: u64| if (500..540).contains(&n) { (540 - n) * MS } else { MS / 10 };
        let (sender, receiver) = stream(1000, |n| Some(late(n)));
        let gap = measure(&sender, &receiver, 1_500 * MS);
        assert_eq!(gap.lost, 0);
        assert_eq!(gap.longest_delay_ns, 40 * MS);
        assert!(gap.longest_ns > 40 * MS, "{gap:?}");
    }

    #[test]
    fn a_stream_that_does_not_come_back_counts_to_its_end() {
        let (sender, receiver) = stream(1000, |n| (n < 500).then_some(MS / 10));
        let gap = measure(&sender, &receiver, 1_500 * MS);
        assert_eq!(gap.lost, 500);
        assert!(gap.longest_ns >= 499 * MS, "{gap:?}");
    }

    #[test]
    fn a_pause_of_the_sender_is_no_gap_and_does_not_hide_one() {
        let (mut sender, mut receiver) = stream(1000, |n| (n != 700).then_some(MS / 10));
        for (number, sent, came) in &mut receiver.arrivals {
            let pause = u64::from(*number >= 600) * 50 * MS + u64::from(*number > 700) * 30 * MS;
            (*sent, *came) = (*sent + pause, *came + pause);
        }
        sender.last_ns += 80 * MS;
        let gap = measure(&sender, &receiver, 1_500 * MS);
        assert_eq!((gap.longest_ns, gap.lost), (32 * MS, 1), "the one around number 700");
    }

    #[test]
    fn a_repeated_datagram_is_a_duplicate_and_nothing_else() {
        let (sender, mut receiver) = stream(1000, |_| Some(MS / 10));
        let again = receiver.arrivals[600];
        receiver.arrivals.insert(601, again);
        let gap = measure(&sender, &receiver, 1_500 * MS);
        assert_eq!((gap.lost, gap.duplicated), (0, 1));
    }
}
