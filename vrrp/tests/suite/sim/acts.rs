//! What fate does to nodes and links.

use super::plan::Plan;
use super::{Due, Side, World};
use std::time::Duration;
use twinwall_vrrp::router::PeerReport;
use twinwall_vrrp::track::Health;
use twinwall_vrrp::types::Priority;

impl World {
    /// Does one thing at random.
    pub(super) fn act(&mut self) -> Result<(), String> {
        let side = if self.rng.chance(500) { Side::A } else { Side::B };
        match self.rng.below(1000) {
            0..330 => self.harm_wire(),
            330..430 => self.heal_wires(),
            430..480 => self.down(side, false)?,
            480..530 => self.down(side, true)?,
            530..580 => self.pause(side),
            580..690 => self.change_priority(side)?,
            690..740 => self.change_health(side)?,
            740..780 => self.change_fault(side)?,
            780..830 => self.hold(side)?,
            830..880 => self.hand_over(side)?,
            880..940 => self.cut_sync(),
            940..970 => self.false_report(side),
            _ => self.calm()?,
        }
        Ok(())
    }

    /// Starts a process, with everything that a driver tells it first.
    pub(super) fn boot(&mut self, side: Side) -> Result<(), String> {
        if self.host(side).runs() {
            return Ok(());
        }
        self.trace(|| format!("{side:?} boots"));
        let (now, plan) = (self.now, self.plan.clone());
        self.host_mut(side).boot(now, &plan)?;
        self.verb(side, |node, _, now, out| {
            node.track("link", Health::Good, now, out);
            node.track("queue", Health::Good, now, out);
            node.start(now, out);
        })?;
        self.report_soon();
        Ok(())
    }

    /// A paused process goes on: first it reads what waits.
    pub(super) fn resume(&mut self, side: Side) -> Result<(), String> {
        if !self.host(side).paused {
            return Ok(());
        }
        self.trace(|| format!("{side:?} goes on"));
        self.host_mut(side).paused = false;
        let now = self.now;
        for (leg, source, bytes) in self.host_mut(side).take_inbox() {
            if let Some(outputs) = self.host_mut(side).receive(now, leg, source, bytes)? {
                self.apply(side, outputs)?;
            }
        }
        self.verb(side, |node, _, now, out| node.poll(now, out))?;
        self.report_soon();
        Ok(())
    }

    fn harm_wire(&mut self) {
        let longest = self.plan.longest_interval() * 2;
        let leg = self.rng.below(self.plan.legs as u64) as usize;
        let kind = self.rng.below(7);
        let amount = self.rng.between(1, 900);
        let delay = self.rng.below(longest);
        self.trace(|| format!("leg {leg} harmed in way {kind}, {amount}, {delay}"));
        let Some(wire) = self.wires.get_mut(leg) else { return };
        wire.harm(|wire| match kind {
            0 => (wire.cut_from_a, wire.cut_from_b) = (true, true),
            1 => wire.cut_from_a = true,
            2 => wire.cut_from_b = true,
            3 => wire.loss = amount,
            4 => wire.repeat = amount,
            5 => wire.corrupt = amount,
            _ => wire.delay = wire.delay.max(delay),
        });
    }

    fn heal_wires(&mut self) {
        self.trace(|| "all links are well".to_owned());
        let now = self.now;
        for wire in &mut self.wires {
            wire.heal(now);
        }
    }

    /// The process ends, and starts again some time later.
    fn down(&mut self, side: Side, gracefully: bool) -> Result<(), String> {
        if !self.host(side).runs() {
            return Ok(());
        }
        self.trace(|| format!("{side:?} is {}", if gracefully { "stopped" } else { "killed" }));
        if gracefully {
            self.verb(side, |node, _, now, out| node.stop(now, out))?;
        }
        self.host_mut(side).kill();
        let (to, longest) = (side.other(), self.plan.longest_interval());
        let report =
            if gracefully || self.rng.chance(500) { PeerReport::Gone } else { PeerReport::Silent };
        let report = if self.sync_cut { PeerReport::Silent } else { report };
        let after = self.rng.between(1_000_000, 30_000_000);
        self.schedule(after, Due::Report { to, report });
        let after = self.rng.below(longest * 10);
        self.schedule(after, Due::Boot { side });
        Ok(())
    }

    fn pause(&mut self, side: Side) {
        if self.host(side).runs() && !self.host(side).paused {
            self.trace(|| format!("{side:?} is paused"));
            self.host_mut(side).paused = true;
            let after = self.rng.below(self.plan.longest_interval() * 8);
            self.schedule(after, Due::Resume { side });
            if self.rng.chance(500) {
                let after = self.rng.between(1_000_000, 30_000_000);
                self.schedule(after, Due::Report { to: side.other(), report: PeerReport::Silent });
            }
        }
    }

