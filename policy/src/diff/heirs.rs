//! Which new rule the sessions of an old rule belong to.
//!
//! New rules that can take sessions from a rule below them are few after a usual edit: they are
//! new, or grew, or moved up past it. They are listed once; a rule that none of them is above is
//! its own heir without a look at any other.

use super::compare::{Compared, Comparison, NONE, Outline};
use super::nearby::Nearby;
use crate::keys::SessionKey;
use crate::matching::Match;
use crate::ruleset::{RuleIndex, RuleSet};
use crate::zone::ZoneId;
use std::ops::Range;

/// One key of an old rule; zones are those of the old policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) from: ZoneId,
    pub(super) to: ZoneId,
    pub(super) key: SessionKey,
}

/// What is known of where a key's sessions belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heir {
    /// All to the rule of the same name and meaning.
    Itself(RuleIndex),
    /// All to this rule.
    Other(RuleIndex),
    /// To several rules, or it was too much work to find out.
    Unproved,
}

/// Work for all rules together, in comparisons of two outlines: about 5 ns each.
const WORK: usize = 20_000_000;

/// Looking a place up in the tree and sorting it, in comparisons of outlines.
const TREE_COST: usize = 8;

/// Finds heirs.
pub(super) struct Heirs<'a> {
    old: &'a RuleSet,
    new: &'a RuleSet,
    comparison: &'a Comparison<'a>,
    /// New rules that can take sessions from some rule below them, in rising order.
    takers: Vec<u32>,
    /// By new place: the highest [`Compared::order`] of the rules above it.
    above: Vec<u32>,
    /// Made when much has been compared one by one.
    nearby: Option<Nearby>,
    work: usize,
}

impl<'a> Heirs<'a> {
    pub(super) fn new(old: &'a RuleSet, new: &'a RuleSet, comparison: &'a Comparison<'a>) -> Self {
        let rules = &comparison.rules;
        let mut above = Vec::with_capacity(rules.len());
        let mut highest = 0;
        for rule in rules {
            above.push(highest);
            highest = highest.max(rule.order);
        }
        let mut takers = Vec::new();
        let mut lowest_below = NONE;
        for (place, rule) in (0..rules.len() as u32).zip(rules).rev() {
            if lowest_below < rule.order {
                takers.push(place);
            }
            lowest_below = lowest_below.min(rule.old);
        }
        takers.reverse();
        Self { old, new, comparison, takers, above, nearby: None, work: WORK }
    }

    /// Calls `emit` with the heir of each pair of the old rule at this place. `pairs` is empty
    /// afterwards.
    pub(super) fn of_rule(
        &mut self,
        place: u32,
        pairs: &mut Vec<Pair>,
        mut emit: impl FnMut(Pair, Heir),
    ) {
        let own = get(&self.comparison.places, place).copied().filter(|own| *own != NONE);
        let threatened = own.and_then(|own| get(&self.above, own)).is_some_and(|top| *top > place);
        if !threatened
            && let Some(own) = own
            && let Some(compared) = self.comparison.get(own).filter(|compared| compared.same)
        {
            self.settle(place, compared, Heir::Itself(RuleIndex(own)), pairs, &mut emit);
        }
        let Some(rule) = get(&self.old.rules, place).filter(|_| !pairs.is_empty()) else { return };
        let outline = Outline::new(&rule.matches, rule.matches.from, rule.matches.to);
        let asked = Asked { place, matches: &rule.matches, outline };
        if threatened && let Some(own) = own {
            let end = self.takers.partition_point(|taker| *taker < own);
            let takers = std::mem::take(&mut self.takers);
            let near = self.near(&asked, end, 0..own);
            match near {
                Some(near) => self.search(&asked, near.into_iter(), pairs, &mut emit),
                None => self.search(&asked, takers.iter().copied().take(end), pairs, &mut emit),
            }
            self.takers = takers;
        }
        if !pairs.is_empty() {
            let all = own.unwrap_or(0)..self.comparison.rules.len() as u32;
            match self.near(&asked, all.len(), all.clone()) {
                Some(near) => self.search(&asked, near.into_iter(), pairs, &mut emit),
                None => self.search(&asked, all, pairs, &mut emit),
            }
        }
        for pair in pairs.drain(..) {
            emit(pair, Heir::Unproved);
        }
    }

