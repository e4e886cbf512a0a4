//! How rules get into an index and out of it again.
//!
//! Not here: which table a rule goes to, see [`super::spot`]; when it counts for readers, see
//! [`super::publish`].

use super::boxes::Bounds;
use super::buckets::PILE;
use super::family::{Family, Pair};
use super::index::Index;
use super::pile::{Item, Pile};
use super::plan::{Table, low};
use super::publish::Flux;
use super::record::{EMPTY, Entry, Record, State};
use super::simd::prefetch;
use super::zones::Numbers;
use crate::zone::ZoneSet;
use std::sync::atomic::Ordering::{Relaxed, Release};

/// Rules from which on one pile of all of them gives way to tables; some of them may be going.
const MANY: usize = 512;

impl<A: Family> Index<A> {
    /// Puts all rules in, each into the record of its place; says no when there was no room for the
    /// piles. Only while nobody reads.
    pub(super) fn fill(&self, entries: &[Entry<A>], numbers: &Numbers) -> bool {
        let mut heaps: Vec<(u64, Vec<u32>)> = Vec::new();
        for (number, entry) in (0u32..).zip(entries) {
            let of = |heap: u32| heaps.get(heap as usize).map(|(hash, _)| *hash);
            let Some(spot) = self.spot(entry, of) else { continue };
            self.write(number, entry, spot.table, numbers.pair(entry.zones), 0);
            match spot.pile.and_then(|pile| heaps.get_mut(pile as usize)) {
                _ if spot.alike < self.plan.chain => {
                    self.buckets.insert(spot.hash, number);
                }
                Some((_, heap)) => heap.push(number),
                None => {
                    self.buckets.insert(spot.hash, PILE | heaps.len() as u32);
                    heaps.push((spot.hash, vec![number]));
                }
            }
        }
        self.gather(&mut heaps, entries);
        let sorted = entries.windows(2).take_while(|two| two.is_sorted_by_key(|entry| entry.order));
        self.sorted.store(entries.len().min(sorted.count() + 1) as u32, Relaxed);
        heaps.into_iter().all(|(hash, heap)| self.pile_up(hash, heap.into_iter(), &[]).is_some())
    }

    /// Puts the rules that are kept one by one under the key of a heap on that heap, too: what
    /// shares a key is looked at together, and one number in a bucket is better than five.
    fn gather(&self, heaps: &mut [(u64, Vec<u32>)], entries: &[Entry<A>]) {
        if heaps.is_empty() {
            return;
        }
        let mut heaped = vec![false; entries.len()];
        let mut put = |number: u32| {
            if let Some(cell) = heaped.get_mut(number as usize) {
                *cell = true;
            }
        };
        for (hash, heap) in &mut *heaps {
            let Some(first) = heap.first().and_then(|number| entries.get(*number as usize)) else {
                continue;
            };
            self.buckets.each(*hash, |number| {
                if self.table_of(number).is_some_and(|(own, table)| {
                    table.fits(first)
                        && table.hash(first.addresses, low(first), &self.plan.seeds) == *hash
                        && table.same_key(&own, first)
                }) {
                    heap.push(number);
                }
                true
            });
            heap.iter().for_each(|number| put(*number));
        }
        // Again from the start, so that no bucket says that it gave to the next what is gone now.
        self.buckets.clear();
        for (number, _) in (0u32..).zip(&heaped).filter(|(_, heaped)| !**heaped) {
            if let Some((entry, table)) = self.table_of(number) {
                let hash = table.hash(entry.addresses, low(&entry), &self.plan.seeds);
                self.buckets.insert(hash, number);
            }
        }
        for (pile, (hash, _)) in (0u32..).zip(&*heaps) {
            self.buckets.insert(*hash, PILE | pile);
        }
    }

    /// The rule of a record, and its table.
    pub(super) fn table_of(&self, number: u32) -> Option<(Entry<A>, &Table<A>)> {
        let record = self.records.get(number)?;
        Some((record.entry(), self.plan.class_table(record.head().class())?))
    }