    fn change_priority(&mut self, side: Side) -> Result<(), String> {
        let host = self.host(side);
        if !self.plan.priority_changes || host.priority.is_owner() || host.paused {
            return Ok(());
        }
        let priority = Priority::new(self.rng.between(1, 254) as u8);
        self.trace(|| format!("{side:?} gets priority {priority}"));
        self.host_mut(side).priority = priority;
        let mut result = Ok(());
        self.verb(side, |node, group, now, out| {
            result = node.set_priority(group, priority, now, out);
        })?;
        result.map_err(|error| error.to_string())
    }

    fn change_health(&mut self, side: Side) -> Result<(), String> {
        let health = if self.rng.chance(500) { Health::Good } else { Health::Bad };
        self.trace(|| format!("{side:?} queue is {health:?}"));
        self.verb(side, |node, _, now, out| {
            node.track("queue", health, now, out);
        })
    }

    fn change_fault(&mut self, side: Side) -> Result<(), String> {
        let faulty = self.rng.chance(500);
        if !self.host(side).runs() || self.host(side).paused {
            return Ok(());
        }
        self.trace(|| format!("{side:?} faulty: {faulty}"));
        self.host_mut(side).faulty = faulty;
        let health = if faulty { Health::Bad } else { Health::Good };
        self.verb(side, |node, _, now, out| {
            node.track("link", health, now, out);
        })
    }

    fn hold(&mut self, side: Side) -> Result<(), String> {
        let hold = self.rng.chance(600);
        let wait = Duration::from_nanos(self.rng.below(self.plan.longest_interval() * 20));
        if self.host(side).paused {
            return Ok(());
        }
        self.trace(|| format!("{side:?} preemption held: {hold} {wait:?}"));
        let now = self.now;
        self.host_mut(side).hold(now, hold.then_some(wait));
        self.verb(side, |node, _, now, _| {
            if hold {
                node.hold_preemption(now, now.after(wait));
            } else {
                node.allow_preemption(now);
            }
        })
    }

    fn hand_over(&mut self, side: Side) -> Result<(), String> {
        let wait = Duration::from_nanos(self.rng.below(self.plan.longest_interval() * 4));
        let what = self.rng.below(10);
        if self.host(side).paused {
            return Ok(());
        }
        self.trace(|| format!("{side:?} hands over {what} {wait:?}"));
        if what == 1 {
            self.host_mut(side).reclaim();
        }
        self.verb(side, |node, group, now, out| match what {
            0 => node.cancel_hand_over(group, now, out),
            1 => node.reclaim(group, now),
            // Not active: nothing to hand over.
            _ => drop(node.hand_over(group, now.after(wait), out)),
        })
    }

    fn cut_sync(&mut self) {
        self.sync_cut = !self.sync_cut;
        self.trace(|| format!("sync channel cut: {}", self.sync_cut));
        if self.sync_cut {
            for to in Side::BOTH {
                let after = self.rng.between(10_000_000, 30_000_000);
                self.schedule(after, Due::Report { to, report: PeerReport::Silent });
            }
        } else {
            self.report_soon();
        }
    }

    /// A report that isn't true, or comes too late.
    fn false_report(&mut self, to: Side) {
        let report = self.rng.pick([PeerReport::Alive, PeerReport::Silent, PeerReport::Gone]);
        if let Some(report) = report {
            self.schedule(0, Due::Report { to, report });
        }
    }

    fn report_soon(&mut self) {
        if self.sync_cut {
            return;
        }
        for to in Side::BOTH {
            let after = self.rng.between(1_000_000, 20_000_000);
            self.schedule(after, Due::Report { to, report: PeerReport::Alive });
        }
    }

    /// All is well for a while.
    fn calm(&mut self) -> Result<(), String> {
        self.trace(|| "calm".to_owned());
        self.heal_wires();
        self.sync_cut = false;
        for side in Side::BOTH {
            self.boot(side)?;
            self.resume(side)?;
            let now = self.now;
            let host = self.host_mut(side);
            host.faulty = false;
            host.reclaim();
            host.hold(now, None);
            self.verb(side, |node, group, now, out| {
                node.track("link", Health::Good, now, out);
                node.track("queue", Health::Good, now, out);
                node.cancel_hand_over(group, now, out);
                node.reclaim(group, now);
                node.allow_preemption(now);
            })?;
        }
        self.report_soon();
        self.begin_calm();
        Ok(())
    }
}

/// Which side has to be active once everything has settled; `None` if it may be either.
pub(crate) fn expected(plan: &Plan, priorities: [Priority; 2]) -> Option<Side> {
    let [a, b] = priorities;
    let higher = match a.cmp(&b) {
        std::cmp::Ordering::Greater => Side::A,
        std::cmp::Ordering::Less => Side::B,
        std::cmp::Ordering::Equal => return None,
    };
    let owner = Plan::of(higher, priorities).is_owner();
    (owner || Plan::of(higher, plan.preempt)).then_some(higher)
}
