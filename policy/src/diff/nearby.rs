//! The new rules whose addresses are near those of an old rule, found without looking at all.
//!
//! A rule's source and destination are each taken as one range, from the first to the last
//! address. For each family and side the ranges lie in an interval tree; the side with fewer
//! meetings is asked.

use super::compare::hull;
use crate::matching::Match;
use crate::ruleset::RuleSet;

/// Rules by the ranges of their addresses.
pub(super) struct Nearby {
    v4: Sides<u32>,
    v6: Sides<u128>,
}

/// The trees of one family.
struct Sides<T> {
    src: Tree<T>,
    dst: Tree<T>,
}

/// The side to be asked about a rule.
enum Side {
    Src,
    Dst,
}

impl Nearby {
    pub(super) fn new(rules: &RuleSet) -> Self {
        let matches = || (0u32..).zip(rules.rules.iter().map(|rule| &rule.matches));
        Self {
            v4: Sides::new(matches().map(|(place, m)| (place, m.src.v4(), m.dst.v4()))),
            v6: Sides::new(matches().map(|(place, m)| (place, m.src.v6(), m.dst.v6()))),
        }
    }

    /// How many places [`Self::of`] would give.
    pub(super) fn count(&self, matches: &Match) -> usize {
        let v4 = self.v4.best(matches.src.v4(), matches.dst.v4());
        let v6 = self.v6.best(matches.src.v6(), matches.dst.v6());
        v4.map_or(0, |(count, _)| count) + v6.map_or(0, |(count, _)| count)
    }

    /// The places of all rules that can match a packet of this rule's, and of some that can't, in
    /// rising order.
    pub(super) fn of(&self, matches: &Match) -> Vec<u32> {
        let mut places = Vec::with_capacity(self.count(matches));
        self.v4.collect(matches.src.v4(), matches.dst.v4(), &mut places);
        self.v6.collect(matches.src.v6(), matches.dst.v6(), &mut places);
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl<T: Copy + Ord> Sides<T> {
    /// From places of rules and their ranges; rules that have none of the family are left out.
    fn new<'a>(rules: impl Iterator<Item = (u32, &'a [(T, T)], &'a [(T, T)])>) -> Self
    where
        T: 'a,
    {
        let both = rules.filter_map(|(place, src, dst)| Some((place, hull(src)?, hull(dst)?)));
        let (src, dst) = both
            .map(|(place, src, dst)| (Node::new(place, src), Node::new(place, dst)))
            .unzip::<_, _, Vec<_>, Vec<_>>();
        Self { src: Tree::new(src), dst: Tree::new(dst) }
    }

    /// The side with fewer meetings, and how many it has. `None` for a rule without addresses of
    /// the family.
    fn best(&self, src: &[(T, T)], dst: &[(T, T)]) -> Option<(usize, Side)> {
        let (src, dst) = (self.src.count(hull(src)?), self.dst.count(hull(dst)?));
        Some(if src < dst { (src, Side::Src) } else { (dst, Side::Dst) })
    }

    fn collect(&self, src: &[(T, T)], dst: &[(T, T)], places: &mut Vec<u32>) {
        let (tree, range) = match self.best(src, dst) {
            Some((_, Side::Src)) => (&self.src, hull(src)),
            Some((_, Side::Dst)) => (&self.dst, hull(dst)),
            None => return,
        };
        if let Some(range) = range {
            collect(&tree.nodes, range, places);
        }
    }
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
