//! Lookups of many headers together in rules that are settled, so that their waits for memory
//! overlap.
//!
//! ```text
//! ┌► open:    headers with classes worth asking
//! │  choose:  a table for each of them, its hash ─► seat
//! │  compare: each with who sits there ─► best rule of a header so far, and its shadow
//! └─ rest:    if that doesn't match, the others with its key, if there are any
//! ```
//!
//! Like [`super::super::rounds`], which is for rules that change. The first round is for nearly all
//! headers of a block, so its steps take several at once where there are instructions for that; the
//! others are for few.

use super::super::batch::{Block, Lanes, Scratch, Searches};
use super::super::family::Family;
use super::super::index::{NOTHING, Search};
use super::super::simd::{Vectors, Work, prefetch};
use super::super::zones::Zones;
use super::heap::Heap;
use super::hint;
use super::settled::Settled;

/// Headers up to which one after the other is faster than the whole block.
const ALONE: u32 = 16;

impl<A: Family> Settled<A> {
    /// Finds the rules of a block's headers, into `scratch.best`.
    #[inline(always)]
    pub(super) fn find_all<V: Vectors>(
        &self,
        block: &Block<A>,
        zones: &Zones,
        scratch: &mut Scratch,
        vectors: V,
        verify: impl Fn(usize, u64) -> bool,
    ) {
        let (settled, verify) = (self, &verify);
        if self.only.is_some() {
            for (place, best) in scratch.best.iter_mut().enumerate().take(block.count) {
                let verify = |value| verify(place, value);
                *best = self.find(&block.probe(place), zones, vectors, verify);
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
            vectors.apart(Choose { settled, block, scratch });
            vectors.apart(Compare { settled, block, zones, scratch, verify });
            if !scratch.beyond.is_empty() {
                vectors.apart(Rest { settled, block, zones, scratch, verify });
            }
        }
    }
}

/// Chooses a table for each open header, and the seat of its key there.
struct Choose<'a, A: Family> {
    settled: &'a Settled<A>,
    block: &'a Block<A>,
    scratch: &'a mut Scratch,
}

impl<A: Family> Work for Choose<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { settled, block, scratch } = self;
        let Settled { plan, seats, .. } = settled;
        let Scratch { classes, tables, factors, numbers, open, .. } = scratch;
        let many = open.count() > ALONE;
        if let Some((fields, keys)) = block.fields().zip(plan.columns.as_deref()).filter(|_| many) {
            vectors.choose(keys, &plan.seeds, fields, classes, tables, factors);
            vectors.seats(seats, factors, block.count, numbers);
        } else {
            for place in open.get() {
                let (Some(classes), Some(table), Some(number)) =
                    (classes.get_mut(place), tables.get_mut(place), numbers.get_mut(place))
                else {
                    continue;
                };
                let mut search = Search { best: NOTHING, classes: *classes, table: 0 };
                *number = seats.of(plan.choose(&block.probe(place), &mut search));
                (*classes, *table) = (search.classes, search.table);
            }
        }
        for place in open.get() {
            settled.expect(numbers.get(place).copied().unwrap_or(0));
        }
    }
}

/// Compares headers with who has their keys' seats.
struct Compare<'a, A: Family, F> {
    settled: &'a Settled<A>,
    block: &'a Block<A>,
    zones: &'a Zones,
    scratch: &'a mut Scratch,
    verify: &'a F,
}

impl<A: Family, F: Fn(usize, u64) -> bool> Work for Compare<'_, A, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { settled, block, zones, scratch, verify } = self;
        let Scratch { best, classes, tables, numbers, open, beyond, .. } = scratch;
        let mut searches = Searches { best, classes, tables };
        let mut alone = *open;
        *beyond = Lanes::NONE;
        let together = block.fields().zip(A::narrow_seats(&settled.rules));
        if let Some((fields, seats)) = together.filter(|_| open.count() > ALONE)
            && let Some(left) = vectors.compare(seats, numbers, fields, *open, &mut searches)
        {
            [*beyond, alone] = left;
        }
        for place in alone.get() {
            let number = numbers.get(place).copied().unwrap_or(0);
            let verify = |value| verify(place, value);
            let matches = searches.go_on(place, |search| {
                settled.look_at(number, &block.probe(place), zones, search, &verify)
            });
            let rule = settled.rules.get(number as usize);
            let others = rule.is_some_and(|rule| rule.has_others());
            beyond.push(place, (matches == Some(false)) & others);
        }
    }
}

/// Compares headers with the others with their keys.
struct Rest<'a, A: Family, F> {
    settled: &'a Settled<A>,
    block: &'a Block<A>,
    zones: &'a Zones,
    scratch: &'a mut Scratch,
    verify: &'a F,
}

impl<A: Family, F: Fn(usize, u64) -> bool> Work for Rest<'_, A, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) {
        let Self { settled, block, zones, scratch, verify } = self;
        let Scratch { best, classes, tables, numbers, beyond, pairs, .. } = scratch;
        let mut heaped = Lanes::NONE;
        pairs.count = 0;
        for place in beyond.get() {
            let Some(number) = numbers.get_mut(place) else { continue };
            let Some(rule) = settled.rules.get(*number as usize) else { continue };
            let others = rule.others();
            let hints = hint::of_header(&block.probe(place), others.view);
            vectors.others(&others, hints, place, pairs);
            if let Some(heap) = rule.heap() {
                *number = heap;
                heaped.push(place, true);
                if let Some(heap) = settled.heaps.get(heap as usize) {
                    prefetch(heap);
                }
            }
        }
        for (_, number) in pairs.get() {
            settled.expect(number);
        }
        for place in heaped.get() {
            let heap = numbers.get(place).and_then(|heap| settled.heaps.get(*heap as usize));
            heap.into_iter().for_each(Heap::prefetch);
        }
        let mut searches = Searches { best, classes, tables };
        for (place, number) in pairs.get() {
            let verify = |value| verify(place, value);
            searches.go_on(place, |search| {
                settled.look_at(number, &block.probe(place), zones, search, &verify);
            });
        }
        for place in heaped.get() {
            let Some(heap) = numbers.get(place) else { continue };
            let verify = |value| verify(place, value);
            searches.go_on(place, |search| {
                let probe = block.probe(place);
                settled.look_through(*heap, &probe, zones, search, vectors, &verify);
            });
        }
    }
}
