//! The scenarios: each does one thing to a pair while a stream goes through it, and undoes it.
//!
//! In: a pair that is up. Out: numbers by name, see [`Values`]. Not here: medians, tables, aims
//! ([`super::report`]).

use crate::clock;
use crate::error::Error;
use crate::node::Node;
use crate::process::Process;
use crate::scenario::answers::{self, Answer, Both, Watch};
use crate::scenario::fault::Fault;
use crate::scenario::pair::{Pair, Side};
use crate::topology::{OUTSIDE_V4, OUTSIDE_V6, Segment};
use crate::traffic::gap::{Gap, measure};
use crate::traffic::reception::milliseconds;
use crate::traffic::report::Stream;
use crate::vrrp::Family;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

/// What a run has measured, by name; names end in their unit.
pub type Values = BTreeMap<String, f64>;

/// What happens to the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The active node falls silent on all of its links at once, and its daemon is stopped.
    NodeDeath,
    /// The active node's LAN port goes down.
    LegDown,
    /// The active node hands over in good order.
    Graceful,
    /// The node of higher priority comes back and takes over.
    Failback,
    /// The active node's daemon is killed with SIGKILL.
    Kill9,
    /// The active node's daemon is stopped with SIGSTOP.
    Stopped,
    /// The two nodes don't hear each other for a while.
    Split,
}

impl Event {
    /// Its name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodeDeath => "vrrp-node-death",
            Self::LegDown => "vrrp-leg-down",
            Self::Graceful => "vrrp-graceful",
            Self::Failback => "vrrp-failback",
            Self::Kill9 => "vrrp-kill9",
            Self::Stopped => "vrrp-kill9-sigstop",
            Self::Split => "vrrp-split",
        }
    }
}

/// The stream's port at the server.
const PORT: u16 = 7000;

/// How long the stream runs before the event, so that each host knows its neighbours.
const BEFORE: Duration = Duration::from_millis(400);

/// How long it goes on after the pair has agreed.
const AFTER: Duration = Duration::from_millis(500);

/// How long answers are watched after a daemon was killed or stopped.
const WATCHED: Duration = Duration::from_millis(2500);

/// How long a split lasts once both are active.
const SPLIT: Duration = Duration::from_millis(500);

/// Runs one scenario once, and leaves the pair as it was.
///
/// # Errors
/// When a step fails, or the pair doesn't come to where it should.
pub fn once(pair: &mut Pair, event: Event, family: Family) -> Result<Values, Error> {
    pair.wait_active(Side::A)?;
    let mut values = Values::new();
    match event {
        Event::NodeDeath => {
            let flow = Flow::start(pair, family)?;
            let at = Fault::Silent(Side::A).begin(pair.testbed())?;
            pair.freeze(Side::A, true)?;
            pair.wait_holding(Side::B)?;
            flow.finish(at, &mut values)?;
            pair.freeze(Side::A, false)?;
            Fault::Silent(Side::A).end(pair.testbed())?;
        }
        Event::LegDown => {
            let flow = Flow::start(pair, family)?;
            let at = Fault::LanDown(Side::A).begin(pair.testbed())?;
            pair.wait_active(Side::B)?;
            flow.finish(at, &mut values)?;
            Fault::LanDown(Side::A).end(pair.testbed())?;
        }
        Event::Graceful => {
            let flow = Flow::start(pair, family)?;
            let at = clock::now();
            pair.hand_over(Side::A)?;
            pair.wait_active(Side::B)?;
            flow.finish(at, &mut values)?;
            pair.hand_back(Side::A)?;
        }
        Event::Failback => {
            pair.stop(Side::A)?;
            pair.wait_active(Side::B)?;
            let flow = Flow::start(pair, family)?;
            let at = clock::now();
            pair.start(Side::A)?;
            pair.wait_active(Side::A)?;
            flow.finish(at, &mut values)?;
        }
        Event::Kill9 | Event::Stopped => killed(pair, event, family, &mut values)?,
        Event::Split => split(pair, family, &mut values)?,
    }
    pair.wait_active(Side::A)?;
    Ok(values)
}

fn killed(pair: &mut Pair, event: Event, family: Family, values: &mut Values) -> Result<(), Error> {
    let watched = watched();
    let watch = Watch::start(pair.testbed(), &watched)?;
    let flow = Flow::start(pair, family)?;
    let at = clock::now();
    if event == Event::Kill9 {
        pair.kill9(Side::A)?;
    } else {
        pair.freeze(Side::A, true)?;
    }
    pair.wait_holding(Side::B)?;
    let left = WATCHED.saturating_sub(clock::between(at, clock::now()));
    thread::sleep(left + pair.vrrp().interval * 4);
    let answers = watch.stop()?;
    flow.finish(at, values)?;
    for (name, address) in ["arp", "nd"].into_iter().zip(watched) {
        let both = two_owners(&answers, address, at);
        values.insert(format!("two_owners_{name}_ms"), milliseconds(both.nanoseconds));
        let endless = f64::from(u8::from(both.to_the_end));
        values.insert(format!("two_owners_{name}_to_the_end"), endless);
    }
    if event == Event::Kill9 { pair.start(Side::A) } else { pair.freeze(Side::A, false) }
}

