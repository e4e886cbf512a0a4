//! Rule by rule: what the new policy has of the old one, and what can meet what.

use super::zones::ZoneMap;
use super::{Installed, PlanError};
use crate::keys::meaning;
use crate::matching::Match;
use crate::ruleset::{Rule, RuleIndex, RuleSet};
use crate::zone::ZoneSet;
use ahash::RandomState;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// The place of no rule.
pub(super) const NONE: u32 = u32::MAX;

/// The new rules beside the old ones.
pub(super) struct Comparison<'a> {
    /// By new rule.
    pub(super) rules: Vec<Compared>,
    /// Digests of the new rules.
    pub(super) meanings: Vec<u128>,
    /// By old rule: the place of the new rule that stands for it, or [`NONE`].
    pub(super) places: Vec<u32>,
    new: &'a RuleSet,
    names: HashMap<&'a str, u32, RandomState>,
}

/// A new rule beside the old one that it stands for: that of its name, else one of the same meaning
/// whose name is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    /// The place of the old rule, or [`NONE`].
    pub(super) old: u32,
    /// Whether name and meaning are the same.
    pub(super) same: bool,
    /// Whether the old rule's addresses and services cover what they are now.
    pub(super) covered: bool,
    /// The old place of a rule that did not grow, [`NONE`] of one that is new or did. Old rules
    /// below this place can't have had packets that this rule matches.
    pub(super) order: u32,
    /// What it can meet; zones are those of the old policy.
    pub(super) outline: Outline,
}

/// A cheap picture of what a rule matches: larger than the rule, quick to compare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline {
    pub(super) from: ZoneSet,
    pub(super) to: ZoneSet,
    /// Bit n: a protocol whose number is n modulo 64.
    protocols: u64,
    v4: Option<Sides<u32>>,
    /// The first 64 bits of the addresses.
    v6: Option<Sides<u64>>,
}

/// Source and destination, each from the first to the last address.
#[derive(Clone, Copy, Debug)]
struct Sides<T> {
    src: (T, T),
    dst: (T, T),
}

impl<T: Copy + Ord> Sides<T> {
    fn new(src: &[(T, T)], dst: &[(T, T)]) -> Option<Self> {
        Some(Self { src: hull(src)?, dst: hull(dst)? })
    }

    fn meet(&self, other: &Self) -> bool {
        let meet = |a: (T, T), b: (T, T)| a.0.max(b.0) <= a.1.min(b.1);
        meet(self.src, other.src) && meet(self.dst, other.dst)
    }
}

impl Outline {
    pub(super) fn new(matches: &Match, from: ZoneSet, to: ZoneSet) -> Self {
        let protocols = matches.services.iter().fold(0, |all, service| {
            all | service.protocol.map_or(u64::MAX, |number| 1 << (number % 64))
        });
        let upper = |(low, high): (u128, u128)| ((low >> 64) as u64, (high >> 64) as u64);
        Self {
            from,
            to,
            protocols,
            v4: Sides::new(matches.src.v4(), matches.dst.v4()),
            v6: Sides::new(matches.src.v6(), matches.dst.v6())
                .map(|Sides { src, dst }| Sides { src: upper(src), dst: upper(dst) }),
        }
    }

    /// Whether a flow may match both; no is certain.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        self.protocols & other.protocols != 0
            && self.from.intersects(other.from)
            && self.to.intersects(other.to)
            && (self.v4.zip(other.v4).is_some_and(|(a, b)| a.meet(&b))
                || self.v6.zip(other.v6).is_some_and(|(a, b)| a.meet(&b)))
    }
}

/// From the first to the last number of sorted ranges.
fn hull<T: Copy>(ranges: &[(T, T)]) -> Option<(T, T)> {
    Some((ranges.first()?.0, ranges.last()?.1))
}

