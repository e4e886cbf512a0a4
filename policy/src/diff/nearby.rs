//! The new rules whose addresses are near those of an old rule, found without looking at all.
//!
//! The ranges of a rule's source and destination lie in interval trees; of a side with many ranges
//! only the one from the first to the last address. For each family there are two ways to ask: by
//! source, and then by destination for those rules whose source says next to nothing; or the other
//! way round. The way that gives fewer rules is taken.

use super::compare::hull;
use crate::matching::Match;
use crate::prefix::Word;

/// Ranges of a side that are kept one by one.
const RANGES: usize = 8;

/// Rules by the ranges of their addresses.
pub(super) struct Nearby {
    v4: Family<u32>,
    v6: Family<u128>,
}

/// Addresses as sorted ranges.
type Ranges<'a, T> = &'a [(T, T)];

/// Source and destination of a rule in one family.
#[derive(Clone, Copy)]
struct Sides<'a, T> {
    src: Ranges<'a, T>,
    dst: Ranges<'a, T>,
}

/// The trees of one family.
struct Family<T> {
    by_src: Way<T>,
    by_dst: Way<T>,
}

/// One way to ask for rules: every rule is in one of the trees.
struct Way<T> {
    /// Whether the source is asked first.
    src_first: bool,
    /// Rules whose first side is narrow, by that side.
    narrow: Tree<T>,
    /// The others, by the other side.
    wide: Tree<T>,
}

impl Nearby {
    /// From rules and their places.
    pub(super) fn new<'a>(rules: impl Iterator<Item = (u32, &'a Match)> + Clone) -> Self {
        Self {
            v4: Family::new(rules.clone().map(|(place, matches)| (place, v4(matches)))),
            v6: Family::new(rules.map(|(place, matches)| (place, v6(matches)))),
        }
    }

    /// How many places [`Self::of`] would find, some of them twice.
    pub(super) fn count(&self, matches: &Match) -> usize {
        self.v4.best(v4(matches)).0 + self.v6.best(v6(matches)).0
    }

    /// The places of all rules that can match a packet of this rule's, and of some that can't, in
    /// rising order.
    pub(super) fn of(&self, matches: &Match) -> Vec<u32> {
        let mut places = Vec::new();
        self.v4.best(v4(matches)).1.collect(v4(matches), &mut places);
        self.v6.best(v6(matches)).1.collect(v6(matches), &mut places);
        places.sort_unstable();
        places.dedup();
        places
    }
}

fn v4(matches: &Match) -> Sides<'_, u32> {
    Sides { src: matches.src.v4(), dst: matches.dst.v4() }
}

fn v6(matches: &Match) -> Sides<'_, u128> {
    Sides { src: matches.src.v6(), dst: matches.dst.v6() }
}

impl<T: Word> Family<T> {
    fn new<'a>(rules: impl Iterator<Item = (u32, Sides<'a, T>)> + Clone) -> Self
    where
        T: 'a,
    {
        Self { by_src: Way::new(rules.clone(), true), by_dst: Way::new(rules, false) }
    }

    /// The better way to ask, and how many ranges it finds.
    fn best(&self, asked: Sides<'_, T>) -> (usize, &Way<T>) {
        let (by_src, by_dst) = (self.by_src.count(asked), self.by_dst.count(asked));
        if by_src < by_dst { (by_src, &self.by_src) } else { (by_dst, &self.by_dst) }
    }
}

impl<T: Word> Way<T> {
    fn new<'a>(rules: impl Iterator<Item = (u32, Sides<'a, T>)>, src_first: bool) -> Self
    where
        T: 'a,
    {
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        for (place, sides) in rules {
            let (own, other) = sides.ordered(src_first);
            // More than a 256th of all addresses.
            if ranges(own).any(|(low, high)| low.common_bits(high) < 8) {
                wide.extend(ranges(other).map(|range| Node::new(place, range)));
            } else {
                narrow.extend(ranges(own).map(|range| Node::new(place, range)));
            }
        }
        Self { src_first, narrow: Tree::new(narrow), wide: Tree::new(wide) }
    }

    fn count(&self, asked: Sides<'_, T>) -> usize {
        let (own, other) = asked.ordered(self.src_first);
        let narrow = ranges(own).map(|range| self.narrow.count(range)).sum::<usize>();
        narrow + ranges(other).map(|range| self.wide.count(range)).sum::<usize>()
    }

    fn collect(&self, asked: Sides<'_, T>, places: &mut Vec<u32>) {
        let (own, other) = asked.ordered(self.src_first);
        for range in ranges(own) {
            collect(&self.narrow.nodes, range, places);
        }
        for range in ranges(other) {
            collect(&self.wide.nodes, range, places);
        }
    }
}

impl<'a, T> Sides<'a, T> {
    /// The side that is asked first, and the other. A rule that lacks one matches nothing.
    fn ordered(self, src_first: bool) -> (Ranges<'a, T>, Ranges<'a, T>) {
        if self.src.is_empty() || self.dst.is_empty() {
            return (&[], &[]);
        }
        if src_first { (self.src, self.dst) } else { (self.dst, self.src) }
    }
}

/// The ranges of a side, or the one around them if they are many.
fn ranges<T: Copy>(side: Ranges<'_, T>) -> impl Iterator<Item = (T, T)> {
    let (each, around) = if side.len() <= RANGES { (side, None) } else { (&[][..], hull(side)) };
    each.iter().copied().chain(around)
}

