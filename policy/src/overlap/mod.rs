//! Which rules overlap a rule, lowest first.
//!
//! ```text
//! rules with lists ─► boxes ─► tree ─┬─► Meeting     reload difference: rules above or below
//!                                    ├─► Search      lints: rules above that match a flow, or hold
//! rules of the engine ───────────────┘               a part of a rule whole
//! ```
//!
//! One structure answers the reload difference, the lints and
//! [`crate::classify::engine::Overlaps`]. Time for a question grows with what it is answered with,
//! not with the number of rules; whoever goes on only until a rule settles the matter pays only for
//! those before it. Not here: what an overlap means; and whether two rules with lists really share a
//! flow, which [`crate::matching::Match`] tells.

pub(crate) mod boxes;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tree;

use crate::matching::Match;
use crate::zone::ZoneSet;
use boxes::{Sets, limit};
use tree::{Bounds, Item, Query, Search, Tree};

/// Rules of a policy, to be asked which of them overlap another rule.
#[derive(Debug)]
pub(crate) struct Rules {
    v4: Tree<u32>,
    v6: Tree<u128>,
}

/// A rule of a policy.
pub(crate) struct Placed<'a> {
    /// Its place in the order of decision.
    pub(crate) place: u32,
    /// Any number; questions can leave out rules of a low one.
    pub(crate) rank: u32,
    /// Ingress and egress zones, instead of those of `matches`.
    pub(crate) zones: (ZoneSet, ZoneSet),
    /// What it matches.
    pub(crate) matches: &'a Match,
}

/// A rule that is asked about.
#[derive(Debug)]
pub(crate) struct Asked {
    v4: Vec<Bounds<u32>>,
    v6: Vec<Bounds<u128>>,
}

/// The most boxes that are compared for a rule that is asked about.
const ASKED: usize = 16;

impl Asked {
    pub(crate) fn new(matches: &Match) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        Sets::v4(matches).boxes(ASKED, |bounds| v4.push(bounds));
        Sets::v6(matches).boxes(ASKED, |bounds| v6.push(bounds));
        Self { v4, v6 }
    }
}

impl Rules {
    pub(crate) fn new<'a>(rules: impl ExactSizeIterator<Item = Option<Placed<'a>>>) -> Self {
        let limit = limit(rules.len());
        let (mut v4, mut v6) = (Vec::with_capacity(rules.len()), Vec::new());
        for Placed { place, rank, zones: (from, to), matches } in rules.flatten() {
            Sets { from, to, ..Sets::v4(matches) }.boxes(limit, |bounds| {
                v4.push(Item { order: place, rank, number: place, bounds });
            });
            Sets { from, to, ..Sets::v6(matches) }.boxes(limit, |bounds| {
                v6.push(Item { order: place, rank, number: place, bounds });
            });
        }
        Self { v4: Tree::new(v4), v6: Tree::new(v6) }
    }

    /// The rules from the first to the last of these places, and of this rank or a higher one, that
    /// may overlap the one asked about; zones count too. Each that does is found, others may be.
    pub(crate) fn meeting<'s>(
        &'s self,
        asked: &'s Asked,
        places: (u32, u32),
        rank: u32,
    ) -> Meeting<'s> {
        let v4 = Query { bounds: &asked.v4, whole: false, orders: places, rank };
        let v6 = Query { bounds: &asked.v6, whole: false, orders: places, rank };
        Meeting { v4: self.v4.search(v4), v6: self.v6.search(v6), next: [None; 2], last: None }
    }
}

/// Places of rules that may overlap one, in rising order.
pub(crate) struct Meeting<'s> {
    v4: Search<'s, u32>,
    v6: Search<'s, u128>,
    /// What each family has found and not yet told.
    next: [Option<u32>; 2],
    last: Option<u32>,
}

impl Meeting<'_> {
    /// What the search has cost so far, see [`Search::steps`]: about a tenth of a microsecond each.
    pub(crate) const fn steps(&self) -> usize {
        self.v4.steps() + self.v6.steps()
    }
}

impl Iterator for Meeting<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let [v4, v6] = &mut self.next;
            *v4 = v4.or_else(|| self.v4.next().map(|found| found.order));
            *v6 = v6.or_else(|| self.v6.next().map(|found| found.order));
            let place = match (*v4, *v6) {
                (Some(a), Some(b)) => a.min(b),
                (one, other) => one.or(other)?,
            };
            for next in &mut self.next {
                *next = next.filter(|next| *next != place);
            }
            // A rule with several boxes is found for each.
            if self.last.replace(place) != Some(place) {
                return Some(place);
            }
        }
    }
}
