//! Lookups of many headers together, so that their waits for memory overlap.
//!
//! ```text
//! ┌► open:    headers with classes worth asking
//! │  choose:  a table for each of them, its hash ─► bucket
//! │  ask:     fingerprints of the bucket ─► list of header and record
//! │  compare: each of the list ─► best rule of a header so far, and its shadow
//! └─ beyond:  piles, further buckets, where there are any
//! ```
//!
//! What is known of a header is in a [`Scratch`], by the header's place in its block. Steps are
//! functions of their own: together they would be too many values for the processor's registers.
//!
//! Headers go through in rounds: in each, every header that isn't decided yet asks one table. Each
//! step is done for all headers before the next, and asks for the memory that the next one needs.
//! How many records a header meets differs from one to the next; in a list of pairs that costs no
//! jump that the processor can't foresee.
//!
//! Goes in: a [`Block`] of headers. Comes out: the best rule of each, in [`Scratch::best`].

use super::batch::{Block, Lanes, Scratch, Searches};
use super::buckets::{PILE, fingerprint};
use super::family::{Family, fold};
use super::index::{Index, NOTHING, Search, View};
use super::simd::{Vectors, Work, prefetch};
use std::sync::atomic::Ordering::Relaxed;

impl<A: Family> Index<A> {
    /// Finds the rules of a block's headers, into `scratch.best`.
    #[inline(always)]
    pub(super) fn find_all<V: Vectors>(
        &self,
        block: &Block<A>,
        view: &View<'_>,
        scratch: &mut Scratch,
        vectors: V,
        verify: impl Fn(usize, u64) -> bool,
    ) {
        let index = self;
        if self.plan.chain == 0 {
            for (place, best) in scratch.best.iter_mut().enumerate().take(block.count) {
                let verify = |value| verify(place, value);
                *best = self.find_only(&block.probe(place), view, vectors, verify);
            }
            return;
        }
        self.words.of_all(block, &mut scratch.classes, vectors);
        scratch.best = [NOTHING; _];
        loop {
            scratch.open = vectors.open(&scratch.classes, block.count);
            if scratch.open.is_empty() {
                return;
            }
            vectors.apart(Choose { index, block, scratch });
            vectors.apart(Ask { index, scratch });
            vectors.apart(Compare { index, block, view, scratch, verify: &verify });
            if !scratch.beyond.is_empty() {
                vectors.apart(Beyond { index, block, view, scratch, verify: &verify });
            }
        }
    }
}

/// Chooses a table for each open header.
struct Choose<'a, A: Family> {
    index: &'a Index<A>,
    block: &'a Block<A>,
    scratch: &'a mut Scratch,
}

impl<A: Family> Work for Choose<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { index, block, scratch } = self;
        let Scratch { classes, tables, factors, hashes, open, .. } = scratch;
        let together = block.fields().zip(index.plan.columns.as_deref());
        if let Some((fields, keys)) = together {
            vectors.choose(keys, &index.plan.seeds, fields, classes, tables, factors);
        }
        let [left, right] = factors;
        for place in open.get() {
            let Some(hash) = hashes.get_mut(place) else { continue };
            if together.is_some() {
                let both = left.get(place).zip(right.get(place));
                *hash = both.map_or(0, |(left, right)| fold(*left, *right));
            } else if let (Some(classes), Some(table)) =
                (classes.get_mut(place), tables.get_mut(place))
            {
                let mut search = Search { best: NOTHING, classes: *classes, table: 0 };
                *hash = index.plan.choose(&block.probe(place), &mut search);
                (*classes, *table) = (search.classes, search.table);
            }
            if let Some(bucket) = index.buckets.get(index.buckets.place(*hash)) {
                prefetch(bucket);
            }
        }
    }
}

/// Looks for the fingerprints of all open headers.
struct Ask<'a, A: Family> {
    index: &'a Index<A>,
    scratch: &'a mut Scratch,
}

impl<A: Family> Work for Ask<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { index, scratch } = self;
        let Scratch { best, hashes, open, beyond, pairs, .. } = scratch;
        (pairs.count, *beyond) = (0, Lanes::NONE);
        let sorted = index.sorted.load(Relaxed);
        for place in open.get() {
            let (Some(hash), Some(best)) = (hashes.get(place), best.get(place)) else { continue };
            if let Some(bucket) = index.buckets.get(index.buckets.place(*hash)) {
                let worse = ((*best as u32).min(sorted), sorted);
                let more = vectors.candidates(bucket, fingerprint(*hash), worse, place, pairs);
                beyond.push(place, more);
            }
        }
        for (_, number) in pairs.get() {
            if let Some(record) = index.records.get(number) {
                prefetch(record);
            }
        }
    }
}

/// Compares headers with records.
struct Compare<'a, A: Family, F> {
    index: &'a Index<A>,
    block: &'a Block<A>,
    view: &'a View<'a>,
    scratch: &'a mut Scratch,
    verify: &'a F,
}

impl<A: Family, F: Fn(usize, u64) -> bool> Work for Compare<'_, A, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) {
        let Self { index, block, view, scratch, verify } = self;
        let Scratch { best, classes, tables, pairs, .. } = scratch;
        let mut searches = Searches { best, classes, tables };
        for (place, number) in pairs.get() {
            let verify = |value| verify(place, value);
            searches.go_on(place, |search| {
                index.look_at(number, &block.probe(place), view, search, &verify);
            });
        }
    }
}

/// Compares headers with all that is under their hash beside the records in its own bucket.
struct Beyond<'a, A: Family, F> {
    index: &'a Index<A>,
    block: &'a Block<A>,
    view: &'a View<'a>,
    scratch: &'a mut Scratch,
    verify: &'a F,
}

impl<A: Family, F: Fn(usize, u64) -> bool> Work for Beyond<'_, A, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { index, block, view, scratch, verify } = self;
        let Scratch { best, classes, tables, hashes, beyond, pairs, .. } = scratch;
        let buckets = &index.buckets;
        let mut further = Lanes::NONE;
        pairs.count = 0;
        for place in beyond.get() {
            let (Some(hash), Some(best)) = (hashes.get(place), best.get(place)) else { continue };
            let home = buckets.place(*hash);
            let Some(bucket) = buckets.get(home) else { continue };
            let (mut slots, more) = bucket.find(fingerprint(*hash));
            while slots != 0 {
                let pile = bucket.number(slots.trailing_zeros());
                let pile = pile.and_then(|number| number.checked_sub(PILE));
                if let Some(pile) = pile.filter(|pile| index.piles.may_hold(*pile, *best)) {
                    index.piles.prefetch(pile);
                    pairs.push(place, pile);
                }
                slots &= slots - 1;
            }
            if more && let Some(bucket) = buckets.get(buckets.next(home)) {
                prefetch(bucket);
            }
            further.push(place, more);
        }
        for (_, pile) in pairs.get() {
            if let Some(pile) = index.piles.get(pile) {
                pile.prefetch();
            }
        }
        let mut searches = Searches { best, classes, tables };
        for (place, pile) in pairs.get() {
            let verify = |value| verify(place, value);
            searches.go_on(place, |search| {
                index.look_through(pile, &block.probe(place), view, search, vectors, &verify);
            });
        }
        for place in further.get() {
            let verify = |value| verify(place, value);
            let Some(hash) = hashes.get(place) else { continue };
            searches.go_on(place, |search| {
                buckets.each_from(buckets.next(buckets.place(*hash)), *hash, |number| {
                    index.look(number, &block.probe(place), view, search, vectors, &verify);
                    true
                });
            });
        }
    }
}
