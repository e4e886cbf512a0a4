//! A compiled policy in the engine.
//!
//! ```text
//! rule ──► its networks x its services ──► one box of the engine each ──► first match by order
//!                                          coarse where they are too many: verified on a hit
//! ```
//!
//! Goes in: a rule set, whose rules have lists of addresses and services. Comes out: the index of
//! the rule that decides a flow. Bounds: [`boxes::LIMIT`] boxes a rule and family, so memory is
//! linear in the number of rules.

mod boxes;

use super::Classifier;
use super::engine::{Engine, Hit, Rule};
use crate::flow::Flow;
use crate::matching::Match;
use crate::ruleset::{RuleIndex, RuleSet};
use crate::zone::ZoneSet;

/// The rules of a policy, in hash tables.
#[derive(Debug)]
pub struct TupleHash {
    engine: Engine,
    /// Rules whose boxes hold more than they match, by index.
    coarse: Box<[(u32, Match)]>,
}

impl TupleHash {
    /// An engine for these rules. The seeds keep the places of flows in the hash tables from being
    /// guessed; any values serve where nobody attacks.
    #[must_use]
    pub fn new(rules: &RuleSet, seeds: [u64; 4]) -> Self {
        let zones = ZoneSet::first(rules.zones.len());
        let mut all: Vec<(Rule, bool)> = Vec::with_capacity(rules.rules.len());
        let mut coarse = Vec::new();
        for (index, rule) in (0u32..).zip(&rules.rules) {
            let exact = boxes::of(&rule.matches, index, zones, &mut all);
            if !exact {
                coarse.push((index, rule.matches.clone()));
            }
        }
        let engine = Engine::of_coarse(all.iter().map(|(rule, coarse)| (rule, *coarse)), seeds);
        Self { engine, coarse: coarse.into_boxed_slice() }
    }

    /// Decides as many flows as the shorter of the slices has room for; faster than one by one.
    pub fn classify_batch(&self, flows: &[Flow], rules: &mut [Option<RuleIndex>]) {
        let mut hits = [None; 64];
        for (flows, rules) in flows.chunks(hits.len()).zip(rules.chunks_mut(hits.len())) {
            self.engine.lookup_batch_with(flows, &mut hits, |flow, rule| self.verify(rule, flow));
            for (rule, hit) in rules.iter_mut().zip(&hits) {
                *rule = hit.map(index);
            }
        }
    }

    /// Hash tables that a lookup of an IPv4 and of an IPv6 flow may have to ask.
    #[must_use]
    pub fn groups(&self) -> (usize, usize) {
        self.engine.tables()
    }

    /// Memory of the engine, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.engine.memory() + size_of_val(&*self.coarse)
    }

    fn verify(&self, rule: u64, flow: &Flow) -> bool {
        let place = self.coarse.binary_search_by_key(&rule, |(index, _)| u64::from(*index));
        let coarse = place.ok().and_then(|place| self.coarse.get(place));
        coarse.is_some_and(|(_, matches)| matches.contains(flow))
    }
}

impl Classifier for TupleHash {
    fn classify(&self, flow: &Flow) -> Option<RuleIndex> {
        self.engine.lookup_with(flow, |rule| self.verify(rule, flow)).map(index)
    }
}

/// The boxes' order is the rule's index.
const fn index(hit: Hit) -> RuleIndex {
    RuleIndex(hit.order)
}
