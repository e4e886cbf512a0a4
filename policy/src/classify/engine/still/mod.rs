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

use super::batch::{Block, Scratch};
use super::family::{Family, Probe};
use super::generation::{Generation, InFamily, of};
use super::rule::{Header, Hit};
use super::simd::{Vectors, Work};
use super::zones::{Numbers, Zones};
use settled::Settled;

/// The rules of both families.
#[derive(Debug)]
pub(super) struct Still {
    zones: Zones,
    pub(super) v4: Settled<u32>,
    pub(super) v6: Settled<u128>,
}

/// A lookup of an IPv6 header. Beside that of an IPv4 header it would take registers from it.
struct OfV6<'a, F> {
    settled: &'a Settled<u128>,
    probe: Probe<u128>,
    zones: &'a Zones,
    verify: F,
}

impl<F: Fn(u64) -> bool> Work for OfV6<'_, F> {
    type Output = Option<Hit>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<Hit> {
        let Self { settled, probe, zones, verify } = self;
        settled.hit(settled.find(&probe, zones, vectors, verify))
    }
}

impl Still {
    /// The rules of a generation that no update has changed; `numbers` are those of its zones.
    /// `None` if its keys can't have seats.
    pub(super) fn of(generation: Generation, numbers: &Numbers) -> Option<Self> {
        let Generation { zones, v4, v6, .. } = generation;
        Some(Self { zones, v4: v4.settle(numbers)?, v6: v6.settle(numbers)? })
    }

    #[inline(always)]
    pub(super) fn lookup<V: Vectors>(
        &self,
        header: &Header,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit> {
        let zones = &self.zones;
        match of(header) {
            InFamily::V4(probe) => self.v4.hit(self.v4.find(&probe, zones, vectors, verify)),
            InFamily::V6(probe) => vectors.apart(OfV6 { settled: &self.v6, probe, zones, verify }),
            InFamily::Neither => None,
        }
    }

    /// Looks up the headers of a block.
    #[inline(always)]
    pub(super) fn lookup_batch<V: Vectors>(
        &self,
        headers: &[Header],
        hits: &mut [Option<Hit>],
        scratch: &mut Scratch,
        vectors: V,
        verify: impl Fn(&Header, u64) -> bool,
    ) {
        let mut block = Block::new();
        if !block.fill(headers) {
            return self.batch(&self.v4, &block, headers, hits, scratch, vectors, &verify);
        }
        hits.iter_mut().zip(headers).for_each(|(hit, _)| *hit = None);
        self.batch(&self.v4, &block, headers, hits, scratch, vectors, &verify);
        let mut block = Block::new();
        block.fill(headers);
        self.batch(&self.v6, &block, headers, hits, scratch, vectors, &verify);
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the state of one lookup")]
    fn batch<A: Family, V: Vectors>(
        &self,
        settled: &Settled<A>,
        block: &Block<A>,
        headers: &[Header],
        hits: &mut [Option<Hit>],
        scratch: &mut Scratch,
        vectors: V,
        verify: &impl Fn(&Header, u64) -> bool,
    ) {
        let verify = |place, value| {
            let header = headers.get(block.from(place));
            header.is_some_and(|header| verify(header, value))
        };
        settled.find_all(block, &self.zones, scratch, vectors, verify);
        block.answer(scratch.best.iter().map(|best| settled.hit(*best)), hits);
    }

    pub(super) fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory() + self.zones.memory()
    }
}
