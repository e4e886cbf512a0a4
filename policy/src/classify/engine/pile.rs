//! Rules that no hash table can keep apart: those that share all that their table hashes.
//!
//! A pile is a tree. A node has up to sixteen boxes, each around a rule or around all that is in
//! the node below, and a lookup compares a header with all sixteen at once. Boxes are in the order of the best
//! rule in them, so what comes first makes the rest needless. Rules are put together by whichever
//! field parts them best; where none does, as with many wildcards, by their order, so that whoever
//! finds one needn't look at the worse half.
//!
//! A tree is never changed. Rules that come later are in a short list beside it; when that is full,
//! the pile is made anew. Rules that went stay until then: what a pile finds is compared with the
//! record in any case.

use super::boxes::{Bounds, Boxes, LANES, Point};
use std::sync::OnceLock;
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
    nodes: Vec<Node>,
    /// How many later rules there are, so that a lookup needn't look where there are none.
    count: AtomicUsize,
    /// Their numbers.
    later: Box<[AtomicU32]>,
}

#[derive(Debug)]
struct Node {
    boxes: Boxes,
    /// The best order in a box.
    best: [u32; LANES],
    /// The number of a rule's record, or of the node below.
    below: [u32; LANES],
    leaf: bool,
}

/// No rule.
const NONE: u32 = u32::MAX;

impl Pile {
    /// A pile of these rules.
    pub(super) fn new(hash: u64, skip: (u8, u8), mut items: Vec<Item>) -> Self {
        let later = (items.len() / 16).clamp(8, 48);
        let mut nodes = Vec::with_capacity(items.len() / 8 + 1);
        grow(&mut items, &mut nodes);
        let later = (0..later).map(|_| AtomicU32::new(NONE)).collect();
        Self { hash, skip, nodes, count: AtomicUsize::new(0), later }
    }

    /// Calls `each` with the numbers of the rules that may match and have an order below what
    /// `limit` says; `each` returns the limit from then on.
    #[inline]
    pub(super) fn find(&self, point: &Point, mut limit: u64, mut each: impl FnMut(u32) -> u64) {
        for number in self.later() {
            limit = each(number);
        }
        if let Some(root) = self.nodes.last() {
            self.find_below(root, point, &mut limit, &mut each);
        }
    }

    fn find_below(
        &self,
        node: &Node,
        point: &Point,
        limit: &mut u64,
        each: &mut impl FnMut(u32) -> u64,
    ) {
        let mut lanes = node.boxes.holding(point);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            let (Some(best), Some(below)) = (node.best.get(lane), node.below.get(lane)) else {
                return;
            };
            if u64::from(*best) >= *limit {
                return;
            }
            if node.leaf {
                *limit = each(*below);
            } else if let Some(node) = self.nodes.get(*below as usize) {
                self.find_below(node, point, limit, each);
            }
        }
    }

    /// Calls `each` with the numbers of the rules of the tree that may overlap the bounds and have an
    /// order below `limit`, until it says no.
    pub(super) fn overlapping(
        &self,
        bounds: &Bounds,
        limit: u64,
        each: &mut impl FnMut(u32) -> bool,
    ) {
        if let Some(root) = self.nodes.last() {
            self.overlapping_below(root, bounds, limit, each);
        }
    }

    fn overlapping_below(
        &self,
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
                let node = self.nodes.get(*below as usize);
                node.is_none_or(|node| self.overlapping_below(node, bounds, limit, each))
            };
            if !more {
                return false;
            }
        }
        true
    }

    /// Adds a rule, if there is room beside the tree. Writer only.
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
        let leaves = self.nodes.iter().filter(|node| node.leaf);
        let below =
            leaves.flat_map(|node| node.below.iter().copied().filter(|number| *number != NONE));
        below.chain(self.later())
    }

    fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + size_of_val(&*self.later)
    }
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
    for field in fields {
        items.select_nth_unstable_by_key(middle, |item| field(&item.bounds));
        let Some(edge) = items.get(middle).map(|item| field(&item.bounds).0) else { continue };
        // Those before the middle that reach into the other half, and those after it that start no
        // later: a header on the edge has to look at both.
        let before = items.iter().take(middle).filter(|item| field(&item.bounds).1 >= edge);
        let both = before.count() * 2;
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

/// The piles of a family, by number. A pile that is made anew gets a new number: readers may still
/// be at the old one, so it stays as long as the generation.
#[derive(Debug)]
pub(super) struct Piles {
    piles: Box<[OnceLock<Pile>]>,
    /// Rules that may still be put into piles, those that are put there again too.
    room: AtomicUsize,
}

impl Piles {
    /// For some piles, with so many rules in them all.
    pub(super) fn new(piles: usize, rules: usize) -> Self {
        let piles = (0..piles).map(|_| OnceLock::new()).collect();
        Self { piles, room: AtomicUsize::new(rules) }
    }

    #[inline]
    pub(super) fn get(&self, pile: u32) -> Option<&Pile> {
        self.piles.get(pile as usize)?.get()
    }

    /// Makes a pile under the next number; says no when numbers or memory are used up. Writer only.
    pub(super) fn add(&self, hash: u64, skip: (u8, u8), items: Vec<Item>) -> Option<u32> {
        let place = self.len();
        let room = self.room.load(Relaxed).checked_sub(items.len())?;
        self.piles.get(place)?.set(Pile::new(hash, skip, items)).ok()?;
        self.room.store(room, Relaxed);
        u32::try_from(place).ok()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.piles.partition_point(|pile| pile.get().is_some())
    }

    pub(super) fn memory(&self) -> usize {
        let piles = self.piles.iter().filter_map(OnceLock::get);
        size_of_val(&*self.piles) + piles.map(Pile::memory).sum::<usize>()
    }
}
