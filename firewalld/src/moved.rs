//! Sessions that a worker has taken from a stale key to a living one.
//!
//! Several packets of a session can be in the queue before the first verdict gives it its new key;
//! it counts once. All packets between two hosts go to one queue, so a worker knows by itself.

use crate::snapshot::Policy;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use twinwall_policy::flow::Tuple;

/// Sessions that are remembered a reload. Beyond it, one may count twice.
const REMEMBERED: usize = 1 << 18;

/// Sessions moved, since the worker began.
#[derive(Debug, Default)]
pub struct Tally {
    /// To a rule that lets them pass.
    pub remarked: AtomicU64,
    /// To a rule that doesn't.
    pub ended: AtomicU64,
}

/// What a worker remembers of the sessions that it has moved since the last reload.
#[derive(Debug, Default)]
pub struct Moved {
    generation: u64,
    seen: HashSet<Tuple>,
}

impl Moved {
    /// Counts a session that goes to a rule which lets it pass or not, unless it has been.
    pub fn note(&mut self, session: Tuple, policy: &Policy, passes: bool, tally: &Tally) {
        if self.generation != policy.generation {
            self.generation = policy.generation;
            self.seen = HashSet::new();
        }
        if self.seen.len() < REMEMBERED && !self.seen.insert(session) {
            return;
        }
        let count = if passes { &tally.remarked } else { &tally.ended };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
