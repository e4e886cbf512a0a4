//! The pair's traffic: 100 TCP sessions under the shared address, half of them opened from each
//! side, with a small chunk each way every few milliseconds.
//!
//! Both ends of each session count for themselves; [`Sessions::stop`] tells what they have seen,
//! end by end. Not here: what that means for an event ([`super::timeline`]).

use crate::error::Error;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};
use twinwall_testbed::topology::{OUTSIDE_V4, Segment};
use twinwall_testbed::traffic::report::{Outcome, Steady, TcpSteady};
use twinwall_testbed::{Node, Process, Testbed};

/// Sessions that each side opens.
pub(crate) const EACH: usize = 50;
/// All of them.
pub(crate) const ALL: usize = 2 * EACH;
/// Where the server listens for the clients.
pub(crate) const OUT_PORT: u16 = 9_000;
/// What of the shared address is published, and where the host in the DMZ listens.
pub(crate) const IN_PORT: u16 = 9_001;
/// Milliseconds between two chunks in each direction of a session.
pub(crate) const INTERVAL_MS: u64 = 20;
/// Bytes of a chunk.
pub(crate) const CHUNK: u64 = 100;
/// Traffic ends by itself after so many seconds, should nobody stop it.
const LONGEST: u32 = 300;

/// The address that clients have outside, and that is published.
pub(crate) fn shared() -> IpAddr {
    Segment::Wan.virtual_v4().first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into())
}

/// The sessions at work. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// For each side that opens sessions: the end that listens, and the one that connects; `None`
    /// when one has failed.
    groups: [[Option<Process>; 2]; 2],
}

/// One session as its two ends saw it.
#[derive(Debug)]
pub(crate) struct Session {
    /// The end that opened it.
    pub(crate) opened: Steady,
    /// The other end; `None` if it never knew of it.
    pub(crate) accepted: Option<Steady>,
}

/// The sessions that one side opened.
#[derive(Debug)]
pub(crate) struct Group {
    /// Them.
    pub(crate) sessions: Vec<Session>,
    /// What came to the end that opened them, by time.
    pub(crate) to_opener: TcpSteady,
    /// What came to the end that accepted them.
    pub(crate) to_acceptor: TcpSteady,
}

/// All sessions, after their end.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Those that the client opened.
    pub(crate) out: Group,
    /// Those that the server opened.
    pub(crate) back: Group,
}

/// What became of all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// Sessions that ended in good order at both ends, with all bytes.
    pub(crate) whole: usize,
    /// Ends that were reset.
    pub(crate) reset: usize,
    /// Bytes that the ends sent.
    pub(crate) sent: u64,
    /// Bytes that came to them.
    pub(crate) received: u64,
    /// Bytes that came and were not the ones that were sent.
    pub(crate) corrupt: u64,
    /// Sessions that the other end saw under the shared address, or that reached the host in the
    /// DMZ by it.
    pub(crate) translated: usize,
}

impl Sessions {
    /// Opens all of them.
    pub(crate) fn start(testbed: &Testbed) -> Result<Self, Error> {
        let node = |name| testbed.node(name);
        let dmz = node("dmz")?;
        let inside = format!("{}:{IN_PORT}", dmz.v4());
        let outside = format!("{OUTSIDE_V4}:{OUT_PORT}");
        let published = format!("{}:{IN_PORT}", shared());
        let ways = [
            [(node("server")?, "--listen", &outside), (node("client")?, "--to", &outside)],
            [(dmz, "--listen", &inside), (node("server")?, "--to", &published)],
        ];
        let mut groups = [[None, None], [None, None]];
        for (group, ways) in groups.iter_mut().zip(ways) {
            for (place, (node, side, address)) in group.iter_mut().zip(ways) {
                let mut process = start(&node, side, address)?;
                process.wait_ready()?;
                *place = Some(process);
            }
        }
        Ok(Self { groups })
    }

    /// An error when one end of a group has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        for end in self.groups.iter_mut().flatten() {
            if let Some(ended) = end.take_if(|end| !end.is_running()) {
                let said = ended.finish()?.success()?.stdout;
                let outcomes = serde_json::from_str(&said).map_or(said, |report: TcpSteady| {
                    let first = report.list.iter().find(|end| end.outcome != Outcome::Completed);
                    format!("{} sessions, the first that failed: {first:?}", report.list.len())
                });
                return Err(Error::Traffic(outcomes));
            }
        }
        Ok(())
    }

    /// Ends all sessions in good order.
    pub(crate) fn stop(mut self) -> Result<Ends, Error> {
        self.check()?;
        let mut groups = self.groups.into_iter().map(|[listener, opener]| {
            let (Some(listener), Some(opener)) = (listener, opener) else {
                return Err(Error::Traffic(String::new()));
            };
            // The side that opened them goes first; the other one ends with its last session.
            let to_opener: TcpSteady = opener.stop_and_report()?;
            let to_acceptor: TcpSteady = listener.report()?;
            Ok(Group::of(to_opener, to_acceptor))
        });
        let mut next = || groups.next().unwrap_or_else(|| Err(Error::Traffic(String::new())));
        Ok(Ends { out: next()?, back: next()? })
    }
}

