//! Two nodes with modelled kernels on a virtual clock, on a link that loses, delays, repeats and
//! reorders datagrams and is cut, while daemons are killed, hosts reboot, notifications are lost,
//! policies are reloaded and confirmed, keys are changed and VRRP moves groups to and fro.
//!
//! Goes in: a seed and a number of steps. Comes out: what happened, or which promise was broken at
//! which step. The same seed gives the same run. A step is a packet of a session or a fault.
//!
//! ```text
//!   acts ──► World ──► Host A: Node, Kernel ──── link ──── Host B: Node, Kernel
//!              └─────► check: at the end of each calm both have the same
//! ```

pub(crate) mod acts;
mod check;
pub(crate) mod host;
mod kernel;
mod offers;
pub(crate) mod policy;
pub(crate) mod rng;
#[cfg(test)]
pub(crate) mod scene;
mod words;

pub(crate) use words::{Broken, Due, MS, Nanos, Side, Summary};

use host::{GROUPS, Host, OWNED, time};
use rng::Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use twinwall_ctsync::model::{Delta, EventKind, GroupTag, KernelEvent, Origin, Role, Session};
use twinwall_ctsync::offer::PolicyVersion;
use twinwall_ctsync::replica::{Event, Output, Write, WriteOp, WriteResult};

/// Everything.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Nanos,
    pub(crate) summary: Summary,
    pub(crate) hosts: [Host; 2],
    /// Per thousand.
    pub(crate) loss: u64,
    pub(crate) repeat: u64,
    pub(crate) jitter: Nanos,
    pub(crate) cut: bool,
    pub(crate) one_way: Option<Side>,
    pub(crate) split: bool,
    /// Writes that are refused, per thousand.
    pub(crate) refuse: u64,
    pub(crate) sessions: Vec<acts::Client>,
    next_port: u32,
    queue: BinaryHeap<Reverse<(Nanos, u64)>>,
    dues: BTreeMap<u64, Due>,
    next_due: u64,
    next_act: Nanos,
    calm_until: Option<Nanos>,
    calm_began: Nanos,
    settled: Option<Nanos>,
    /// What the nodes have told, in a scene.
    pub(crate) told: Vec<(Side, Event)>,
    pub(crate) listens: bool,
    /// The latest policy that anybody has confirmed.
    pub(crate) newest: Option<PolicyVersion>,
    trace_from: Option<u64>,
}

fn brief(op: impl fmt::Debug, session: &Session) -> String {
    let Session { original, status, proto, timeout, mark, labels, .. } = session;
    format!("{op:?} {:?} {status:?} {proto:?} {timeout} {mark:x} {labels:x}", original.layer4)
}

/// Runs so many steps and lets things settle. With `trace_from`, prints what happens from that
/// step on.
pub(crate) fn run(seed: u64, steps: u64, trace_from: Option<u64>) -> Result<Summary, Broken> {
    let mut world = World::new(seed, trace_from);
    let outcome = world.go(steps);
    world.summary.seconds = world.now as f64 / 1e9;
    let (step, at) = (world.summary.steps, world.now);
    outcome.map(|()| world.summary).map_err(|what| Broken { seed, step, at, what })
}

impl World {
    fn new(seed: u64, trace_from: Option<u64>) -> Self {
        let mut world = Self {
            rng: Rng::new(seed),
            now: 1_000 * MS,
            summary: Summary::default(),
            hosts: [Host::new(Side::A), Host::new(Side::B)],
            loss: 0,
            repeat: 0,
            jitter: 20_000,
            cut: false,
            one_way: None,
            split: false,
            refuse: 0,
            sessions: Vec::new(),
            next_port: 1,
            queue: BinaryHeap::new(),
            dues: BTreeMap::new(),
            next_due: 0,
            next_act: 1_000 * MS,
            calm_until: None,
            calm_began: 0,
            settled: None,
            told: Vec::new(),
            listens: false,
            newest: None,
            trace_from,
        };
        for (group, side) in GROUPS.into_iter().zip(Side::BOTH) {
            world.host_mut(side).roles.insert(group, Role::Active);
            world.host_mut(side.other()).roles.insert(group, Role::Backup);
        }
        for side in Side::BOTH {
            world.schedule(0, Due::Boot { side });
        }
        world
    }

