//! Rules that don't change any more: one wait for memory where tables that change have two.
//!
//! ```text
//! index ─► settle ─► seats     a place for each key, without a search
//!                    seat      the best rule of a key, and where the others with it are
//!                    hint      what else than the key the others ask for, in a byte
//!                    heap      others that are too many for that: a list, a tree or rows of bits
//!                    settled   lookups one at a time
//!                    rounds    and in batches
//! ```
//!
//! Goes in: a [`Generation`] that was built and not changed. Comes out: for a header the hit.

mod heap;
pub(super) mod hint;
mod hinting;
pub(super) mod list;
mod rounds;
pub(super) mod seat;
pub(super) mod seats;
mod settle;
mod settled;

use super::batch::{Block, Scratch, WIDTH};
use super::both::{Both, Rules};
use super::family::{Family, Probe};
use super::generation::Generation;
use super::index::Best;
use super::rule::Hit;
use super::simd::{Vectors, Work};
use super::zones::{Numbers, Zones};
use seat::Seat;
use settled::Settled;

/// The rules of both families.
#[derive(Debug)]
pub(super) struct Still {
    zones: Zones,
    pub(super) v4: Settled<u32>,
    pub(super) v6: Settled<u128>,
}

impl Still {
    /// The rules of a generation that no update has changed; `numbers` are those of its zones.
    /// `None` if its keys can't have seats.
    pub(super) fn of(generation: Generation, numbers: &Numbers) -> Option<Self> {
        let Generation { zones, v4, v6, .. } = generation;
        Some(Self { zones, v4: v4.settle(numbers)?, v6: v6.settle(numbers)? })
    }

    #[inline(always)]
    pub(super) const fn both(&self) -> Both<Zoned<'_, u32>, Zoned<'_, u128>> {
        let zones = &self.zones;
        Both { v4: Zoned { rules: &self.v4, zones }, v6: Zoned { rules: &self.v6, zones } }
    }

    pub(super) fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory() + self.zones.memory()
    }
}

/// The rules of one family, and what their zones are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zoned<'a, A: Family> {
    rules: &'a Settled<A>,
    zones: &'a Zones,
}

impl<A: Family> Rules<A> for Zoned<'_, A> {
    type Scratch = Scratch;

    #[inline(always)]
    fn find<V: Vectors>(
        self,
        probe: &Probe<A>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit> {
        self.rules.hit(self.rules.find(probe, self.zones, vectors, verify))
    }

    #[inline(always)]
    fn find_all<V: Vectors>(
        self,
        block: &Block<A>,
        hits: &mut [Option<Hit>],
        scratch: &mut Scratch,
        vectors: V,
        verify: impl Fn(usize, u64) -> bool,
    ) {
        self.rules.find_all(block, self.zones, scratch, vectors, verify);
        vectors.apart(Answer { rules: &self.rules.rules, block, best: &scratch.best, hits });
    }
}

/// Writes the hits of a block. Apart, it has all registers.
struct Answer<'a, A: Family> {
    rules: &'a [Seat<A>],
    block: &'a Block<A>,
    best: &'a [Best; WIDTH],
    hits: &'a mut [Option<Hit>],
}

impl<A: Family> Work for Answer<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) {
        let Self { rules, block, best, hits } = self;
        block.answer(best.iter().map(|best| Seat::hit(rules, *best)), hits);
    }
}
