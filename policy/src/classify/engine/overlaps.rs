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
use super::record::Entry;
use super::rule::{Hit, Rule};
use super::zones::Numbers;
use crate::overlap::tree::{Bounds, Item, Query, Tree, before, protocol};
use crate::zone::ZoneSet;

/// Finds the rules of an engine that overlap others.
#[derive(Debug)]
pub struct Overlaps {
    v4: Of<u32>,
    v6: Of<u128>,
}

/// The rules of one family.
#[derive(Debug)]
struct Of<A: Family> {
    tree: Tree<A>,
    /// What their hits carry, by their numbers in the tree.
    values: Vec<u64>,
}

impl Overlaps {
    /// Sorts the rules of an engine. Takes about as long as building it.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        let (v4, v6) = engine.source();
        Self { v4: Of::new(&v4, &engine.numbers), v6: Of::new(&v6, &engine.numbers) }
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
        let Parts { v4, v6 } = Parts::of(rule, 0, false);
        let mut hits = Vec::new();
        if let Some(entry) = v4 {
            self.v4.find(&bounds(&entry, (rule.from, rule.to)), orders, &mut hits);
        }
        if let Some(entry) = v6 {
            self.v6.find(&bounds(&entry, (rule.from, rule.to)), orders, &mut hits);
        }
        // A rule for both families can be found in both.
        hits.sort_unstable_by_key(|hit| (hit.order, hit.value));
        hits.dedup();
        hits
    }
}

impl<A: Family> Of<A> {
    fn new(entries: &[Entry<A>], numbers: &Numbers) -> Self {
        let item = |(number, entry): (u32, &Entry<A>)| {
            let bounds = bounds(entry, numbers.pair(entry.zones));
            Item { order: entry.order, rank: 0, number, bounds }
        };
        Self {
            tree: Tree::new((0..).zip(entries).map(item).collect()),
            values: entries.iter().map(|entry| entry.value).collect(),
        }
    }

    fn find(&self, bounds: &Bounds<A>, orders: (u32, u32), hits: &mut Vec<Hit>) {
        let bounds = std::slice::from_ref(bounds);
        let found = self.tree.search(Query { bounds, whole: false, orders, rank: 0 });
        hits.extend(found.filter_map(|found| {
            let value = *self.values.get(found.number as usize)?;
            Some(Hit { order: found.order, value })
        }));
    }
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
