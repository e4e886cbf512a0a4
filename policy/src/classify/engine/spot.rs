//! Which table a rule goes to, and whether it shares its key there with too many others.
//!
//! Goes in: a rule. Comes out: a table, and what there is under the rule's key.

use super::buckets::{PILE, fingerprint};
use super::family::Family;
use super::index::Index;
use super::plan::{TABLES, Table, low};
use super::record::Entry;
use super::simd::prefetch;
use std::sync::atomic::Ordering::Relaxed;

/// Where a rule goes.
pub(super) struct Spot<'a, A> {
    pub(super) table: &'a Table<A>,
    pub(super) hash: u64,
    /// Rules with its key that aren't on a pile; if there is room for one, there may be fewer.
    pub(super) alike: usize,
    /// The pile of its key, if there isn't room.
    pub(super) pile: Option<u32>,
}

impl<A: Family> Index<A> {
    /// The first table that a rule fits and where its key has room, or else the one where the
    /// fewest share it. `hash_of` has the hashes of the piles.
    pub(super) fn spot(
        &self,
        entry: &Entry<A>,
        hash_of: impl Fn(u32) -> Option<u64>,
    ) -> Option<Spot<'_, A>> {
        let mut best: Option<Spot<'_, A>> = None;
        let room = self.plan.room;
        for table in self.plan.tables.iter().filter(|table| table.fits(entry)) {
            let spot = self.spot_in(table, entry, room, &hash_of);
            if spot.alike < room {
                return Some(spot);
            }
            if best.as_ref().is_none_or(|best| spot.alike < best.alike) {
                best = Some(spot);
            }
        }
        best
    }

    /// Where a rule goes in a table that it fits. Where fewer than `room` can share its key, they are
    /// not looked at.
    pub(super) fn spot_in<'t>(
        &self,
        table: &'t Table<A>,
        entry: &Entry<A>,
        room: usize,
        hash_of: impl Fn(u32) -> Option<u64>,
    ) -> Spot<'t, A> {
        let hash = table.hash(entry.addresses, low(entry), &self.plan.seeds);
        if let Some(alike) = self.buckets.at_most(hash).filter(|alike| *alike < room) {
            return Spot { table, hash, alike, pile: None };
        }
        let (mut alike, mut pile) = (0, None);
        self.buckets.each(hash, |number| {
            if let Some(other) = number.checked_sub(PILE) {
                if hash_of(other) == Some(hash) {
                    pile = Some(other);
                }
            } else if let Some(other) = self.records.get(number) {
                let same = table.classes >> other.head().class() & 1 != 0;
                alike += usize::from(same && table.same_key(&other.entry(), entry));
            }
            true
        });
        Spot { table, hash, alike, pile }
    }

    /// Asks for the memory that adding a rule looks at: the buckets of its keys, then the records in
    /// them. One after the other, each would be waited for. `meeting` are the classes of rules that
    /// it can overlap.
    pub(super) fn expect(&self, number: u32, entry: &Entry<A>, meeting: u64) {
        if self.plan.chain == 0 {
            return;
        }
        if let Some(record) = self.records.get(number) {
            prefetch(record);
        }
        let mut hashes = [None; TABLES];
        let mut tables = self.plan.tables.iter().filter(|table| table.fits(entry));
        // Mostly it goes to the first. What shadows then ask for: see `cast_new`.
        let Some(first) = tables.next() else { return };
        let hash = first.hash(entry.addresses, low(entry), &self.plan.seeds);
        if let Some(bucket) = self.buckets.get(self.buckets.place(hash)) {
            prefetch(bucket);
        }
        let fresh = self.fresh.load(Relaxed);
        let own = self.plan.class(first, entry);
        let others = if fresh >> own & 1 == 0 { meeting } else { meeting & !fresh };
        let tables = tables.filter(|table| table.classes & others != 0);
        for (cell, table) in hashes.iter_mut().zip(tables) {
            let hash = table.hash(entry.addresses, low(entry), &self.plan.seeds);
            *cell = Some(hash);
            if let Some(bucket) = self.buckets.get(self.buckets.place(hash)) {
                prefetch(bucket);
            }
        }
        for hash in hashes.into_iter().map_while(|hash| hash) {
            if let Some(bucket) = self.buckets.get(self.buckets.place(hash)) {
                bucket.candidates(fingerprint(hash), |number| {
                    if let Some(record) = self.records.get(number) {
                        prefetch(record);
                    }
                });
            }
        }
    }
}
