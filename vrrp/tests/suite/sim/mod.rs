//! Two nodes on a virtual clock, on links that lose, delay, repeat and corrupt packets, that are
//! cut and healed, while the nodes are killed, stopped, paused, and told other priorities.
//!
//! Goes in: a seed and a number of steps. Comes out: what happened, or which promise was broken at
//! which step. The same seed gives the same run. A step is something that was done to a node or a
//! link; the fate of each packet is drawn besides.
//!
//! ```text
//!   acts ──► World ──► Host A ──┬── wire lan ──┬── Host B
//!              │                ├── wire wan ──┤
//!              ▼                └── sync ──────┘
//!            Watch: what must hold
//! ```

mod acts;
mod host;
mod plan;
pub(crate) mod rng;
mod watch;
mod wire;

use host::Host;
use plan::Plan;
use rng::Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use twinwall_vrrp::action::{Action, Event, HandOver, Output, State};
use twinwall_vrrp::router::PeerReport;
use watch::Watch;
use wire::Wire;

/// Nanoseconds since the world began.
pub(crate) type Nanos = u64;

/// One of the two nodes.
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
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) steps: u64,
    pub(crate) packets: u64,
    pub(crate) polls: u64,
    pub(crate) calms: u64,
    pub(crate) takeovers: u64,
    pub(crate) seconds: f64,
    /// The longest that both were active while packets flowed, and that none was though one could,
    /// in thousandths of what is allowed.
    pub(crate) worst_two: u64,
    pub(crate) worst_none: u64,
}

/// What comes to pass at a certain time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Packet { to: Side, leg: usize, bytes: Vec<u8> },
    Report { to: Side, report: PeerReport },
    PeerReady { to: Side },
    Boot { side: Side },
    Resume { side: Side },
    CalmEnds,
}

/// Everything.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    pub(crate) now: Nanos,
    pub(crate) summary: Summary,
    hosts: [Host; 2],
    pub(crate) wires: Vec<Wire>,
    pub(crate) sync_cut: bool,
    queue: BinaryHeap<Reverse<(Nanos, u64)>>,
    dues: BTreeMap<u64, Due>,
    next_due: u64,
    next_act: Nanos,
    /// No acts until then.
    calm: bool,
    watch: Watch,
    trace_from: Option<u64>,
}

/// Runs so many steps. With `trace_from`, prints what happens from that step on.
pub(crate) fn run(seed: u64, steps: u64, trace_from: Option<u64>) -> Result<Summary, Broken> {
    let mut world = World::new(seed, trace_from);
    while world.summary.steps < steps {
        world.advance().map_err(|what| Broken {
            seed,
            step: world.summary.steps,
            at: world.now,
            what,
        })?;
    }
    world.summary.seconds = world.now as f64 / 1e9;
    (world.summary.worst_two, world.summary.worst_none) = world.watch.worst();
    Ok(world.summary)
}

