//! What happened to the pair and to its sessions, on one axis of time.
//!
//! In: what the ends of the sessions saw, what the gateways answered, and the marks that the chapter
//! set. Out: a [`Timeline`], which is part of the report and is drawn in the page. Pure.

use crate::pair::sessions::{Ends, Session, shared};
use serde::Serialize;
use std::net::SocketAddr;
use twinwall_testbed::traffic::reception::milliseconds;
use twinwall_testbed::traffic::report::{Steady, TcpSteady};

/// A session has stalled when something was under way for longer, in milliseconds: the aim for a
/// failover.
pub(crate) const STALL_MS: f64 = 45.0;

/// Milliseconds of a slot of throughput, as the traffic's reports have it.
pub(crate) const SLOT_MS: u64 = 10;

/// Times are milliseconds since its beginning.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Timeline {
    /// Its end.
    pub(crate) length_ms: f64,
    /// Sessions that there were.
    pub(crate) sessions: usize,
    /// Milliseconds of a slot.
    pub(crate) slot_ms: u64,
    /// Through the pair to the outside, and from there.
    pub(crate) directions: [Direction; 2],
    /// The gateways.
    pub(crate) nodes: Vec<NodeLine>,
    /// What was done, in order.
    pub(crate) marks: Vec<Mark>,
}

/// What went through the pair in one direction.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Direction {
    /// For readers.
    pub(crate) name: &'static str,
    /// Bytes that came out of it, slot by slot, of all sessions.
    pub(crate) bytes: Vec<u64>,
    /// When any session stalled, in order; what overlaps is one.
    pub(crate) stalls: Vec<(f64, f64)>,
}

/// A gateway.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeLine {
    /// Its name.
    pub(crate) name: String,
    /// What it was, without gaps.
    pub(crate) spans: Vec<Span>,
    /// When it was asked for its sessions, and how many of the demo's it had; `null` when it did
    /// not answer.
    pub(crate) sessions: Vec<(f64, Option<usize>)>,
}

/// A time during which a gateway was the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) from_ms: f64,
    pub(crate) until_ms: f64,
    /// `active`, `backup`, `initialize`; `null` when its daemon did not answer.
    pub(crate) state: Option<String>,
}

/// Something that was done to the pair, and what its sessions felt until the next mark.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mark {
    /// Stable name.
    pub(crate) name: &'static str,
    /// For readers.
    pub(crate) label: &'static str,
    /// When.
    pub(crate) at_ms: f64,
    /// Sessions that went on after it.
    pub(crate) alive: usize,
    /// Sessions that stalled, for longer than [`STALL_MS`].
    pub(crate) stalled: usize,
    /// The longest time that anything was under way, by direction; 0 when it never was long.
    pub(crate) longest_ms: [f64; 2],
    /// When the longest stall of all was, if there was one.
    pub(crate) worst: Option<(f64, f64)>,
}

impl Mark {
    /// The longest stall in either direction, in milliseconds.
    pub(crate) fn longest(&self) -> f64 {
        self.longest_ms.into_iter().fold(0.0, f64::max)
    }
}

/// A mark as the chapter sets it, with readings of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Stable name.
    pub(crate) name: &'static str,
    /// For readers.
    pub(crate) label: &'static str,
    /// When it began.
    pub(crate) at: u64,
    /// When all had to be well again.
    pub(crate) settled: u64,
}

/// A stall of one session, for those who look for its cause.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stall {
    /// The end that opened the session, as it sees itself and the other one.
    pub(crate) opened: [Option<SocketAddr>; 2],
    /// Whether it was the direction to the outside.
    pub(crate) outward: bool,
    pub(crate) from_ms: f64,
    pub(crate) until_ms: f64,
}

/// The longest stalls of all, the longest first.
pub(crate) fn longest(zero: u64, ends: &Ends) -> Vec<Stall> {
    /// More would not say more.
    const SHOWN: usize = 20;
    let of = |session: &Session, outward: bool| -> Vec<Stall> {
        let opened = [session.opened.local, Some(session.opened.peer)];
        let stalls = late(session, outward).filter(is_stall);
        let stall = |(sent, came)| Stall {
            opened,
            outward,
            from_ms: since(zero, sent),
            until_ms: since(zero, came),
        };
        stalls.map(stall).collect()
    };
    let both = |session| [of(session, true), of(session, false)].concat();
    let mut stalls: Vec<Stall> = ends.sessions().flat_map(both).collect();
    let length = |stall: &Stall| stall.until_ms - stall.from_ms;
    stalls.sort_by(|a, b| length(b).total_cmp(&length(a)));
    stalls.truncate(SHOWN);
    stalls
}