impl<'a> Comparison<'a> {
    pub(super) fn new(
        old: &Installed,
        new: &'a RuleSet,
        zones: &ZoneMap,
    ) -> Result<Self, PlanError> {
        // Names come from the operator: nobody gains from colliding ones.
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut names = HashMap::with_capacity_and_hasher(new.rules.len(), hasher);
        for (place, rule) in (0u32..).zip(&new.rules) {
            match names.entry(rule.name.as_ref()) {
                Entry::Vacant(entry) => entry.insert(place),
                Entry::Occupied(_) => {
                    return Err(PlanError::DuplicateRule(Arc::clone(&rule.name)));
                }
            };
        }
        let place = |rule: &Rule| names.get(rule.name.as_ref()).copied().unwrap_or(NONE);
        let mut places: Vec<u32> = old.rules().rules.iter().map(place).collect();
        let mut olds = vec![NONE; new.rules.len()];
        for (old, place) in (0u32..).zip(&places) {
            if let Some(entry) = usize::try_from(*place).ok().and_then(|at| olds.get_mut(at)) {
                *entry = old;
            }
        }
        let mut nameless = nameless(old, &places);
        let mut meanings = Vec::with_capacity(new.rules.len());
        let mut rules = Vec::with_capacity(new.rules.len());
        for ((now, rule), before) in (0u32..).zip(&new.rules).zip(olds) {
            let (mut compared, meaning) = compare(old, rule, before, zones);
            if before == NONE
                && let Some(renamed) = nameless.remove(&meaning)
            {
                compared = compare(old, rule, renamed, zones).0;
                compared.same = false;
                if let Some(place) = places.get_mut(renamed as usize) {
                    *place = now;
                }
            }
            rules.push(compared);
            meanings.push(meaning);
        }
        Ok(Self { rules, meanings, places, new, names })
    }

    /// The new rule of this name.
    pub(super) fn named(&self, name: &str) -> Option<&'a Rule> {
        self.names.get(name).and_then(|place| rule_at(self.new, *place))
    }

    /// The new rule of the name of this old rule, which is at this place.
    pub(super) fn renewed(&self, old: &Rule, place: u32) -> Option<&'a Rule> {
        let place = *self.places.get(usize::try_from(place).ok()?)?;
        rule_at(self.new, place).filter(|new| new.name == old.name)
    }

    /// The new rule at this place.
    pub(super) fn get(&self, place: u32) -> Option<&Compared> {
        self.rules.get(usize::try_from(place).ok()?)
    }
}

/// The old rules whose names are gone, by meaning; of several the last.
fn nameless(old: &Installed, places: &[u32]) -> HashMap<u128, u32, RandomState> {
    let mut nameless = HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4));
    let gone = (0u32..).zip(places).filter(|(_, place)| **place == NONE);
    let meaning = |old_place| old.table().meaning_of(RuleIndex(old_place));
    nameless.extend(gone.filter_map(|(old, _)| Some((meaning(old)?, old))));
    nameless
}

/// One new rule and its digest, beside the old rule at this place.
fn compare(old: &Installed, rule: &Rule, place: u32, zones: &ZoneMap) -> (Compared, u128) {
    let from = zones.preimage(rule.matches.from);
    let to = zones.preimage(rule.matches.to);
    let outline = Outline::new(&rule.matches, from, to);
    let fresh = Compared { old: NONE, same: false, covered: false, order: NONE, outline };
    let before = rule_at(old.rules(), place).zip(old.table().meaning_of(RuleIndex(place)));
    let Some((before, before_meaning)) = before else { return (fresh, meaning(rule)) };
    let equal = before.action == rule.action
        && before.matches.services == rule.matches.services
        && before.matches.src == rule.matches.src
        && before.matches.dst == rule.matches.dst;
    let meaning = if equal { before_meaning } else { meaning(rule) };
    let same = meaning == before_meaning;
    let covered = equal || before.matches.packets_cover(&rule.matches);
    let zones_covered = before.matches.from.covers(from) && before.matches.to.covers(to);
    let order = if covered && zones_covered { place } else { NONE };
    (Compared { old: place, same, covered, order, outline }, meaning)
}

fn rule_at(rules: &RuleSet, place: u32) -> Option<&Rule> {
    rules.rules.get(usize::try_from(place).ok()?)
}
