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
mod grow;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod tree;

use crate::matching::Match;
use crate::prefix::Word;
use crate::zone::ZoneSet;
use boxes::{Sets, limit};
use std::cell::OnceCell;
use tree::{Bounds, Item, Query, Search, Tree};

/// Rules of a policy, to be asked which of them overlap another rule.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    rules: Vec<Placed<'a>>,
    /// Made when they are asked for: most policies are for one family mainly.
    v4: OnceCell<Tree<u32>>,
    v6: OnceCell<Tree<u128>>,
}

/// A rule of a policy.
#[derive(Clone, Copy, Debug)]
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

impl<'a> Rules<'a> {
    pub(crate) fn new(rules: impl Iterator<Item = Placed<'a>>) -> Self {
        Self { rules: rules.collect(), v4: OnceCell::new(), v6: OnceCell::new() }
    }

    fn tree<A: Word>(&self, sets: fn(&'a Match) -> Sets<'a, A>) -> Tree<A> {
        let limit = limit(self.rules.len());
        let mut items = Vec::with_capacity(self.rules.len());
        for Placed { place, rank, zones: (from, to), matches } in self.rules.iter().copied() {
            Sets { from, to, ..sets(matches) }.boxes(limit, |bounds| {
                items.push(Item { order: place, rank, number: place, bounds });
            });
        }
        Tree::new(items)
    }

    /// The rules from the first to the last of these places, and of this rank or a higher one, that
    /// may overlap the one asked about; zones count too. Each that does is found, others may be.
    pub(crate) fn meeting<'s>(
        &'s self,
        asked: &'s Asked,
        places: (u32, u32),
        rank: u32,
    ) -> Meeting<'s> {
        let v4 = (!asked.v4.is_empty()).then(|| {
            let query = Query { bounds: &asked.v4, whole: false, orders: places, rank };
            self.v4.get_or_init(|| self.tree(Sets::v4)).search(query)
        });
        let v6 = (!asked.v6.is_empty()).then(|| {
            let query = Query { bounds: &asked.v6, whole: false, orders: places, rank };
            self.v6.get_or_init(|| self.tree(Sets::v6)).search(query)
        });
        Meeting { v4, v6, next: [None; 2], last: None }
    }
}

/// Places of rules that may overlap one, in rising order.
pub(crate) struct Meeting<'s> {
    v4: Option<Search<'s, u32>>,
    v6: Option<Search<'s, u128>>,
    /// What each family has found and not yet told.
    next: [Option<u32>; 2],
    last: Option<u32>,
}

impl Meeting<'_> {
    /// What the search has cost so far, see [`Search::steps`]: about a tenth of a microsecond each.
    pub(crate) fn steps(&self) -> usize {
        self.v4.as_ref().map_or(0, Search::steps) + self.v6.as_ref().map_or(0, Search::steps)
    }
}

impl Iterator for Meeting<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        loop {
            let [v4, v6] = &mut self.next;
            *v4 = v4.or_else(|| Some(self.v4.as_mut()?.next()?.order));
            *v6 = v6.or_else(|| Some(self.v6.as_mut()?.next()?.order));
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
