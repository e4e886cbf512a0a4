//! Lookups in few rules of both families.
//!
//! Not here: how they are kept, see [`super::small`].

use super::generation::{Family4or6, of};
use super::record::Entry;
use super::rule::{Header, Hit};
use super::simd::{self, Vectors, Work};
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

    #[inline]
    pub(super) fn lookup(&self, header: &Header, verify: impl Fn(u64) -> bool) -> Option<Hit> {
        simd::work(One { few: self, header, verify })
    }

    #[inline]
    pub(super) fn lookup_batch(
        &self,
        headers: &[Header],
        hits: &mut [Option<Hit>],
        verify: impl Fn(&Header, u64) -> bool,
    ) {
        simd::work(Many { few: self, headers, hits, verify });
    }

    #[inline(always)]
    fn find<V: Vectors>(
        &self,
        header: &Header,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit> {
        match of(header) {
            Family4or6::V4(probe) => self.v4.find(&probe, vectors, verify),
            Family4or6::V6(probe) => self.v6.find(&probe, vectors, verify),
            Family4or6::Neither => None,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.v4.memory() + self.v6.memory()
    }
}

struct One<'a, F> {
    few: &'a Few,
    header: &'a Header,
    verify: F,
}

impl<F: Fn(u64) -> bool> Work for One<'_, F> {
    type Output = Option<Hit>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<Hit> {
        self.few.find(self.header, vectors, self.verify)
    }
}

struct Many<'a, F> {
    few: &'a Few,
    headers: &'a [Header],
    hits: &'a mut [Option<Hit>],
    verify: F,
}

impl<F: Fn(&Header, u64) -> bool> Work for Many<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        for (header, hit) in self.headers.iter().zip(self.hits) {
            *hit = self.few.find(header, vectors, |value| (self.verify)(header, value));
        }
    }
}
