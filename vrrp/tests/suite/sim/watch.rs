//! What must hold, whatever happens.
//!
//! - Two are never active for longer than Active_Down_Interval once packets flow on a link that
//!   both are on.
//! - None is never active for longer than that while one of them could be. One that waits for the
//!   sessions of a peer that it was told to be active can't.
//! - The legs of a group are active together, and exactly the active ones have their addresses.
//! - Once all is well, exactly one is active, the right one, and nothing changes any more.
//!
//! Active_Down_Interval is that of the lowest priority that there can be and of the longest interval
//! in the run, on the slower clock. A packet takes its time, and so do late timers; that is added. A group that
//! gave up because of equal priorities and a lower address waits for one interval more (see
//! `Group::give_up_together`).

use super::acts::expected;
use super::host::Host;
use super::plan::Plan;
use super::wire::{CALM_DELAY, Wire};
use super::{Nanos, Side};
use twinwall_vrrp::action::{State, Why};
use twinwall_vrrp::time::active_down_interval;

/// The memory that the promises need.
pub(crate) struct Watch {
    /// Active_Down_Interval.
    down: Nanos,
    /// What a draw costs, and when a group lost one last.
    draw: Nanos,
    draw_at: Option<Nanos>,
    jitter: Nanos,
    settle: Nanos,
    two_since: Option<Nanos>,
    none_since: Option<Nanos>,
    /// Since when a side could be active by itself.
    can_since: [Option<(u64, Nanos)>; 2],
    changed_at: Nanos,
    calm_since: Nanos,
    /// The longest delay that is possible now, or was, of packets that are still under way.
    delay: Nanos,
    delay_until: Nanos,
    /// The same when none was active any more: adverts of who was may still come.
    late_adverts: Nanos,
    worst_two: u64,
    worst_none: u64,
}

impl Watch {
    pub(crate) fn new(plan: &Plan) -> Self {
        let [a, b] = plan.interval;
        let down = active_down_interval(plan.lowest_priority(), a.max(b)).as_nanos() as Nanos;
        // The clocks are up to one percent slow.
        let down = down + down / 50;
        let interval = plan.longest_interval();
        let waits = plan.preempt_delay + plan.start_delay;
        Self {
            down,
            draw: if plan.legs > 1 { interval + interval / 50 } else { 0 },
            draw_at: None,
            jitter: plan.jitter,
            settle: down * 4 + waits + waits / 50 + interval * 4 + 50_000_000,
            two_since: None,
            none_since: Some(0),
            can_since: [None, None],
            changed_at: 0,
            calm_since: 0,
            delay: CALM_DELAY,
            delay_until: 0,
            late_adverts: CALM_DELAY,
            worst_two: 0,
            worst_none: 0,
        }
    }

    /// How long it takes at most until everything has settled, and some time more in which nothing
    /// may change.
    pub(crate) fn settles_within(&self) -> Nanos {
        self.settle + self.down * 2
    }

    pub(crate) fn calm_began(&mut self, now: Nanos) {
        self.calm_since = now;
    }

    pub(crate) fn state_changed(&mut self, now: Nanos, why: Why) {
        self.changed_at = now;
        if matches!(why, Why::HigherAddress { .. }) {
            self.draw_at = Some(now);
        }
    }

    pub(crate) fn worst(&self) -> (u64, u64) {
        (self.worst_two, self.worst_none)
    }

    /// After everything that happened.
    pub(crate) fn look(
        &mut self,
        now: Nanos,
        hosts: &[Host; 2],
        wires: &[Wire],
    ) -> Result<(), String> {
        let [a, b] = hosts;
        for host in hosts {
            let states = host.leg_states();
            let active = states.iter().filter(|state| **state == State::Active).count();
            if active != 0 && active != states.len() {
                return Err(format!("the legs of a group differ: {states:?}"));
            }
            if !host.addresses_fit() {
                return Err(format!("addresses don't fit the states {states:?}"));
            }
        }
        let longest = wires.iter().map(|wire| wire.delay).max().unwrap_or(CALM_DELAY);
        if longest >= self.delay || now >= self.delay_until {
            (self.delay, self.delay_until) = (longest, now + longest);
        }
        if self.none_since.is_none() {
            self.late_adverts = self.delay;
        }
        let keep = |since: &mut Option<Nanos>, holds: bool| {
            *since = holds.then(|| since.unwrap_or(now));
        };
        keep(&mut self.two_since, a.serving() && b.serving());
        keep(&mut self.none_since, !a.serving() && !b.serving());
        let [can_a, can_b] = &mut self.can_since;
        for (can, host) in [(can_a, a), (can_b, b)] {
            let since = can.filter(|(boot, _)| *boot == host.boots).map_or(now, |(_, at)| at);
            *can = host.takes_part(now).then_some((host.boots, since));
        }
        self.check_two(now, wires)?;
        self.check_none(now)
    }

    fn check_two(&mut self, now: Nanos, wires: &[Wire]) -> Result<(), String> {
        let Some(two) = self.two_since else { return Ok(()) };
        let flowing = wires.iter().filter_map(|wire| wire.flows_since).min();
        let Some(flowing) = flowing.filter(|since| *since <= now) else { return Ok(()) };
        let limit = self.down + CALM_DELAY + self.jitter;
        let lasted = now - two.max(flowing);
        self.worst_two = self.worst_two.max(lasted * 1000 / limit);
        if lasted > limit {
            return Err(format!("both are active for {lasted} ns while packets flow"));
        }
        Ok(())
    }

    fn check_none(&mut self, now: Nanos) -> Result<(), String> {
        let Some(none) = self.none_since else { return Ok(()) };
        let can = self.can_since.iter().flatten().map(|(_, at)| *at).min();
        let Some(can) = can else { return Ok(()) };
        let drawn = self.draw_at.is_some_and(|at| at + self.down + self.draw >= none);
        let draw = if drawn { self.draw } else { 0 };
        let limit = self.down + self.late_adverts + self.jitter * 2 + draw + 100_000;
        let lasted = now - none.max(can);
        self.worst_none = self.worst_none.max(lasted * 1000 / limit);
        if lasted > limit {
            return Err(format!("none is active for {lasted} ns, and one could be"));
        }
        Ok(())
    }

    /// Everything must have settled.
    pub(crate) fn calm_ended(
        &self,
        now: Nanos,
        hosts: &[Host; 2],
        plan: &Plan,
    ) -> Result<(), String> {
        let [a, b] = hosts;
        let winner = match (a.serving(), b.serving()) {
            (true, false) => Side::A,
            (false, true) => Side::B,
            (both, _) => {
                let what = if both { "both are" } else { "none is" };
                return Err(format!("{what} active though all is well"));
            }
        };
        let priorities = [a.priority, b.priority];
        if let Some(right) = expected(plan, priorities).filter(|right| *right != winner) {
            return Err(format!("{winner:?} is active and not {right:?}: {priorities:?}"));
        }
        let settled = self.calm_since + self.settle;
        if self.changed_at > settled {
            let late = self.changed_at - settled;
            return Err(format!("a state changed {late} ns after all had to be settled ({now})"));
        }
        Ok(())
    }
}
