//! Twenty thousand packets a second through one gateway, in lanes: each lane is sixteen flows to a
//! port of its own, so that rules can treat lanes differently. Lanes take turns in the family.

use crate::bed::{Bed, CLIENT, OUTSIDE, at};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use twinwall_testbed::Process;
use twinwall_testbed::testing::eventually;
use twinwall_testbed::traffic::report::{Reception, UdpEcho, UdpPush, UdpSend};

/// The lanes' ports on the server.
pub(crate) const LANES: [u16; 4] = [7001, 7002, 7003, 7004];
/// Flows of each lane.
pub(crate) const FLOWS: u64 = 16;
/// Packets a second through the gateway, over all lanes.
const RATE: u64 = 20_000;
/// Long enough for every test; each ends it itself.
const FOR: &str = "--for 100";

/// Which packets of the sessions flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Only those of the client.
    Forward,
    /// Only those of the server, but for the first of each session.
    Replies,
    /// Both.
    Both,
}

/// Waits until no other test measures under load.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Running traffic.
pub(crate) struct Load<'a> {
    bed: &'a Bed,
    direction: Direction,
    lanes: Vec<Lane>,
}

struct Lane {
    sender: Process,
    receiver: Process,
}

/// What became of one lane.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Packets that came to the gateway, of both directions.
    pub(crate) offered: u64,
    /// Numbers that one of the two receivers misses below the highest that it got.
    pub(crate) lost: u64,
    /// What arrived in the end.
    pub(crate) got: Reception,
    pub(crate) rate: f64,
}

impl<'a> Load<'a> {
    /// Starts all lanes, and waits until every flow has its session.
    pub(crate) fn start(bed: &'a Bed, direction: Direction) -> Self {
        Self::start_at(bed, direction, RATE)
    }

    /// The same with another rate.
    pub(crate) fn start_at(bed: &'a Bed, direction: Direction, rate: u64) -> Self {
        if direction == Direction::Both {
            // Answers to a sender that has ended.
            let conditions =
                ["icmp type destination-unreachable", "icmpv6 type destination-unreachable"];
            bed.watch("forward", "errors", &conditions);
        }
        for port in LANES {
            bed.watch_passed("forward", &port.to_string(), &[&format!("udp dport {port}")]);
        }
        let share = rate / LANES.len() as u64;
        let lanes = LANES.iter().enumerate();
        let lanes = lanes.map(|(index, &port)| lane(bed, direction, index, port, share)).collect();
        let load = Self { bed, direction, lanes };
        let all = LANES.len() as u64 * FLOWS;
        bed.wait("every flow has its session", || {
            (bed.sessions().len() as u64 >= all && load.is_flowing()).then_some(())
        });
        load
    }

    fn is_flowing(&self) -> bool {
        let packets = || self.bed.packets().values().sum::<u64>();
        let before = packets();
        eventually(Duration::from_secs(2), || (packets() > before + 500).then_some(())).is_some()
    }

    /// Checks that some rules count and others don't.
    #[track_caller]
    pub(crate) fn check(&self, what: &str, counting: &[&str], quiet: &[&str]) {
        let before = self.bed.packets();
        let after = self.bed.wait(what, || {
            let now = self.bed.packets();
            counting.iter().all(|rule| now[*rule] >= before[*rule] + 100).then_some(now)
        });
        for rule in quiet {
            assert_eq!(before[*rule], after[*rule], "{what}: `{rule}` decides nothing any more");
        }
    }

    /// What has passed the gateway towards the server on a lane.
    pub(crate) fn passed(&self, port: u16) -> u64 {
        self.bed.seen(&port.to_string()).packets
    }

    /// Ends all traffic, without losing what is under way.
    pub(crate) fn finish(self) -> Totals {
        let (ahead, behind) = match self.direction {
            Direction::Forward => ("client", "server"),
            Direction::Replies => ("server", "client"),
            Direction::Both => ("client", "server"),
        };
        let Self { bed, direction, lanes } = self;
        let (senders, receivers): (Vec<_>, Vec<_>) =
            lanes.into_iter().map(|lane| (lane.sender, lane.receiver)).unzip();
        let sent: Vec<Sent> = senders.into_iter().map(|sender| stop(direction, sender)).collect();
        for node in [ahead, behind] {
            bed.wait("everything is through", || is_drained(bed, node).then_some(()));
        }
        let outcomes = sent.into_iter().zip(receivers).map(|(sent, receiver)| match sent {
            Sent::Forward(sent) => {
                let got: Reception = receiver.stop_and_report().unwrap();
                Outcome { offered: sent.sent, lost: got.lost, got, rate: sent.rate_pps }
            }
            Sent::Replies(pushed) => {
                let got: Reception = receiver.stop_and_report().unwrap();
                let offered = pushed.streams.iter().map(|stream| stream.sent).sum::<u64>();
                let took = pushed.streams.iter().map(|stream| stream.last_ns - stream.first_ns);
                let took = Duration::from_nanos(took.max().unwrap_or(1)).as_secs_f64();
                let lost = got.lost;
                Outcome { offered: offered + FLOWS, lost, got, rate: offered as f64 / took }
            }
            Sent::Both(sent) => {
                let echo: UdpEcho = receiver.stop_and_report().unwrap();
                let got = sent.replies.unwrap();
                let lost = got.lost + (sent.sent - echo.datagrams);
                let offered = sent.sent + echo.returned;
                Outcome { offered, lost, got, rate: 2.0 * sent.rate_pps }
            }
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        let errors = if direction == Direction::Both { bed.seen("errors").packets } else { 0 };
        let totals = Totals { outcomes, errors };
        println!(
            "{direction:?}: {} packets, {:.0} a second",
            totals.offered(),
            totals.outcomes.iter().map(|outcome| outcome.rate).sum::<f64>()
        );
        totals
    }
}

/// What became of all lanes.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) outcomes: Vec<Outcome>,
    errors: u64,
}

impl Totals {
    pub(crate) fn offered(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.offered).sum::<u64>() + self.errors
    }

