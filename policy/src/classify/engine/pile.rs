//! Rules that no hash table can keep apart: those that share all that their table hashes.
//!
//! A pile is a tree. A node has up to sixteen boxes, each around a rule or around all that is in
//! the node below, and a lookup compares a header with all sixteen at once. Boxes are in the order of
//! the best rule in them, so what comes first makes the rest needless. Rules are put together by
//! whichever field parts them best; where none does, as with many wildcards, by their order, so that
//! whoever finds one needn't look at the worse half.
//!
//! A tree is never changed. Rules that come later are in a short list beside it. When that is full,
//! the next pile has a second, small tree of them, and when that isn't small any more, one tree of
//! all. Rules that went stay until then: what a pile finds is compared with the record in any case.
//!
//! Not here: which piles there are ([`super::piles`]).

use super::boxes::{Bounds, Boxes, LANES, Point};
use super::index::Best;
use super::simd::{Vectors, prefetch_all};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// A rule in a pile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) order: u32,
    pub(super) number: u32,
    pub(super) bounds: Bounds,
}

/// Rules with one key.
#[derive(Debug)]
pub(super) struct Pile {
    /// The key's hash.
    pub(super) hash: u64,
    /// Leading bits of the addresses that the bounds leave out.
    pub(super) skip: (u8, u8),
    /// The tree of most of the rules; piles that follow each other share it.
    pub(super) main: Arc<[Node]>,
    /// How many rules there are in it.
    rules: usize,
    /// The tree of those that came after them.
    young: Box<[Node]>,
    /// How many later rules there are, so that a lookup needn't look where there are none.
    count: AtomicUsize,
    /// Their numbers.
    later: Box<[AtomicU32]>,
}

#[derive(Debug)]
pub(super) struct Node {
    boxes: Boxes,
    /// The best order in a box.
    best: [u32; LANES],
    /// The number of a rule's record, or of the node below.
    below: [u32; LANES],
    leaf: bool,
}

/// Levels of a tree, at most: n of them have room for 16^n rules, and there are fewer than 2^31.
const DEPTH: usize = 8;

/// No rule.
const NONE: u32 = u32::MAX;
/// Rules of a small tree, at most, or this part of those of the other tree.
const YOUNG: usize = 64;
const YOUNG_PART: usize = 4;

impl Pile {
    /// A pile of these rules.
    pub(super) fn new(hash: u64, skip: (u8, u8), items: Vec<Item>) -> Self {
        let rules = items.len();
        Self::of(hash, skip, tree(items).into(), rules, Box::default())
    }

    /// The pile that follows this one, with these rules in place of those that [`Self::lately`]
    /// has.
    pub(super) fn with(&self, items: Vec<Item>) -> Self {
        Self::of(self.hash, self.skip, Arc::clone(&self.main), self.rules, tree(items).into())
    }

    fn of(hash: u64, skip: (u8, u8), main: Arc<[Node]>, rules: usize, young: Box<[Node]>) -> Self {
        let later = (rules / 16).clamp(16, 48);
        let later = (0..later).map(|_| AtomicU32::new(NONE)).collect();
        Self { hash, skip, main, rules, young, count: AtomicUsize::new(0), later }
    }

    /// Whether so many rules are few enough for the small tree.
    pub(super) fn is_few(&self, rules: usize) -> bool {
        rules <= YOUNG.max(self.rules / YOUNG_PART)
    }

    /// Asks for the memory that a lookup begins with.
    #[inline]
    pub(super) fn prefetch(&self) {
        for nodes in self.trees() {
            prefetch_all(nodes.last().as_slice());
        }
    }

    fn trees(&self) -> [&[Node]; 2] {
        [&self.main, &self.young]
    }

    /// Calls `each` with the numbers of the rules that may match and be better than `best`; `each`
    /// returns the best from then on.
    #[inline(always)]
    pub(super) fn find<V: Vectors>(
        &self,
        point: &Point,
        mut best: Best,
        vectors: V,
        mut each: impl FnMut(u32) -> Best,
    ) {
        for number in self.later() {
            best = each(number);
        }
        for nodes in self.trees() {
            best = find_in(nodes, point, best, vectors, &mut each);
        }
    }

