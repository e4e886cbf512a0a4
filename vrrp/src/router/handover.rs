//! Handing over in good order, so that nothing is lost: first the peer has everything, then this
//! router resigns, and it forwards until it hears that the peer is active.
//!
//! By the RFC only a router that stops resigns (section 6.4.3), and it stops at once.

use super::{Phase, Router};
use crate::action::{Event, HandOver, Output};
use crate::time::{Timestamp, longest_down_interval};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The peer has at least this long to take over. Waiting costs nothing, since this router forwards
/// meanwhile; a few short intervals are too little for a node that is busy.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far a handover is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Stage {
    /// The peer is to have everything until then.
    Asked {
        /// Or this router stays active.
        until: Timestamp,
    },
    /// It has, and is to be active until then.
    Resigned {
        /// Or this router stays active.
        until: Timestamp,
    },
}

impl Stage {
    /// When it is given up.
    pub(super) fn until(self) -> Timestamp {
        match self {
            Self::Asked { until } | Self::Resigned { until } => until,
        }
    }
}

impl Router {
    /// Prepares to hand over, if this router is active and isn't at it yet.
    pub(crate) fn hand_over(&mut self, until: Timestamp, out: &mut Vec<Output>) {
        if let Phase::Active(active) = &mut self.phase
            && active.handover.is_none()
        {
            active.handover = Some(Stage::Asked { until });
            self.hand_over_event(HandOver::Asked, out);
        }
    }

    /// The peer has everything: resigns, if that was asked for.
    pub(crate) fn peer_ready(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let interval = self.config.interval;
        if let Phase::Active(active) = &mut self.phase
            && let Some(Stage::Asked { .. }) = active.handover
        {
            // The peer is active after its skew, even if the next three adverts are lost.
            let until = now.after(longest_down_interval(interval).max(PATIENCE));
            active.handover = Some(Stage::Resigned { until });
            (active.last_advert, active.next_advert) = (now, now.after(interval.duration()));
            self.resign(out);
            self.hand_over_event(HandOver::Resigned, out);
        }
    }

    /// Stays active after all.
    pub(crate) fn cancel_hand_over(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        self.keep(now, HandOver::Cancelled, out);
    }

    /// Gives a handover up whose time is over.
    pub(super) fn poll_handover(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        if let Phase::Active(active) = &self.phase
            && active.handover.is_some_and(|stage| stage.until() <= now)
        {
            self.abandon_hand_over(now, out);
        }
    }

    /// The peer can't take over: stays active.
    pub(super) fn abandon_hand_over(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let Phase::Active(active) = &self.phase else { return };
        match active.handover {
            Some(Stage::Asked { .. }) => self.keep(now, HandOver::NotReady, out),
            Some(Stage::Resigned { .. }) => self.keep(now, HandOver::NotTaken, out),
            None => {}
        }
    }

    pub(super) fn hand_over_event(&self, progress: HandOver, out: &mut Vec<Output>) {
        self.event(Event::HandOver(progress), out);
    }

    /// Ends a handover and stays active.
    fn keep(&mut self, now: Timestamp, end: HandOver, out: &mut Vec<Output>) {
        let Phase::Active(active) = &mut self.phase else { return };
        let Some(stage) = active.handover.take() else { return };
        self.hand_over_event(end, out);
        if matches!(stage, Stage::Resigned { .. }) {
            // Whoever heard that it resigned hears that it didn't.
            self.advertise_soon(now, out);
        }
    }
}
