//! Makes a failover happen, and undoes it.
//!
//! In: a pair whose `gw-a` is active, and what is to happen. Out: the pair with both daemons up and
//! `gw-a` active again, and the time of each blow in the ledger. Not here: what has to hold then
//! ([`super::check`]).

use super::check::{Checks, Wrong, carries, words};
use super::kind::{Blow, Failover, Kind};
use super::ledger::Ledger;
use crate::clock;
use crate::scenario::fault::Fault;
use crate::scenario::pair::{Pair, Side};
use crate::topology::Segment;
use rustix::process::Signal;
use std::thread;
use std::time::Duration;

/// How long a daemon is stopped with SIGSTOP.
const FROZEN: Duration = Duration::from_secs(1);

/// What a kernel forgets: addresses first, as the gate is in the tables.
const REBOOT: &str = "\
    ip -o link show type macvlan | sed 's/^[0-9]*: \\([^@:]*\\).*/\\1/' | while read -r name; \
    do ip link delete \"$name\"; done
    nft list tables | grep twinwall | while read -r line; do nft delete $line; done
    conntrack -F >/dev/null 2>&1";

/// One failover under way.
#[derive(Debug)]
pub struct Strike<'a> {
    /// The pair.
    pub pair: &'a mut Pair,
    /// Notes which daemons were started.
    pub checks: &'a mut Checks,
    /// Notes when what happened.
    pub ledger: &'a mut Ledger,
    /// Its number.
    pub step: u32,
    /// What was odd, though no session suffered.
    pub notes: Vec<String>,
}

impl Strike<'_> {
    /// Does it, and undoes it.
    ///
    /// # Errors
    /// When the pair doesn't come to where it should.
    pub fn run(&mut self, failover: Failover) -> Result<(), Wrong> {
        let (name, pause) = (failover.kind.name(), failover.pause);
        match failover.kind {
            Kind::NodeDeath { rebooted } => self.node_death(name, rebooted, pause)?,
            Kind::Kill => {
                self.blow(name, Side::A, Blow::Kill)?;
                self.over(Side::B, pause)?;
                self.start(name, Side::A)?;
            }
            Kind::Stop => {
                self.blow(name, Side::A, Blow::Stop)?;
                self.over(Side::B, pause)?;
                self.start(name, Side::A)?;
            }
            Kind::HandOver => self.hand_over(name, pause)?,
            Kind::LegDown(segment) => {
                self.now(name);
                self.leg(Side::A, segment, false)?;
                self.over(Side::B, pause)?;
                self.back(name);
                self.leg(Side::A, segment, true)?;
            }
            Kind::Freeze => {
                self.now(name);
                self.pair.freeze(Side::A, true).map_err(words)?;
                thread::sleep(FROZEN);
                let held = self.pair.wait_holding(Side::B).map_err(words);
                self.back(name);
                self.pair.freeze(Side::A, false).map_err(words)?;
                held?;
            }
            Kind::StandbyRestart { killed } => {
                let blow = if killed { Blow::Kill } else { Blow::Stop };
                self.blow(name, Side::B, blow)?;
                thread::sleep(pause);
                self.start(name, Side::B)?;
            }
            Kind::Twice(first, second) => self.twice(name, first, second, pause)?,
        }
        self.pair.wait_active(Side::A).map(drop).map_err(words)
    }

    fn node_death(&mut self, name: &str, rebooted: bool, pause: Duration) -> Result<(), Wrong> {
        self.now(name);
        Fault::Silent(Side::A).begin(self.pair.testbed()).map_err(words)?;
        self.pair.kill9(Side::A).map_err(words)?;
        self.over(Side::B, pause)?;
        if rebooted {
            let gateway = self.pair.gateway(Side::A).map_err(words)?;
            gateway.run("sh", &["-c", REBOOT]).map_err(words)?;
        }
        self.back(name);
        Fault::Silent(Side::A).end(self.pair.testbed()).map_err(words)?;
        self.start_daemon(Side::A)
    }

    fn hand_over(&mut self, name: &str, pause: Duration) -> Result<(), Wrong> {
        self.now(name);
        if let Err(error) = self.pair.hand_over(Side::A) {
            let text = error.to_string();
            if !text.contains("overtaken") {
                return Err(text);
            }
            self.notes.push(format!("step {}: {text}", self.step));
        }
        self.over(Side::B, pause)?;
        self.back(name);
        self.pair.hand_back(Side::A).map_err(words)
    }

    /// The second blow meets the node that has taken over, as soon as the first one's daemon has
    /// been up again for a moment.
    fn twice(
        &mut self,
        name: &str,
        first: Blow,
        second: Blow,
        pause: Duration,
    ) -> Result<(), Wrong> {
        self.blow(name, Side::A, first)?;
        self.pair.wait_holding(Side::B).map_err(words)?;
        self.undo(name, Side::A, first)?;
        thread::sleep(pause / 5);
        self.blow(name, Side::B, second)?;
        self.pair.wait_holding(Side::A).map_err(words)?;
        self.undo(name, Side::B, second)
    }

    /// Waits until a node carries all traffic, and for a while longer.
    fn over(&mut self, side: Side, pause: Duration) -> Result<(), Wrong> {
        self.pair.wait_holding(side).map_err(words)?;
        carries(self.pair, side)?;
        thread::sleep(pause);
        Ok(())
    }

    fn blow(&mut self, name: &str, side: Side, blow: Blow) -> Result<(), Wrong> {
        self.now(name);
        match blow {
            Blow::Kill => self.pair.kill9(side).map_err(words),
            Blow::Stop => self.pair.stop(side).map_err(words),
            Blow::LegDown => self.leg(side, Segment::Lan, false),
        }
    }

    fn undo(&mut self, name: &str, side: Side, blow: Blow) -> Result<(), Wrong> {
        match blow {
            Blow::Kill | Blow::Stop => self.start(name, side),
            Blow::LegDown => {
                self.back(name);
                self.leg(side, Segment::Lan, true)
            }
        }
    }

    fn start(&mut self, name: &str, side: Side) -> Result<(), Wrong> {
        self.back(name);
        self.start_daemon(side)
    }

    fn start_daemon(&mut self, side: Side) -> Result<(), Wrong> {
        let started = self.pair.start(side).map_err(words);
        self.checks.started(self.pair, side);
        started
    }

    fn leg(&self, side: Side, segment: Segment, up: bool) -> Result<(), Wrong> {
        let state = if up { "up" } else { "down" };
        let port = format!("{}-{}", side.name(), segment.name());
        let switch = self.pair.testbed().node("switch").map_err(words)?;
        switch.run("ip", &["link", "set", &port, state]).map(drop).map_err(words)
    }

    fn now(&mut self, name: &str) {
        self.ledger.happened(self.step, name, clock::now());
    }

    fn back(&mut self, name: &str) {
        self.ledger.happened(self.step, &format!("{name}: return"), clock::now());
    }

    /// Lets everything go on after a failure, so that processes can end.
    pub fn release(&mut self) {
        for side in [Side::A, Side::B] {
            if let Ok(gateway) = self.pair.gateway(side) {
                let _ = gateway.signal(Signal::CONT);
            }
        }
    }
}
