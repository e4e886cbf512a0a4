//! Which rules overlap a rule.
//!
//! Goes in: an engine, then rules. Comes out: for each the rules of the engine that match some of
//! the same headers. The rules of a family are in one [`Tree`], each as one box that holds just its
//! headers, so what a query finds is exact.
//!
//! Not here: rules with lists of addresses and services, see [`crate::overlap`].

use super::Engine;
use super::family::Family;
use super::generation::Parts;
use super::index::Index;
use super::record::Entry;
use super::rule::{Hit, Rule};
use super::zones::Numbers;
use crate::overlap::tree::{Bounds, Item, Query, Tree, before, protocol};
use crate::zone::ZoneSet;

/// Finds the rules of an engine that overlap others.
#[derive(Debug)]
pub struct Overlaps<'e> {
    engine: &'e Engine,
    v4: Tree<u32>,
    v6: Tree<u128>,
}

impl<'e> Overlaps<'e> {
    /// Sorts the rules of an engine. Takes about as long as building it.
    #[must_use]
    pub fn new(engine: &'e Engine) -> Self {
        let (generation, numbers) = (&engine.generation, &engine.numbers);
        Self { engine, v4: tree(&generation.v4, numbers), v6: tree(&generation.v6, numbers) }
    }

    /// The rules with a lower order that match some of the headers that this one matches, by order.
    #[must_use]
    pub fn above(&self, rule: &Rule) -> Vec<Hit> {
        self.all(rule, before(rule.order))
    }

    /// The rules with a higher order that match some of the headers that this one matches, by
    /// order.
    #[must_use]
    pub fn below(&self, rule: &Rule) -> Vec<Hit> {
        rule.order.checked_add(1).map_or_else(Vec::new, |first| self.all(rule, (first, u32::MAX)))
    }

    fn all(&self, rule: &Rule, orders: (u32, u32)) -> Vec<Hit> {
        let generation = &self.engine.generation;
        let Parts { v4, v6 } = Parts::of(rule, 0, false);
        let mut hits = Vec::new();
        if let Some(entry) = v4 {
            let bounds = bounds(&entry, (rule.from, rule.to));
            find(&self.v4, &generation.v4, &bounds, orders, &mut hits);
        }
        if let Some(entry) = v6 {
            let bounds = bounds(&entry, (rule.from, rule.to));
            find(&self.v6, &generation.v6, &bounds, orders, &mut hits);
        }
        // A rule for both families can be found in both.
        hits.sort_unstable_by_key(|hit| (hit.order, hit.value));
        hits.dedup();
        hits
    }
}

fn tree<A: Family>(index: &Index<A>, numbers: &Numbers) -> Tree<A> {
    let items = (0..index.records.len() as u32).filter_map(|number| {
        let record = index.records.get(number).filter(|record| record.in_use())?;
        let entry = record.entry::<A>();
        let bounds = bounds(&entry, numbers.pair(entry.zones));
        Some(Item { order: entry.order, rank: 0, number, bounds })
    });
    Tree::new(items.collect())
}

fn find<A: Family>(
    tree: &Tree<A>,
    index: &Index<A>,
    bounds: &Bounds<A>,
    orders: (u32, u32),
    hits: &mut Vec<Hit>,
) {
    let bounds = std::slice::from_ref(bounds);
    let found = tree.search(Query { bounds, whole: false, orders, rank: 0 });
    hits.extend(found.filter_map(|found| {
        let value = index.records.get(found.number)?.value();
        Some(Hit { order: found.order, value })
    }));
}

fn bounds<A: Family>(entry: &Entry<A>, (from, to): (ZoneSet, ZoneSet)) -> Bounds<A> {
    let range = |address: A, len| (address, address.filled(len));
    Bounds {
        addresses: [
            range(entry.addresses.src, entry.src_len),
            range(entry.addresses.dst, entry.dst_len),
        ],
        rest: [
            (entry.src_port.low(), entry.src_port.high()),
            (entry.dst_port.low(), entry.dst_port.high()),
            protocol(entry.protocol),
        ],
        from,
        to,
    }
}
