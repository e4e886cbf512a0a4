//! Which new rule the sessions of an old rule belong to.
//!
//! A rule that no new rule can take sessions from is its own heir without a look at any other.
//! Otherwise those that can are compared with it in order, and if that doesn't settle it, so are
//! the rules below; where they are many, only those that overlap it.

use super::compare::{Compared, Comparison, NONE, Outline};
use super::takers::Takers;
use crate::keys::SessionKey;
use crate::matching::Match;
use crate::overlap::tree::before;
use crate::overlap::{Asked as Boxes, Placed, Rules};
use crate::ruleset::{RuleIndex, RuleSet};
use crate::zone::ZoneId;
use std::cell::{Cell, OnceCell};
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

/// Work for all rules together, in comparisons of two outlines, about 5 ns each: this, and so much
/// for each rule.
const WORK: (usize, usize) = (10_000_000, 300);

/// A step of a search for overlapping rules, in comparisons of outlines.
const STEP: usize = 16;

/// Rules that are compared one by one, without a search for those that overlap.
const FEW: usize = 128;

/// What making the structure for such searches costs for each rule, in comparisons of outlines.
const MAKING: usize = 50;

/// Finds heirs.
pub(super) struct Heirs<'a> {
    old: &'a RuleSet,
    new: &'a RuleSet,
    comparison: &'a Comparison<'a>,
    takers: Takers,
    /// Takers by what they overlap, made when they are many.
    takers_by_overlap: OnceCell<Rules<'a>>,
    /// All rules by what they overlap, made when much has been compared one by one.
    by_overlap: OnceCell<Rules<'a>>,
    work: Cell<usize>,
}

impl<'a> Heirs<'a> {
    pub(super) fn new(old: &'a RuleSet, new: &'a RuleSet, comparison: &'a Comparison<'a>) -> Self {
        let takers = Takers::new(&comparison.rules);
        let (takers_by_overlap, by_overlap) = (OnceCell::new(), OnceCell::new());
        let work = Cell::new(work(new));
        Self { old, new, comparison, takers, takers_by_overlap, by_overlap, work }
    }

    /// Calls `emit` with the heir of each pair of the old rule at this place. `pairs` is empty
    /// afterwards.
    pub(super) fn of_rule(
        &self,
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
        if !pairs.is_empty() && self.work.get() > 0 {
            self.compare(place, own, threatened, pairs, &mut emit);
        }
        for pair in pairs.drain(..) {
            emit(pair, Heir::Unproved);
        }
    }

    /// Compares an old rule with the new ones. `own` is the place of its new form, `threatened`
    /// whether rules above that may take sessions from it.
    fn compare(
        &self,
        place: u32,
        own: Option<u32>,
        threatened: bool,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        let Some(rule) = get(&self.old.rules, place) else { return };
        let outline = Outline::new(&rule.matches, rule.matches.from, rule.matches.to);
        let asked = Asked { place, matches: &rule.matches, outline };
        if let Some(own) = own {
            if threatened {
                self.search_above(&asked, own, pairs, emit);
            }
            self.search(&asked, std::iter::once(own), pairs, emit);
        }
        if !pairs.is_empty() {
            let below = own.map_or(0, |own| own + 1)..self.comparison.rules.len() as u32;
            self.search_below(&asked, below, pairs, emit);
        }
    }

    /// Goes through the takers above the place `own`.
    fn search_above(
        &self,
        asked: &Asked<'_>,
        own: u32,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        let takers = self.takers.places();
        let above = takers.get(..takers.partition_point(|place| *place < own));
        let each = above.unwrap_or_default().iter().copied();
        if each.len() < FEW {
            return self.search(asked, each, pairs, emit);
        }
        let rules = self.takers_by_overlap.get_or_init(|| self.rules(takers.iter().copied()));
        self.search_overlapping(rules, asked, before(own), each, pairs, emit);
    }

