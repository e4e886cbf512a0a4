//! Which classes can match a header, field by field.
//!
//! For each field there is a small map from its value to a word with a bit for each class that has
//! a rule for it; the AND of the words of all fields has the classes worth asking. Bits are set
//! when rules come and stay when they go: a bit too many costs time, never an answer.
//!
//! All maps lie in one list, so that the words of several headers can be gathered together.

use super::batch::{Block, WIDTH};
use super::family::{Family, Probe};
use super::plan::{Plan, SLOTS, Side, Table, slot};
use super::ranges::{Range, Ranges};
use super::record::Entry;
use super::simd::Vectors;
use crate::matching::PortRange;
use crate::zone::ZoneSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Lengths that an address is cut to, without 0.
pub(super) const LEVELS: usize = 5;
/// Words for exact ports; ports that differ by a multiple share one.
const EXACT: usize = 4096;
/// Words for blocks of ports, for protocols and for zones.
const SMALL: usize = 256;

/// The maps of one family.
#[derive(Debug)]
pub(super) struct Words {
    words: Box<[AtomicU64]>,
    maps: Maps,
    /// Classes that every value of a field has, by the field; see [`Words::add_all`].
    all: [AtomicU64; 5],
    /// Classes of tables that don't hash an address.
    any: [AtomicU64; 2],
    /// Which ranges of ports have which classes already. Not for readers.
    ranges: Ranges,
    /// Whether some rule is for some source ports only, and whether one is for some zones only.
    told: [AtomicBool; 2],
}

/// Where the maps begin.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    /// The map of addresses, one for all: whatever is cut to one length or another has bits of its
    /// own in each word.
    pub(super) start: u32,
    /// From a scattered address to its place in that map.
    pub(super) shift: u8,
    /// Source, then destination address, by the lengths that tables cut them to.
    pub(super) addresses: [[Option<Level>; LEVELS]; 2],
    /// Source, then destination ports: exact ones, then blocks of 256 that ranges meet.
    pub(super) ports: [(u32, u32); 2],
    pub(super) protocol: u32,
    /// Ingress, then egress zone.
    pub(super) zones: [u32; 2],
}

/// An address cut to one length.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Level {
    /// The classes that count in a word, by the address's slot, see [`Plan::picks`].
    pub(super) picks: [u64; SLOTS],
    pub(super) len: u8,
}

impl Words {
    pub(super) fn new<A: Family>(plan: &Plan<A>, rules: usize) -> Self {
        // As many words as rules keep most bits to one rule; beyond 16,384 a quarter of a core's
        // second cache is worth more than that, and beyond 65,536 all of it.
        let words = rules.min(1 << 14).max(rules / 16).clamp(1 << 10, 1 << 16);
        let bits = words.next_power_of_two().ilog2();
        let mut size = 0u32;
        let mut take = |count: usize| {
            let start = size;
            size += count as u32;
            start
        };
        let ports = [(take(EXACT), take(SMALL)), (take(EXACT), take(SMALL))];
        let protocol = take(SMALL);
        let zones = [take(SMALL), take(SMALL)];
        let start = take(1 << bits);
        let levels = |side: Side, cuts: &[u8]| {
            let mut cuts = cuts.iter().copied().filter(|len| *len > 0);
            std::array::from_fn(|_| {
                let len = cuts.next()?;
                Some(Level { picks: plan.picks(side, len), len })
            })
        };
        let addresses = [levels(Side::Src, &plan.src_cuts), levels(Side::Dst, &plan.dst_cuts)];
        let shift = 32 - bits as u8;
        Self {
            words: (0..size).map(|_| AtomicU64::new(0)).collect(),
            maps: Maps { start, shift, addresses, ports, protocol, zones },
            all: Default::default(),
            any: Default::default(),
            ranges: Ranges::default(),
            told: Default::default(),
        }
    }

    /// Adds a rule of a class.
    pub(super) fn add<A: Family>(
        &self,
        entry: &Entry<A>,
        table: &Table<A>,
        class: u8,
        (from, to): (ZoneSet, ZoneSet),
    ) {
        let bit = 1 << class;
        let [any_src, any_dst] = &self.any;
        let [src, dst] = &self.maps.addresses;
        self.add_address(src, any_src, entry.addresses.src, table.shape().src_len, bit);
        self.add_address(dst, any_dst, entry.addresses.dst, table.shape().dst_len, bit);
        let [ports_told, zones_told] = &self.told;
        tell(ports_told, entry.src_port != PortRange::ANY);
        tell(zones_told, (from, to) != (ZoneSet::ALL, ZoneSet::ALL));
        let [src, dst] = self.maps.ports;
        let [all_src, all_dst, all_protocol, all_from, all_to] = &self.all;
        self.add_ports(src, all_src, entry.src_port, bit);
        self.add_ports(dst, all_dst, entry.dst_port, bit);
        let protocol = self.maps.protocol;
        match entry.protocol {
            Some(number) => self.set(protocol + u32::from(number), bit),
            None => self.add_all(protocol, all_protocol, bit),
        }
        let [start_from, start_to] = self.maps.zones;
        for (start, all, zones) in [(start_from, all_from, from), (start_to, all_to, to)] {
            if zones == ZoneSet::ALL {
                self.add_all(start, all, bit);
            } else {
                zones.iter().for_each(|zone| self.set(start + u32::from(zone.index()), bit));
            }
        }
    }

