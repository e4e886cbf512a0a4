//! When announcements are sent again: hosts and switches miss them, and after a split they have
//! heard another router's.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bursts begin at least so far apart: an advert of another active router can come every 10 ms.
const GAP: Duration = Duration::from_millis(100);

/// A series of announcements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Burst {
    started: Timestamp,
    /// How many of the repetitions are done.
    done: usize,
    /// A new series begins then.
    again: Option<Timestamp>,
}

impl Burst {
    /// One whose first announcement is sent now.
    pub(super) fn started(now: Timestamp) -> Self {
        Self { started: now, done: 0, again: None }
    }

    /// Begins anew, now or as soon as that may be. Returns whether to announce now.
    pub(super) fn restart(&mut self, now: Timestamp) -> bool {
        let earliest = self.started.after(GAP);
        if earliest > now {
            self.again = Some(earliest);
            return false;
        }
        *self = Self::started(now);
        true
    }

    /// When the next announcement is due.
    pub(super) fn deadline(&self, repeats: &[Duration]) -> Option<Timestamp> {
        let repeat = repeats.get(self.done).map(|after| self.started.after(*after));
        [repeat, self.again].into_iter().flatten().min()
    }

    /// Returns whether to announce now.
    pub(super) fn poll(&mut self, now: Timestamp, repeats: &[Duration]) -> bool {
        if self.again.is_some_and(|again| again <= now) {
            *self = Self::started(now);
            return true;
        }
        let elapsed = now.since(self.started);
        let due = repeats.iter().skip(self.done).take_while(|after| **after <= elapsed).count();
        self.done += due;
        due > 0
    }
}
