//! The state Initialize (RFC 9568 section 6.4.1): stopped, faulty, or waiting after the start.

use super::{Phase, Router};
use crate::action::{Output, Why};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What belongs to Initialize.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Initialize {
    /// When it may take part; `None` while it is stopped.
    start_at: Option<Timestamp>,
    faulty: bool,
    /// It owns the addresses and waits for the group only.
    pub(super) ready: bool,
}

impl Initialize {
    /// When something happens by itself.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.start_at.filter(|_| !self.faulty && !self.ready)
    }
}

impl Router {
    /// Begins to take part, after the start delay and only while there is no fault. Nothing
    /// happens if it was started before.
    pub(crate) fn start(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let delay = self.start_delay;
        let Phase::Initialize(idle) = &mut self.phase else { return };
        if idle.start_at.is_none() {
            idle.start_at = Some(now.after(delay));
            self.explain(now, out);
            self.initialize_poll(now, out);
        }
    }

    /// Ends taking part.
    pub(crate) fn stop(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let faulty = matches!(&self.phase, Phase::Initialize(Initialize { faulty: true, .. }));
        self.leave(now, Initialize { faulty, ..Initialize::default() }, Why::Stopped, out);
    }

    /// There is a fault.
    pub(crate) fn fail(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let start_at = match self.phase {
            Phase::Initialize(idle) => idle.start_at,
            _ => Some(now),
        };
        let why = if start_at.is_some() { Why::Fault } else { self.why };
        self.leave(now, Initialize { start_at, faulty: true, ready: false }, why, out);
    }

    /// The fault is over.
    pub(crate) fn recover(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if let Phase::Initialize(idle) = &mut self.phase {
            idle.faulty = false;
            self.explain(now, out);
            self.initialize_poll(now, out);
        }
    }

    /// Does what the time asks for.
    pub(super) fn initialize_poll(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Phase::Initialize(idle) = &mut self.phase else { return };
        if idle.deadline().is_none_or(|at| at > now) {
            return;
        }
        self.heard = None;
        if self.priority.is_owner() {
            // Section 6.4.1 (105): the owner is active at once.
            idle.ready = true;
        } else {
            // (145): with its own interval, until it hears that of the active router.
            self.back_up(now, self.config.interval, Why::Started, out);
        }
    }

    /// Goes to Initialize, from Active with an advert that says so (sections 6.4.2 and 6.4.3).
    fn leave(&mut self, now: Timestamp, idle: Initialize, why: Why, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Active(_)) {
            self.resign(out);
            self.let_go(out);
        }
        self.enter(now, Phase::Initialize(idle), why, out);
    }

    /// Tells why it takes no part, if that has changed.
    fn explain(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Phase::Initialize(idle) = self.phase else { return };
        let why = match idle.start_at {
            Some(_) if idle.faulty => Why::Fault,
            Some(at) if at > now => Why::StartDelay,
            _ => return,
        };
        self.enter(now, Phase::Initialize(idle), why, out);
    }
}
