//! Lookups where there are rules of both families: each header goes to those of its own.

use super::batch::Block;
use super::family::{Family, Probe, rest_of};
use super::rule::{Header, Hit};
use super::simd::{Vectors, Work};

/// The rules of one family, in whatever form.
pub(super) trait Rules<A: Family>: Copy {
    /// Memory that a batch needs.
    type Scratch;

    fn find<V: Vectors>(
        self,
        probe: &Probe<A>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit>;

    /// Looks up the headers of a block; `verify` gets a header's place there.
    fn find_all<V: Vectors>(
        self,
        block: &Block<A>,
        hits: &mut [Option<Hit>],
        scratch: &mut Self::Scratch,
        vectors: V,
        verify: impl Fn(usize, u64) -> bool,
    );
}

/// The rules of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Both<R4, R6> {
    pub(super) v4: R4,
    pub(super) v6: R6,
}

/// A lookup of an IPv6 header. Beside that of an IPv4 header it would take registers from it.
struct OfV6<R, F> {
    rules: R,
    probe: Probe<u128>,
    verify: F,
}

impl<R: Rules<u128>, F: Fn(u64) -> bool> Work for OfV6<R, F> {
    type Output = Option<Hit>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Option<Hit> {
        let Self { rules, probe, verify } = self;
        rules.find(&probe, vectors, verify)
    }
}

impl<S, R4: Rules<u32, Scratch = S>, R6: Rules<u128, Scratch = S>> Both<R4, R6> {
    #[inline(always)]
    pub(super) fn lookup<V: Vectors>(
        self,
        header: &Header,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Option<Hit> {
        match (u32::addresses(header), u128::addresses(header)) {
            (Some(addresses), _) => {
                self.v4.find(&Probe::new(addresses, rest_of(header)), vectors, verify)
            }
            (_, Some(addresses)) => {
                let probe = Probe::new(addresses, rest_of(header));
                vectors.apart(OfV6 { rules: self.v6, probe, verify })
            }
            // One address of each, as no packet has them.
            _ => None,
        }
    }

    /// Looks up the headers of a block.
    #[inline(always)]
    pub(super) fn lookup_batch<V: Vectors>(
        self,
        headers: &[Header],
        hits: &mut [Option<Hit>],
        scratch: &mut S,
        vectors: V,
        verify: impl Fn(&Header, u64) -> bool,
    ) {
        let of = |from: usize, value| headers.get(from).is_some_and(|header| verify(header, value));
        let mut block = Block::new();
        let others = block.fill(headers);
        if others {
            hits.iter_mut().zip(headers).for_each(|(hit, _)| *hit = None);
        }
        let verify = |place, value| of(block.from(place), value);
        self.v4.find_all(&block, hits, scratch, vectors, verify);
        if others {
            let mut block = Block::new();
            block.fill(headers);
            let verify = |place, value| of(block.from(place), value);
            self.v6.find_all(&block, hits, scratch, vectors, verify);
        }
    }
}
