//! The rules of one address family, and lookups in them.
//!
//! ```text
//! header ─► words: classes that can match ─► a table of them: hash ─► bucket ─► record ─► matches?
//!             ▲                                                                     │
//!             └───── only classes that can hold a better rule than the one found ◄──┘
//! ```

use super::boxes::Point;
use super::buckets::{Buckets, PILE, fingerprint};
use super::family::{Family, Pair, Probe};
use super::packed::Compared;
use super::piles::Piles;
use super::plan::Plan;
use super::publish::{Flux, NO_ORDER};
use super::record::{ALL_ZONES, EMPTY, Record, Records};
use super::rule::Hit;
use super::simd::{Vectors, Work, prefetch};
use super::words::Words;
use super::zones::Zones;
use std::hint::select_unpredictable;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed},
};

/// The rules of one family.
#[derive(Debug)]
pub(super) struct Index<A: Family> {
    pub(super) plan: Plan<A>,
    pub(super) words: Words,
    pub(super) buckets: Buckets,
    pub(super) records: Records<A>,
    pub(super) piles: Piles,
    /// The best order that ever was in a class.
    pub(super) best: Box<[AtomicU32; 64]>,
    /// The pile of all rules where there is nothing else, see [`Plan::chain`].
    pub(super) only: AtomicU32,
    /// Classes with rules that the shadows of others don't know of.
    pub(super) fresh: AtomicU64,
    /// Records before this one are in the order of decision: of a rule that was found among them
    /// those between the two can't decide before it.
    pub(super) sorted: AtomicU32,
}

/// What a lookup sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) version: u64,
    pub(super) flux: &'a [Flux],
    pub(super) zones: &'a Zones,
}

/// A rule by its order << 32 and its record's number: the lesser decides.
pub(super) type Best = u64;

/// No rule: more than any.
pub(super) const NOTHING: Best = u64::MAX;

/// Where a lookup has got to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// The best rule so far.
    pub(super) best: Best,
    /// Classes that may hold a better one and weren't asked yet.
    pub(super) classes: u64,
    /// The classes of the table that is being asked.
    pub(super) table: u64,
}

/// A lookup where all rules are on one pile.
struct Only<'a, A: Family, F> {
    index: &'a Index<A>,
    probe: &'a Probe<A>,
    view: &'a View<'a>,
    verify: &'a F,
}

impl<A: Family, F: Fn(u64) -> bool> Work for Only<'_, A, F> {
    type Output = Best;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Best {
        let Self { index, probe, view, verify } = self;
        index.find_only(probe, view, vectors, verify)
    }
}

/// The rest of what is under a hash, when the records in its own bucket are done: piles, and further
/// buckets. Few lookups get here; apart, it leaves the others all registers.
struct Beyond<'a, A: Family, F> {
    index: &'a Index<A>,
    hash: u64,
    probe: &'a Probe<A>,
    view: &'a View<'a>,
    search: Search,
    verify: &'a F,
}

impl<A: Family, F: Fn(u64) -> bool> Work for Beyond<'_, A, F> {
    type Output = Search;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Search {
        let Self { index, hash, probe, view, mut search, verify } = self;
        let home = index.buckets.place(hash);
        let Some(bucket) = index.buckets.get(home) else { return search };
        let (mut slots, more) = bucket.find(fingerprint(hash));
        while slots != 0 {
            let pile = bucket.number(slots.trailing_zeros());
            if let Some(pile) = pile.and_then(|number| number.checked_sub(PILE)) {
                index.look_through(pile, probe, view, &mut search, vectors, verify);
            }
            slots &= slots - 1;
        }
        if more {
            index.buckets.each_from(index.buckets.next(home), hash, |number| {
                index.look(number, probe, view, &mut search, vectors, verify);
                true
            });
        }
        search
    }
}

impl View<'_> {
    /// The order of a rule of this flux, or [`NO_ORDER`]; `order` is what its record says.
    #[inline]
    fn order(&self, flux: u32, order: u64) -> u64 {
        if flux == 0 { order } else { self.order_in(flux, order) }
    }

    /// Few rules have a flux: apart, it doesn't swell what all lookups go through.
    #[cold]
    #[inline(never)]
    fn order_in(&self, flux: u32, order: u64) -> u64 {
        self.flux.get(flux as usize).map_or(NO_ORDER, |flux| flux.order(self.version, order))
    }
}

impl<A: Family> Index<A> {
    /// Without rules, for up to `room` of them. `piled` is how many may be put into piles, counting
    /// those that are put there again.
    pub(super) fn new(plan: Plan<A>, room: usize, piled: usize) -> Self {
        Self {
            words: Words::new(&plan, room),
            plan,
            buckets: Buckets::new(room),
            records: Records::new(room),
            piles: Piles::new(piled),
            best: Box::new(std::array::from_fn(|_| AtomicU32::new(u32::MAX))),
            only: AtomicU32::new(EMPTY),
            fresh: AtomicU64::new(0),
            sorted: AtomicU32::new(0),
        }
    }

    /// The rule that decides.
    #[inline(always)]
    pub(super) fn find<V: Vectors>(
        &self,
        probe: &Probe<A>,
        view: &View<'_>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Best {
        if self.plan.chain == 0 {
            return vectors.apart(Only { index: self, probe, view, verify: &verify });
        }
        let classes = self.words.of(probe);
        let mut search = Search { best: NOTHING, classes, table: 0 };
        // What is near is looked at sooner than it is known to be needless.
        let far = self.buckets.are_far();
        let sorted = if far { self.sorted.load(Relaxed) } else { 0 };
        while search.classes != 0 {
            let hash = self.plan.choose(probe, &mut search);
            if far {
                self.expect_next(probe, search);
            }
            let Some(bucket) = self.buckets.get(self.buckets.place(hash)) else { continue };
            let (mut slots, mut more) = bucket.find(fingerprint(hash));
            while slots != 0 {
                let number = bucket.number(slots.trailing_zeros()).unwrap_or(PILE);
                slots &= slots - 1;
                if number >= PILE {
                    more = true;
                } else if sorted <= number || number <= search.best as u32 {
                    self.look_at_both_lines(number, probe, view, &mut search, &verify);
                }
            }
            if more {
                let verify = &verify;
                search = vectors.apart(Beyond { index: self, hash, probe, view, search, verify });
            }
        }
        search.best
    }

