//! Lookups of many headers together, so that their waits for memory overlap.
//!
//! Headers go through in rounds: in each, every header that isn't decided yet asks one table. A
//! round has steps, each for all headers before the next: choose a table and compute the hash, look
//! for fingerprints, compare with records. How many records a header meets differs from one to the
//! next; in a list of pairs that costs no jump that the processor can't foresee.

use super::buckets::{SLOTS, fingerprint};
use super::family::{Family, Pair, Probe};
use super::index::{Index, NOTHING, Search, View};
use super::simd::{Vectors, prefetch};

/// Headers of a block: enough to hide a wait, few enough to stay in the first cache.
pub(super) const WIDTH: usize = 64;

/// Records of a block's headers, at most, and what one vector holds.
const PAIRS: usize = WIDTH * SLOTS as usize + VECTOR;
/// Numbers that are written at once.
const VECTOR: usize = 16;

/// Headers of one family, field by field.
#[derive(Clone, Debug)]
pub(super) struct Block<A> {
    pub(super) addresses: [Pair<A>; WIDTH],
    /// As in [`Probe`].
    pub(super) rest: [u64; WIDTH],
    edges: [u64; WIDTH],
    pub(super) count: usize,
}

/// Memory of a batch, used again for each of its blocks.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) searches: [Search; WIDTH],
    classes: [u64; WIDTH],
    open: Lanes,
    /// Headers for which there are not only records under their hash.
    beyond: Lanes,
    hashes: [u64; WIDTH],
    pairs: Pairs,
}

/// Headers and the numbers of records that they are to be compared with.
#[derive(Debug)]
pub(super) struct Pairs {
    places: [u32; PAIRS],
    numbers: [u32; PAIRS],
    pub(super) count: usize,
}

/// Headers of a block, by their places.
#[derive(Clone, Copy, Debug)]
struct Lanes {
    places: [u8; WIDTH],
    count: usize,
}

impl Lanes {
    const NONE: Self = Self { places: [0; WIDTH], count: 0 };

    /// Adds a header if `really`, without a jump.
    #[inline(always)]
    fn push(&mut self, place: u8, really: bool) {
        if let Some(cell) = self.places.get_mut(self.count) {
            *cell = place;
            self.count += usize::from(really);
        }
    }

    #[inline(always)]
    fn get(&self) -> impl Iterator<Item = usize> {
        self.places.iter().take(self.count).map(|place| usize::from(*place) % WIDTH)
    }
}

impl Pairs {
    #[inline(always)]
    pub(super) fn push(&mut self, place: u8, number: u32) {
        if let Some(([of, ..], [cell, ..])) = self.room() {
            (*of, *cell) = (place.into(), number);
            self.count += 1;
        }
    }

    /// Where the next pairs go.
    #[inline(always)]
    pub(super) fn room(&mut self) -> Option<(&mut [u32; VECTOR], &mut [u32; VECTOR])> {
        let places = self.places.get_mut(self.count..)?.first_chunk_mut()?;
        Some((places, self.numbers.get_mut(self.count..)?.first_chunk_mut()?))
    }

    #[inline(always)]
    fn get(&self) -> impl Iterator<Item = (usize, u32)> {
        let pairs = self.places.iter().zip(&self.numbers).take(self.count);
        pairs.map(|(place, number)| (*place as usize % WIDTH, *number))
    }
}

impl Scratch {
    pub(super) const fn new() -> Self {
        let search = Search { order: NOTHING, number: 0, table: 0, classes: 0 };
        Self {
            searches: [search; WIDTH],
            classes: [0; WIDTH],
            open: Lanes::NONE,
            beyond: Lanes::NONE,
            hashes: [0; WIDTH],
            pairs: Pairs { places: [0; PAIRS], numbers: [0; PAIRS], count: 0 },
        }
    }
}

impl<A: Family> Block<A> {
    pub(super) const fn new() -> Self {
        Self {
            addresses: [Pair { src: A::ZERO, dst: A::ZERO }; WIDTH],
            rest: [0; WIDTH],
            edges: [0; WIDTH],
            count: 0,
        }
    }

    /// Adds a header, if there is room; returns its place.
    #[inline(always)]
    pub(super) fn push(&mut self, probe: &Probe<A>) -> Option<usize> {
        let place = self.count;
        *self.addresses.get_mut(place)? = probe.addresses;
        *self.rest.get_mut(place)? = probe.rest;
        *self.edges.get_mut(place)? = probe.edges;
        self.count += 1;
        Some(place)
    }

    #[inline(always)]
    pub(super) fn probe(&self, place: usize) -> Probe<A> {
        let none = Pair { src: A::ZERO, dst: A::ZERO };
        Probe {
            addresses: self.addresses.get(place).copied().unwrap_or(none),
            rest: self.rest.get(place).copied().unwrap_or(0),
            edges: self.edges.get(place).copied().unwrap_or(0),
        }
    }
}

impl<A: Family> Index<A> {
    /// Finds the rules of a block's headers, into `scratch.searches`.
    #[inline(always)]
    pub(super) fn find_all<V: Vectors>(
        &self,
        block: &Block<A>,
        view: &View<'_>,
        scratch: &mut Scratch,
        vectors: V,
        verify: impl Fn(usize, u64) -> bool,
    ) {
        let Scratch { searches, classes, open, beyond, hashes, pairs } = scratch;
        if self.plan.chain == 0 {
            for (place, search) in searches.iter_mut().enumerate().take(block.count) {
                let probe = block.probe(place);
                *search = self.find_only(&probe, view, |value| verify(place, value));
            }
            return;
        }
        self.words.of_all(block, classes, vectors);
        open.count = 0;
        let lanes = (0u8..).zip(searches.iter_mut().zip(&*classes));
        for (place, (search, classes)) in lanes.take(block.count) {
            *search = Search { order: NOTHING, number: 0, table: 0, classes: *classes };
            open.push(place, *classes != 0);
        }
        while open.count != 0 {
            for place in open.get() {
                let both = searches.get_mut(place).zip(hashes.get_mut(place));
                let Some((search, hash)) = both else { continue };
                *hash = self.choose(&block.probe(place), search);
                if let Some(bucket) = self.buckets.get(self.buckets.place(*hash)) {
                    prefetch(bucket);
                }
            }
            (pairs.count, beyond.count) = (0, 0);
            for place in open.get() {
                let hash = hashes.get(place).copied().unwrap_or(0);
                if let Some(bucket) = self.buckets.get(self.buckets.place(hash)) {
                    let place = place as u8;
                    let more = vectors.candidates(bucket, fingerprint(hash), place, pairs);
                    beyond.push(place, more);
                }
            }
            for (_, number) in pairs.get() {
                if let Some(record) = self.records.get(number) {
                    prefetch(record);
                }
            }
            for (place, number) in pairs.get() {
                let Some(search) = searches.get_mut(place) else { continue };
                let verify = |value| verify(place, value);
                self.look_at(number, &block.probe(place), view, search, &verify);
            }
            for place in beyond.get() {
                let both = searches.get_mut(place).zip(hashes.get(place));
                let Some((search, hash)) = both else { continue };
                let verify = |value| verify(place, value);
                self.look_beyond(*hash, &block.probe(place), view, search, &verify);
            }
            let before = *open;
            open.count = 0;
            for place in before.get() {
                let search = searches.get(place);
                open.push(place as u8, search.is_some_and(|search| search.classes != 0));
            }
        }
    }
}