    fn go(&mut self, steps: u64) -> Result<(), String> {
        while self.summary.steps < steps || self.calm_until.is_some() {
            self.advance()?;
        }
        self.begin_calm();
        while self.calm_until.is_some() {
            self.advance()?;
        }
        Ok(())
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

    fn advance(&mut self) -> Result<(), String> {
        let due = self.queue.peek().map_or(Nanos::MAX, |Reverse((at, _))| *at);
        let wake = |side| {
            // A daemon takes a moment between two turns of its loop.
            let host = self.host(side);
            host.deadline(self.now)
                .map_or(Nanos::MAX, |at| at.max(self.now + 2_000).max(host.busy_until))
        };
        let (a, b) = (wake(Side::A), wake(Side::B));
        let act = if self.calm_until.is_some() { Nanos::MAX } else { self.next_act };
        let calm = self.calm_until.unwrap_or(Nanos::MAX);
        let at = due.min(a).min(b).min(act).min(calm);
        self.now = self.now.max(at);
        if due == at {
            if let Some(Reverse((_, key))) = self.queue.pop()
                && let Some(due) = self.dues.remove(&key)
            {
                self.come_to_pass(due)?;
            }
        } else if act == at {
            self.summary.steps += 1;
            self.act()?;
            self.next_act = self.now + self.rng.below(2 * MS) + 1;
        } else if calm == at {
            self.end_calm()?;
        } else {
            let side = if a == at { Side::A } else { Side::B };
            let now = self.now;
            let out = self.host_mut(side).verb(|node, out| node.poll(time(now), out));
            self.apply(side, out)?;
        }
        self.look_at_offers();
        self.look()
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

    fn come_to_pass(&mut self, due: Due) -> Result<(), String> {
        let now = self.now;
        if let Some(side) = due.reader()
            && self.host(side).busy_until > now
        {
            self.schedule(self.host(side).busy_until - now, due);
            return Ok(());
        }
        match due {
            Due::Datagram { to, bytes } => {
                let (out, _) = self.host_mut(to).receive(now, &bytes);
                self.apply(to, out)?;
            }
            Due::Notifications { side } => self.deliver(side)?,
            Due::Written { side, boot, batch, writes } => {
                if self.host(side).starts == boot && self.host(side).node.is_some() {
                    self.write(side, batch, &writes)?;
                }
            }
            Due::Dumped { side, boot, found, last } => {
                if self.host(side).starts == boot && self.host(side).node.is_some() {
                    self.dump_on(side, found, last)?;
                }
            }
            Due::Boot { side } => {
                let record = self.rng.chance(100);
                let Self { hosts, rng, .. } = self;
                let [a, b] = hosts;
                let host = if side == Side::A { a } else { b };
                if host.node.is_none() {
                    let out = host.boot(now, rng, record);
                    self.trace(|| format!("{side:?} boots"));
                    self.apply(side, out)?;
                    for group in GROUPS {
                        if self.carrier(group, 0).is_none() {
                            self.schedule(30 * MS, Due::Move { group, to: side });
                        }
                    }
                }
            }
            Due::Heal => {
                self.trace(|| "the link is whole".into());
                (self.cut, self.one_way) = (false, None);
            }
            Due::Hear { side } => {
                self.host_mut(side).kernel.deaf = false;
                self.notify(side);
            }
            Due::Move { group, to } => self.move_group(group, to)?,
            Due::Unsplit => self.unsplit()?,
            Due::Rules { side, boot } => {
                if self.host(side).starts == boot && self.host(side).node.is_some() {
                    let out = self.host_mut(side).tell_policy(now);
                    self.apply(side, out)?;
                }
            }
            Due::Load { side, boot, delivery } => {
                if self.host(side).starts == boot && self.host(side).node.is_some() {
                    self.load(side, delivery)?;
                }
            }
        }
        Ok(())
    }

    /// Hands the notifications that wait to the daemon.
    fn deliver(&mut self, side: Side) -> Result<(), String> {
        let now = self.now;
        let host = self.host_mut(side);
        let mut out = Vec::new();
        if std::mem::take(&mut host.kernel.overrun) {
            out = host.verb(|node, out| node.overrun(time(now), out));
        }
        let events = std::mem::take(&mut host.kernel.events);
        for event in events {
            self.trace(|| format!("{side:?} event {event:?}"));
            let host = self.host_mut(side);
            out.extend(host.verb(|node, out| node.kernel_event(time(now), event, out)));
        }
        self.apply(side, out)
    }

    /// Has the daemon read its notifications soon.
    pub(crate) fn notify(&mut self, side: Side) {
        let kernel = &self.host(side).kernel;
        if !kernel.events.is_empty() || kernel.overrun {
            let after = self.rng.below(300_000);
            self.schedule(after, Due::Notifications { side });
        }
    }

    fn write(&mut self, side: Side, batch: u64, writes: &[Write]) -> Result<(), String> {
        let now = self.now;
        let mut results = Vec::new();
        for write in writes {
            let refuse = self.rng.chance(self.refuse);
            let result = self.host_mut(side).kernel.write(now, write, refuse);
            self.trace(|| format!("{side:?} {} -> {result:?}", brief(write.op, &write.session)));
            let makes = [WriteOp::Create, WriteOp::Update, WriteOp::Replace].contains(&write.op);
            if makes && result == WriteResult::Done {
                self.host(side).check_key(&write.session)?;
            }
            results.push(result);
        }
        self.notify(side);
        let mut out = Vec::new();
        for (write, _) in
            writes.iter().zip(&results).filter(|(_, result)| **result == WriteResult::Busy)
        {
            let kept = self.host(side).kernel.table.get(&write.session.identity());
            let Some(delta) = kept.map(|kept| Delta::whole(&kept.left(now))) else { continue };
            let event = KernelEvent { kind: EventKind::Update, origin: Origin::Traffic, delta };
            out.extend(
                self.host_mut(side).verb(|node, out| node.kernel_event(time(now), event, out)),
            );
        }
        out.extend(
            self.host_mut(side).verb(|node, out| node.written(time(now), batch, results, out)),
        );
        self.apply(side, out)
    }

    fn dump_on(&mut self, side: Side, found: Vec<Session>, last: bool) -> Result<(), String> {
        let now = self.now;
        let mut out = Vec::new();
        for session in found {
            let delta = Delta::whole(&session);
            out.extend(self.host_mut(side).verb(|node, out| node.dumped(time(now), delta, out)));
        }
        if last {
            self.host_mut(side).dumping = None;
            let complete = !self.rng.chance(50) || self.calm_until.is_some();
            out.extend(
                self.host_mut(side).verb(|node, out| node.dump_end(time(now), complete, out)),
            );
        } else {
            self.dump_next(side);
        }
        self.apply(side, out)
    }

    /// Reads the next stretch of the table; it reaches the daemon later.
    fn dump_next(&mut self, side: Side) {
        let now = self.now;
        let host = self.host_mut(side);
        let Some(left) = &mut host.dumping else { return };
        let part: Vec<_> = (0..20).map_while(|_| left.pop_front()).collect();
        let last = left.is_empty();
        let kept = part.iter().filter_map(|identity| host.kernel.table.get(identity));
        let found: Vec<Session> = kept.map(|kept| kept.left(now)).collect();
        let boot = host.starts;
        let after = self.rng.below(400_000);
        self.schedule(after, Due::Dumped { side, boot, found, last });
    }

    /// Does what a node asks for.
    pub(crate) fn apply(&mut self, side: Side, outputs: Vec<Output>) -> Result<(), String> {
        for output in outputs {
            match output {
                Output::Send(bytes) => self.transmit(side, bytes),
                Output::Write { batch, writes } => {
                    let boot = self.host(side).starts;
                    let after = (batch % 3 + 1) * 30_000;
                    self.schedule(after, Due::Written { side, boot, batch, writes });
                }
                Output::Dump(reason) => {
                    self.trace(|| format!("{side:?} dumps: {reason:?}"));
                    let host = self.host_mut(side);
                    host.dumping = Some(host.kernel.table.keys().copied().collect());
                    self.dump_next(side);
                }
                Output::Classify { session, .. } => {
                    let (now, identity) = (self.now, session.identity());
                    let host = self.host_mut(side);
                    // Only the next packet shows the zones of a session without a key.
                    let known = session.mark & OWNED != 0;
                    let key = known.then(|| host.policy.decide(&session));
                    let out = host.verb(|node, out| node.classified(time(now), identity, key, out));
                    self.apply(side, out)?;
                }
                Output::Greet { .. } => return Err("a greeting got out".into()),
                Output::Event(event) => {
                    if self.listens {
                        self.told.push((side, event));
                    }
                    self.trace(|| format!("{side:?}: {event}"));
                    match event {
                        Event::PeerSilent => self.summary.silences += 1,
                        Event::HomesClaimed => self.summary.claims += 1,
                        Event::ResyncBegan { .. } => self.summary.resyncs += 1,
                        Event::Malformed => return Err(format!("{side:?}: {event}")),
                        Event::HaveEverything if self.host(side).preempts => {
                            self.host_mut(side).preempts = false;
                            self.may_preempt(side);
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Draws the fate of a datagram.
    fn transmit(&mut self, from: Side, bytes: Vec<u8>) {
        self.summary.datagrams += 1;
        let to = from.other();
        if self.cut || self.one_way == Some(from) || self.rng.chance(self.loss) {
            self.summary.lost += 1;
            return;
        }
        if self.rng.chance(self.repeat) {
            let after = 30_000 + self.rng.below(self.jitter * 4);
            self.schedule(after, Due::Datagram { to, bytes: bytes.clone() });
        }
        let after = 30_000 + self.rng.below(self.jitter);
        self.schedule(after, Due::Datagram { to, bytes });
    }

    /// Who forwards a group; in a split each host for its own half of the clients.
    pub(crate) fn carrier(&self, group: GroupTag, client: u32) -> Option<Side> {
        let active = |side: &Side| self.host(*side).roles.get(&group) == Some(&Role::Active);
        let mut sides: Vec<Side> = Side::BOTH.into_iter().filter(active).collect();
        match sides.len() {
            0 => None,
            1 => sides.pop(),
            _ => Some(if client.is_multiple_of(2) { Side::A } else { Side::B }),
        }
    }
}
