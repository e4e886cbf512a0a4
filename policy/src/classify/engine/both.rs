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

    /// Looks up the headers of a block, and asks for the memory of those of the next.
    #[inline(always)]
    pub(super) fn lookup_batch<V: Vectors>(
        self,
        headers: &[Header],
        next: &[Header],
        hits: &mut [Option<Hit>],
        scratch: &mut S,
        vectors: V,
        verify: impl Fn(&Header, u64) -> bool,
    ) {
        vectors.apart(OfBlock { both: self, headers, next, hits, scratch, verify });
    }
}

/// Lookups of a block's headers, in a function that has the vector instructions: closures between
/// here and the batch haven't.
struct OfBlock<'a, S, R4, R6, F> {
    both: Both<R4, R6>,
    headers: &'a [Header],
    next: &'a [Header],
    hits: &'a mut [Option<Hit>],
    scratch: &'a mut S,
    verify: F,
}

impl<S, R4, R6, F> Work for OfBlock<'_, S, R4, R6, F>
where
    R4: Rules<u32, Scratch = S>,
    R6: Rules<u128, Scratch = S>,
    F: Fn(&Header, u64) -> bool,
{
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { both: Both { v4, v6 }, headers, next, hits, scratch, verify } = self;
        let mut block = Block::new();
        let others = block.fill(headers, next);
        if others {
            hits.iter_mut().zip(headers).for_each(|(hit, _)| *hit = None);
            let rest = OfFamily { rules: v6, headers, hits, scratch, verify: &verify };
            vectors.apart(rest);
        }
        let verify = |place, value| {
            headers.get(block.from(place)).is_some_and(|header| verify(header, value))
        };
        v4.find_all(&block, hits, scratch, vectors, verify);
    }
}

/// Lookups of those of a block that are IPv6. Mostly there are none: apart, they leave the others
/// all registers.
struct OfFamily<'a, S, R, F> {
    rules: R,
    headers: &'a [Header],
    hits: &'a mut [Option<Hit>],
    scratch: &'a mut S,
    verify: F,
}

impl<R: Rules<u128>, F: Fn(&Header, u64) -> bool> Work for OfFamily<'_, R::Scratch, R, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { rules, headers, hits, scratch, verify } = self;
        let mut block = Block::new();
        block.fill(headers, &[]);
        let verify = |place, value| {
            headers.get(block.from(place)).is_some_and(|header| verify(header, value))
        };
        rules.find_all(&block, hits, scratch, vectors, verify);
    }
}
