//! The new rules that can take sessions from rules below them.
//!
//! After a usual edit they are few: rules that are new, or grew, or moved up. Goes in: the place in
//! the old policy of each new rule. Comes out: for a rule, those above it now that weren't before.

use super::compare::{Compared, NONE};

/// New rules that were below, in the old policy, some rule that is below them now; or that can't
/// be said to have been anywhere.
pub(super) struct Takers {
    /// Sorted by place. The middle of the list is the root of a tree, the middles of the halves
    /// are its children, and so on.
    nodes: Vec<Node>,
    /// By new place: the highest order of the rules above it.
    above: Vec<u32>,
}

struct Node {
    place: u32,
    order: u32,
    /// The highest order in the tree below and including this node.
    highest: u32,
}

impl Takers {
    pub(super) fn new(rules: &[Compared]) -> Self {
        let mut above = Vec::with_capacity(rules.len());
        let mut highest = 0;
        for rule in rules {
            above.push(highest);
            highest = highest.max(rule.order);
        }
        let mut nodes = Vec::new();
        let mut lowest_below = NONE;
        for (place, rule) in (0..rules.len() as u32).zip(rules).rev() {
            if lowest_below < rule.order {
                nodes.push(Node { place, order: rule.order, highest: rule.order });
            }
            lowest_below = lowest_below.min(rule.old);
        }
        nodes.reverse();
        set_highest(&mut nodes);
        Self { nodes, above }
    }

    /// The places of all.
    pub(super) fn places(&self) -> impl ExactSizeIterator<Item = u32> + Clone {
        self.nodes.iter().map(|node| node.place)
    }

    /// Whether any new rule above the place `now` was not above the place `before` in the old
    /// policy.
    pub(super) fn any(&self, now: u32, before: u32) -> bool {
        let above = usize::try_from(now).ok().and_then(|now| self.above.get(now));
        above.is_some_and(|highest| *highest > before)
    }

    /// The places of those rules in rising order, but no more than `limit`.
    pub(super) fn of(&self, now: u32, before: u32, limit: usize) -> Vec<u32> {
        let mut places = Vec::new();
        collect(&self.nodes, now, before, limit, &mut places);
        places
    }
}

/// Sets [`Node::highest`] throughout a tree and returns the root's.
fn set_highest(nodes: &mut [Node]) -> u32 {
    let (left, rest) = nodes.split_at_mut(nodes.len() / 2);
    let Some((root, right)) = rest.split_first_mut() else { return 0 };
    root.highest = root.order.max(set_highest(left)).max(set_highest(right));
    root.highest
}

/// Recursion is as deep as the tree, at most 32.
fn collect(nodes: &[Node], now: u32, before: u32, limit: usize, places: &mut Vec<u32>) {
    let (left, rest) = nodes.split_at(nodes.len() / 2);
    let Some((root, right)) = rest.split_first() else { return };
    if root.highest <= before {
        return;
    }
    collect(left, now, before, limit, places);
    if root.place < now {
        if root.order > before && places.len() < limit {
            places.push(root.place);
        }
        if places.len() < limit {
            collect(right, now, before, limit, places);
        }
    }
}
