//! The state Backup (RFC 9568 section 6.4.2): who is heard, and when to take over.

use super::{Heard, PeerReport, Phase, Received, Router};
use crate::action::{Output, Why};
use crate::time::{Timestamp, active_down_interval, skew_time};
use crate::types::{Centiseconds, Priority};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// What belongs to Backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Backup {
    /// Active_Adver_Interval: the active router's, or our own until one is heard.
    pub(super) interval: Centiseconds,
    /// How long Active_Down_Timer runs.
    pub(super) timer: Timer,
    /// Since when it runs.
    pub(super) from: Timestamp,
    /// It has fired, or needn't. The group decides when to become active.
    pub(super) ready: Option<Why>,
    /// Since when a router of lower priority is heard, and none of higher.
    pub(super) inferior_since: Option<Timestamp>,
    /// That router's adverts reset the timer, since it may not be preempted yet.
    pub(super) held_back: bool,
}

/// What Active_Down_Timer waits for. The priority may change while it runs, so its end isn't kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Timer {
    /// Active_Down_Interval: the next advert.
    Down,
    /// Skew_Time: the active router has given up.
    Resigned,
    /// Skew_Time: the active router may be preempted from now on.
    Preempt,
}

impl Backup {
    /// A timer that starts now.
    fn new(now: Timestamp, interval: Centiseconds) -> Self {
        Self {
            interval,
            timer: Timer::Down,
            from: now,
            ready: None,
            inferior_since: None,
            held_back: false,
        }
    }
}

impl Router {
    /// Becomes Backup.
    pub(super) fn back_up(
        &mut self,
        now: Timestamp,
        interval: Centiseconds,
        why: Why,
        out: &mut Vec<Output>,
    ) {
        self.suspect = false;
        self.enter(now, Phase::Backup(Backup::new(now, interval)), why, out);
    }

    /// When something happens by itself.
    pub(super) fn backup_deadline(&self, backup: &Backup) -> Option<Timestamp> {
        if backup.ready.is_some() {
            return None;
        }
        let opens = self.preempt.opens_at(self.priority, backup);
        let down = self.down_at(backup);
        let next = self.overdue_at(backup).map_or(down, |overdue| overdue.min(down));
        Some(opens.filter(|_| backup.held_back).map_or(next, |opens| opens.min(next)))
    }

    /// Takes an advert in.
    pub(super) fn backup_received(&mut self, now: Timestamp, advert: Received) {
        let lower = advert.priority < self.priority;
        self.adverts.missed += self.missed(now, Some(&advert));
        self.heard = Some(Heard::new(&advert, now));
        // Whoever is heard is alive, whatever the sync channel thinks.
        self.suspect = false;
        let Phase::Backup(backup) = &mut self.phase else { return };
        if advert.priority.is_resign() {
            // (420): Active_Down_Timer is set to Skew_Time.
            (backup.inferior_since, backup.held_back) = (None, false);
            if backup.ready.is_some() {
                backup.ready = Some(Why::Resigned(advert.from));
            }
            self.hasten(now, Timer::Resigned);
            return;
        }
        if lower {
            backup.inferior_since.get_or_insert(now);
            if self.preempt.allowed(now, self.priority, backup) {
                // (465): discarded, the timer runs on; or is hastened, if it was held up until now.
                self.open_preemption(now);
                return;
            }
            backup.held_back = true;
        } else {
            backup.inferior_since = None;
            backup.held_back = false;
        }
        // (445): the active router stays. Its interval counts, and the timer starts again.
        backup.interval = advert.interval;
        (backup.timer, backup.from) = (Timer::Down, now);
        backup.ready = None;
    }

    /// The priority of a router that is active as far as this one, in Backup, knows.
    pub(crate) fn priority_of(&self, from: IpAddr) -> Option<Priority> {
        let heard = self.heard_here().filter(|_| matches!(self.phase, Phase::Backup(_)))?;
        (heard.from == from && !heard.priority.is_resign()).then_some(heard.priority)
    }

    /// The active router has given up on another leg. If it had this priority it is taken to have
    /// given up here too, until it is heard again.
    pub(crate) fn presume_resigned(&mut self, priority: Priority, now: Timestamp) {
        if self.heard_here().is_some_and(|heard| heard.priority == priority) {
            self.hasten(now, Timer::Resigned);
        }
    }

