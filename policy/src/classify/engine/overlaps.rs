//! Which rules overlap a rule.
//!
//! Goes in: an engine, then rules. Comes out: for each the rules of the engine that match some of
//! the same headers. The rules of a family are in one tree of boxes, as in a pile, with the places
//! of addresses in the order of all addresses that a rule begins or ends at in their stead: so
//! nothing of an address is lost. A query looks only into boxes that meet the rule, and what it
//! finds is compared with the record.
//!
//! Not here: rules with lists of addresses and services, see [`crate::diff`].

use super::Engine;
use super::boxes::Bounds;
use super::family::Family;
use super::generation::Parts;
use super::index::Index;
use super::pile::{Item, Pile};
use super::record::Entry;
use super::rule::{Hit, Rule};
use crate::prefix::Word;

/// Finds the rules of an engine that overlap others.
#[derive(Debug)]
pub struct Overlaps<'e> {
    engine: &'e Engine,
    v4: Side<u32>,
    v6: Side<u128>,
}

/// The rules of one family.
#[derive(Debug)]
struct Side<A> {
    tree: Pile,
    src: Edges<A>,
    dst: Edges<A>,
}

/// The first and last addresses of all rules' networks, sorted.
#[derive(Debug)]
struct Edges<A>(Vec<A>);

impl<'e> Overlaps<'e> {
    /// Sorts the rules of an engine. Takes longer than building it.
    #[must_use]
    pub fn new(engine: &'e Engine) -> Self {
        let generation = &engine.generation;
        Self { engine, v4: Side::new(&generation.v4), v6: Side::new(&generation.v6) }
    }

    /// The rules with a lower order that match some of the headers that this one matches, by order.
    #[must_use]
    pub fn above(&self, rule: &Rule) -> Vec<Hit> {
        self.all(rule, rule.order.into(), |order| order < rule.order)
    }

    /// The rules with a higher order that match some of the headers that this one matches, by
    /// order.
    #[must_use]
    pub fn below(&self, rule: &Rule) -> Vec<Hit> {
        self.all(rule, u64::MAX, |order| order > rule.order)
    }

    fn all(&self, rule: &Rule, limit: u64, wanted: impl Fn(u32) -> bool) -> Vec<Hit> {
        let generation = &self.engine.generation;
        let zones = |number: u32| {
            let (from, to) = self.engine.numbers.pair(number);
            from.intersects(rule.from) && to.intersects(rule.to)
        };
        let mut hits = Vec::new();
        let mut add = |order: u32, value: u64, number: u32| {
            if wanted(order) && zones(number) {
                hits.push(Hit { order, value });
            }
        };
        let Parts { v4, v6 } = Parts::of(rule, 0, false);
        if let Some(entry) = v4 {
            self.v4.each(&generation.v4, &entry, limit, &mut add);
        }
        if let Some(entry) = v6 {
            self.v6.each(&generation.v6, &entry, limit, &mut add);
        }
        // A rule for both families can be found in both.
        hits.sort_unstable_by_key(|hit| (hit.order, hit.value));
        hits.dedup();
        hits
    }
}

impl<A: Family> Side<A> {
    fn new(index: &Index<A>) -> Self {
        let records = (0..index.records.len() as u32).filter_map(|number| {
            let record = index.records.get(number)?;
            record.in_use().then(|| (number, record.entry::<A>()))
        });
        let entries: Vec<(u32, Entry<A>)> = records.collect();
        let src = Edges::new(entries.iter().map(|(_, entry)| src(entry)));
        let dst = Edges::new(entries.iter().map(|(_, entry)| dst(entry)));
        let items = entries.iter().filter_map(|(number, entry)| {
            let bounds = bounds(entry, &src, &dst)?;
            Some(Item { order: entry.order, number: *number, bounds })
        });
        Self { tree: Pile::new(0, (0, 0), items.collect()), src, dst }
    }

    /// Calls `add` with order, value and zones of each rule that overlaps an entry, zones aside.
    fn each(
        &self,
        index: &Index<A>,
        entry: &Entry<A>,
        limit: u64,
        add: &mut impl FnMut(u32, u64, u32),
    ) {
        let Some(bounds) = bounds(entry, &self.src, &self.dst) else { return };
        self.tree.overlapping(&bounds, limit, &mut |number| {
            if let Some(record) = index.records.get(number) {
                let other = record.entry::<A>();
                if other.intersects(entry) {
                    add(other.order, other.value, other.zones);
                }
            }
            true
        });
    }
}

impl<A: Word> Edges<A> {
    fn new(ranges: impl Iterator<Item = (A, A)>) -> Self {
        let mut edges: Vec<A> = ranges.flat_map(|(low, high)| [low, high]).collect();
        edges.sort_unstable();
        edges.dedup();
        Self(edges)
    }

    /// The places of the first edge from the range's first address on, and of the last edge up to
    /// its last; `None` when no rule can meet it.
    fn within(&self, (low, high): (A, A)) -> Option<(u32, u32)> {
        let first = self.0.partition_point(|edge| *edge < low);
        let end = self.0.partition_point(|edge| *edge <= high);
        let last = end.checked_sub(1)?;
        (first < self.0.len()).then_some((first as u32, last as u32))
    }
}

fn src<A: Word>(entry: &Entry<A>) -> (A, A) {
    (entry.addresses.src, entry.addresses.src.filled(entry.src_len))
}

fn dst<A: Word>(entry: &Entry<A>) -> (A, A) {
    (entry.addresses.dst, entry.addresses.dst.filled(entry.dst_len))
}

/// The bounds of an entry, addresses as places among the edges. For a range that lies between two
/// edges the first is above the last; then it still meets just what lies around it.
fn bounds<A: Word>(entry: &Entry<A>, src_edges: &Edges<A>, dst_edges: &Edges<A>) -> Option<Bounds> {
    let protocol = entry.protocol.map_or((0, u16::MAX), |number| (number.into(), number.into()));
    Some(Bounds {
        addresses: [src_edges.within(src(entry))?, dst_edges.within(dst(entry))?],
        rest: [
            (entry.src_port.low(), entry.src_port.high()),
            (entry.dst_port.low(), entry.dst_port.high()),
            protocol,
        ],
    })
}