/// Puts everything together. `zero` and `end` are readings of the clock.
pub(crate) fn assemble(
    zero: u64,
    end: u64,
    moments: &[Moment],
    ends: &Ends,
    nodes: Vec<NodeLine>,
) -> Timeline {
    let slots = usize::try_from(end.saturating_sub(zero) / (SLOT_MS * 1_000_000)).unwrap_or(0);
    let (out, back) = (&ends.out, &ends.back);
    // Outside is the end that accepts the client's sessions and opens its own.
    let lines = [
        ("to the outside", true, [&out.to_acceptor, &back.to_opener]),
        ("from the outside", false, [&out.to_opener, &back.to_acceptor]),
    ];
    let directions = lines.map(|(name, outward, reports)| {
        let mut bytes = vec![0; slots];
        reports.into_iter().for_each(|report| add(&mut bytes, zero, report));
        let late = ends.sessions().flat_map(|session| late(session, outward));
        let shown = late.filter(|delay| is_stall(delay) && delay.1 > zero && delay.0 < end);
        Direction { name, bytes, stalls: joined(zero, shown.collect()) }
    });
    let until = |index: usize| moments.get(index + 1).map_or(end, |next| next.at);
    let marks = moments.iter().enumerate();
    Timeline {
        length_ms: milliseconds(end.saturating_sub(zero)),
        sessions: ends.sessions().count(),
        slot_ms: SLOT_MS,
        directions,
        nodes,
        marks: marks.map(|(index, moment)| mark(zero, moment, until(index), ends)).collect(),
    }
}

/// Adds what came to one end to the slots that begin at `zero`.
fn add(bytes: &mut [u64], zero: u64, report: &TcpSteady) {
    let slot = SLOT_MS * 1_000_000;
    for (number, &came) in (0..).zip(&report.received) {
        let at = report.first_slot_ns.saturating_add(slot.saturating_mul(number));
        let Some(after) = at.checked_sub(zero) else { continue };
        let place = usize::try_from(after / slot).ok().and_then(|place| bytes.get_mut(place));
        if let Some(place) = place {
            *place += came;
        }
    }
}

/// What a session's ends got late in one direction: when it was sent and when it came.
fn late(session: &Session, outward: bool) -> impl Iterator<Item = (u64, u64)> {
    let accepted_outside = session.opened.peer.ip() != shared();
    let receivers = session.ends().filter(move |end| (end.accepted == accepted_outside) == outward);
    receivers.flat_map(|end: &Steady| end.delays.iter().copied())
}

fn is_stall(&(sent, came): &(u64, u64)) -> bool {
    milliseconds(came.saturating_sub(sent)) > STALL_MS
}

/// Stretches of time in order, with those that overlap made one.
fn joined(zero: u64, mut stretches: Vec<(u64, u64)>) -> Vec<(f64, f64)> {
    stretches.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, until) in stretches {
        match joined.last_mut() {
            Some((_, last)) if from <= *last => *last = until.max(*last),
            _ => joined.push((from, until)),
        }
    }
    joined.into_iter().map(|(from, until)| (since(zero, from), since(zero, until))).collect()
}

fn mark(zero: u64, moment: &Moment, until: u64, ends: &Ends) -> Mark {
    let within = |&(_, came): &(u64, u64)| came > moment.at && came <= until;
    let length = |&(sent, came): &(u64, u64)| came.saturating_sub(sent);
    let longest = |outward| {
        ends.sessions().flat_map(|one| late(one, outward)).filter(within).max_by_key(length)
    };
    let by_direction = [true, false].map(longest);
    let worst = by_direction.iter().flatten().copied().max_by_key(length).filter(is_stall);
    let stalled = |session: &&Session| {
        let mut both = [true, false].into_iter().flat_map(|outward| late(session, outward));
        both.any(|delay| within(&delay) && is_stall(&delay))
    };
    Mark {
        name: moment.name,
        label: moment.label,
        at_ms: since(zero, moment.at),
        alive: ends.sessions().filter(|session| session.lives_at(moment.settled)).count(),
        stalled: ends.sessions().filter(stalled).count(),
        longest_ms: by_direction.map(|delay| delay.map_or(0.0, |one| milliseconds(length(&one)))),
        worst: worst.map(|(sent, came)| (since(zero, sent), since(zero, came))),
    }
}

