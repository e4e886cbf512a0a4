//! The new rules that can take sessions from rules below them.
//!
//! After a usual edit they are few: rules that are new, or grew, or moved up. Goes in: the place in
//! the old policy of each new rule. Comes out: for a rule, those above it now that weren't before.
//! Not here: which of many takers overlap a rule, see [`crate::overlap`].

use super::compare::{Compared, NONE};

/// New rules that were below, in the old policy, some rule that is below them now; or that can't
/// be said to have been anywhere.
pub(super) struct Takers {
    /// Sorted.
    places: Vec<u32>,
    /// By new place: the highest order of the rules above it.
    above: Vec<u32>,
}

impl Takers {
    pub(super) fn new(rules: &[Compared]) -> Self {
        let mut above = Vec::with_capacity(rules.len());
        let mut highest = 0;
        for rule in rules {
            above.push(highest);
            highest = highest.max(rule.order);
        }
        let mut places = Vec::new();
        let mut lowest_below = NONE;
        for (place, rule) in (0..rules.len() as u32).zip(rules).rev() {
            if lowest_below < rule.order {
                places.push(place);
            }
            lowest_below = lowest_below.min(rule.old);
        }
        places.reverse();
        Self { places, above }
    }

    /// The places of all, in rising order.
    pub(super) fn places(&self) -> &[u32] {
        &self.places
    }

    /// Whether any new rule above the place `now` was not above the place `before` in the old
    /// policy.
    pub(super) fn any(&self, now: u32, before: u32) -> bool {
        let above = usize::try_from(now).ok().and_then(|now| self.above.get(now));
        above.is_some_and(|highest| *highest > before)
    }
}
