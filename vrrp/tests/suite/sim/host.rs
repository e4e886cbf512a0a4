//! A node with its clock, its process that runs, is paused or dead, and its interfaces.

use super::plan::Plan;
use super::rng::Rng;
use super::{Nanos, Side};
use std::net::IpAddr;
use std::time::Duration;
use twinwall_vrrp::action::{Action, Output, State, Why};
use twinwall_vrrp::node::Node;
use twinwall_vrrp::receive::Datagram;
use twinwall_vrrp::time::Timestamp;
use twinwall_vrrp::types::{GroupId, InterfaceId, Priority, RouterId};
use twinwall_vrrp::wire::Endpoints;

/// Packets that wait for a paused process, at most.
const INBOX: usize = 256;

/// A node.
pub(crate) struct Host {
    side: Side,
    /// The process, unless it is dead.
    process: Option<Process>,
    pub(crate) paused: bool,
    pub(crate) faulty: bool,
    clock: Clock,
    inbox: Vec<(usize, IpAddr, Vec<u8>)>,
    wake: Option<Nanos>,
    /// Which boot this is: an old one's events are not for a new one.
    pub(crate) boots: u64,
    /// When the start delay of this boot is over.
    pub(crate) takes_part_at: Nanos,
    /// The configured priority now.
    pub(crate) priority: Priority,
    /// Until when, by its own clock, it was told not to preempt.
    held_until: Timestamp,
    /// The sync channel told it last that the peer is alive and active.
    pub(crate) peer_active: bool,
    /// It handed over and has neither been active nor been told to reclaim since.
    yielded: bool,
}

struct Process {
    node: Node,
    group: GroupId,
    has_addresses: Vec<bool>,
}

/// A clock with an origin of its own, faster or slower than the world's.
#[derive(Clone, Copy)]
struct Clock {
    origin: Nanos,
    drift: i64,
}

impl Clock {
    fn read(self, now: Nanos) -> Timestamp {
        let shift = now as i128 * i128::from(self.drift) / 1_000_000;
        let reading = i128::from(self.origin) + now as i128 + shift;
        Timestamp::new(Duration::from_nanos(reading.max(0) as u64))
    }

    /// The first time of the world at which the clock shows that much.
    fn when(self, reading: Timestamp) -> Nanos {
        let shown = reading.since_origin().as_nanos() as i128 - i128::from(self.origin);
        let mut now = (shown * 1_000_000 / (1_000_000 + i128::from(self.drift))).max(0) as Nanos;
        while self.read(now) < reading {
            now += 1;
        }
        now
    }
}