/// Ranges sorted by their starts. The middle of the list is the root of a tree, the middles of the
/// halves are its children, and so on.
struct Tree<T> {
    nodes: Vec<Node<T>>,
    ends: Vec<T>,
}

#[derive(Clone, Copy)]
struct Node<T> {
    low: T,
    high: T,
    /// The last end in the tree below and including this node.
    last: T,
    place: u32,
}

impl<T: Copy> Node<T> {
    fn new(place: u32, (low, high): (T, T)) -> Self {
        Self { low, high, last: high, place }
    }
}

impl<T: Copy + Ord> Tree<T> {
    fn new(mut nodes: Vec<Node<T>>) -> Self {
        nodes.sort_unstable_by_key(|node| node.low);
        set_last(&mut nodes);
        let mut ends: Vec<_> = nodes.iter().map(|node| node.high).collect();
        ends.sort_unstable();
        Self { nodes, ends }
    }

    /// How many ranges meet this one: all but those that end before it and those that start after.
    fn count(&self, (low, high): (T, T)) -> usize {
        let started = self.nodes.partition_point(|node| node.low <= high);
        let ended = self.ends.partition_point(|end| *end < low);
        started.saturating_sub(ended)
    }
}

/// Sets [`Node::last`] throughout a tree and returns the root's.
fn set_last<T: Copy + Ord>(nodes: &mut [Node<T>]) -> Option<T> {
    let (left, rest) = nodes.split_at_mut(nodes.len() / 2);
    let (root, right) = rest.split_first_mut()?;
    root.last = root.high.max(set_last(left).unwrap_or(root.high));
    root.last = root.last.max(set_last(right).unwrap_or(root.high));
    Some(root.last)
}

/// Adds the places of all ranges that meet this one. Recursion is as deep as the tree, at most 32.
fn collect<T: Copy + Ord>(nodes: &[Node<T>], range: (T, T), places: &mut Vec<u32>) {
    let (left, rest) = nodes.split_at(nodes.len() / 2);
    let Some((root, right)) = rest.split_first() else { return };
    if root.last < range.0 {
        return;
    }
    collect(left, range, places);
    if root.low <= range.1 {
        if range.0 <= root.high {
            places.push(root.place);
        }
        collect(right, range, places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AddressSet;
    use crate::matching::Service;
    use crate::zone::ZoneSet;

    /// Small networks, ranges far apart, sets of many addresses, and any.
    fn set(next: &mut impl FnMut() -> u32) -> AddressSet {
        let count = [1, 1, 1, 2, 12][next() as usize % 5];
        let base = |n: u32| (n % 200) << 24 | (n % 7) << 8;
        let v4: Vec<_> = (0..count).map(|_| base(next())).collect();
        let v6: Vec<_> = (0..next() % 3).map(|_| u128::from(base(next())) << 96).collect();
        match next() % 6 {
            0 => AddressSet::any(),
            1 => AddressSet::from_ranges([], v6.into_iter().map(|low| (low, low | 0xffff))),
            _ => AddressSet::from_ranges(
                v4.into_iter().map(|low| (low, low | 0xff)),
                v6.into_iter().map(|low| (low, low | 0xffff)),
            ),
        }
    }

    #[test]
    fn every_rule_that_shares_a_packet_is_found_in_order() {
        let mut state = 5u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 12
        };
        let rules: Vec<Match> = (0..600)
            .map(|_| Match {
                from: ZoneSet::ALL,
                to: ZoneSet::ALL,
                src: set(&mut next),
                dst: set(&mut next),
                services: vec![Service::ANY],
            })
            .collect();
        let nearby = Nearby::new((0..).zip(&rules));
        let (mut met, mut found) = (0, 0);
        for asked in &rules {
            let near = nearby.of(asked);
            assert!(near.is_sorted() && near.len() <= nearby.count(asked));
            for (place, rule) in (0..).zip(&rules) {
                if rule.intersects(asked) {
                    met += 1;
                    assert!(near.contains(&place), "{asked:?} {rule:?}");
                }
            }
            found += near.len();
        }
        assert!(met > 600 && found < 600 * 600 / 2, "{met} {found}");
    }

    #[test]
    fn tree_finds_exactly_the_ranges_that_meet() {
        let mut state = 7u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 22
        };
        for size in [0, 1, 2, 3, 50, 300] {
            let ranges: Vec<(u32, u32)> = (0..size)
                .map(|_| {
                    let low = next();
                    (low, low + next() % 40)
                })
                .collect();
            let nodes = (0..).zip(&ranges).map(|(place, range)| Node::new(place, *range)).collect();
            let tree = Tree::new(nodes);
            for _ in 0..200 {
                let low = next();
                let asked = (low, low + next() % 90);
                let mut found = Vec::new();
                collect(&tree.nodes, asked, &mut found);
                found.sort_unstable();
                let wanted: Vec<u32> = (0..)
                    .zip(&ranges)
                    .filter(|(_, (low, high))| *low <= asked.1 && asked.0 <= *high)
                    .map(|(place, _)| place)
                    .collect();
                assert_eq!(found, wanted);
                assert_eq!(tree.count(asked), wanted.len());
            }
        }
    }
}