    /// The classes that can match a header.
    #[inline(always)]
    pub(super) fn of<A: Family>(&self, probe: &Probe<A>) -> u64 {
        let [from, to] = self.maps.zones;
        let [_, zones_told] = &self.told;
        let mut classes = self.without_zones(probe);
        if zones_told.load(Relaxed) {
            classes &= self.get(from + u32::from(probe.from()));
            classes &= self.get(to + u32::from(probe.to()));
        }
        classes
    }

    #[inline(always)]
    fn without_zones<A: Family>(&self, probe: &Probe<A>) -> u64 {
        let [src, dst] = &self.maps.addresses;
        let [any_src, any_dst] = &self.any;
        let [src_port, dst_port] = self.maps.ports;
        let [ports_told, _] = &self.told;
        let mut classes = self.address(src, any_src, probe.addresses.src)
            & self.address(dst, any_dst, probe.addresses.dst)
            & self.port(dst_port, (probe.rest >> 16) as u16)
            & self.get(self.maps.protocol + u32::from(probe.protocol()));
        if ports_told.load(Relaxed) {
            classes &= self.port(src_port, probe.rest as u16);
        }
        classes
    }

    /// The classes that can match each header of a block.
    #[inline(always)]
    pub(super) fn of_all<A: Family, V: Vectors>(
        &self,
        block: &Block<A>,
        classes: &mut [u64; WIDTH],
        vectors: V,
    ) {
        let any = [0, 1].map(|side: usize| self.any.get(side).map_or(0, |any| any.load(Relaxed)));
        let [ports, zones] = &self.told;
        let told = [ports.load(Relaxed), zones.load(Relaxed)];
        if let Some(fields) = block.fields()
            && vectors.classes(&self.words, &self.maps, any, told, fields, classes)
        {
            return;
        }
        for (place, classes) in classes.iter_mut().enumerate().take(block.count) {
            *classes = self.of(&block.probe(place));
        }
    }

    /// The classes that can match a header of the rule. `src` and `dst` are the classes that keep
    /// more of an address than the rule says.
    pub(super) fn meeting<A: Family>(&self, entry: &Entry<A>, src: u64, dst: u64) -> u64 {
        let ports = |map: (u32, u32), ports: PortRange| {
            if ports.low() == ports.high() { self.port(map, ports.low()) } else { u64::MAX }
        };
        let protocol = entry
            .protocol
            .map_or(u64::MAX, |number| self.get(self.maps.protocol + u32::from(number)));
        let [src_levels, dst_levels] = &self.maps.addresses;
        let [any_src, any_dst] = &self.any;
        let [src_port, dst_port] = self.maps.ports;
        (self.address(src_levels, any_src, entry.addresses.src) | src)
            & (self.address(dst_levels, any_dst, entry.addresses.dst) | dst)
            & ports(src_port, entry.src_port)
            & ports(dst_port, entry.dst_port)
            & protocol
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.words) + self.ranges.memory()
    }

    fn add_address<A: Family>(
        &self,
        levels: &[Option<Level>; LEVELS],
        any: &AtomicU64,
        address: A,
        len: u8,
        bit: u64,
    ) {
        match levels.iter().flatten().find(|level| level.len == len) {
            Some(level) => self.set(self.maps.place(address.scatter(level.len)), bit),
            // Also if there were more lengths than levels.
            None => or(any, bit),
        }
    }

    #[inline(always)]
    fn address<A: Family>(
        &self,
        levels: &[Option<Level>; LEVELS],
        any: &AtomicU64,
        address: A,
    ) -> u64 {
        let mut found = any.load(Relaxed);
        for level in levels.iter().map_while(Option::as_ref) {
            let scattered = address.scatter(level.len);
            let pick = level.picks.get(slot(scattered)).copied().unwrap_or(0);
            found |= self.get(self.maps.place(scattered)) & pick;
        }
        found
    }

    fn add_ports(&self, (exact, blocks): (u32, u32), all: &AtomicU64, ports: PortRange, bit: u64) {
        if ports.low() == ports.high() {
            return self.set(exact + u32::from(ports.low()) % EXACT as u32, bit);
        }
        if ports == PortRange::ANY {
            return self.add_all(blocks, all, bit);
        }
        let range = Range { map: blocks, first: ports.low() >> 8, last: ports.high() >> 8 };
        let known = self.ranges.classes(range);
        if known & bit == 0 {
            let places = blocks + u32::from(range.first)..=blocks + u32::from(range.last);
            places.for_each(|place| self.set(place, bit));
            self.ranges.note(range, known | bit);
        }
    }

    #[inline]
    fn port(&self, (exact, blocks): (u32, u32), port: u16) -> u64 {
        self.get(exact + u32::from(port) % EXACT as u32) | self.get(blocks + u32::from(port >> 8))
    }

    #[inline]
    fn get(&self, place: u32) -> u64 {
        self.words.get(place as usize).map_or(0, |word| word.load(Relaxed))
    }

    fn set(&self, place: u32, bit: u64) {
        if let Some(word) = self.words.get(place as usize) {
            or(word, bit);
        }
    }

    /// Sets a bit in all words of a small map, if that wasn't done before.
    fn add_all(&self, start: u32, all: &AtomicU64, bit: u64) {
        if all.load(Relaxed) & bit == 0 {
            (start..start + SMALL as u32).for_each(|place| self.set(place, bit));
            or(all, bit);
        }
    }
}