    /// Puts a rule into a record and makes it known, so that readers go by its flux. Says whether
    /// there was room. `like` is the record of a rule that differs in nothing but its order. Writer
    /// only.
    pub(super) fn insert(
        &self,
        number: u32,
        entry: &Entry<A>,
        zones: (ZoneSet, ZoneSet),
        flux: u32,
        like: Option<u32>,
        fluxes: &[Flux],
    ) -> bool {
        let hash_of = |pile| self.piles.get(pile).map(|pile| pile.hash);
        let meeting = self.meeting(entry);
        self.expect(number, entry, meeting);
        let known = like.and_then(|like| self.records.get(like));
        let known = known.and_then(|record| self.plan.class_table(record.head().class()));
        let spot = match known {
            Some(table) => {
                self.write_record(number, entry, self.plan.class(table, entry), flux);
                self.spot_in(table, entry, self.plan.chain, hash_of)
            }
            None => {
                let Some(spot) = self.spot(entry, hash_of) else { return false };
                self.write(number, entry, spot.table, zones, flux);
                spot
            }
        };
        self.cast_new(number, entry, meeting);
        if spot.alike < self.plan.chain {
            return self.buckets.insert(spot.hash, number);
        }
        let Some(pile) = spot.pile else {
            let pile = self.pile_up(spot.hash, std::iter::once(number), fluxes);
            return pile.is_some_and(|pile| self.buckets.insert(spot.hash, PILE | pile));
        };
        let Some(old) = self.piles.get(pile) else { return false };
        if self.piles.push(pile, number, entry.order) {
            // Those beside the tree are not told of rules that come after them.
            if let Some(record) = self.records.get(number) {
                record.set_shadow(u64::MAX);
                record.set_piled();
            }
            return true;
        }
        self.renew(pile, old, number, fluxes)
    }

    /// Puts a pile that takes one rule more in the place of one that is full.
    fn renew(&self, pile: u32, old: &Pile, number: u32, fluxes: &[Flux]) -> bool {
        let staying = |numbers: &mut dyn Iterator<Item = u32>| {
            let mut staying: Vec<u32> = numbers.filter(|n| self.is_on(*n, old.hash)).collect();
            staying.push(number);
            staying.sort_unstable();
            staying.dedup();
            staying
        };
        let lately = staying(&mut old.lately());
        let new = if old.is_few(lately.len()) {
            self.piles.follow(pile, self.items(lately.into_iter(), |_| old.skip, fluxes).1)
        } else {
            let rules = staying(&mut old.numbers());
            // One pile of all rules is for few.
            if self.plan.chain == 0 && rules.len() > MANY {
                return false;
            }
            self.pile_up(old.hash, rules.into_iter(), fluxes)
        };
        let Some(new) = new else { return false };
        if self.plan.chain == 0 {
            self.only.store(new, Release);
        }
        self.buckets.replace(old.hash, PILE | pile, PILE | new);
        true
    }

    /// Whether a record's rule is on the pile of a hash. It may not be any more: records are used
    /// again.
    fn is_on(&self, number: u32, hash: u64) -> bool {
        let Some(record) = self.records.get(number) else { return false };
        record.in_use() && record.state().piled && self.hash_of(record) == Some(hash)
    }

    /// The hash of a rule's key in its table.
    pub(super) fn hash_of(&self, record: &Record<A::Cell>) -> Option<u64> {
        let table = self.plan.class_table(record.head().class())?;
        let entry = record.entry::<A>();
        Some(table.hash(entry.addresses, low(&entry), &self.plan.seeds))
    }

    /// Whether a rule can get this order where it is: there is nothing yet that readers have to
    /// know of it, and no pile has to find it earlier. True if there is no such record. Writer only.
    pub(super) fn movable(&self, number: u32, order: u32) -> bool {
        self.records.get(number).is_none_or(|record| {
            let State { flux, piled, .. } = record.state();
            flux == 0 && (!piled || order >= record.head().order())
        })
    }

    /// Gives a rule another order where it is, from an update on that its flux says. Writer only.
    pub(super) fn reorder(&self, number: u32, order: u32, flux: u32) {
        let Some(record) = self.records.get(number) else { return };
        let entry = Entry { order, ..record.entry() };
        self.unsort(number);
        self.note_best(record.head().class(), order);
        self.cast_moving(number, &entry);
        record.reorder(order, State { flux, ..record.state() });
    }

    /// Takes a rule that no reader sees any more away from where it is found. Piles forget theirs
    /// when they are made anew. Writer only.
    pub(super) fn remove(&self, number: u32, hash: u64) {
        let Some(record) = self.records.get(number) else { return };
        let state = record.state();
        if !state.piled {
            self.buckets.remove(hash, number);
        }
        record.set_state(State { flux: EMPTY, ..state });
    }