    /// Goes through all new rules of these places.
    fn search_below(
        &self,
        asked: &Asked<'_>,
        below: Range<u32>,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        let all = self.comparison.rules.len();
        let worth_it =
            self.by_overlap.get().is_some() || work(self.new) - self.work.get() > MAKING * all;
        if below.len() < FEW || !worth_it {
            return self.search(asked, below, pairs, emit);
        }
        let rules = self.by_overlap.get_or_init(|| self.rules(0..all as u32));
        let places = (below.start, u32::MAX);
        self.search_overlapping(rules, asked, places, below, pairs, emit);
    }

    /// The new rules of these places, to be asked which of them overlap an old one. Their ranks are
    /// their orders.
    fn rules(&self, places: impl Iterator<Item = u32>) -> Rules<'a> {
        Rules::new(places.filter_map(|place| {
            let compared = self.comparison.get(place)?;
            let matches = &get(&self.new.rules, place)?.matches;
            let zones = (compared.outline.from, compared.outline.to);
            Some(Placed { place, rank: compared.order, zones, matches })
        }))
    }

    /// Goes through those of `rules` from the first to the last of these places that overlap the old
    /// rule, or through `each` where that turns out to be less work.
    fn search_overlapping(
        &self,
        rules: &Rules<'_>,
        asked: &Asked<'_>,
        places: (u32, u32),
        each: impl ExactSizeIterator<Item = u32>,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        let boxes = Boxes::new(asked.matches);
        let mut meeting = rules.meeting(&boxes, places, asked.place);
        let mut steps = 0;
        while let Some(place) = meeting.next() {
            self.spend((meeting.steps() - steps) * STEP);
            steps = meeting.steps();
            if !self.try_one(asked, place, pairs, emit) {
                return;
            }
            if steps * STEP > each.len() {
                let rest = each.skip_while(|other| *other <= place);
                return self.search(asked, rest, pairs, emit);
            }
        }
        self.spend((meeting.steps() - steps) * STEP);
    }

    /// Goes through new rules in order and settles the pairs that each takes, until none is left
    /// or the work is done.
    fn search(
        &self,
        asked: &Asked<'_>,
        mut places: impl Iterator<Item = u32>,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) {
        let _ = places.all(|place| self.try_one(asked, place, pairs, emit));
    }

    /// Settles the pairs that a new rule takes; says whether to go on with the next.
    #[inline]
    fn try_one(
        &self,
        asked: &Asked<'_>,
        place: u32,
        pairs: &mut Vec<Pair>,
        emit: &mut impl FnMut(Pair, Heir),
    ) -> bool {
        let Some(compared) = self.comparison.get(place) else { return true };
        if !self.spend(1) {
            return false;
        }
        if compared.order < asked.place || !compared.outline.may_meet(&asked.outline) {
            return true;
        }
        if !pairs.iter().any(|pair| self.takes(asked.place, compared, pair)) {
            return true;
        }
        let Some(rule) = get(&self.new.rules, place) else { return true };
        self.spend(effort(asked.matches, &rule.matches));
        if !rule.matches.packets_intersect(asked.matches) {
            return true;
        }
        let heir = if compared.same && compared.old == asked.place {
            Heir::Itself(RuleIndex(place))
        } else if rule.matches.packets_cover(asked.matches) {
            Heir::Other(RuleIndex(place))
        } else {
            Heir::Unproved
        };
        self.settle(asked.place, compared, heir, pairs, emit);
        !pairs.is_empty()
    }

    /// Takes work from what is left; says whether there was any.
    fn spend(&self, work: usize) -> bool {
        let left = self.work.get();
        self.work.set(left.saturating_sub(work));
        left > 0
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

/// Work for these new rules.
fn work(new: &RuleSet) -> usize {
    WORK.0 + WORK.1 * new.rules.len()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::zones::ZoneMap;
    use crate::diff::{Installed, plan};
    use crate::keys::KeyAllocator;
    use crate::overlap::tests::Random;
    use crate::ruleset::{Action, OnChange, QueueFailure, Rule, Zone};

    fn policy(rules: Vec<Rule>) -> RuleSet {
        let zone = |n: usize| Zone {
            name: format!("z{n}").into(),
            interfaces: vec![format!("eth{n}").into()],
        };
        RuleSet {
            name: "test".into(),
            zones: (0..6).map(zone).collect(),
            rules,
            nat: vec![],
            queue_failure: QueueFailure::Closed,
        }
    }

    fn rule(random: &mut Random, name: usize, bits: u32) -> Rule {
        Rule {
            seq: 0,
            name: format!("r{name}").into(),
            matches: random.matches(bits),
            action: [Action::Accept, Action::Drop][random.below(2) as usize],
            log: false,
            on_change: OnChange::Rematch,
        }
    }

    /// The first new rule that can own sessions of the pair, by going through all.
    fn heir(heirs: &Heirs<'_>, place: u32, pair: &Pair) -> Heir {
        let old = &heirs.old.rules[place as usize];
        for ((now, new), compared) in (0..).zip(&heirs.new.rules).zip(&heirs.comparison.rules) {
            if heirs.takes(place, compared, pair) && new.matches.packets_intersect(&old.matches) {
                return if compared.same && compared.old == place {
                    Heir::Itself(RuleIndex(now))
                } else if new.matches.packets_cover(&old.matches) {
                    Heir::Other(RuleIndex(now))
                } else {
                    Heir::Unproved
                };
            }
        }
        Heir::Unproved
    }

    #[test]
    fn heirs_are_those_of_comparing_each_with_each() {
        let mut seen = [0; 3];
        for seed in 0..6 {
            let mut random = Random(seed);
            let bits = [8, 16, 24][seed as usize % 3];
            let mut rules: Vec<Rule> = (0..500).map(|n| rule(&mut random, n, bits)).collect();
            let old = policy(rules.clone());
            for n in 0..[20, 200, 400][seed as usize % 3] {
                let (at, other) = (random.below(490) as usize, random.below(490) as usize);
                match random.below(6) {
                    0 => drop(rules.remove(at)),
                    1 | 2 => rules.insert(at, rule(&mut random, 1000 + n, bits)),
                    3 => rules[at].matches = random.matches(bits),
                    4 => rules[at].name = format!("renamed{n}").into(),
                    _ => rules.swap(at, other),
                }
            }
            let mut allocator = KeyAllocator::new(0xff_ffff).unwrap();
            let old: Installed = plan(None, old, &mut allocator).unwrap().next;
            let new = policy(rules);
            let zones = ZoneMap::new(&old.rules().zones, &new.zones);
            let comparison = Comparison::new(&old, &new, &zones).unwrap();
            let heirs = Heirs::new(old.rules(), &new, &comparison);
            for (place, rule) in (0..).zip(&old.rules().rules) {
                // Any answer is right for a rule without sessions.
                if !rule.matches.packets_intersect(&rule.matches) {
                    continue;
                }
                let keys = old.index().pairs(RuleIndex(place));
                let pairs = keys.filter_map(|(from, to, key)| Some(Pair { from, to, key: key? }));
                heirs.of_rule(place, &mut pairs.collect(), |pair, found| {
                    assert!(heirs.work.get() > 0, "seed {seed}");
                    assert_eq!(found, heir(&heirs, place, &pair), "seed {seed}, rule {place}");
                    seen[match found {
                        Heir::Itself(_) => 0,
                        Heir::Other(_) => 1,
                        Heir::Unproved => 2,
                    }] += 1;
                });
            }
            // The searches were put to use, not only comparisons one by one.
            let searched = [&heirs.takers_by_overlap, &heirs.by_overlap];
            assert!(seed % 3 == 0 || searched.iter().any(|rules| rules.get().is_some()));
        }
        assert!(seen.iter().all(|count| *count > 100), "{seen:?}");
    }
}
