//! The state Active (RFC 9568 section 6.4.3): adverts, and who else claims to be active.

use super::burst::Burst;
use super::handover::Stage;
use super::{Phase, Received, Router};
use crate::action::{Action, HandOver, Output, Why};
use crate::receive::Warning;
use crate::time::{Timestamp, active_down_interval, longest_down_interval};
use crate::types::{Centiseconds, Priority};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Adverts that answer others are at least so far apart: whoever floods the link with adverts of
/// priority 0 gets a thousand answers a second at most.
const ANSWER_GAP: Duration = Duration::from_millis(1);

/// What belongs to Active.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Active {
    /// Adver_Timer: when the next advert is due.
    pub(super) next_advert: Timestamp,
    /// When the last one was sent.
    pub(super) last_advert: Timestamp,
    pub(super) handover: Option<Stage>,
    pub(super) burst: Burst,
}

impl Active {
    /// When something happens by itself.
    pub(super) fn deadline(&self, repeats: &[Duration]) -> Timestamp {
        let handover = self.handover.map(Stage::until);
        let others = [handover, self.burst.deadline(repeats)];
        others.into_iter().flatten().fold(self.next_advert, Timestamp::min)
    }

    /// Whether it has resigned and only waits for the peer.
    pub(super) fn resigned(&self) -> bool {
        matches!(self.handover, Some(Stage::Resigned { .. }))
    }
}

impl Router {
    /// Becomes Active: (375) to (410) of section 6.4.2, and for the owner of 6.4.1. The addresses
    /// come first, so that a peer that is relieved while it is alive doesn't let them go before
    /// they are here.
    pub(crate) fn activate(&mut self, now: Timestamp, why: Why, out: &mut Vec<Output>) {
        self.takeovers += 1;
        self.preempt.set_yielded(false);
        self.output(Action::AddAddresses { accept: self.accepts() }, out);
        self.send(self.priority, out);
        self.output(Action::Announce, out);
        let active = Active {
            next_advert: now.after(self.config.interval.duration()),
            last_advert: now,
            handover: None,
            burst: Burst::started(now),
        };
        self.enter(now, Phase::Active(active), why, out);
    }

    /// Another leg of the group can't be active: tells the others at once, and becomes Backup.
    pub(crate) fn give_up(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if let Phase::Active(active) = &self.phase {
            self.preempt.set_yielded(active.resigned());
            self.resign(out);
            self.yield_to(now, self.config.interval, Why::Group, out);
        }
    }

    /// Takes an advert in.
    pub(super) fn active_received(
        &mut self,
        now: Timestamp,
        advert: Received,
        out: &mut Vec<Output>,
    ) {
        let Phase::Active(active) = &mut self.phase else { return };
        let Received { from, priority, interval } = advert;
        if priority.is_resign() {
            // (705): whoever listens learns that this router is active. Not if it is about to
            // resign itself.
            if !active.resigned() {
                self.advertise_soon(now, out);
            }
            return;
        }
        self.heard = Some(super::Heard::new(&advert, now));
        if active.resigned() {
            // The peer has taken over.
            self.preempt.set_yielded(true);
            self.yield_to(now, interval, Why::HandedOver { to: from }, out);
            return;
        }
        // (725): higher priority, or the same and a higher address.
        let why = match priority.cmp(&self.priority) {
            std::cmp::Ordering::Greater => Some(Why::Superior { from, priority }),
            std::cmp::Ordering::Equal if from > self.primary => Some(Why::HigherAddress { from }),
            _ => None,
        };
        let Some(why) = why else {
            // (760): discarded, and answered at once. Hosts and bridges that believed the other
            // router learn better, now and once it has let the addresses go.
            let repeat = active.burst.restart(now);
            self.advertise_soon(now, out);
            if repeat {
                self.output(Action::Announce, out);
            }
            self.warn(Warning::SecondActive(priority), Some(from), now, out);
            return;
        };
        let active_for = now.since(self.since);
        if matches!(self.why, Why::AdvertsMissing(_))
            && active_for < active_down_interval(self.priority, interval)
        {
            // Section 2.5: at short intervals delay alone can make routers flap.
            self.warn(Warning::InVain(active_for), Some(from), now, out);
        }
        // (730) to (755).
        self.yield_to(now, interval, why, out);
    }