    /// The hash of a rule's key, for [`Self::remove`]; asks for the memory that this looks at.
    pub(super) fn expect_removal(&self, number: u32) -> Option<u64> {
        let hash = self.hash_of(self.records.get(number)?)?;
        if let Some(bucket) = self.buckets.get(self.buckets.place(hash)) {
            prefetch(bucket);
        }
        Some(hash)
    }

    fn write(
        &self,
        number: u32,
        entry: &Entry<A>,
        table: &Table<A>,
        zones: (ZoneSet, ZoneSet),
        flux: u32,
    ) {
        let class = self.plan.class(table, entry);
        self.write_record(number, entry, class, flux);
        self.words.add(entry, table, class, zones);
    }

    /// Writes the rule of a class whose words are set already.
    fn write_record(&self, number: u32, entry: &Entry<A>, class: u8, flux: u32) {
        self.unsort(number);
        if let Some(record) = self.records.get(number) {
            record.write(entry, class, flux);
        }
        self.note_best(class, entry.order);
    }

    /// A record gets another order: it and those after it are no longer in the order of decision.
    fn unsort(&self, number: u32) {
        if number < self.sorted.load(Relaxed) {
            self.sorted.store(number, Relaxed);
        }
    }

    fn note_best(&self, class: u8, order: u32) {
        if let Some(best) = self.best.get(usize::from(class)) {
            best.store(best.load(Relaxed).min(order), Relaxed);
        }
    }

    /// Makes a pile of the rules in these records.
    fn pile_up(
        &self,
        hash: u64,
        numbers: impl Iterator<Item = u32>,
        fluxes: &[Flux],
    ) -> Option<u32> {
        let (skip, items) = self.items(
            numbers,
            |entries| {
                let skip = |side: fn(&Entry<A>) -> (A, u8)| {
                    let sides = entries.iter().map(|(_, entry)| side(entry));
                    let mut long = sides.filter(|(_, len)| *len > 0);
                    let first = long.next().map_or(A::ZERO, |(address, _)| address);
                    let common =
                        long.map(|(address, len)| address.common_bits(first).min(len)).min();
                    common.unwrap_or(0).min(A::BITS - 32)
                };
                (
                    skip(|entry| (entry.addresses.src, entry.src_len)),
                    skip(|entry| (entry.addresses.dst, entry.dst_len)),
                )
            },
            fluxes,
        );
        let pile = self.piles.add(hash, skip, items)?;
        if self.plan.chain == 0 {
            self.only.store(pile, Release);
        }
        Some(pile)
    }

    /// The rules in these records as items of a pile, and how many bits of their addresses it
    /// skips. Of two orders that a rule has for readers its item has the first.
    fn items(
        &self,
        numbers: impl Iterator<Item = u32>,
        skip: impl FnOnce(&[(u32, Entry<A>)]) -> (u8, u8),
        fluxes: &[Flux],
    ) -> ((u8, u8), Vec<Item>) {
        let of = |number: u32| {
            let record = self.records.get(number)?;
            record.set_piled();
            let entry = record.entry();
            let flux = fluxes.get(record.state().flux as usize);
            let order = flux.map_or(entry.order, |flux| flux.first(entry.order));
            Some((number, Entry { order, ..entry }))
        };
        let entries: Vec<(u32, Entry<A>)> = numbers.filter_map(of).collect();
        let skip = skip(&entries);
        let item = |(number, entry): &(u32, Entry<A>)| Item {
            order: entry.order,
            number: *number,
            bounds: bounds(entry, skip),
        };
        (skip, entries.iter().map(item).collect())
    }
}

/// The bounds of what a rule matches; of addresses without the first `skip` bits.
pub(super) fn bounds<A: Family>(entry: &Entry<A>, skip: (u8, u8)) -> Bounds {
    let range = |address: A, len: u8, skip: u8| match len.checked_sub(skip) {
        Some(rest) if rest > 0 => {
            let low = address.window(skip);
            (low, low | u32::MAX.checked_shr(u32::from(rest)).unwrap_or(0))
        }
        _ => (0, u32::MAX),
    };
    let Pair { src, dst } = entry.addresses;
    let protocol = entry.protocol.map_or((0, u16::MAX), |number| (number.into(), number.into()));
    Bounds {
        addresses: [range(src, entry.src_len, skip.0), range(dst, entry.dst_len, skip.1)],
        rest: [
            (entry.src_port.low(), entry.src_port.high()),
            (entry.dst_port.low(), entry.dst_port.high()),
            protocol,
        ],
    }
}
