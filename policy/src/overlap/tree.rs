//! A tree of boxes: which of them meet a box, or hold it, lowest order first.
//!
//! A node has up to sixteen boxes, each around a rule or around all that is in the node below.
//! Boxes are put together by whichever field keeps them apart best; where none does, as with many
//! wildcards, by their order. A search looks into the boxes with the lowest orders first, so whoever
//! needs only the first few doesn't pay for the rest.
//!
//! Goes in: boxes, each with an order, a rank and a number. Comes out: orders and numbers. What is
//! found is exact for these boxes. Not here: which boxes stand for a rule, see [`super::boxes`].

use crate::prefix::Word;
use crate::zone::ZoneSet;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Boxes in a node.
const LANES: usize = 16;

/// No node.
const NONE: u32 = u32::MAX;

/// A range of each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds<A> {
    /// Source and destination, from the first to the last address.
    pub(crate) addresses: [(A, A); 2],
    /// Source port, destination port and protocol; see [`protocol`].
    pub(crate) rest: [(u16, u16); 3],
    /// Ingress zones.
    pub(crate) from: ZoneSet,
    /// Egress zones.
    pub(crate) to: ZoneSet,
}

/// One more than all protocols: only boxes for any protocol hold it.
pub(crate) const OTHER_PROTOCOL: u16 = 256;

/// The range of a protocol; `None` for any.
pub(crate) fn protocol(number: Option<u8>) -> (u16, u16) {
    number.map_or((0, OTHER_PROTOCOL), |number| (number.into(), number.into()))
}

/// A box of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<A> {
    /// Its place in the order in which boxes are found.
    pub(crate) order: u32,
    /// A second number to ask for, see [`Query::rank`].
    pub(crate) rank: u32,
    /// Says whose box it is.
    pub(crate) number: u32,
    pub(crate) bounds: Bounds<A>,
}

/// What is sought.
#[derive(Clone, Debug)]
pub(crate) struct Query<'q, A> {
    /// Boxes of which one has to be met.
    pub(crate) bounds: &'q [Bounds<A>],
    /// Whether what is found has to hold one of them whole.
    pub(crate) whole: bool,
    /// The first and the last order that count; none when the first is above the last.
    pub(crate) orders: (u32, u32),
    /// The lowest rank that counts.
    pub(crate) rank: u32,
}

/// The orders below one, for [`Query::orders`].
pub(crate) fn before(order: u32) -> (u32, u32) {
    order.checked_sub(1).map_or((1, 0), |last| (0, last))
}

/// A box that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// [`Item::order`].
    pub(crate) order: u32,
    /// [`Item::number`].
    pub(crate) number: u32,
}

/// Boxes that can be searched; at most 2^27 of them, many times what a policy can have.
#[derive(Debug)]
pub(crate) struct Tree<A> {
    /// The root is the last.
    nodes: Vec<Node<A>>,
}

/// A search under way: finds in rising order.
pub(crate) struct Search<'s, A> {
    nodes: &'s [Node<A>],
    query: Query<'s, A>,
    /// What is known to be met: the lowest order of a node, or that of a box, and where it is.
    open: BinaryHeap<Reverse<u64>>,
    steps: usize,
}

impl<A: Word> Tree<A> {
    pub(crate) fn new(mut items: Vec<Item<A>>) -> Self {
        let mut nodes = Vec::with_capacity(items.len() / 8 + 1);
        grow(&mut items, &mut nodes);
        Self { nodes }
    }

    /// Begins a search.
    pub(crate) fn search<'s>(&'s self, query: Query<'s, A>) -> Search<'s, A> {
        let mut search = Search { nodes: &self.nodes, query, open: BinaryHeap::new(), steps: 0 };
        if let Some((root, place)) = self.nodes.last().zip(self.nodes.len().checked_sub(1))
            && search.query.orders.0 <= search.query.orders.1
        {
            search.open(place, root);
        }
        search
    }
}

impl<A: Word> Search<'_, A> {
    /// Nodes looked into, for each box asked about, and boxes found so far.
    pub(crate) const fn steps(&self) -> usize {
        self.steps
    }

    fn open(&mut self, place: usize, node: &Node<A>) {
        self.steps += self.query.bounds.len();
        let mut lanes = node.wanted(&self.query);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            let (Some(order), Some(below)) = (node.orders.low.get(lane), node.below.get(lane))
            else {
                return;
            };
            let below = if node.leaf { BOX | (place * LANES + lane) } else { *below as usize };
            self.open.push(Reverse(u64::from(*order) << 32 | below as u64));
        }
    }
}