    /// Calls `each` with the numbers of the rules of the trees that may overlap the bounds and have
    /// an order below `limit`, until it says no.
    pub(super) fn overlapping(
        &self,
        bounds: &Bounds,
        limit: u64,
        each: &mut impl FnMut(u32) -> bool,
    ) {
        for nodes in self.trees() {
            let more = |root| overlapping_below(nodes, root, bounds, limit, each);
            if !nodes.last().is_none_or(more) {
                return;
            }
        }
    }

    /// Adds a rule, if there is room beside the trees. Writer only.
    pub(super) fn push(&self, number: u32) -> bool {
        let count = self.count.load(Relaxed);
        let free = self.later.get(count);
        if let Some(cell) = free {
            cell.store(number, Relaxed);
            self.count.store(count + 1, Release);
        }
        free.is_some()
    }

    fn later(&self) -> impl Iterator<Item = u32> {
        let count = self.count.load(Acquire);
        self.later.iter().take(count).map(|cell| cell.load(Relaxed))
    }

    /// The numbers of all rules, those that went too.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        numbers(&self.main).chain(self.lately())
    }

    /// The numbers of those that aren't in the large tree.
    pub(super) fn lately(&self) -> impl Iterator<Item = u32> {
        numbers(&self.young).chain(self.later())
    }

    /// Gives all records other numbers. Only while there is nobody else.
    pub(super) fn renumber(&mut self, new: impl Fn(u32) -> u32) {
        let Self { main, young, later, .. } = self;
        let main = Arc::get_mut(main).into_iter().flat_map(|nodes| nodes.iter_mut());
        for node in main.chain(young.iter_mut()).filter(|node| node.leaf) {
            for number in node.below.iter_mut().filter(|number| **number != NONE) {
                *number = new(*number);
            }
        }
        for cell in later.iter_mut().map(AtomicU32::get_mut).filter(|number| **number != NONE) {
            *cell = new(*cell);
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.own_memory() + size_of_val(&*self.main)
    }

    /// Without the large tree.
    pub(super) fn own_memory(&self) -> usize {
        size_of_val(&*self.young) + size_of_val(&*self.later)
    }
}

/// Finds in one tree, see [`Pile::find`].
#[inline(always)]
fn find_in<V: Vectors>(
    nodes: &[Node],
    point: &Point,
    mut best: Best,
    vectors: V,
    each: &mut impl FnMut(u32) -> Best,
) -> Best {
    let Some(mut node) = nodes.last() else { return best };
    let mut lanes = vectors.holding(&node.boxes, point);
    // Where to go on, a node of each level.
    let mut above = [(node, 0); DEPTH];
    let mut depth = 0_usize;
    loop {
        let lane = lanes.trailing_zeros() as usize;
        let found = node.best.get(lane).zip(node.below.get(lane));
        let Some((_, below)) = found.filter(|(order, _)| u64::from(**order) << 32 < best) else {
            // Nothing is left in the node, or nothing better.
            let Some(last) = depth.checked_sub(1).and_then(|last| above.get(last)) else {
                return best;
            };
            (node, lanes) = *last;
            depth -= 1;
            continue;
        };
        lanes &= lanes - 1;
        if node.leaf {
            best = each(*below);
        } else if let Some(next) = nodes.get(*below as usize) {
            if let Some(cell) = above.get_mut(depth) {
                *cell = (node, lanes);
                depth += 1;
            }
            node = next;
            lanes = vectors.holding(&node.boxes, point);
        }
    }
}

fn overlapping_below(
    nodes: &[Node],
    node: &Node,
    bounds: &Bounds,
    limit: u64,
    each: &mut impl FnMut(u32) -> bool,
) -> bool {
    let meeting = node.boxes.meeting(bounds);
    let lanes = node.best.iter().zip(&node.below).enumerate();
    for (_, (best, below)) in lanes.filter(|(lane, _)| meeting >> lane & 1 != 0) {
        if u64::from(*best) >= limit {
            return true;
        }
        let more = if node.leaf {
            each(*below)
        } else {
            let node = nodes.get(*below as usize);
            node.is_none_or(|node| overlapping_below(nodes, node, bounds, limit, each))
        };
        if !more {
            return false;
        }
    }
    true
}

