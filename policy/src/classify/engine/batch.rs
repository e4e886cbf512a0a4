//! Lookups of many headers together, so that their waits for memory overlap.
//!
//! Headers go through in rounds: in each, every header that isn't decided yet asks one table. A
//! round has steps, each for all headers before the next: choose a table and compute the hash, look
//! for fingerprints, compare with records. How many records a header meets differs from one to the
//! next; as a list of pairs they cost no jump that the processor can't foresee.

use super::buckets::{PILE, SLOTS, fingerprint};
use super::family::{Family, Probe};
use super::index::{Index, NOTHING, Search, View};
use super::simd::{self, prefetch};

/// Headers of a block: enough to hide a wait, few enough to stay in the first cache.
pub(super) const WIDTH: usize = 64;
/// Pairs of a header and a record: as many as a bucket each has, and what one vector holds.
pub(super) const PAIRS: usize = WIDTH * SLOTS as usize + 16;

/// Headers of one family, field by field.
#[derive(Clone, Debug)]
pub(super) struct Block<A> {
    pub(super) src: [A; WIDTH],
    pub(super) dst: [A; WIDTH],
    /// Source port, and destination port << 16.
    pub(super) ports: [u32; WIDTH],
    /// Protocol, ingress zone << 8, egress zone << 16.
    pub(super) rest: [u32; WIDTH],
    probes: [Probe<A>; WIDTH],
    pub(super) count: usize,
}

/// Memory of a batch, used again for each of its blocks.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) searches: [Search; WIDTH],
    classes: [u64; WIDTH],
    open: Lanes,
    /// Headers with more than records under their key.
    rest: Lanes,
    asked: [Asked; WIDTH],
    pairs: Pairs,
}

/// What a header asks a table for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    hash: u64,
    /// The place of a bucket.
    pub(super) place: u32,
    pub(super) fingerprint: u8,
}

/// Headers of a block, by their places.
#[derive(Debug)]
pub(super) struct Lanes {
    places: [u8; WIDTH],
    count: usize,
}

/// Headers and the numbers of records that they are to be compared with.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) places: [u32; PAIRS],
    pub(super) numbers: [u32; PAIRS],
    pub(super) count: usize,
}

impl Lanes {
    const fn new() -> Self {
        Self { places: [0; WIDTH], count: 0 }
    }

    /// Adds a header if `really`, without a jump.
    #[inline]
    pub(super) fn push(&mut self, place: u8, really: bool) {
        if let Some(cell) = self.places.get_mut(self.count) {
            *cell = place;
            self.count += usize::from(really);
        }
    }

    #[inline]
    pub(super) fn get(&self) -> &[u8] {
        self.places.get(..self.count).unwrap_or_default()
    }
}

impl Pairs {
    #[inline]
    fn push(&mut self, place: u8, number: u32) {
        let cells = self.places.get_mut(self.count).zip(self.numbers.get_mut(self.count));
        if let Some((of, cell)) = cells {
            (*of, *cell) = (place.into(), number);
            self.count += 1;
        }
    }

    #[inline]
    fn get(&self) -> impl Iterator<Item = (usize, u32)> {
        let pairs = self.places.iter().zip(&self.numbers).take(self.count);
        pairs.map(|(place, number)| (*place as usize, *number))
    }
}

impl Scratch {
    pub(super) const fn new() -> Self {
        let search = Search { order: NOTHING, number: 0, table: 0, classes: 0 };
        Self {
            searches: [search; WIDTH],
            classes: [0; WIDTH],
            open: Lanes::new(),
            rest: Lanes::new(),
            asked: [Asked { hash: 0, place: 0, fingerprint: 0 }; WIDTH],
            pairs: Pairs { places: [0; PAIRS], numbers: [0; PAIRS], count: 0 },
        }
    }
}