/// Marks the place of a box among those of nodes: boxes come after nodes of the same order, so that
/// all boxes of one order come one after the other.
const BOX: usize = 1 << 31;

impl<A: Word> Iterator for Search<'_, A> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let Reverse(next) = self.open.pop()?;
            let (order, below) = ((next >> 32) as u32, next as u32 as usize);
            if below & BOX == 0 {
                self.open(below, self.nodes.get(below)?);
                continue;
            }
            self.steps += 1;
            let node = self.nodes.get((below ^ BOX) / LANES)?;
            return Some(Found { order, number: *node.below.get(below % LANES)? });
        }
    }
}

/// The lowest and highest value of a field in each box.
#[derive(Clone, Copy, Debug)]
struct Lanes<T> {
    low: [T; LANES],
    high: [T; LANES],
}

#[derive(Debug)]
struct Node<A> {
    addresses: [Lanes<A>; 2],
    rest: [Lanes<u16>; 3],
    orders: Lanes<u32>,
    /// The highest rank in a box.
    ranks: [u32; LANES],
    from: [u64; LANES],
    to: [u64; LANES],
    /// The number of a box's owner, or of the node below.
    below: [u32; LANES],
    /// Boxes in use, as bits.
    used: u32,
    leaf: bool,
}

impl<T: Copy + Ord> Lanes<T> {
    fn new(value: T) -> Self {
        Self { low: [value; LANES], high: [value; LANES] }
    }

    fn set(&mut self, lane: usize, range: (T, T)) {
        set(&mut self.low, lane, range.0);
        set(&mut self.high, lane, range.1);
    }

    /// The lanes that begin at or before `start` and end at or after `end`, as bits.
    fn spanning(&self, start: T, end: T) -> u32 {
        let lanes = self.low.iter().zip(&self.high).enumerate();
        lanes.fold(0, |bits, (lane, (low, high))| {
            bits | u32::from((*low <= start) & (end <= *high)) << lane
        })
    }

    /// The lanes that meet a range, or hold it whole.
    fn wanted(&self, (low, high): (T, T), whole: bool) -> u32 {
        if whole { self.spanning(low, high) } else { self.spanning(high, low) }
    }
}

fn set<T>(row: &mut [T; LANES], lane: usize, value: T) {
    if let Some(cell) = row.get_mut(lane) {
        *cell = value;
    }
}

impl<A: Word> Node<A> {
    /// Of up to [`LANES`] boxes with what is below each.
    fn new(boxes: &[(Range<u32>, u32, Bounds<A>, u32)], leaf: bool) -> Self {
        let mut node = Self {
            addresses: [Lanes::new(A::ZERO); 2],
            rest: [Lanes::new(0); 3],
            orders: Lanes::new(0),
            ranks: [0; LANES],
            from: [0; LANES],
            to: [0; LANES],
            below: [NONE; LANES],
            used: 0,
            leaf,
        };
        for (lane, (orders, rank, bounds, below)) in boxes.iter().take(LANES).enumerate() {
            for (lanes, range) in node.addresses.iter_mut().zip(bounds.addresses) {
                lanes.set(lane, range);
            }
            for (lanes, range) in node.rest.iter_mut().zip(bounds.rest) {
                lanes.set(lane, range);
            }
            node.orders.set(lane, (orders.start, orders.end));
            set(&mut node.ranks, lane, *rank);
            set(&mut node.from, lane, bounds.from.bits());
            set(&mut node.to, lane, bounds.to.bits());
            set(&mut node.below, lane, *below);
            node.used |= 1 << lane;
        }
        node
    }

    /// The boxes that a search has to look into, as bits.
    fn wanted(&self, query: &Query<'_, A>) -> u32 {
        let candidates = self.used & self.orders.wanted(query.orders, false);
        let mut wanted = 0;
        for bounds in query.bounds {
            wanted |= self.meeting(candidates & !wanted, bounds, query.whole);
        }
        if query.rank > 0 {
            let ranks = self.ranks.iter().enumerate();
            wanted &=
                ranks.fold(0, |bits, (lane, rank)| bits | u32::from(*rank >= query.rank) << lane);
        }
        wanted
    }

