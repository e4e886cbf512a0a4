//! Memory of lookups of many headers together: the headers and what is known of each, in columns.
//!
//! Not here: what is done with them, see [`super::rounds`].

use super::buckets::SLOTS;
use super::family::{Family, Pair, Probe, edges, rest_of};
use super::index::{Best, NOTHING, Search};
use super::rule::{Header, Hit};
use super::simd::prefetch_first;
use std::cell::Cell;

/// Headers of a block: enough to hide a wait and to keep rounds full, few enough for the first
/// cache. A multiple of what a vector holds.
pub(super) const WIDTH: usize = 64;

/// Numbers that are written at once.
pub(super) const VECTOR: usize = 16;
/// Records of a block's headers, at most, and what one vector holds.
const PAIRS: usize = WIDTH * SLOTS as usize + VECTOR;

/// Headers of one family, field by field.
#[derive(Clone, Debug)]
pub(super) struct Block<A> {
    pub(super) addresses: [Pair<A>; WIDTH],
    /// As in [`Probe`].
    pub(super) rest: [u64; WIDTH],
    edges: [u64; WIDTH],
    /// Where the headers came from, if not all that came are of this family.
    from: Option<[u8; WIDTH]>,
    pub(super) count: usize,
}

/// What words and hashes are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) addresses: &'a [Pair<u32>; WIDTH],
    pub(super) rest: &'a [u64; WIDTH],
    pub(super) count: usize,
}

/// Memory of a batch, used again for each of its blocks.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The best rule of each header so far.
    pub(super) best: [Best; WIDTH],
    /// Classes that may hold a better one and weren't asked yet.
    pub(super) classes: [u64; WIDTH],
    /// The classes of the table that is being asked.
    pub(super) tables: [u64; WIDTH],
    /// What a header's hash for that table is made from.
    pub(super) factors: [[u64; WIDTH]; 2],
    pub(super) hashes: [u64; WIDTH],
    /// The seat of a header's key in that table, see [`super::still::seats`].
    pub(super) numbers: [u32; WIDTH],
    /// Headers with classes to be asked.
    pub(super) open: Lanes,
    /// Those of them for which there are not only records in the bucket of their hash.
    pub(super) beyond: Lanes,
    pub(super) pairs: Pairs,
}

/// Headers and the numbers of what they are to be compared with.
#[derive(Debug)]
pub(super) struct Pairs {
    /// Numbers in the lower half, places in the upper one.
    pairs: [u64; PAIRS],
    pub(super) count: usize,
}

/// Headers of a block: a bit for each place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lanes(pub(super) u64);

const _: () = assert!(WIDTH == u64::BITS as usize);

/// A header's search, in columns.
pub(super) struct Searches<'a> {
    pub(super) best: &'a mut [Best; WIDTH],
    pub(super) classes: &'a mut [u64; WIDTH],
    pub(super) tables: &'a [u64; WIDTH],
}

impl Searches<'_> {
    /// Goes on with the search of the header at a place.
    #[inline(always)]
    pub(super) fn go_on<T>(
        &mut self,
        place: usize,
        look: impl FnOnce(&mut Search) -> T,
    ) -> Option<T> {
        let best = self.best.get_mut(place)?;
        let classes = self.classes.get_mut(place)?;
        let mut search = Search { best: *best, classes: *classes, table: *self.tables.get(place)? };
        let result = look(&mut search);
        (*best, *classes) = (search.best, search.classes);
        Some(result)
    }
}

impl Lanes {
    pub(super) const NONE: Self = Self(0);

    /// The first so many.
    #[inline(always)]
    pub(super) const fn first(count: usize) -> Self {
        Self(if count < WIDTH { (1 << count) - 1 } else { u64::MAX })
    }

    /// Adds a header if `really`, without a jump.
    #[inline(always)]
    pub(super) const fn push(&mut self, place: usize, really: bool) {
        self.0 |= (really as u64) << (place % WIDTH);
    }

    #[inline(always)]
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[inline(always)]
    pub(super) const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Their places, rising.
    #[inline(always)]
    pub(super) fn get(mut self) -> impl Iterator<Item = usize> {
        std::iter::from_fn(move || {
            let place = self.0.trailing_zeros() as usize;
            let some = self.0 != 0;
            self.0 &= self.0.wrapping_sub(1);
            some.then_some(place % WIDTH)
        })
    }
}

impl Pairs {
    #[inline(always)]
    pub(super) fn push(&mut self, place: usize, number: u32) {
        if let Some([pair, ..]) = self.room() {
            *pair = u64::from(number) | (place as u64) << 32;
            self.count += 1;
        }
    }

    /// Where the next pairs go.
    #[inline(always)]
    pub(super) fn room(&mut self) -> Option<&mut [u64; VECTOR]> {
        self.pairs.get_mut(self.count..)?.first_chunk_mut()
    }

    #[inline(always)]
    pub(super) fn get(&self) -> impl Iterator<Item = (usize, u32)> {
        let pairs = self.pairs.iter().take(self.count);
        pairs.map(|pair| ((pair >> 32) as usize % WIDTH, *pair as u32))
    }
}