    /// The places within `range` of rules near this one, if asking for them is less work than
    /// comparing `otherwise` rules.
    fn near(&mut self, asked: &Asked<'_>, otherwise: usize, range: Range<u32>) -> Option<Vec<u32>> {
        let rules = self.comparison.rules.len();
        // Making the trees costs about as much as comparing each rule with some tens of others.
        if otherwise < 64 || (self.nearby.is_none() && WORK - self.work < 32 * rules) {
            return None;
        }
        let new = self.new;
        let nearby = self.nearby.get_or_insert_with(|| Nearby::new(new));
        let cost = nearby.count(asked.matches) * TREE_COST;
        if cost >= otherwise || cost > self.work {
            return None;
        }
        self.work -= cost;
        let mut near = nearby.of(asked.matches);
        near.retain(|place| range.contains(place));
        Some(near)
    }

    /// Goes through new rules in order and settles the pairs that each takes, until none is left
    /// or the work is done.
    fn search(
        &mut self,
        asked: &Asked<'_>,
        places: impl Iterator<Item = u32>,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        for place in places {
            let Some(compared) = self.comparison.get(place) else { continue };
            let Some(left) = self.work.checked_sub(1) else { return };
            self.work = left;
            if compared.order < asked.place || !compared.outline.may_meet(&asked.outline) {
                continue;
            }
            if !pairs.iter().any(|pair| self.takes(asked.place, compared, pair)) {
                continue;
            }
            let Some(rule) = get(&self.new.rules, place) else { continue };
            self.work = self.work.saturating_sub(effort(asked.matches, &rule.matches));
            if !rule.matches.packets_intersect(asked.matches) {
                continue;
            }
            let heir = if compared.same && compared.old == asked.place {
                Heir::Itself(RuleIndex(place))
            } else if rule.matches.packets_cover(asked.matches) {
                Heir::Other(RuleIndex(place))
            } else {
                Heir::Unproved
            };
            self.settle(asked.place, compared, heir, pairs, emit);
            if pairs.is_empty() {
                return;
            }
        }
    }

    /// Gives this heir to the pairs that a new rule takes from the old rule at `place`.
    fn settle(
        &self,
        place: u32,
        taker: &Compared,
        heir: Heir,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        pairs.retain(|pair| {
            let takes = self.takes(place, taker, pair);
            if takes {
                emit(*pair, heir);
            }
            !takes
        });
    }

    /// Whether a new rule that matches the same packets can own sessions that were the old rule's
    /// at `place`: it matches between these zones, and wasn't above that rule with as large a
    /// match before.
    fn takes(&self, place: u32, taker: &Compared, pair: &Pair) -> bool {
        let had_them = || {
            taker.covered
                && taker.old < place
                && get(&self.old.rules, taker.old).is_some_and(|before| {
                    before.matches.from.contains(pair.from) && before.matches.to.contains(pair.to)
                })
        };
        taker.outline.from.contains(pair.from)
            && taker.outline.to.contains(pair.to)
            && !had_them()
    }
}

/// The old rule whose heirs are sought.
struct Asked<'a> {
    place: u32,
    matches: &'a Match,
    outline: Outline,
}

/// What comparing two matches costs at most, in comparisons of outlines.
fn effort(a: &Match, b: &Match) -> usize {
    let addresses = |m: &Match| m.src.v4().len() + m.src.v6().len() + m.dst.v4().len() + m.dst.v6().len();
    4 + a.services.len() * b.services.len() / 4 + addresses(a).min(addresses(b)) * 2
}

fn get<T>(list: &[T], place: u32) -> Option<&T> {
    list.get(usize::try_from(place).ok()?)
}
