//! Lookups of many headers together, so that their waits for memory overlap.
//!
//! Headers go through in rounds: in each, every header that isn't decided yet asks one table. While
//! the bucket of one is on its way, the hash of the next is computed, and the same with records.

use super::family::{Family, Pair, Probe};
use super::index::{Asked, Index, NOTHING, Search, View};
use super::simd::prefetch;

/// Headers of a block: enough to hide a wait, few enough to stay in the first cache.
pub(super) const WIDTH: usize = 32;

/// Headers of one family, field by field.
#[derive(Clone, Debug)]
pub(super) struct Block<A> {
    pub(super) src: [A; WIDTH],
    pub(super) dst: [A; WIDTH],
    /// Source port, and destination port << 16.
    pub(super) ports: [u32; WIDTH],
    /// Protocol, ingress zone << 8, egress zone << 16.
    pub(super) rest: [u32; WIDTH],
    pub(super) count: usize,
}

impl<A: Family> Block<A> {
    pub(super) const fn new() -> Self {
        Self {
            src: [A::ZERO; WIDTH],
            dst: [A::ZERO; WIDTH],
            ports: [0; WIDTH],
            rest: [0; WIDTH],
            count: 0,
        }
    }

    /// Adds a header, if there is room; returns its place.
    #[inline]
    pub(super) fn push(&mut self, probe: &Probe<A>) -> Option<usize> {
        let place = self.count;
        *self.src.get_mut(place)? = probe.addresses.src;
        *self.dst.get_mut(place)? = probe.addresses.dst;
        *self.ports.get_mut(place)? = probe.rest as u32;
        let zones = u32::from(probe.from) << 8 | u32::from(probe.to) << 16;
        *self.rest.get_mut(place)? = (probe.rest >> 32) as u32 | zones;
        self.count += 1;
        Some(place)
    }

    #[inline]
    pub(super) fn probe(&self, place: usize) -> Option<Probe<A>> {
        let rest = *self.rest.get(place)?;
        Some(Probe {
            addresses: Pair { src: *self.src.get(place)?, dst: *self.dst.get(place)? },
            rest: u64::from(*self.ports.get(place)?) | u64::from(rest & 0xff) << 32,
            from: (rest >> 8) as u8,
            to: (rest >> 16) as u8,
        })
    }
}

impl<A: Family> Index<A> {
    /// Finds the rules of a block's headers.
    #[inline]
    pub(super) fn find_all(
        &self,
        block: &Block<A>,
        view: &View<'_>,
        verify: impl Fn(usize, u64) -> bool,
    ) -> [Search; WIDTH] {
        if self.plan.chain == 0 {
            return std::array::from_fn(|place| match block.probe(place) {
                Some(probe) if place < block.count => {
                    self.find_only(&probe, view, |value| verify(place, value))
                }
                _ => Search { order: NOTHING, number: 0, table: 0, classes: 0 },
            });
        }
        let mut classes = [0; WIDTH];
        self.words.of_all(block, &mut classes);
        let mut searches =
            classes.map(|classes| Search { order: NOTHING, number: 0, table: 0, classes });
        let mut lanes = [Asked::default(); WIDTH];
        let mut open = (1u64 << block.count.min(WIDTH)) - 1;
        loop {
            // Choose a table for each.
            each(open, |place| {
                let (Some(search), Some(lane)) = (searches.get_mut(place), lanes.get_mut(place))
                else {
                    return;
                };
                let (Some(table), Some(probe)) = (self.next(search), block.probe(place)) else {
                    open &= !(1 << place);
                    return;
                };
                lane.hash = table.hash(probe.addresses, probe.rest, &self.plan.seeds);
                lane.place = self.buckets.place(lane.hash);
                if let Some(bucket) = self.buckets.get(lane.place) {
                    prefetch(bucket);
                }
            });
            if open == 0 {
                return searches;
            }
            // Look for fingerprints.
            each(open, |place| {
                let Some(lane) = lanes.get_mut(place) else { return };
                self.fetch(lane);
                for number in lane.numbers {
                    if let Some(record) = self.records.get(number) {
                        prefetch(record);
                    }
                }
            });
            // Compare with the records.
            each(open, |place| {
                let (Some(search), Some(lane)) = (searches.get_mut(place), lanes.get_mut(place))
                else {
                    return;
                };
                if let Some(probe) = block.probe(place) {
                    self.settle(lane, &probe, view, search, &|value| verify(place, value));
                }
            });
        }
    }
}

#[inline]
fn each(mut open: u64, mut work: impl FnMut(usize)) {
    while open != 0 {
        work(open.trailing_zeros() as usize);
        open &= open - 1;
    }
}