    /// Asks for the bucket of the table after the one that is being asked. What is found there may
    /// make it needless, but who waits for that waits for memory once more, if it is far away.
    #[inline(always)]
    fn expect_next(&self, probe: &Probe<A>, mut search: Search) {
        if search.classes != 0 {
            let hash = self.plan.choose(probe, &mut search);
            if let Some(bucket) = self.buckets.get(self.buckets.place(hash)) {
                prefetch(bucket);
            }
        }
    }

    /// The order with which an odd record that matches a header decides it, by whether its rule
    /// counts or has another order, and by its zones; [`NO_ORDER`] if it doesn't.
    #[inline]
    fn allowed(
        &self,
        record: &Record<A::Cell>,
        order: u64,
        probe: &Probe<A>,
        view: &View<'_>,
        verify: &impl Fn(u64) -> bool,
    ) -> u64 {
        let state = record.state();
        let order = view.order(state.flux, order);
        let allowed = order != NO_ORDER
            && (state.zones == ALL_ZONES || view.zones.hold(state.zones, probe.from(), probe.to()))
            && (!state.coarse || verify(record.value()));
        if allowed { order } else { NO_ORDER }
    }

    /// Like [`Self::find`], where all rules are on one pile.
    #[inline(always)]
    pub(super) fn find_only<V: Vectors>(
        &self,
        probe: &Probe<A>,
        view: &View<'_>,
        vectors: V,
        verify: impl Fn(u64) -> bool,
    ) -> Best {
        let mut search = Search { best: NOTHING, classes: 0, table: u64::MAX };
        let only = self.only.load(Acquire);
        self.look_through(only, probe, view, &mut search, vectors, &verify);
        search.best
    }

    /// Compares a header with what a number stands for.
    #[inline(always)]
    pub(super) fn look<V: Vectors>(
        &self,
        number: u32,
        probe: &Probe<A>,
        view: &View<'_>,
        search: &mut Search,
        vectors: V,
        verify: &impl Fn(u64) -> bool,
    ) {
        match number.checked_sub(PILE) {
            None => self.look_at_both_lines(number, probe, view, search, verify),
            Some(pile) => self.look_through(pile, probe, view, search, vectors, verify),
        }
    }

    /// Compares a header with a record for which no memory has been asked yet: what a hit carries may
    /// be on the record's second line.
    #[inline(always)]
    fn look_at_both_lines(
        &self,
        number: u32,
        probe: &Probe<A>,
        view: &View<'_>,
        search: &mut Search,
        verify: &impl Fn(u64) -> bool,
    ) {
        if let Some(record) = self.records.get(number) {
            prefetch(record);
        }
        self.look_at(number, probe, view, search, verify);
    }

    #[inline(always)]
    pub(super) fn look_at(
        &self,
        number: u32,
        probe: &Probe<A>,
        view: &View<'_>,
        search: &mut Search,
        verify: &impl Fn(u64) -> bool,
    ) {
        let Some(record) = self.records.get(number) else { return };
        let Compared { matches, head } = record.packed().compare(probe);
        // One of another table is left to that table: the shadow of a rule takes for granted that
        // all with its key are compared, too.
        let mut matches = matches & (search.table >> head.class() & 1 != 0);
        let mut order = u64::from(head.order());
        if matches & head.odd() {
            order = self.allowed(record, order, probe, view, verify);
            matches = order != NO_ORDER;
        }
        let own = order << 32 | u64::from(number);
        let left = record.shadow() | self.fresh.load(Relaxed);
        let better = matches & (own < search.best);
        search.best = select_unpredictable(better, own, search.best);
        search.classes &= select_unpredictable(better, left, u64::MAX);
    }

    /// Compares a header with the rules of a pile.
    #[inline(always)]
    pub(super) fn look_through<V: Vectors>(
        &self,
        pile: u32,
        probe: &Probe<A>,
        view: &View<'_>,
        search: &mut Search,
        vectors: V,
        verify: &impl Fn(u64) -> bool,
    ) {
        if !self.piles.may_hold(pile, search.best) {
            return;
        }
        let Some(pile) = self.piles.get(pile) else { return };
        let Pair { src, dst } = probe.addresses;
        let (rest, (skip_src, skip_dst)) = (probe.rest, pile.skip);
        let point = Point {
            addresses: [src.window(skip_src), dst.window(skip_dst)],
            rest: [rest as u16, (rest >> 16) as u16, probe.protocol().into()],
        };
        pile.find(&point, search.best, vectors, |number| {
            self.look_at(number, probe, view, search, verify);
            search.best
        });
    }

    /// What a hit on a rule says.
    #[inline(always)]
    pub(super) fn hit(&self, best: Best) -> Option<Hit> {
        let order = (best >> 32) as u32;
        let value = self.records.get(best as u32).map(Record::value);
        value.filter(|_| best != NOTHING).map(|value| Hit { order, value })
    }

    pub(super) fn memory(&self) -> usize {
        self.words.memory()
            + self.buckets.memory()
            + self.records.memory()
            + self.piles.memory()
            + size_of::<Self>()
    }
}