    /// Does what the time asks for.
    pub(super) fn backup_poll(&mut self, now: Timestamp) {
        let Phase::Backup(backup) = &self.phase else { return };
        let overdue = self.overdue_at(backup).is_some_and(|at| at <= now);
        let down = self.down_at(backup) <= now;
        if backup.ready.is_some() || !(down || overdue) {
            self.open_preemption(now);
            return;
        }
        let why = match (backup.timer, self.heard_here()) {
            (_, None) => Why::Alone,
            (_, Some(heard)) if heard.priority.is_resign() => Why::Resigned(heard.from),
            (Timer::Resigned, Some(heard)) => Why::Resigned(heard.from),
            (Timer::Preempt, Some(heard)) => Why::Preempted(heard.from),
            (Timer::Down, Some(_)) if !down => Why::PeerSilent,
            (Timer::Down, Some(heard)) if backup.inferior_since.is_some() && heard.alive(now) => {
                Why::Preempted(heard.from)
            }
            (Timer::Down, Some(heard)) => Why::AdvertsMissing(heard.from),
        };
        self.adverts.missed += self.missed(now, None);
        if let Phase::Backup(backup) = &mut self.phase {
            backup.ready = Some(why);
        }
    }

    /// Lets the timer run for Skew_Time from now on, unless that would put it off. (A second advert
    /// of priority 0, or one that was delayed, would; by the letter of the RFC it does.)
    pub(super) fn hasten(&mut self, now: Timestamp, timer: Timer) {
        let Phase::Backup(backup) = &self.phase else { return };
        let sooner = now.after(skew_time(self.priority, backup.interval)) < self.down_at(backup);
        if let (Phase::Backup(backup), true) = (&mut self.phase, sooner) {
            (backup.timer, backup.from) = (timer, now);
        }
    }

    /// Who was heard while this router is Backup; what it heard before says nothing of who is
    /// active now.
    fn heard_here(&self) -> Option<&Heard> {
        self.heard.as_ref().filter(|heard| heard.at >= self.since)
    }

    /// When Active_Down_Timer fires.
    fn down_at(&self, backup: &Backup) -> Timestamp {
        let (down, skew) = (active_down_interval, skew_time);
        let from = backup.from;
        match backup.timer {
            Timer::Down => from.after(down(self.priority, backup.interval)).max(self.spared()),
            Timer::Resigned | Timer::Preempt => from.after(skew(self.priority, backup.interval)),
        }
    }

    /// Until when missing adverts alone are no reason to take over. Not in the RFC: this router
    /// lacks sessions of a peer that the sync channel hears be active. Whoever relieved it then
    /// would break those sessions.
    fn spared(&self) -> Timestamp {
        let active = self.peer == Some(PeerReport::Alive) && self.peer_active;
        let spares = active && !self.priority.is_owner();
        if spares { self.preempt.held_until() } else { Timestamp::ZERO }
    }

    /// When an advert is overdue, if the sync channel doesn't hear the peer any more: one interval
    /// after the last, and the skew.
    fn overdue_at(&self, backup: &Backup) -> Option<Timestamp> {
        let heard = self.heard_here().filter(|_| self.suspect)?;
        let skew = skew_time(self.priority, backup.interval);
        Some(heard.at.after(heard.interval.duration()).after(skew))
    }

    /// How many adverts of the active router should have come since the last, `now` not counted
    /// if one came now.
    fn missed(&self, now: Timestamp, came: Option<&Received>) -> u64 {
        let Some(heard) = self.heard_here().filter(|heard| !heard.priority.is_resign()) else {
            return 0;
        };
        let silence = now.since(heard.at);
        let interval = heard.interval.duration();
        let intervals = |time: Duration| (time.as_nanos() / interval.as_nanos().max(1)) as u64;
        match came {
            Some(advert) if advert.from != heard.from => 0,
            // Half an interval early or late is neither one less nor one more.
            Some(_) => intervals(silence + interval / 2).saturating_sub(1),
            None => intervals(silence),
        }
    }
}