/// Milliseconds from one reading of the clock to another.
pub(crate) fn since(zero: u64, time: u64) -> f64 {
    milliseconds(time.saturating_sub(zero))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pair::sessions::tests::{end, report};
    use crate::pair::sessions::{Group, Session};

    const MS: u64 = 1_000_000;

    fn group(opened: Vec<Steady>, accepted: Vec<Steady>, slots: Vec<u64>) -> Group {
        let sessions = opened.iter().zip(&accepted).map(|(opened, accepted)| Session {
            opened: opened.clone(),
            accepted: Some(accepted.clone()),
        });
        Group {
            sessions: sessions.collect(),
            to_opener: report(100 * MS, slots.clone(), opened),
            to_acceptor: report(110 * MS, slots, accepted),
        }
    }

    fn moment(name: &'static str, at: u64) -> Moment {
        Moment { name, label: name, at: at * MS, settled: at * MS + 1 }
    }

    #[test]
    fn stalls_belong_to_the_mark_after_which_they_ended() {
        let (mut opened, mut accepted) = (end(0, false, 1, 1), end(0, true, 1, 1));
        (opened.last_sent_ns, accepted.last_sent_ns) = (400 * MS, 400 * MS);
        accepted.delays = vec![(199 * MS, 249 * MS), (310 * MS, 325 * MS)];
        opened.delays = vec![(205 * MS, 300 * MS)];
        let ends = Ends {
            out: group(vec![opened], vec![accepted], vec![1, 2]),
            back: group(vec![], vec![], vec![4]),
        };
        let moments = [moment("first", 200), moment("second", 305)];
        let timeline = assemble(100 * MS, 500 * MS, &moments, &ends, Vec::new());
        assert_eq!((timeline.sessions, timeline.directions[0].bytes.len()), (1, 40));
        // The outside accepted one group and opened the other.
        assert_eq!(timeline.directions[0].bytes[..3], [4, 1, 2]);
        assert_eq!(timeline.directions[1].bytes[..3], [1, 6, 0]);
        let [first, second] = timeline.marks.as_slice() else { panic!("{timeline:?}") };
        assert_eq!(first.longest_ms, [50.0, 95.0]);
        assert_eq!(first.worst, Some((105.0, 200.0)));
        assert_eq!((first.alive, first.stalled), (1, 1));
        assert_eq!((second.longest_ms, second.stalled), ([15.0, 0.0], 0));
        assert_eq!(second.worst, None);
        let longest: Vec<_> = longest(100 * MS, &ends).iter().map(|one| one.until_ms).collect();
        assert_eq!(longest, [200.0, 149.0]);
        let stalls = timeline.directions.map(|direction| direction.stalls);
        assert_eq!(stalls, [vec![(99.0, 149.0)], vec![(105.0, 200.0)]]);
    }

    #[test]
    fn stretches_that_overlap_are_one() {
        let found = joined(MS, vec![(9 * MS, 12 * MS), (2 * MS, 5 * MS), (4 * MS, 7 * MS)]);
        assert_eq!(found, [(1.0, 6.0), (8.0, 11.0)]);
    }

    #[test]
    fn a_session_that_got_nothing_new_after_a_mark_is_not_alive() {
        let (mut opened, accepted) = (end(0, false, 1, 1), end(0, true, 1, 1));
        opened.last_sent_ns = 400 * MS;
        let ends = Ends {
            out: group(vec![opened], vec![accepted], vec![]),
            back: group(vec![], vec![], vec![]),
        };
        let timeline = assemble(0, 500 * MS, &[moment("first", 200)], &ends, Vec::new());
        assert_eq!(timeline.marks[0].alive, 0);
    }
}
