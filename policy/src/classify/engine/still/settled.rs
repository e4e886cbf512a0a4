//! The rules of one address family when they don't change any more, laid out for lookups alone.
//!
//! ```text
//! header ─► words: classes that can match ─► a table of them: hash ─► seat: rule ─► matches?
//!             ▲                                                         │             │
//!             │                  others with its key, by their hints ◄──┴── if not ◄──┤
//!             └─ only classes that can hold a better rule than the one found ◄────────┘
//! ```
//!
//! Of the rules that share a key the best one has the key's seat, see [`Seats`], and knows where the
//! others are. So a lookup waits for one rule where tables that change have it wait for a bucket
//! first.
//!
//! Not here: how an [`Index`](super::super::index::Index) is laid out so, see [`super::settle`];
//! batches, see [`super::rounds`].

use super::super::family::{Family, Probe};
use super::super::index::{Best, NOTHING, Search};
use super::super::packed::Compared;
use super::super::plan::Plan;
use super::super::record::Entry;
use super::super::rule::Hit;
use super::super::simd::{Vectors, Work, prefetch};
use super::super::words::Words;
use super::super::zones::Zones;
use super::heap::Heap;
use super::hint;
use super::seat::{Others, Seat};
use super::seats::Seats;
use std::hint::select_unpredictable;

/// The rules of one family.
#[derive(Debug)]
pub(in super::super) struct Settled<A: Family> {
    pub(in super::super) plan: Plan<A>,
    pub(super) words: Words,
    pub(super) seats: Seats,
    /// The best rule of each key in the key's seat, then the rest.
    pub(in super::super) rules: Box<[Seat<A>]>,
    /// Rules that share a key, where they are many.
    pub(super) heaps: Box<[Heap<A>]>,
    /// The heap of all rules where there is nothing else, see [`Plan::chain`].
    pub(super) only: Option<u32>,
}

/// As much as a core's second cache has today, or more.
const FAR: usize = 2 << 20;

/// The other rules with the key of one that doesn't match. Few lookups get here; apart, it leaves
/// the others all registers.
struct Rest<'a, A: Family, F> {
    settled: &'a Settled<A>,
    heap: Option<u32>,
    others: Others,
    probe: &'a Probe<A>,
    zones: &'a Zones,
    search: Search,
    verify: &'a F,
}

impl<A: Family, F: Fn(u64) -> bool> Work for Rest<'_, A, F> {
    type Output = Search;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Search {
        let Self { settled, heap, others, probe, zones, mut search, verify } = self;
        match heap {
            Some(heap) => settled.look_through(heap, probe, zones, &mut search, vectors, verify),
            None => {
                let mut left = others.allowed(hint::of_header(probe, others.view));
                // What comes after one that matches decides after it.
                while left != 0 {
                    let number = others.first + left.trailing_zeros();
                    left &= left - 1;
                    if settled.look_at(number, probe, zones, &mut search, verify) {
                        break;
                    }
                }
            }
        }
        search
    }
}

impl<A: Family> Settled<A> {
    /// The rule that decides.
    #[inline(always)]
    pub(super) fn find<V: Vectors>(
        &self,
        probe: &Probe<A>,
        zones: &Zones,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Best {
        let (settled, verify) = (self, &verify);
        let mut search = Search { best: NOTHING, classes: 0, table: u64::MAX };
        if let Some(only) = self.only {
            self.look_through(only, probe, zones, &mut search, vectors, verify);
            return search.best;
        }
        search.classes = self.words.of(probe);
        // What is near is looked at sooner than it is known to be needless.
        let far = size_of_val(&*self.rules) > FAR;
        while search.classes != 0 {
            let number = self.seats.of(self.plan.choose(probe, &mut search));
            if far {
                self.expect_next(probe, search);
            }
            let matches = self.look_at(number, probe, zones, &mut search, verify);
            if !matches
                && let Some(rule) = self.rules.get(number as usize)
                && rule.has_others()
            {
                let (heap, others) = (rule.heap(), rule.others());
                search =
                    vectors.apart(Rest { settled, heap, others, probe, zones, search, verify });
            }
        }
        search.best
    }

    /// Asks for the seat in the table after the one that is being asked. What is found there may
    /// make it needless, but who waits for that waits for memory once more, if it is far away.
    #[inline(always)]
    fn expect_next(&self, probe: &Probe<A>, mut search: Search) {
        if search.classes != 0 {
            let number = self.seats.of(self.plan.choose(probe, &mut search));
            self.expect(number);
        }
    }

    /// Asks for the memory of a rule.
    #[inline(always)]
    pub(super) fn expect(&self, number: u32) {
        if let Some(rule) = self.rules.get(number as usize) {
            prefetch(rule);
        }
    }

    /// Compares a header with a rule; says whether it matches.
    #[inline(always)]
    pub(super) fn look_at(
        &self,
        number: u32,
        probe: &Probe<A>,
        zones: &Zones,
        search: &mut Search,
        verify: &impl Fn(u64) -> bool,
    ) -> bool {
        let Some(rule) = self.rules.get(number as usize) else { return false };
        let Compared { matches, head } = rule.compare(probe);
        // One of another table is left to that table: the shadow of a rule takes for granted that
        // all with its key are compared, too.
        let mut matches = matches & (search.table >> head.class() & 1 != 0);
        if matches & head.odd() {
            matches = rule.allows(probe, zones, verify);
        }
        let own = u64::from(head.order()) << 32 | u64::from(number);
        let better = matches & (own < search.best);
        search.best = select_unpredictable(better, own, search.best);
        search.classes &= select_unpredictable(better, rule.shadow, u64::MAX);
        matches
    }

    /// Compares a header with the rules of a heap.
    #[inline(always)]
    pub(super) fn look_through<V: Vectors>(
        &self,
        heap: u32,
        probe: &Probe<A>,
        zones: &Zones,
        search: &mut Search,
        vectors: V,
        verify: &impl Fn(u64) -> bool,
    ) {
        let Some(heap) = self.heaps.get(heap as usize) else { return };
        heap.find(probe, search.best, vectors, verify, |number| {
            self.look_at(number, probe, zones, search, verify);
            search.best
        });
    }

    /// What a hit on a rule says.
    #[inline(always)]
    pub(super) fn hit(&self, best: Best) -> Option<Hit> {
        Seat::hit(&self.rules, best)
    }

    /// The rules, by the numbers that they had in the index.
    pub(in super::super) fn entries(&self) -> Vec<Entry<A>> {
        let taken = self.rules.iter().filter_map(|seat| Some((seat.rule, seat.entry()?)));
        let mut entries: Vec<(u32, Entry<A>)> = taken.collect();
        entries.sort_unstable_by_key(|(rule, _)| *rule);
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    pub(super) fn memory(&self) -> usize {
        self.words.memory()
            + self.seats.memory()
            + size_of_val(&*self.rules)
            + size_of_val(&*self.heaps)
            + self.heaps.iter().map(Heap::memory).sum::<usize>()
            + size_of::<Self>()
    }
}