    /// Does what the time asks for.
    pub(super) fn active_poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let interval = self.config.interval.duration();
        self.poll_handover(now, out);
        let Phase::Active(active) = &mut self.phase else { return };
        let repeat = active.burst.poll(now, &self.config.repeats);
        let (due, resigned) = (active.next_advert, active.resigned());
        if due <= now {
            // (670). On time again after a small delay, rather than late for ever.
            let late = now.since(due);
            let next = if late < interval { due.after(interval) } else { now.after(interval) };
            (active.next_advert, active.last_advert) = (next, now);
            self.send(if resigned { Priority::RESIGN } else { self.priority }, out);
            if late >= interval {
                self.adverts.late += 1;
                self.warn(Warning::Late(late), None, now, out);
            }
        }
        if repeat {
            self.output(Action::Announce, out);
        }
    }

    /// Sends an advert at once, or, if one was just sent, as soon as another may follow. Nothing
    /// happens unless this router is active and means to stay so.
    pub(super) fn advertise_soon(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Phase::Active(active) = &mut self.phase else { return };
        let earliest = active.last_advert.after(ANSWER_GAP);
        if active.resigned() {
            return;
        }
        if earliest > now {
            active.next_advert = active.next_advert.min(earliest);
            return;
        }
        active.next_advert = now.after(self.config.interval.duration());
        active.last_advert = now;
        self.send(self.priority, out);
    }

    /// An advert that was asked for at `asked` went out at `done`.
    pub(crate) fn carried_out(&mut self, asked: Timestamp, done: Timestamp) {
        let Phase::Active(active) = &mut self.phase else { return };
        if active.last_advert == asked && asked < done {
            active.next_advert = active.next_advert.after(done.since(asked));
            active.last_advert = done;
        }
    }

    /// After a pause in which any backup has taken over (the machine slept, the process was
    /// stopped), this router doesn't go on as if nothing had happened: it becomes Backup, and the
    /// election, or the sync channel's wish to catch up first, decides. Not in the RFC, by which
    /// it would send an advert and take back at once.
    pub(crate) fn step_down_if_stalled(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Phase::Active(active) = &self.phase else { return };
        let silence = now.since(active.last_advert);
        let alone = self.peer == Some(super::PeerReport::Gone);
        if silence >= longest_down_interval(self.config.interval) && !alone {
            // Whoever is active answers this; whoever isn't needn't wait.
            self.resign(out);
            self.heard = None;
            self.yield_to(now, self.config.interval, Why::Stalled(silence), out);
        }
    }

    /// The sync channel says that the peer is active too. For a moment that is so whenever one
    /// takes over from the other.
    pub(crate) fn peer_is_active(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Phase::Active(active) = &self.phase else { return };
        let lasts = now.since(self.since) >= self.config.interval.duration();
        if lasts && active.handover.is_none() {
            self.warn(Warning::BothActive, None, now, out);
        }
    }

    /// Stops being active in favour of another router.
    fn yield_to(
        &mut self,
        now: Timestamp,
        interval: Centiseconds,
        why: Why,
        out: &mut Vec<Output>,
    ) {
        self.let_go(out);
        self.back_up(now, interval, why, out);
    }

    /// Lets the addresses go, and with them a handover that hadn't begun.
    pub(super) fn let_go(&mut self, out: &mut Vec<Output>) {
        if let Phase::Active(Active { handover: Some(Stage::Asked { .. }), .. }) = self.phase {
            self.hand_over_event(HandOver::Overtaken, out);
        }
        self.output(Action::RemoveAddresses, out);
    }

    /// Says that this router gives up.
    pub(super) fn resign(&mut self, out: &mut Vec<Output>) {
        self.send(Priority::RESIGN, out);
    }

    /// Counts and sends an advert.
    pub(super) fn send(&mut self, priority: Priority, out: &mut Vec<Output>) {
        self.adverts.sent += 1;
        self.adverts.sent_resign += u64::from(priority.is_resign());
        self.output(Action::SendAdvert { priority }, out);
    }
}
