//! The key of a rule and a pair of zones, found without a search.
//!
//! A rule's keys lie side by side, one for each of its ingress zones and in those one for each of
//! its egress zones, so the ranks of both zones in the rule's sets say where the key is.

use super::SessionKey;
use crate::ruleset::{RuleIndex, RuleSet};
use crate::zone::{ZoneId, ZoneSet};

/// Rule and zones to key.
#[derive(Clone, Debug, Default)]
pub struct KeyIndex {
    rules: Box<[Slots]>,
    keys: Box<[Option<SessionKey>]>,
}

#[derive(Clone, Copy, Debug)]
struct Slots {
    from: ZoneSet,
    to: ZoneSet,
    start: u32,
}

impl Slots {
    /// Where a pair's key is; nothing flows from the gateway to itself.
    fn place(self, from: ZoneId, to: ZoneId) -> Option<usize> {
        let holds = self.from.contains(from) && self.to.contains(to);
        if !holds || (from == ZoneId::SELF && to == ZoneId::SELF) {
            return None;
        }
        let place = self.start + self.from.rank(from) * self.to.len() + self.to.rank(to);
        usize::try_from(place).ok()
    }

    fn pairs(self) -> impl Iterator<Item = (ZoneId, ZoneId)> {
        let pairs = self.from.iter().flat_map(move |from| self.to.iter().map(move |to| (from, to)));
        pairs.filter(|pair| *pair != (ZoneId::SELF, ZoneId::SELF))
    }

    /// Places, that of the gateway to itself included.
    fn places(self) -> usize {
        self.from.len() as usize * self.to.len() as usize
    }

    /// Keys.
    fn keys(self) -> usize {
        let to_itself = self.from.contains(ZoneId::SELF) && self.to.contains(ZoneId::SELF);
        self.places() - usize::from(to_itself)
    }
}

impl KeyIndex {
    /// An index with room for the keys of every rule, or `None` when more than `limit` are needed.
    pub(crate) fn with_room(rules: &RuleSet, limit: usize) -> Option<Self> {
        let zones = ZoneSet::first(rules.zones.len());
        let mut start = 0usize;
        let mut needed = 0;
        let mut slots = Vec::with_capacity(rules.rules.len());
        for rule in &rules.rules {
            let from = rule.matches.from.and(zones);
            let to = rule.matches.to.and(zones);
            let own = Slots { from, to, start: u32::try_from(start).ok()? };
            start += own.places();
            needed += own.keys();
            if needed > limit {
                return None;
            }
            slots.push(own);
        }
        Some(Self { rules: slots.into(), keys: vec![None; start].into() })
    }

    /// The key of a session that this rule decides between these zones. `None` when the rule
    /// doesn't match between them.
    #[must_use]
    pub fn get(&self, rule: RuleIndex, from: ZoneId, to: ZoneId) -> Option<SessionKey> {
        let place = self.slots(rule)?.place(from, to)?;
        self.keys.get(place).copied().flatten()
    }

    /// Sets the key of a pair; false when the rule doesn't match between these zones.
    pub(crate) fn set(
        &mut self,
        rule: RuleIndex,
        from: ZoneId,
        to: ZoneId,
        key: SessionKey,
    ) -> bool {
        let place = self.slots(rule).and_then(|slots| slots.place(from, to));
        match place.and_then(|place| self.keys.get_mut(place)) {
            Some(slot) => {
                *slot = Some(key);
                true
            }
            None => false,
        }
    }

    /// The pairs of zones that a rule matches between, with their keys where they are set.
    pub(crate) fn pairs(
        &self,
        rule: RuleIndex,
    ) -> impl Iterator<Item = (ZoneId, ZoneId, Option<SessionKey>)> {
        let slots = self.slots(rule).into_iter();
        slots
            .flat_map(|slots| slots.pairs())
            .map(move |(from, to)| (from, to, self.get(rule, from, to)))
    }

    /// How many keys there are when all are set.
    pub(crate) fn needed(&self) -> usize {
        self.rules.iter().map(|slots| slots.keys()).sum()
    }

    /// Rules, with or without keys.
    pub(crate) fn rules(&self) -> u32 {
        self.rules.len() as u32
    }

    fn slots(&self, rule: RuleIndex) -> Option<Slots> {
        self.rules.get(usize::try_from(rule.0).ok()?).copied()
    }
}