/// The numbers of a tree's rules.
fn numbers(nodes: &[Node]) -> impl Iterator<Item = u32> {
    let leaves = nodes.iter().filter(|node| node.leaf);
    leaves.flat_map(|node| node.below.iter().copied().filter(|number| *number != NONE))
}

/// The nodes of a tree of these rules, the root last.
fn tree(mut items: Vec<Item>) -> Vec<Node> {
    let mut nodes = Vec::with_capacity(items.len() / 8 + 1);
    grow(&mut items, &mut nodes);
    nodes
}

/// Adds the nodes of a tree of these rules, the root last; returns its place.
fn grow(items: &mut [Item], nodes: &mut Vec<Node>) -> u32 {
    let mut parts: Vec<&mut [Item]> = vec![items];
    let all: usize = parts.iter().map(|part| part.len()).sum();
    if all > LANES {
        // Parts that fill a tree each leave the fewest lanes unused.
        let mut full = LANES;
        while full * LANES < all {
            full *= LANES;
        }
        for _ in 0..all.div_ceil(full).next_power_of_two().ilog2() {
            parts = parts.into_iter().flat_map(halve).collect();
        }
        let mut below: Vec<(u32, u32, Bounds)> = Vec::with_capacity(LANES);
        for part in parts {
            let Some(best) = part.iter().map(|item| item.order).min() else { continue };
            let Some(bounds) = around(part) else { continue };
            below.push((best, grow(part, nodes), bounds));
        }
        nodes.push(Node::new(below, false));
    } else {
        let items = parts.into_iter().flatten();
        let below = items.map(|item| (item.order, item.number, item.bounds)).collect();
        nodes.push(Node::new(below, true));
    }
    (nodes.len() - 1) as u32
}

impl Node {
    fn new(mut below: Vec<(u32, u32, Bounds)>, leaf: bool) -> Self {
        below.sort_unstable_by_key(|(best, ..)| *best);
        let (mut bests, mut numbers) = ([NONE; LANES], [NONE; LANES]);
        let cells = bests.iter_mut().zip(&mut numbers);
        for ((best, number), (own, below, _)) in cells.zip(&below) {
            (*best, *number) = (*own, *below);
        }
        let boxes = Boxes::new(below.into_iter().map(|(.., bounds)| bounds));
        Self { boxes, best: bests, below: numbers, leaf }
    }
}

fn around(items: &[Item]) -> Option<Bounds> {
    items.iter().map(|item| item.bounds).reduce(|a, b| a.around(&b))
}

/// The lowest and highest value of one field of a box.
type Field = fn(&Bounds) -> (u32, u32);

/// Parts rules into halves by the field in which the fewest lie on both sides.
fn halve(items: &mut [Item]) -> [&mut [Item]; 2] {
    let middle = items.len() / 2;
    if middle == 0 {
        let (one, none) = items.split_at_mut(items.len());
        return [one, none];
    }
    let fields: [Field; 5] = [
        |b| b.addresses[0],
        |b| b.addresses[1],
        |b| wide(b.rest[0]),
        |b| wide(b.rest[1]),
        |b| wide(b.rest[2]),
    ];
    let mut best = (items.len() * 3 / 4, None);
    let mut lows = Vec::with_capacity(items.len());
    for field in fields {
        let ranges = || items.iter().map(|item| field(&item.bounds));
        // Where all share a value, all lie on both sides.
        let (last, first) =
            ranges().fold((0, u32::MAX), |(a, b), (low, high)| (low.max(a), high.min(b)));
        if last <= first {
            continue;
        }
        lows.clear();
        lows.extend(ranges().map(|(low, _)| low));
        let (_, edge, _) = lows.select_nth_unstable(middle);
        let edge = *edge;
        // Those before the middle that reach into the other half, and those after it that start no
        // later: a header on the edge has to look at both.
        let short = ranges().filter(|(_, high)| *high < edge).count();
        let both = (middle - short) * 2;
        if both < best.0 {
            best = (both, Some(field));
        }
    }
    match best.1 {
        Some(field) => items.select_nth_unstable_by_key(middle, |item| field(&item.bounds)),
        None => items.select_nth_unstable_by_key(middle, |item| (item.order, 0)),
    };
    let (one, other) = items.split_at_mut(middle);
    [one, other]
}

fn wide((low, high): (u16, u16)) -> (u32, u32) {
    (u32::from(low), u32::from(high))
}
