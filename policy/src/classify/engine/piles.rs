//! The piles of one address family, by number.
//!
//! Goes in: rules that share a key, see [`super::pile`]. Comes out: a number, under which a bucket
//! has them. A pile that is made anew gets a new number: readers may still be at the old one, so it
//! stays as long as the generation.

use super::index::Best;
use super::pile::{Item, Node, Pile};
use super::simd::prefetch;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// The piles.
#[derive(Debug)]
pub(super) struct Piles {
    /// Each twice as long as the one before it, made when it is needed.
    chunks: [OnceLock<Chunk>; CHUNKS],
    /// How many there are.
    count: AtomicUsize,
    /// Rules that may still be put into piles, those that are put there again too.
    room: AtomicUsize,
}

/// Piles of the first chunk.
const FIRST: usize = 64;
/// Chunks: together they have more piles than there can be rules.
const CHUNKS: usize = 26;

/// Some piles.
#[derive(Debug)]
struct Chunk {
    piles: Box<[OnceLock<Pile>]>,
    /// The best order that ever was in each, so that a lookup that has found a better rule needn't
    /// look at the pile.
    best: Box<[AtomicU32]>,
}

impl Chunk {
    fn new(size: usize) -> Self {
        Self {
            piles: (0..size).map(|_| OnceLock::new()).collect(),
            best: (0..size).map(|_| AtomicU32::new(u32::MAX)).collect(),
        }
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.piles) + size_of_val(&*self.best)
    }
}

/// The chunk of a pile, its size, and the pile's place in it.
fn chunk(pile: u32) -> (usize, usize, usize) {
    let pile = pile as usize;
    let number = (pile / FIRST + 1).ilog2();
    let size = FIRST << number;
    (number as usize, size, pile + FIRST - size)
}

impl Piles {
    /// With room for so many rules in them all.
    pub(super) fn new(rules: usize) -> Self {
        let chunks = std::array::from_fn(|_| OnceLock::new());
        Self { chunks, count: AtomicUsize::new(0), room: AtomicUsize::new(rules) }
    }

    /// Asks for what [`Pile::prefetch`] needs.
    #[inline]
    pub(super) fn prefetch(&self, pile: u32) {
        if let Some(pile) = self.cell(pile, |chunk| &chunk.piles) {
            prefetch(pile);
        }
    }

    /// Whether a pile may hold a better rule.
    #[inline]
    pub(super) fn may_hold(&self, pile: u32, best: Best) -> bool {
        let order = self.cell(pile, |chunk| &chunk.best).map_or(0, |order| order.load(Relaxed));
        u64::from(order) << 32 < best
    }

    /// Adds a rule to a pile, if there is room beside its trees. Writer only.
    pub(super) fn push(&self, pile: u32, number: u32, order: u32) -> bool {
        self.note(pile, order);
        self.get(pile).is_some_and(|pile| pile.push(number))
    }

    fn note(&self, pile: u32, order: u32) {
        if let Some(best) = self.cell(pile, |chunk| &chunk.best) {
            // Only the one writer comes here.
            best.store(best.load(Relaxed).min(order), Relaxed);
        }
    }

    #[inline]
    fn cell<T>(&self, pile: u32, of: impl Fn(&Chunk) -> &[T]) -> Option<&T> {
        let (number, _, place) = chunk(pile);
        of(self.chunks.get(number)?.get()?).get(place)
    }

    #[inline]
    pub(super) fn get(&self, pile: u32) -> Option<&Pile> {
        self.cell(pile, |chunk| &chunk.piles)?.get()
    }

    /// Makes a pile under the next number; says no when there is no room. Writer only.
    pub(super) fn add(&self, hash: u64, skip: (u8, u8), items: Vec<Item>) -> Option<u32> {
        let best = items.iter().map(|item| item.order).min();
        self.add_of(items.len(), best, || Pile::new(hash, skip, items))
    }

    /// Makes the pile that follows another, with these rules in place of those that
    /// [`Pile::lately`] has; otherwise like [`Self::add`].
    pub(super) fn follow(&self, old: u32, items: Vec<Item>) -> Option<u32> {
        let pile = self.get(old)?;
        let best = self.cell(old, |chunk| &chunk.best).map(|order| order.load(Relaxed));
        let best = items.iter().map(|item| item.order).chain(best).min();
        self.add_of(items.len(), best, || pile.with(items))
    }

    fn add_of(&self, rules: usize, best: Option<u32>, pile: impl FnOnce() -> Pile) -> Option<u32> {
        // Piles of few rules take memory, too.
        let room = self.room.load(Relaxed).checked_sub(rules + 4)?;
        let count = self.len();
        let number = u32::try_from(count).ok()?;
        let (chunk, size, _) = chunk(number);
        self.chunks.get(chunk)?.get_or_init(|| Chunk::new(size));
        self.note(number, best.unwrap_or(0));
        self.cell(number, |chunk| &chunk.piles)?.set(pile()).ok()?;
        self.count.store(count + 1, Relaxed);
        self.room.store(room, Relaxed);
        Some(number)
    }

    /// The piles, by number.
    pub(super) fn into_piles(self) -> impl Iterator<Item = Pile> {
        let chunks = self.chunks.into_iter().filter_map(OnceLock::into_inner);
        chunks.flat_map(|chunk| chunk.piles).filter_map(OnceLock::into_inner)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    pub(super) fn memory(&self) -> usize {
        let chunks = || self.chunks.iter().filter_map(OnceLock::get);
        let piles = || chunks().flat_map(|chunk| chunk.piles.iter().filter_map(OnceLock::get));
        let mut trees: Vec<&Arc<[Node]>> = piles().map(|pile| &pile.main).collect();
        trees.sort_unstable_by_key(|tree| tree.as_ptr());
        trees.dedup_by_key(|tree| tree.as_ptr());
        chunks().map(Chunk::memory).sum::<usize>()
            + piles().map(Pile::own_memory).sum::<usize>()
            + trees.into_iter().map(|tree| size_of_val(&**tree)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piles_lie_side_by_side_in_chunks_that_have_room_for_them() {
        for pile in (0..10_000).chain((1 << 31) - 9..1 << 31) {
            let (number, size, place) = chunk(pile);
            assert!(number < CHUNKS && place < size, "pile {pile}");
            let next = if place + 1 < size { (number, place + 1) } else { (number + 1, 0) };
            let (number, _, place) = chunk(pile + 1);
            assert_eq!((number, place), next, "after pile {pile}");
        }
    }
}