impl Maps {
    /// The word of a scattered address.
    #[inline]
    fn place(&self, scattered: u32) -> u32 {
        self.start + (scattered >> self.shift)
    }
}

/// Only the one writer sets bits, so nothing comes between. Most are set already: looking first
/// keeps the line shared.
fn or(word: &AtomicU64, bit: u64) {
    let old = word.load(Relaxed);
    if old & bit != bit {
        word.store(old | bit, Relaxed);
    }
}

/// The same for one that is true or false.
fn tell(cell: &AtomicBool, told: bool) {
    if told && !cell.load(Relaxed) {
        cell.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::choose::Choice;
    use super::super::family::{Pair, Seeds, rest};
    use super::super::record::ALL_ZONES;
    use super::super::simd::{Work, work};
    use super::*;

    struct OfAll<'a>(&'a Words, &'a Block<u32>, &'a mut [u64; WIDTH]);

    impl Work for OfAll<'_> {
        type Output = ();

        fn run<V: Vectors>(self, vectors: V) {
            self.0.of_all(self.1, self.2, vectors);
        }
    }

    #[test]
    fn words_of_a_block_are_those_of_its_headers() {
        let mut state = 3u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u32
        };
        let port = |n: u32| match n % 3 {
            0 => PortRange::ANY,
            1 => PortRange::only((n >> 8) as u16 & 0x70ff),
            _ => PortRange::new((n >> 18) as u16, (n >> 18) as u16 | 0x1ff).unwrap(),
        };
        let entries: Vec<Entry<u32>> = (0..3000)
            .map(|order| {
                let lens = [[32, 24], [24, 0], [0, 32], [16, 8]][next() as usize % 4];
                let addresses = Pair { src: next() << 20, dst: (next() << 20) | (next() % 4) };
                Entry {
                    order,
                    src_len: lens[0],
                    dst_len: lens[1],
                    addresses: addresses.and(Pair::mask(lens[0], lens[1])),
                    protocol: [None, Some(6), Some(17)][next() as usize % 3],
                    src_port: port(next()),
                    dst_port: port(next()),
                    zones: ALL_ZONES,
                    coarse: false,
                    value: 0,
                }
            })
            .collect();
        let plan = Plan::new(&entries, Seeds([1, 2, 3, 4]), Choice::Best);
        let words = Words::new(&plan, entries.len());
        for entry in &entries {
            let table = plan.tables.iter().find(|table| table.fits(entry)).unwrap();
            let zones = (ZoneSet::first(next() as usize % 9), ZoneSet::ALL);
            words.add(entry, table, plan.class(table, entry), zones);
        }
        for entry in &entries {
            let table = plan.tables.iter().find(|table| table.fits(entry)).unwrap();
            let ports = rest(entry.src_port.high(), entry.dst_port.low(), 17);
            let rest = entry
                .protocol
                .map_or(ports, |number| ports & 0xffff_ffff | u64::from(number) << 32);
            let probe = Probe { addresses: entry.addresses, rest, edges: 0 };
            let own = words.without_zones(&probe) >> plan.class(table, entry) & 1;
            assert_eq!(own, 1, "the class of a rule that matches: {entry:?}");
        }
        let mut bits = 0;
        for _ in 0..500 {
            let mut block = Block::<u32>::new();
            let count = next() as usize % (WIDTH + 1);
            for place in 0..count {
                let ports = (next() as u16 & 0x70ff, next() as u16);
                let probe = Probe {
                    addresses: Pair { src: next() << 20, dst: (next() << 20) | (next() % 4) },
                    rest: rest(ports.0, ports.1, [6, 17, 1][next() as usize % 3])
                        | u64::from(next() % 64) << 40
                        | u64::from(next() % 64) << 48,
                    edges: 0,
                };
                block.put(place, probe.addresses, probe.rest);
            }
            block.complete(count);
            let mut classes = [0; WIDTH];
            work(OfAll(&words, &block, &mut classes));
            for (place, classes) in classes.iter().enumerate().take(count) {
                assert_eq!(*classes, words.of(&block.probe(place)));
                bits += classes.count_ones();
            }
        }
        assert!(bits > 500, "{bits}");
    }
}