    /// Checks that the rules together have counted every packet once, and that nothing was decided
    /// outside them. `before` is what they had counted before the load.
    #[track_caller]
    pub(crate) fn assert_all_counted(&self, bed: &Bed, before: &BTreeMap<String, u64>) {
        let sum = |packets: &BTreeMap<String, u64>| packets.values().sum::<u64>();
        let counted = || sum(&bed.packets()) - sum(before);
        let offered = self.offered();
        eventually(Duration::from_secs(2), || (counted() == offered).then_some(()));
        let exceptions = bed.status().exceptions;
        assert_eq!(counted(), offered, "{:?}, {exceptions:?}, {self:?}", bed.packets());
        for reason in ["again", "unclassified", "invalid", "forged"] {
            assert_eq!(bed.exception(reason), 0, "{reason}");
        }
    }

    /// Checks that a lane has lost nothing.
    #[track_caller]
    pub(crate) fn assert_whole(&self, lane: usize) {
        let outcome = &self.outcomes[lane];
        let got = &outcome.got;
        assert_eq!((got.duplicated, got.foreign), (0, 0), "lane {lane}: {got:?}");
        // Without the privilege for large buffers a receiver that stalls loses some itself.
        assert!(outcome.lost <= got.overrun, "lane {lane}: {} lost, {got:?}", outcome.lost);
        if rustix::process::geteuid().is_root() {
            assert_eq!(outcome.lost, 0, "lane {lane}: {got:?}");
        }
    }
}

enum Sent {
    Forward(UdpSend),
    Replies(UdpPush),
    Both(UdpSend),
}

fn stop(direction: Direction, sender: Process) -> Sent {
    match direction {
        Direction::Forward => Sent::Forward(sender.stop_and_report().unwrap()),
        Direction::Replies => Sent::Replies(sender.stop_and_report().unwrap()),
        Direction::Both => Sent::Both(sender.stop_and_report().unwrap()),
    }
}

fn lane(bed: &Bed, direction: Direction, index: usize, port: u16, rate: u64) -> Lane {
    let family = index % 2;
    let server = at(OUTSIDE[family], port);
    let send = |rate: u64| {
        format!("udp-send --to {server} --rate {rate} --count 100000000 --flows {FLOWS} {FOR}")
    };
    match direction {
        Direction::Forward => {
            let receiver = bed.serve("server", &format!("udp-recv --listen {server} {FOR}"));
            Lane { sender: bed.start("client", &send(rate)), receiver }
        }
        Direction::Both => {
            let receiver = bed.serve("server", &format!("udp-echo --listen {server} {FOR}"));
            let options = format!("{} --replies", send(rate / 2));
            Lane { sender: bed.start("client", &options), receiver }
        }
        Direction::Replies => {
            let each = rate / FLOWS;
            let sender =
                bed.serve("server", &format!("udp-push --listen {server} --rate {each} {FOR}"));
            let first = 20_000 + 100 * index as u64;
            let client = at(CLIENT[family].parse().unwrap(), first.try_into().unwrap());
            let last = first + FLOWS - 1;
            let options = format!("udp-recv --listen {client}-{last} --hello {server} {FOR}");
            Lane { sender, receiver: bed.serve("client", &options) }
        }
    }
}

/// Whether nothing waits for the daemon, nor in a socket of the node.
fn is_drained(bed: &Bed, node: &str) -> bool {
    let waiting: u64 = bed.status().queues.iter().map(|queue| queue.waiting).sum();
    let sockets = bed.shell(node, "cat /proc/net/udp /proc/net/udp6");
    // ... local, remote, state, transmit queue:receive queue (5th).
    let queues = sockets.lines().filter_map(|line| line.split_whitespace().nth(4));
    let unread = queues.filter(|queue| queue.contains(':') && !queue.ends_with(":00000000"));
    waiting == 0 && unread.count() == 0
}