    fn meeting(&self, mut lanes: u32, bounds: &Bounds<A>, whole: bool) -> u32 {
        for (own, range) in self.addresses.iter().zip(bounds.addresses).rev() {
            if lanes == 0 {
                return 0;
            }
            lanes &= own.wanted(range, whole);
        }
        if lanes == 0 {
            return 0;
        }
        for (own, range) in self.rest.iter().zip(bounds.rest) {
            lanes &= own.wanted(range, whole);
        }
        let (from, to) = (bounds.from.bits(), bounds.to.bits());
        let mut left = lanes;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let own = self.from.get(lane).zip(self.to.get(lane));
            let meets = own.is_some_and(|(own_from, own_to)| {
                let (from_both, to_both) = (own_from & from, own_to & to);
                if whole {
                    from_both == from && to_both == to
                } else {
                    from_both != 0 && to_both != 0
                }
            });
            lanes &= !(u32::from(!meets) << lane);
        }
        lanes
    }
}

/// Adds the nodes of a tree of these boxes, the root last; returns its place.
fn grow<A: Word>(items: &mut [Item<A>], nodes: &mut Vec<Node<A>>) -> u32 {
    let all = items.len();
    if all <= LANES {
        let boxes: Vec<_> = items
            .iter()
            .map(|item| (item.order..item.order, item.rank, item.bounds, item.number))
            .collect();
        nodes.push(Node::new(&boxes, true));
        return (nodes.len() - 1) as u32;
    }
    // Parts that fill a tree each leave the fewest lanes unused.
    let mut full = LANES;
    while full * LANES < all {
        full *= LANES;
    }
    let mut parts: Vec<&mut [Item<A>]> = vec![items];
    for _ in 0..all.div_ceil(full).next_power_of_two().ilog2() {
        parts = parts.into_iter().flat_map(halve).collect();
    }
    let mut boxes = Vec::with_capacity(LANES);
    for part in parts {
        let around = part.iter().map(|item| (item.order..item.order, item.rank, item.bounds));
        let around = around.reduce(|(a, rank_a, x), (b, rank_b, y)| {
            let orders = a.start.min(b.start)..a.end.max(b.end);
            (orders, rank_a.max(rank_b), x.around(&y))
        });
        if let Some((orders, rank, bounds)) = around {
            boxes.push((orders, rank, bounds, grow(part, nodes)));
        }
    }
    nodes.push(Node::new(&boxes, false));
    (nodes.len() - 1) as u32
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

/// A field to part boxes by.
#[derive(Clone, Copy)]
enum Field<A> {
    Address(fn(&Bounds<A>) -> (A, A)),
    Other(fn(&Bounds<A>) -> (u32, u32)),
}

/// Parts boxes into halves by the field in which the fewest lie on both sides, so far as a sample
/// tells.
fn halve<A: Word>(items: &mut [Item<A>]) -> [&mut [Item<A>]; 2] {
    let middle = items.len() / 2;
    let step = items.len().div_ceil(if items.len() < 2048 { 16 } else { 64 }).max(1);
    let fields = [
        Field::Address(|bounds| bounds.addresses[0]),
        Field::Address(|bounds| bounds.addresses[1]),
        Field::Other(|bounds| wide(bounds.rest[0])),
        Field::Other(|bounds| wide(bounds.rest[1])),
        Field::Other(|bounds| wide(bounds.rest[2])),
        Field::Other(|bounds| ends(bounds.from)),
        Field::Other(|bounds| ends(bounds.to)),
    ];
    let sample: Vec<Bounds<A>> = items.iter().step_by(step).map(|item| item.bounds).collect();
    // Half as many on both sides as there are in a half: then the field says too little.
    let mut best = (sample.len() * 3 / 8, None);
    for field in fields {
        let both = match field {
            Field::Address(range) => on_both_sides(sample.iter().map(range).collect()),
            Field::Other(range) => on_both_sides(sample.iter().map(range).collect()),
        };
        if both < best.0 {
            best = (both, Some(field));
        }
    }
    if middle > 0 {
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
    let (one, other) = items.split_at_mut(middle);
    [one, other]
}

/// How many ranges of the lower half reach into the upper one.
fn on_both_sides<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> usize {
    ranges.sort_unstable();
    let middle = ranges.len() / 2;
    let Some((edge, _)) = ranges.get(middle).copied() else { return 0 };
    ranges.iter().take(middle).filter(|(_, high)| *high >= edge).count()
}

fn wide((low, high): (u16, u16)) -> (u32, u32) {
    (u32::from(low), u32::from(high))
}

/// The lowest and the highest zone.
fn ends(zones: ZoneSet) -> (u32, u32) {
    (zones.bits().trailing_zeros(), 63 - zones.bits().leading_zeros().min(63))
}
