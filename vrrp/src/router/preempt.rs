//! When a router of lower priority may be relieved: Preempt_Mode (RFC 9568 section 6.1), the
//! configured delay, and the sync channel's wish to have every session first.
//!
//! None of it delays taking over from a router that is dead or has given up. One that the sync
//! channel hears to be active isn't taken for dead while its sessions are waited for.

use super::backup::{Backup, Timer};
use super::{Phase, Router};
use crate::action::Why;
use crate::config::Election;
use crate::time::Timestamp;
use crate::types::Priority;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whether and when to preempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Preempt {
    /// Preempt_Mode.
    mode: bool,
    delay: Duration,
    /// Not before; zero when nothing holds it.
    hold: Timestamp,
    /// This node handed over. It doesn't take back by itself what an operator gave away.
    yielded: bool,
}

/// Whether a router of lower priority is relieved, as status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preemption {
    /// As soon as it is heard.
    Allowed,
    /// Not while it is alive: Preempt_Mode is off.
    Off,
    /// Not before this time, unless the sync channel allows it earlier.
    Held(Timestamp),
    /// Not while it is alive: this node handed over.
    Yielded,
}

impl Preempt {
    pub(super) fn new(election: &Election) -> Self {
        Self {
            mode: election.preempt,
            delay: election.preempt_delay,
            hold: Timestamp::ZERO,
            yielded: false,
        }
    }

    /// From when on the router that is heard may be relieved; `None` if that doesn't come by
    /// itself.
    pub(super) fn opens_at(&self, priority: Priority, backup: &Backup) -> Option<Timestamp> {
        if priority.is_owner() {
            // Section 6.1: the owner preempts, whatever Preempt_Mode says.
            return Some(Timestamp::ZERO);
        }
        let since = backup.inferior_since.filter(|_| self.mode && !self.yielded)?;
        Some(since.after(self.delay).max(self.hold))
    }

    /// Whether the router that is heard may be relieved now.
    pub(super) fn allowed(&self, now: Timestamp, priority: Priority, backup: &Backup) -> bool {
        self.opens_at(priority, backup).is_some_and(|at| at <= now)
    }

    /// Until when sessions of the peer are waited for.
    pub(super) fn held_until(&self) -> Timestamp {
        self.hold
    }

    pub(super) fn set_yielded(&mut self, yielded: bool) {
        self.yielded = yielded;
    }
}

impl Router {
    /// Doesn't preempt before `until`.
    pub(crate) fn hold_preemption(&mut self, now: Timestamp, until: Timestamp) {
        self.preempt.hold = until;
        let (Phase::Backup(backup), Some(heard)) = (&mut self.phase, self.heard) else { return };
        let lower = backup.inferior_since.is_some();
        // A leg that was to preempt may still wait for the others.
        let waits = matches!(backup.ready, None | Some(Why::Preempted(_)));
        let ends_anyway = !waits || backup.timer == Timer::Resigned;
        if lower && !ends_anyway && !self.preempt.allowed(now, self.priority, backup) {
            // While it was to be preempted its adverts were ignored. Now they count, from the last
            // one on.
            backup.interval = heard.interval;
            backup.ready = None;
            (backup.timer, backup.from) = (Timer::Down, heard.at);
            backup.held_back = true;
        }
    }

    /// Nothing but the configuration delays preemption any more.
    pub(crate) fn allow_preemption(&mut self, now: Timestamp) {
        self.preempt.hold = Timestamp::ZERO;
        self.open_preemption(now);
    }

    /// Forgets that this node handed over.
    pub(crate) fn reclaim(&mut self, now: Timestamp) {
        self.preempt.yielded = false;
        self.open_preemption(now);
    }

    /// Whether a router of lower priority is relieved.
    #[must_use]
    pub fn preemption(&self, now: Timestamp) -> Preemption {
        let preempt = &self.preempt;
        let until = match &self.phase {
            Phase::Backup(backup) => preempt.opens_at(self.priority, backup),
            _ => None,
        };
        let until = until.unwrap_or(preempt.hold);
        match () {
            () if self.priority.is_owner() => Preemption::Allowed,
            () if !preempt.mode => Preemption::Off,
            () if preempt.yielded => Preemption::Yielded,
            () if until > now => Preemption::Held(until),
            () => Preemption::Allowed,
        }
    }

    /// If a router of lower priority has been held back for and may be relieved now: takes over
    /// after Skew_Time, as if that one had given up.
    pub(super) fn open_preemption(&mut self, now: Timestamp) {
        let Phase::Backup(backup) = &mut self.phase else { return };
        if backup.held_back && self.preempt.allowed(now, self.priority, backup) {
            backup.held_back = false;
            self.hasten(now, Timer::Preempt);
        }
    }
}