fn split(pair: &mut Pair, family: Family, values: &mut Values) -> Result<(), Error> {
    Fault::Apart.begin(pair.testbed())?;
    pair.wait_holding(Side::B)?;
    pair.wait_holding(Side::A)?;
    let watch = Watch::start(pair.testbed(), &watched())?;
    let flow = Flow::start(pair, family)?;
    thread::sleep(SPLIT);
    let at = Fault::Apart.end(pair.testbed())?;
    pair.wait_active(Side::A)?;
    thread::sleep(AFTER);
    let answers = watch.stop()?;
    flow.finish(at, values)?;
    let last = answers::last_of(&answers, &port(Side::B));
    let split = answers.iter().any(|a| a.at < at && a.port == port(Side::B));
    values.insert("was_split".to_owned(), f64::from(u8::from(split)));
    values.insert("until_one_owner_ms".to_owned(), milliseconds(last.saturating_sub(at)));
    Ok(())
}

/// The LAN's main virtual addresses.
fn watched() -> Vec<IpAddr> {
    let last = |addresses: Vec<IpAddr>| addresses.last().copied();
    [last(Segment::Lan.virtual_v4()), last(Segment::Lan.virtual_v6())]
        .into_iter()
        .flatten()
        .collect()
}

fn port(side: Side) -> String {
    format!("{}-{}", side.name(), Segment::Lan.name())
}

fn two_owners(answers: &[Answer], address: IpAddr, at: u64) -> Both {
    answers::both(answers, address, [&port(Side::A), &port(Side::B)], at)
}

/// A stream between `client` and `server`, through the pair.
pub(crate) struct Flow {
    client: Process,
    server: Process,
}

impl Flow {
    pub(crate) fn start(pair: &Pair, family: Family) -> Result<Self, Error> {
        let to = match family {
            Family::V4 => SocketAddr::new(IpAddr::V4(OUTSIDE_V4), PORT),
            Family::V6 => SocketAddr::new(IpAddr::V6(OUTSIDE_V6), PORT),
        };
        let testbed = pair.testbed();
        let mut server = stream(&testbed.node("server")?, "--listen", to)?;
        server.wait_ready()?;
        let mut client = stream(&testbed.node("client")?, "--to", to)?;
        client.wait_ready()?;
        thread::sleep(BEFORE);
        Ok(Self { client, server })
    }

    /// Lets it go on for a while, ends it, and says what the event did to it.
    fn finish(self, event: u64, values: &mut Values) -> Result<(), Error> {
        let (client, server) = self.end()?;
        add(values, "to_server", &measure(&client, &server, event));
        add(values, "to_client", &measure(&server, &client, event));
        values.insert("put_off_ms".to_owned(), client.put_off_ms.max(server.put_off_ms));
        Ok(())
    }

    /// Lets it go on for a while and ends it: what the client and the server report.
    pub(crate) fn end(mut self) -> Result<(Stream, Stream), Error> {
        thread::sleep(AFTER);
        self.client.signal(Signal::TERM)?;
        self.server.signal(Signal::TERM)?;
        Ok((self.client.report()?, self.server.report()?))
    }
}

fn stream(node: &Node, side: &str, address: SocketAddr) -> Result<Process, Error> {
    urgent(node, ["stream", side, &address.to_string(), "--for", "300"])
}

/// Starts `traffic`, with real-time priority where that is allowed: a busy machine shall not look
/// like a gap.
pub(crate) fn urgent<const N: usize>(node: &Node, plain: [&str; N]) -> Result<Process, Error> {
    let allowed = node.command("chrt")?.args(["--fifo", "10", "true"]).output()?.code() == 0;
    if !allowed {
        return node.traffic(plain)?.spawn();
    }
    node.command("chrt")?.args(["--fifo", "10", "traffic"]).args(plain).spawn()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn add(values: &mut Values, direction: &str, gap: &Gap) {
    let mut put = |name: &str, value| values.insert(format!("{name}_{direction}"), value);
    put("gap_ms", milliseconds(gap.longest_ns));
    put("delay_ms", milliseconds(gap.longest_delay_ns));
    put("lost", gap.lost as f64);
    put("duplicated", gap.duplicated as f64);
}
