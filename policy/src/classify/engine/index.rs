//! The rules of one address family, and lookups in them.
//!
//! ```text
//! header ─► words: classes that can match ─► a table of them: hash ─► bucket ─► record ─► matches?
//!             ▲                                                                     │
//!             └───── only classes that can hold a better rule than the one found ◄──┘
//! ```

use super::boxes::Point;
use super::buckets::{Buckets, PILE, fingerprint};
use super::family::{Family, Pair, Probe, Seeds};
use super::pile::Piles;
use super::plan::Plan;
use super::publish::Flux;
pub(super) use super::publish::NOTHING;
use super::record::{ALL_ZONES, Compared, EMPTY, Entry, Record, Records};
use super::words::Words;
use super::zones::Zones;
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
}

/// What a lookup sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) version: u64,
    pub(super) flux: &'a [Flux],
    pub(super) zones: &'a Zones,
}

/// The best rule so far, and where a better one can be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// Its order; [`NOTHING`] without one.
    pub(super) order: u64,
    pub(super) number: u32,
    /// The classes of the table that is being asked.
    pub(super) table: u64,
    /// Classes that may hold a better one and weren't asked yet.
    pub(super) classes: u64,
}

impl View<'_> {
    /// The order of a rule of this flux, or [`NOTHING`]; `order` is what its record says.
    #[inline]
    fn order(&self, flux: u32, order: u64) -> u64 {
        if flux == 0 { order } else { self.order_in(flux, order) }
    }

    /// Few rules have a flux: apart, it doesn't swell what all lookups go through.
    #[cold]
    #[inline(never)]
    fn order_in(&self, flux: u32, order: u64) -> u64 {
        self.flux.get(flux as usize).map_or(NOTHING, |flux| flux.order(self.version, order))
    }
}

impl<A: Family> Index<A> {
    /// Without rules, for up to `room`, laid out for these. `piled` is how many rules may be put
    /// into piles, counting those that are put there again.
    pub(super) fn new(entries: &[Entry<A>], room: usize, piled: usize, seeds: Seeds) -> Self {
        let plan = Plan::new(entries, seeds);
        Self {
            words: Words::new(&plan, room),
            plan,
            buckets: Buckets::new(room),
            records: Records::new(room),
            piles: Piles::new(piled),
            best: Box::new(std::array::from_fn(|_| AtomicU32::new(u32::MAX))),
            only: AtomicU32::new(EMPTY),
            fresh: AtomicU64::new(0),
        }
    }

    /// The number of the rule that decides, with its order.
    #[inline(always)]
    pub(super) fn find(
        &self,
        probe: &Probe<A>,
        view: &View<'_>,
        verify: impl Fn(u64) -> bool,
    ) -> Search {
        if self.plan.chain == 0 {
            return self.find_only(probe, view, verify);
        }
        let mut search =
            Search { order: NOTHING, number: 0, table: 0, classes: self.words.of(probe) };
        while search.classes != 0 {
            let hash = self.choose(probe, &mut search);
            self.buckets.each(hash, |number| {
                self.look(number, probe, view, &mut search, &verify);
                true
            });
        }
        search
    }

    /// Chooses the next table and hashes the header for it.
    #[inline(always)]
    pub(super) fn choose(&self, probe: &Probe<A>, search: &mut Search) -> u64 {
        let class = search.classes.trailing_zeros() as usize % 64;
        let [first, ..] = &*self.plan.keys;
        let key = self.plan.keys.get(class).unwrap_or(first);
        search.table = key.classes;
        search.classes &= !key.classes;
        key.hash(probe.addresses, probe.rest, &self.plan.seeds)
    }

    /// The order with which an odd record that matches a header decides it, by whether its rule
    /// counts or has another order, and by its zones; [`NOTHING`] if it doesn't.
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
        let allowed = order != NOTHING
            && (state.zones == ALL_ZONES || view.zones.hold(state.zones, probe.from(), probe.to()))
            && (!state.coarse || verify(record.value()));
        if allowed { order } else { NOTHING }
    }

    /// Compares a header with all that is under a hash beside the records of the hash's own bucket.
    pub(super) fn look_beyond(
        &self,
        hash: u64,
        probe: &Probe<A>,
        view: &View<'_>,
        search: &mut Search,
        verify: &impl Fn(u64) -> bool,
    ) {
        let place = self.buckets.place(hash);
        let Some(bucket) = self.buckets.get(place) else { return };
        let (mut slots, more) = bucket.find(fingerprint(hash));
        while slots != 0 {
            if let Some(number) = bucket.number(slots.trailing_zeros()).filter(|n| *n >= PILE) {
                self.look_through(number - PILE, probe, view, search, verify);
            }
            slots &= slots - 1;
        }
        if more {
            self.buckets.each_from(self.buckets.next(place), hash, |number| {
                self.look(number, probe, view, search, verify);
                true
            });
        }
    }

    /// Like [`Self::find`], where all rules are on one pile.
    #[inline]
    pub(super) fn find_only(
        &self,
        probe: &Probe<A>,
        view: &View<'_>,
        verify: impl Fn(u64) -> bool,
    ) -> Search {
        let mut search = Search { order: NOTHING, number: 0, table: u64::MAX, classes: 0 };
        self.look_through(self.only.load(Acquire), probe, view, &mut search, &verify);
        search
    }

    /// Compares a header with what a number stands for.
    #[inline(always)]
    fn look(
        &self,
        number: u32,
        probe: &Probe<A>,
        view: &View<'_>,
        search: &mut Search,
        verify: &impl Fn(u64) -> bool,
    ) {
        if number < PILE {
            self.look_at(number, probe, view, search, verify);
        } else {
            self.look_through(number - PILE, probe, view, search, verify);
        }
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
        let Compared { matches, head } = record.compare(probe);
        // One of another table is left to that table: the shadow of a rule takes for granted that
        // all with its key are compared, too.
        let matches = matches & (search.table >> head.class() & 1 != 0);
        let mut order = u64::from(head.order());
        if matches & head.odd() {
            order = self.allowed(record, order, probe, view, verify);
        }
        // All bits when it is better, none otherwise.
        let better = u64::from(matches & (order < search.order)).wrapping_neg();
        search.order ^= (search.order ^ order) & better;
        search.number ^= (search.number ^ number) & better as u32;
        search.classes &= record.shadow() | self.fresh.load(Relaxed) | !better;
    }

    fn look_through(
        &self,
        pile: u32,
        probe: &Probe<A>,
        view: &View<'_>,
        search: &mut Search,
        verify: &impl Fn(u64) -> bool,
    ) {
        let Some(pile) = self.piles.get(pile) else { return };
        let Pair { src, dst } = probe.addresses;
        let (rest, (skip_src, skip_dst)) = (probe.rest, pile.skip);
        let point = Point {
            addresses: [src.window(skip_src), dst.window(skip_dst)],
            rest: [rest as u16, (rest >> 16) as u16, probe.protocol().into()],
        };
        pile.find(&point, search.order, |number| {
            self.look_at(number, probe, view, search, verify);
            search.order
        });
    }

    /// What a hit on a record carries.
    pub(super) fn value(&self, number: u32) -> u64 {
        self.records.get(number).map_or(0, Record::value)
    }

    pub(super) fn memory(&self) -> usize {
        self.words.memory()
            + self.buckets.memory()
            + self.records.memory()
            + self.piles.memory()
            + size_of::<Self>()
    }
}