impl Host {
    pub(crate) fn new(side: Side, plan: &Plan, rng: &mut Rng) -> Self {
        Self {
            side,
            process: None,
            paused: false,
            faulty: false,
            clock: Clock {
                origin: rng.between(1, 1_000_000_000_000),
                drift: Plan::of(side, plan.drift),
            },
            inbox: Vec::new(),
            wake: None,
            boots: 0,
            takes_part_at: 0,
            priority: Plan::of(side, plan.priority),
            held_until: Timestamp::ZERO,
            peer_active: false,
            yielded: false,
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it could be active by itself now.
    pub(crate) fn takes_part(&self, now: Nanos) -> bool {
        let waits = self.peer_active && self.clock.read(now) < self.held_until;
        let spares = waits && !self.priority.is_owner();
        self.runs() && !self.paused && !self.faulty && self.takes_part_at <= now && !spares
    }

    /// Whether its group is active and its process works.
    pub(crate) fn serving(&self) -> bool {
        !self.paused && self.state() == Some(State::Active)
    }

    pub(crate) fn state(&self) -> Option<State> {
        let process = self.process.as_ref()?;
        Some(process.node.group(process.group)?.state())
    }

    /// The states of the legs, for comparing them.
    pub(crate) fn leg_states(&self) -> Vec<State> {
        let group = self.process.as_ref().and_then(|process| process.node.group(process.group));
        group.map_or_else(Vec::new, |group| group.legs().iter().map(|leg| leg.state()).collect())
    }

    /// When the process is woken up by its timer.
    pub(crate) fn wake(&self) -> Option<Nanos> {
        self.wake.filter(|_| !self.paused)
    }

    /// When its timer should fire.
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        let process = self.process.as_ref()?;
        process.node.next_deadline().map(|deadline| self.clock.when(deadline))
    }

    pub(crate) fn set_wake(&mut self, jitter: Nanos) {
        self.wake = self.deadline().map(|deadline| deadline + jitter);
    }

    /// Starts the process.
    pub(crate) fn boot(&mut self, now: Nanos, plan: &Plan) -> Result<(), String> {
        let mut config = plan.group(self.side)?;
        config.election.priority = self.priority;
        let mut node = Node::new();
        let group = node.add(config, self.clock.read(now)).map_err(|error| error.to_string())?;
        self.process = Some(Process { node, group, has_addresses: vec![false; plan.legs] });
        (self.paused, self.faulty, self.yielded) = (false, false, false);
        (self.held_until, self.peer_active) = (Timestamp::ZERO, false);
        self.boots += 1;
        // In the world's time, rounded up over the clock's drift.
        self.takes_part_at = now + plan.start_delay + plan.start_delay / 50;
        Ok(())
    }

    /// The process is gone without a word.
    pub(crate) fn kill(&mut self) {
        self.process = None;
        self.paused = false;
        self.inbox.clear();
        self.wake = None;
    }

    /// Calls a verb, if the process runs and isn't paused.
    pub(crate) fn verb(
        &mut self,
        now: Nanos,
        verb: impl FnOnce(&mut Node, GroupId, Timestamp, &mut Vec<Output>),
    ) -> Vec<Output> {
        let (clock, mut outputs) = (self.clock, Vec::new());
        if let Some(process) = self.process.as_mut().filter(|_| !self.paused) {
            verb(&mut process.node, process.group, clock.read(now), &mut outputs);
        }
        outputs
    }

    /// A packet arrives; `None` if nobody reads it now.
    pub(crate) fn receive(
        &mut self,
        now: Nanos,
        leg: usize,
        source: IpAddr,
        bytes: Vec<u8>,
    ) -> Result<Option<Vec<Output>>, String> {
        if self.paused {
            if self.inbox.len() < INBOX {
                self.inbox.push((leg, source, bytes));
            }
            return Ok(None);
        }
        let reading = self.clock.read(now);
        let Some(process) = &mut self.process else { return Ok(None) };
        let group = match source {
            IpAddr::V4(_) => IpAddr::V4(twinwall_vrrp::types::GROUP_V4),
            IpAddr::V6(_) => IpAddr::V6(twinwall_vrrp::types::GROUP_V6),
        };
        let endpoints = Endpoints::new(source, group).map_err(|error| error.to_string())?;
        let interface = InterfaceId(leg as u32 + 1);
        let datagram = Datagram { interface, hop_limit: 255, endpoints, payload: &bytes };
        let mut outputs = Vec::new();
        // Refused if it was corrupted.
        match process.node.receive(reading, &datagram, &mut outputs) {
            Ok(()) | Err(_) => Ok(Some(outputs)),
        }
    }

    /// What waited while the process was paused.
    pub(crate) fn take_inbox(&mut self) -> Vec<(usize, IpAddr, Vec<u8>)> {
        std::mem::take(&mut self.inbox)
    }

    /// Does what the node asks for, as far as that concerns this host. Returns an advert to be
    /// sent.
    pub(crate) fn carry_out(
        &mut self,
        router: RouterId,
        action: &Action,
        now: Nanos,
    ) -> Result<Option<Vec<u8>>, String> {
        let side = self.side;
        let Some(process) = &mut self.process else { return Ok(None) };
        let wrong = |what: &str| Err(format!("{side:?} leg {}: {what} at {now}", router.leg));
        let Some(has) = process.has_addresses.get_mut(router.leg) else {
            return wrong("no such leg");
        };
        match action {
            Action::AddAddresses { .. } if *has => return wrong("addresses added twice"),
            Action::AddAddresses { .. } => *has = true,
            Action::RemoveAddresses if !*has => return wrong("addresses removed twice"),
            Action::RemoveAddresses => *has = false,
            Action::Announce if !*has => return wrong("announced without addresses"),
            Action::SendAdvert { priority } if !*has && !priority.is_resign() => {
                return wrong("advert without addresses");
            }
            Action::SendAdvert { priority } => {
                let mut bytes = Vec::new();
                let Some(router) = process.node.router(router) else {
                    return wrong("no such router");
                };
                for destination in router.destinations() {
                    let written = router.write_advert(*priority, destination, &mut bytes);
                    written.map_err(|error| error.to_string())?;
                }
                return Ok(Some(bytes));
            }
            Action::Announce | Action::Event(_) => {}
        }
        Ok(None)
    }

    /// Preemption is held for so long, or allowed.
    pub(crate) fn hold(&mut self, now: Nanos, wait: Option<Duration>) {
        let held = |wait| self.clock.read(now).after(wait);
        self.held_until = wait.map_or(Timestamp::ZERO, held);
    }

    /// It may preempt again though it handed over.
    pub(crate) fn reclaim(&mut self) {
        self.yielded = false;
    }

    /// Follows a change of state, and finds a preemption that should not have been.
    pub(crate) fn changed(&mut self, to: State, why: Why, now: Nanos) -> Result<(), String> {
        let held = self.yielded || self.clock.read(now) < self.held_until;
        if matches!(why, Why::Preempted(_)) && held && !self.priority.is_owner() {
            return Err(format!("{:?} preempted though it was not to", self.side));
        }
        match why {
            Why::HandedOver { .. } => self.yielded = true,
            _ if to == State::Active => self.yielded = false,
            _ => {}
        }
        Ok(())
    }

    /// Whether exactly the active legs have their addresses.
    pub(crate) fn addresses_fit(&self) -> bool {
        let has = self.process.as_ref().map(|process| process.has_addresses.as_slice());
        let active = self.leg_states();
        has.unwrap_or_default().iter().zip(active).all(|(has, s)| *has == (s == State::Active))
    }
}