/// With real-time priority where that is allowed: a busy machine shall not look like a stall. It is
/// the lowest one, so that the gateways' threads for VRRP come first.
fn start(node: &Node, side: &str, address: &str) -> Result<Process, Error> {
    const REAL_TIME: [&str; 2] = ["--rr", "1"];
    let [connections, interval, chunk, longest] =
        [EACH.to_string(), INTERVAL_MS.to_string(), CHUNK.to_string(), LONGEST.to_string()];
    let options = [
        ["tcp-steady", side, address].as_slice(),
        &["--connections", &connections, "--interval", &interval, "--chunk", &chunk],
        &["--for", &longest],
    ]
    .concat();
    let allowed = node.command("chrt")?.args(REAL_TIME).arg("true").output()?.code() == 0;
    let command = if allowed {
        node.command("chrt")?.args(REAL_TIME).arg("traffic").args(options)
    } else {
        node.traffic(options)?
    };
    Ok(command.spawn()?)
}

impl Group {
    fn of(to_opener: TcpSteady, to_acceptor: TcpSteady) -> Self {
        let other = |opened: &Steady| {
            to_acceptor.list.iter().find(|end| end.flow.is_some() && end.flow == opened.flow)
        };
        let session =
            |opened: &Steady| Session { opened: opened.clone(), accepted: other(opened).cloned() };
        let sessions = to_opener.list.iter().map(session).collect();
        Self { sessions, to_opener, to_acceptor }
    }
}

impl Session {
    /// Both ends.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &Steady> {
        [Some(&self.opened), self.accepted.as_ref()].into_iter().flatten()
    }

    /// Whether each end has got something that was sent at this time or later.
    pub(crate) fn lives_at(&self, time: u64) -> bool {
        self.accepted.is_some() && self.ends().all(|end| end.last_sent_ns >= time)
    }

    /// Whether both ends ended in good order and each has what the other one sent.
    fn is_whole(&self) -> bool {
        let Some(accepted) = &self.accepted else { return false };
        self.ends().all(|end| end.outcome == Outcome::Completed && end.corrupt == 0)
            && self.opened.sent == accepted.received
            && accepted.sent == self.opened.received
    }
}

impl Ends {
    /// Every session.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.out.sessions.iter().chain(&self.back.sessions)
    }

    /// What became of them.
    pub(crate) fn totals(&self) -> Totals {
        let ends = || self.sessions().flat_map(Session::ends);
        let translated = |session: &&Session| {
            session.accepted.as_ref().is_some_and(|end| end.peer.ip() == shared())
        };
        let published = |session: &&Session| {
            let reached = session.accepted.as_ref().and_then(|end| end.local);
            session.opened.peer.ip() == shared() && reached.is_some_and(|at| at.ip() != shared())
        };
        Totals {
            whole: self.sessions().filter(|session| session.is_whole()).count(),
            reset: ends().filter(|end| end.outcome == Outcome::Reset).count(),
            sent: ends().map(|end| end.sent).sum(),
            received: ends().map(|end| end.received).sum(),
            corrupt: ends().map(|end| end.corrupt).sum(),
            translated: self.out.sessions.iter().filter(translated).count()
                + self.back.sessions.iter().filter(published).count(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An end that has sent and got so many bytes.
    pub(crate) fn end(flow: u32, accepted: bool, sent: u64, received: u64) -> Steady {
        let peer = if accepted { "203.0.113.1:40000" } else { "198.51.100.7:9000" };
        let mut end = Steady::untried(Some(flow), peer.parse().unwrap());
        (end.accepted, end.sent, end.received, end.last_sent_ns) = (accepted, sent, received, 50);
        end
    }

    pub(crate) fn report(first_slot_ns: u64, received: Vec<u64>, list: Vec<Steady>) -> TcpSteady {
        TcpSteady { interval_ms: 20, chunk: 100, slot_ms: 10, first_slot_ns, received, list }
    }

    fn ends(opened: Vec<Steady>, accepted: Vec<Steady>) -> Ends {
        let group = |a, b| Group::of(report(0, vec![], a), report(0, vec![], b));
        Ends { out: group(opened, accepted), back: group(vec![], vec![]) }
    }

    #[test]
    fn a_session_is_whole_when_each_end_has_what_the_other_one_sent() {
        let totals = ends(vec![end(0, false, 7, 5)], vec![end(0, true, 5, 7)]).totals();
        assert_eq!((totals.whole, totals.sent, totals.received), (1, 12, 12));
        assert_eq!(totals.translated, 1);
        let short = ends(vec![end(0, false, 7, 5)], vec![end(0, true, 5, 6)]);
        assert_eq!(short.totals().whole, 0);
    }

    #[test]
    fn a_session_that_one_end_never_knew_is_neither_whole_nor_alive() {
        let alone = ends(vec![end(0, false, 7, 0)], vec![end(1, true, 0, 0)]);
        assert_eq!(alone.totals().whole, 0);
        assert!(!alone.sessions().next().unwrap().lives_at(0));
    }

    #[test]
    fn a_reset_is_counted_at_each_end_that_saw_it() {
        let mut reset = end(0, false, 7, 5);
        reset.outcome = Outcome::Reset;
        let totals = ends(vec![reset], vec![end(0, true, 5, 7)]).totals();
        assert_eq!((totals.reset, totals.whole), (1, 0));
    }

    #[test]
    fn a_session_lives_while_both_ends_get_what_is_new() {
        let mut late = end(0, true, 5, 7);
        late.last_sent_ns = 20;
        let ends = ends(vec![end(0, false, 7, 5)], vec![late]);
        let session = ends.sessions().next().unwrap();
        assert!(session.lives_at(20) && !session.lives_at(21));
    }
}
