//! Puts boxes into the nodes of a tree.
//!
//! Boxes share a node by whichever field keeps them apart best; where none does, as with many
//! wildcards, by their order. Goes in: boxes in any order. Comes out: nodes. Not here: how they are
//! searched, see [`super::tree`].

use super::tree::{Bounds, Item, LANES, Lane, Node};
use crate::prefix::Word;
use crate::zone::ZoneSet;

/// The nodes of a tree of these boxes, the root last.
pub(super) fn grow<A: Word>(mut items: Vec<Item<A>>) -> Vec<Node<A>> {
    let nodes = Vec::with_capacity(items.len() / 8 + 1);
    let mut grower = Grower { nodes, addresses: Vec::new(), others: Vec::new() };
    grower.grow(&mut items);
    grower.nodes
}

struct Grower<A> {
    nodes: Vec<Node<A>>,
    /// Room for samples.
    addresses: Vec<(A, A)>,
    others: Vec<(u32, u32)>,
}

impl<A: Word> Grower<A> {
    /// Adds the nodes of these boxes, the topmost last; returns the box around all.
    fn grow(&mut self, items: &mut [Item<A>]) -> Option<Lane<A>> {
        let all = items.len();
        let mut boxes = Vec::with_capacity(LANES);
        if all <= LANES {
            boxes.extend(items.iter().map(|item| {
                let Item { order, rank, number, bounds } = *item;
                Lane { orders: (order, order), rank, bounds, below: number }
            }));
        } else {
            // Parts that fill a tree each leave the fewest lanes unused.
            let mut full = LANES;
            while full * LANES < all {
                full *= LANES;
            }
            let halvings = all.div_ceil(full).next_power_of_two().ilog2();
            self.part(items, halvings, &mut boxes);
        }
        self.nodes.push(Node::new(&mut boxes, all <= LANES));
        let below = (self.nodes.len() - 1) as u32;
        let around = boxes.into_iter().reduce(|a, b| Lane {
            orders: join(a.orders, b.orders),
            rank: a.rank.max(b.rank),
            bounds: a.bounds.around(&b.bounds),
            below,
        });
        around.map(|lane| Lane { below, ..lane })
    }

    /// Adds a node for each part of these boxes, after so many halvings; and the boxes around them
    /// to `boxes`.
    fn part(&mut self, items: &mut [Item<A>], halvings: u32, boxes: &mut Vec<Lane<A>>) {
        if halvings == 0 {
            boxes.extend(self.grow(items));
            return;
        }
        let middle = items.len() / 2;
        self.halve(items, middle);
        let (one, other) = items.split_at_mut(middle);
        self.part(one, halvings - 1, boxes);
        self.part(other, halvings - 1, boxes);
    }

    /// Parts boxes by the field in which the fewest lie on both sides, so far as a sample tells.
    fn halve(&mut self, items: &mut [Item<A>], middle: usize) {
        if middle == 0 {
            return;
        }
        let step = items.len().div_ceil(if items.len() < 2048 { 16 } else { 64 });
        // Half as many on both sides as there are in a half: then the field says too little.
        let mut best = (items.len().div_ceil(step) * 3 / 8, None);
        for field in [
            Field::Address(|bounds| bounds.addresses[0]),
            Field::Address(|bounds| bounds.addresses[1]),
            Field::Other(|bounds| wide(bounds.rest[0])),
            Field::Other(|bounds| wide(bounds.rest[1])),
            Field::Other(|bounds| wide(bounds.rest[2])),
            Field::Other(|bounds| ends(bounds.from)),
            Field::Other(|bounds| ends(bounds.to)),
        ] {
            let sample = items.iter().step_by(step).map(|item| &item.bounds);
            let both = match field {
                Field::Address(range) => on_both_sides(&mut self.addresses, sample.map(range)),
                Field::Other(range) => on_both_sides(&mut self.others, sample.map(range)),
            };
            if both < best.0 {
                best = (both, Some(field));
            }
            if both == 0 {
                break;
            }
        }
        match best.1 {
            Some(Field::Address(range)) => {
                items.select_nth_unstable_by_key(middle, |item| range(&item.bounds));
            }
            Some(Field::Other(range)) => {
                items.select_nth_unstable_by_key(middle, |item| range(&item.bounds));
            }
            None => {
                items.select_nth_unstable_by_key(middle, |item| item.order);
            }
        }
    }
}

/// A field to part boxes by.
#[derive(Clone, Copy)]
enum Field<A> {
    Address(fn(&Bounds<A>) -> (A, A)),
    Other(fn(&Bounds<A>) -> (u32, u32)),
}

/// How many ranges of the lower half reach into the upper one.
fn on_both_sides<T: Copy + Ord>(
    room: &mut Vec<(T, T)>,
    ranges: impl Iterator<Item = (T, T)>,
) -> usize {
    room.clear();
    room.extend(ranges);
    let middle = room.len() / 2;
    // Often all have the same zones, or the same protocol.
    if middle == 0 || room.iter().all(|range| Some(range) == room.first()) {
        return middle;
    }
    let (lower, (edge, _), _) = room.select_nth_unstable(middle);
    lower.iter().filter(|(_, high)| *high >= *edge).count()
}

impl<A: Word> Bounds<A> {
    /// The smallest bounds around both.
    fn around(&self, other: &Self) -> Self {
        let [a, b] = self.addresses;
        let [c, d] = other.addresses;
        let [e, f, g] = self.rest;
        let [h, i, j] = other.rest;
        let zones = |a: ZoneSet, b: ZoneSet| b.iter().fold(a, ZoneSet::with);
        Self {
            addresses: [join(a, c), join(b, d)],
            rest: [join(e, h), join(f, i), join(g, j)],
            from: if self.from == other.from { self.from } else { zones(self.from, other.from) },
            to: if self.to == other.to { self.to } else { zones(self.to, other.to) },
        }
    }
}

fn join<T: Ord>(a: (T, T), b: (T, T)) -> (T, T) {
    (a.0.min(b.0), a.1.max(b.1))
}

fn wide((low, high): (u16, u16)) -> (u32, u32) {
    (u32::from(low), u32::from(high))
}

/// The lowest and the highest zone.
fn ends(zones: ZoneSet) -> (u32, u32) {
    (zones.bits().trailing_zeros(), 63 - zones.bits().leading_zeros().min(63))
}
