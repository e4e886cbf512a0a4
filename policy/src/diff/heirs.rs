//! Which new rule the sessions of an old rule belong to.
//!
//! A rule that no new rule can take sessions from is its own heir without a look at any other.
//! Otherwise those that can are compared with it in order, and if that doesn't settle it, so are
//! the rules below.

use super::compare::{Compared, Comparison, NONE, Outline};
use super::nearby::Nearby;
use super::takers::Takers;
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
const WORK: usize = 10_000_000;

/// Finding one place in the trees and sorting it, in comparisons of outlines.
const TREE_COST: usize = 16;

/// Asking the trees how many places they would find, in comparisons of outlines.
const COUNT_COST: usize = 200;

/// Rules that are compared one by one without asking for those near by address.
const FEW: usize = 512;

/// Finds heirs.
pub(super) struct Heirs<'a> {
    old: &'a RuleSet,
    new: &'a RuleSet,
    comparison: &'a Comparison<'a>,
    takers: Takers,
    /// Takers by address, made when they are many.
    takers_nearby: Option<Nearby>,
    /// All rules by address, made when much has been compared one by one.
    nearby: Option<Nearby>,
    work: usize,
}

impl<'a> Heirs<'a> {
    pub(super) fn new(old: &'a RuleSet, new: &'a RuleSet, comparison: &'a Comparison<'a>) -> Self {
        let takers = Takers::new(&comparison.rules);
        Self { old, new, comparison, takers, takers_nearby: None, nearby: None, work: WORK }
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
        let threatened = own.is_some_and(|own| self.takers.any(own, place));
        if !threatened
            && let Some(own) = own
            && let Some(compared) = self.comparison.get(own).filter(|compared| compared.same)
        {
            self.settle(place, compared, Heir::Itself(RuleIndex(own)), pairs, &mut emit);
        }
        if !pairs.is_empty() && self.work > 0 {
            self.compare(place, own, threatened, pairs, &mut emit);
        }
        for pair in pairs.drain(..) {
            emit(pair, Heir::Unproved);
        }
    }

    /// Compares an old rule with the new ones. `own` is the place of its new form, `threatened`
    /// whether rules above that may take sessions from it.
    fn compare(
        &mut self,
        place: u32,
        own: Option<u32>,
        threatened: bool,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        let Some(rule) = get(&self.old.rules, place) else { return };
        let outline = Outline::new(&rule.matches, rule.matches.from, rule.matches.to);
        let asked = Asked { place, matches: &rule.matches, outline };
        if threatened && let Some(own) = own {
            // At first only so many as are not worth asking by address.
            let mut above = self.takers.of(own, place, FEW);
            if above.len() == FEW {
                self.work = self.work.saturating_sub(FEW);
                let near = self.near_takers(&asked, own);
                above = near.unwrap_or_else(|| self.takers.of(own, place, self.work));
                self.work = self.work.saturating_sub(above.len() / 2);
            }
            self.search(&asked, above.into_iter(), pairs, emit);
        }
        if let Some(own) = own {
            self.search(&asked, std::iter::once(own), pairs, emit);
        }
        if !pairs.is_empty() {
            let below = own.map_or(0, |own| own + 1)..self.comparison.rules.len() as u32;
            match self.near(&asked, below.clone()) {
                Some(near) => self.search(&asked, near.into_iter(), pairs, emit),
                None => self.search(&asked, below, pairs, emit),
            }
        }
    }

    /// The takers above `own` that are near by address, if asking for them is less work than
    /// comparing each.
    fn near_takers(&mut self, asked: &Asked<'_>, own: u32) -> Option<Vec<u32>> {
        let otherwise = self.takers.places().len().min(own as usize);
        let nearby = self.takers_nearby.get_or_insert_with(|| {
            let new = &self.new.rules;
            let takers = self.takers.places();
            Nearby::new(takers.filter_map(|place| Some((place, &get(new, place)?.matches))))
        });
        near(nearby, &mut self.work, asked, otherwise, 0..own)
    }

    /// The rules of `range` that are near by address, if asking for them is less work than
    /// comparing each.
    fn near(&mut self, asked: &Asked<'_>, range: Range<u32>) -> Option<Vec<u32>> {
        let rules = &self.new.rules;
        // Making the trees costs about as much as comparing each rule with some tens of others.
        if range.len() < FEW || (self.nearby.is_none() && WORK - self.work < 32 * rules.len()) {
            return None;
        }
        let nearby = self.nearby.get_or_insert_with(|| {
            Nearby::new((0u32..).zip(rules.iter().map(|rule| &rule.matches)))
        });
        near(nearby, &mut self.work, asked, range.len(), range)
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
        taker.outline.from.contains(pair.from) && taker.outline.to.contains(pair.to) && !had_them()
    }
}

/// The old rule whose heirs are sought.
struct Asked<'a> {
    place: u32,
    matches: &'a Match,
    outline: Outline,
}

/// The places of `range` that are near this one, if asking for them is less work than comparing
/// `otherwise` rules.
fn near(
    nearby: &Nearby,
    work: &mut usize,
    asked: &Asked<'_>,
    otherwise: usize,
    range: Range<u32>,
) -> Option<Vec<u32>> {
    let cost = nearby.count(asked.matches) * TREE_COST;
    *work = work.saturating_sub(COUNT_COST);
    if cost >= otherwise || cost > *work {
        return None;
    }
    *work -= cost;
    let mut near = nearby.of(asked.matches);
    near.retain(|place| range.contains(place));
    Some(near)
}

/// What comparing two matches costs at most, in comparisons of outlines.
fn effort(a: &Match, b: &Match) -> usize {
    let addresses =
        |m: &Match| m.src.v4().len() + m.src.v6().len() + m.dst.v4().len() + m.dst.v6().len();
    4 + a.services.len() * b.services.len() / 4 + addresses(a).min(addresses(b)) * 2
}

fn get<T>(list: &[T], place: u32) -> Option<&T> {
    list.get(usize::try_from(place).ok()?)
}