thread_local! {
    /// Memory of the thread's last batch. To clear as much anew takes longer than a lookup.
    static LAST: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Lends memory to a batch, whatever is in it.
    pub(super) fn lend<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        // A thread that ends has no last batch any more.
        let last = LAST.try_with(Cell::take).ok().flatten();
        let mut scratch = last.unwrap_or_else(|| Box::new(Self::new()));
        let result = work(&mut scratch);
        let _ = LAST.try_with(|last| last.set(Some(scratch)));
        result
    }

    pub(super) const fn new() -> Self {
        Self {
            best: [NOTHING; WIDTH],
            classes: [0; WIDTH],
            tables: [0; WIDTH],
            factors: [[0; WIDTH]; 2],
            hashes: [0; WIDTH],
            numbers: [0; WIDTH],
            open: Lanes::NONE,
            beyond: Lanes::NONE,
            pairs: Pairs { pairs: [0; PAIRS], count: 0 },
        }
    }
}

impl<A: Family> Block<A> {
    pub(super) const fn new() -> Self {
        Self {
            addresses: [Pair { src: A::ZERO, dst: A::ZERO }; WIDTH],
            rest: [0; WIDTH],
            edges: [0; WIDTH],
            from: None,
            count: 0,
        }
    }

    /// Takes those of this family from up to [`WIDTH`] headers; says whether there are others. Asks
    /// for the memory of the `next` headers one by one: all at once they would be waited for.
    #[inline(always)]
    pub(super) fn fill(&mut self, headers: &[Header], next: &[Header]) -> bool {
        let cells = self.addresses.iter_mut().zip(&mut self.rest);
        // Mostly there are no others.
        let all = headers.iter().zip(cells).enumerate().all(|(place, (header, cells))| {
            next.get(place).into_iter().for_each(prefetch_first);
            let (addresses, rest) = cells;
            let own = A::addresses(header);
            if let Some(own) = own {
                (*addresses, *rest) = (own, rest_of(header));
            }
            own.is_some()
        });
        if all {
            self.complete(headers.len().min(WIDTH));
        } else {
            self.pick(headers);
        }
        !all
    }

    /// Like [`Self::fill`], where there are others.
    #[inline(never)]
    fn pick(&mut self, headers: &[Header]) {
        let mut from = [0; WIDTH];
        let own = (0u8..)
            .zip(headers)
            .take(WIDTH)
            .filter_map(|(place, header)| Some((place, A::addresses(header)?, rest_of(header))));
        let mut count = 0;
        for ((place, addresses, rest), from) in own.zip(&mut from) {
            self.put(count, addresses, rest);
            *from = place;
            count += 1;
        }
        self.from = Some(from);
        self.complete(count);
    }

    /// Puts a header in a place, if there is one; [`Self::complete`] has to follow.
    pub(super) fn put(&mut self, place: usize, addresses: Pair<A>, rest: u64) {
        if let (Some(a), Some(b)) = (self.addresses.get_mut(place), self.rest.get_mut(place)) {
            (*a, *b) = (addresses, rest);
        }
    }

    /// Works out what follows from the fields, once so many headers are there.
    #[inline(always)]
    pub(super) fn complete(&mut self, count: usize) {
        self.count = count;
        for (cell, rest) in self.edges.iter_mut().zip(&self.rest) {
            let (src, dst) = (*rest as u16, (*rest >> 16) as u16);
            *cell = edges((src, src), (dst, dst));
        }
    }

    /// Writes the hits of the block's headers to where these came from.
    #[inline(always)]
    pub(super) fn answer(&self, own: impl Iterator<Item = Option<Hit>>, hits: &mut [Option<Hit>]) {
        let own = own.take(self.count);
        match &self.from {
            None => own.zip(hits).for_each(|(own, hit)| *hit = own),
            Some(from) => own.zip(from).for_each(|(own, place)| {
                if let Some(hit) = hits.get_mut(usize::from(*place)) {
                    *hit = own;
                }
            }),
        }
    }

    /// Where among the headers the one at a place of the block came from.
    pub(super) fn from(&self, place: usize) -> usize {
        let from = self.from.as_ref().and_then(|from| from.get(place));
        from.map_or(place, |from| usize::from(*from))
    }

    /// The fields of all headers, if their addresses have 32 bits.
    #[inline(always)]
    pub(super) fn fields(&self) -> Option<Fields<'_>> {
        let addresses = A::narrow(&self.addresses)?;
        Some(Fields { addresses, rest: &self.rest, count: self.count })
    }

    #[inline(always)]
    pub(super) fn addresses(&self, place: usize) -> Pair<A> {
        let none = Pair { src: A::ZERO, dst: A::ZERO };
        self.addresses.get(place).copied().unwrap_or(none)
    }

    /// See [`Probe::rest`].
    #[inline(always)]
    pub(super) fn rest(&self, place: usize) -> u64 {
        self.rest.get(place).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(super) fn probe(&self, place: usize) -> Probe<A> {
        Probe {
            addresses: self.addresses(place),
            rest: self.rest(place),
            edges: self.edges.get(place).copied().unwrap_or(0),
        }
    }
}
