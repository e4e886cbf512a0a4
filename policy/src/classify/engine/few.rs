//! Lookups in few rules of both families.
//!
//! Not here: how they are kept, see [`super::small`].

use super::batch::Block;
use super::generation::{InFamily, of};
use super::record::Entry;
use super::rule::{Header, Hit};
use super::simd::Vectors;
use super::small::Small;
use super::zones::Numbers;

/// The rules of both families.
#[derive(Debug)]
pub(super) struct Few {
    v4: Small<u32>,
    v6: Small<u128>,
}

impl Few {
    /// `None` when they are too many.
    pub(super) fn new(v4: &[Entry<u32>], v6: &[Entry<u128>], numbers: &Numbers) -> Option<Self> {
        let zones = |number| numbers.pair(number);
        Some(Self { v4: Small::new(v4, zones)?, v6: Small::new(v6, zones)? })
    }

    #[inline(always)]
    pub(super) fn lookup<V: Vectors>(
        &self,
        header: &Header,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit> {
        match of(header) {
            InFamily::V4(probe) => self.v4.find(&probe, vectors, verify),
            InFamily::V6(probe) => self.v6.find(&probe, vectors, verify),
            InFamily::Neither => None,
        }
    }

    /// Looks up the headers of a block.
    #[inline(always)]
    pub(super) fn lookup_batch<V: Vectors>(
        &self,
        headers: &[Header],
        hits: &mut [Option<Hit>],
        vectors: V,
        verify: impl Fn(&Header, u64) -> bool,
    ) {
        let of = |from: usize, value| headers.get(from).is_some_and(|header| verify(header, value));
        let mut block = Block::new();
        let others = block.fill(headers);
        if others {
            hits.iter_mut().zip(headers).for_each(|(hit, _)| *hit = None);
        }
        self.v4.find_all(&block, hits, vectors, |place, value| of(block.from(place), value));
        if others {
            let mut block = Block::new();
            block.fill(headers);
            self.v6.find_all(&block, hits, vectors, |place, value| of(block.from(place), value));
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}