impl<A: Family> Block<A> {
    pub(super) const fn new() -> Self {
        Self {
            src: [A::ZERO; WIDTH],
            dst: [A::ZERO; WIDTH],
            ports: [0; WIDTH],
            rest: [0; WIDTH],
            probes: [Probe::ZERO; WIDTH],
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
        *self.probes.get_mut(place)? = *probe;
        self.count += 1;
        Some(place)
    }

    #[inline]
    pub(super) fn probe(&self, place: usize) -> &Probe<A> {
        let [first, ..] = &self.probes;
        self.probes.get(place).unwrap_or(first)
    }
}

impl<A: Family> Index<A> {
    /// Finds the rules of a block's headers, into `scratch.searches`.
    pub(super) fn find_all(
        &self,
        block: &Block<A>,
        view: &View<'_>,
        scratch: &mut Scratch,
        verify: impl Fn(usize, u64) -> bool,
    ) {
        let Scratch { searches, classes, open, rest, asked, pairs } = scratch;
        if self.plan.chain == 0 {
            for (place, search) in searches.iter_mut().enumerate().take(block.count) {
                let probe = block.probe(place);
                *search = self.find_only(probe, view, |value| verify(place, value));
            }
            return;
        }
        self.words.of_all(block, classes);
        open.count = 0;
        let lanes = searches.iter_mut().zip(&*classes).take(block.count);
        for ((place, (search, classes)), _) in (0u8..).zip(lanes).zip(0..WIDTH) {
            *search = Search { order: NOTHING, number: 0, table: 0, classes: *classes };
            open.push(place, *classes != 0);
        }
        while open.count != 0 {
            for place in open.get() {
                let place = usize::from(*place) % WIDTH;
                let (Some(search), Some(asked)) = (searches.get_mut(place), asked.get_mut(place))
                else {
                    continue;
                };
                let class = search.classes.trailing_zeros() as usize % 64;
                let Some(key) = self.plan.keys.get(class) else { continue };
                let probe = block.probe(place);
                search.table = key.classes;
                search.classes &= !key.classes;
                asked.hash = key.hash(probe.addresses, probe.rest, &self.plan.seeds);
                asked.fingerprint = fingerprint(asked.hash);
                asked.place = self.buckets.place(asked.hash) as u32;
                if let Some(bucket) = self.buckets.get(asked.place as usize) {
                    prefetch(bucket);
                }
            }
            (pairs.count, rest.count) = (0, 0);
            if !simd::candidates(self.buckets.all(), open.get(), asked, pairs, rest) {
                self.candidates(open.get(), asked, pairs, rest);
            }
            for (_, number) in pairs.get() {
                if let Some(record) = self.records.get(number) {
                    prefetch(record);
                }
            }
            for (place, number) in pairs.get() {
                let Some(search) = searches.get_mut(place % WIDTH) else { continue };
                let verify = |value| verify(place, value);
                self.look_at(number, block.probe(place), view, search, &verify);
            }
            for place in rest.get() {
                let place = usize::from(*place) % WIDTH;
                let (Some(search), Some(asked)) = (searches.get_mut(place), asked.get(place))
                else {
                    continue;
                };
                let verify = |value| verify(place, value);
                self.look_beyond(asked.hash, block.probe(place), view, search, &verify);
            }
            let before = std::mem::replace(open, Lanes::new());
            for place in before.get() {
                let search = searches.get(usize::from(*place) % WIDTH);
                open.push(*place, search.is_some_and(|search| search.classes != 0));
            }
        }
    }

    /// Looks for fingerprints in the buckets of headers, without vectors.
    fn candidates(&self, open: &[u8], asked: &[Asked; WIDTH], pairs: &mut Pairs, rest: &mut Lanes) {
        for place in open {
            let Some(asked) = asked.get(usize::from(*place) % WIDTH) else { continue };
            let Some(bucket) = self.buckets.get(asked.place as usize) else { continue };
            let (mut slots, mut beyond) = bucket.find(asked.fingerprint);
            while slots != 0 {
                match bucket.number(slots.trailing_zeros()) {
                    Some(number) if number < PILE => pairs.push(*place, number),
                    _ => beyond = true,
                }
                slots &= slots - 1;
            }
            rest.push(*place, beyond);
        }
    }
}