impl World {
    fn new(seed: u64, trace_from: Option<u64>) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let hosts = Side::BOTH.map(|side| Host::new(side, &plan, &mut rng));
        let wires = (0..plan.legs).map(|_| Wire::default()).collect();
        let mut world = Self {
            rng,
            now: 0,
            summary: Summary::default(),
            hosts,
            wires,
            sync_cut: false,
            queue: BinaryHeap::new(),
            dues: BTreeMap::new(),
            next_due: 0,
            next_act: 0,
            calm: false,
            watch: Watch::new(&plan),
            plan,
            trace_from,
        };
        for side in Side::BOTH {
            world.schedule(0, Due::Boot { side });
        }
        world
    }

    pub(crate) fn host(&self, side: Side) -> &Host {
        let [a, b] = &self.hosts;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    pub(crate) fn host_mut(&mut self, side: Side) -> &mut Host {
        let [a, b] = &mut self.hosts;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// Does the next thing.
    fn advance(&mut self) -> Result<(), String> {
        let due = self.queue.peek().map_or(Nanos::MAX, |Reverse((at, _))| *at);
        let wake = |side| self.host(side).wake().unwrap_or(Nanos::MAX);
        let (a, b) = (wake(Side::A), wake(Side::B));
        let act = if self.calm { Nanos::MAX } else { self.next_act };
        let at = due.min(a).min(b).min(act);
        self.now = self.now.max(at);
        // A packet that waits is delivered before the timer runs, as the driver is asked to do.
        if due == at {
            if let Some(Reverse((_, key))) = self.queue.pop()
                && let Some(due) = self.dues.remove(&key)
            {
                self.come_to_pass(due)?;
            }
        } else if act == at {
            self.summary.steps += 1;
            self.act()?;
            let gap = self.plan.act_gap;
            self.next_act = self.now + self.rng.below(gap * 2) + 1;
        } else {
            self.summary.polls += 1;
            self.poll(if a == at { Side::A } else { Side::B })?;
        }
        let Self { watch, hosts, wires, now, .. } = self;
        watch.look(*now, hosts, wires)
    }

    pub(crate) fn schedule(&mut self, after: Nanos, due: Due) {
        self.next_due += 1;
        self.dues.insert(self.next_due, due);
        self.queue.push(Reverse((self.now + after, self.next_due)));
    }

    pub(crate) fn trace(&self, what: impl FnOnce() -> String) {
        if self.trace_from.is_some_and(|from| self.summary.steps >= from) {
            eprintln!("{:>9} {:>14.6} {}", self.summary.steps, self.now as f64 / 1e9, what());
        }
    }

    /// A time without acts, at whose end everything has to have settled.
    pub(crate) fn begin_calm(&mut self) {
        self.calm = true;
        self.summary.calms += 1;
        let length = self.watch.settles_within();
        self.schedule(length, Due::CalmEnds);
        self.watch.calm_began(self.now);
    }

    fn come_to_pass(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::Packet { to, leg, bytes } => {
                let now = self.now;
                let source = self.plan.primary(to.other(), leg);
                if let Some(outputs) = self.host_mut(to).receive(now, leg, source, bytes)? {
                    self.trace(|| format!("{to:?} heard leg {leg}"));
                    self.apply(to, outputs)?;
                }
            }
            Due::Report { to, report } => {
                let serves = self.host(to.other()).serving();
                let state = if serves { State::Active } else { State::Backup };
                self.trace(|| format!("{to:?} peer is {report:?}"));
                if self.host(to).runs() && !self.host(to).paused {
                    let active = serves && report == PeerReport::Alive;
                    self.host_mut(to).peer_active = active;
                }
                self.verb(to, |node, group, now, out| {
                    node.peer_report(now, report, out);
                    node.peer_state(group, state, now, out);
                })?;
            }
            Due::PeerReady { to } => {
                self.trace(|| format!("{to:?} peer is ready"));
                self.verb(to, |node, group, now, out| node.peer_ready(group, now, out))?;
            }
            Due::Boot { side } => self.boot(side)?,
            Due::Resume { side } => self.resume(side)?,
            Due::CalmEnds => {
                self.calm = false;
                let Self { watch, hosts, plan, now, .. } = self;
                watch.calm_ended(*now, hosts, plan)?;
                self.next_act = self.now;
            }
        }
        Ok(())
    }

    /// Calls a verb of a node, if it runs, and does what comes out.
    pub(crate) fn verb(
        &mut self,
        side: Side,
        verb: impl FnOnce(
            &mut twinwall_vrrp::node::Node,
            twinwall_vrrp::types::GroupId,
            twinwall_vrrp::time::Timestamp,
            &mut Vec<Output>,
        ),
    ) -> Result<(), String> {
        let now = self.now;
        let outputs = self.host_mut(side).verb(now, verb);
        self.apply(side, outputs)
    }

    fn poll(&mut self, side: Side) -> Result<(), String> {
        self.verb(side, |node, _, now, out| node.poll(now, out))?;
        let now = self.now;
        if self.host(side).deadline().is_some_and(|deadline| deadline <= now) {
            return Err(format!("{side:?}: after poll the next deadline is not in the future"));
        }
        Ok(())
    }

    /// Does what a node asks for.
    fn apply(&mut self, side: Side, outputs: Vec<Output>) -> Result<(), String> {
        for Output { router, action } in outputs {
            self.trace(|| match &action {
                Action::Event(event) => format!("{side:?} leg {}: {event}", router.leg),
                other => format!("{side:?} leg {}: {other:?}", router.leg),
            });
            let now = self.now;
            if let Some(bytes) = self.host_mut(side).carry_out(router, &action, now)? {
                self.transmit(side, router.leg, bytes);
            }
            match action {
                Action::Event(Event::State { to, why, .. }) => {
                    self.watch.state_changed(now, why);
                    self.host_mut(side).changed(to, why, now)?;
                }
                Action::Event(Event::HandOver(HandOver::Asked))
                    if router.leg == 0 && !self.sync_cut && self.host(side.other()).runs() =>
                {
                    let interval = self.plan.longest_interval();
                    let after = self.rng.below(interval * 3);
                    self.schedule(after, Due::PeerReady { to: side });
                }
                Action::AddAddresses { .. } => self.summary.takeovers += 1,
                _ => {}
            }
        }
        let jitter = self.rng.below(self.plan.jitter + 1);
        self.host_mut(side).set_wake(jitter);
        Ok(())
    }

    /// Draws the fate of a packet.
    fn transmit(&mut self, from: Side, leg: usize, bytes: Vec<u8>) {
        let Self { rng, wires, .. } = self;
        let Some(wire) = wires.get_mut(leg) else { return };
        self.summary.packets += 1;
        for (delay, bytes) in wire.fate(from, bytes, rng) {
            self.schedule(delay, Due::Packet { to: from.other(), leg, bytes });
        }
    }
}
