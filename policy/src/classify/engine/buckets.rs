//! One hash table for all tables of a family: buckets of a cache line, twelve fingerprints that are
//! compared at once, and the numbers of the records they belong to.
//!
//! A full bucket gives what it can't hold to the next, and keeps a bit for that fingerprint, so that
//! lookups go on only where there may be something.

use super::simd;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Numbers of a bucket.
pub(super) const SLOTS: u32 = 12;
/// Slots that are filled on average, of [`SLOTS`].
const FILLED: usize = 7;
/// A number from this one on belongs to a pile.
pub(super) const PILE: u32 = 1 << 31;

#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    /// Bytes 0 to 11: fingerprints, 0 for none. Bytes 12 to 15: a bit for each of 32 kinds of
    /// fingerprints that went on to the next bucket.
    marks: [AtomicU64; 2],
    numbers: [AtomicU32; SLOTS as usize],
}

/// 2 MiB of them: as much as a core's second cache has today, or more.
const FAR: usize = (2 << 20) / size_of::<Bucket>();

/// All buckets of a family.
#[derive(Debug)]
pub(super) struct Buckets(Box<[Bucket]>);

/// The bits of a hash that tell entries of a bucket apart; never 0.
#[inline]
pub(super) const fn fingerprint(hash: u64) -> u8 {
    let bits = (hash >> 56) as u8;
    if bits == 0 { 1 } else { bits }
}

impl Bucket {
    /// The slots that hold this fingerprint, as bits, and whether the next bucket may hold more.
    #[inline]
    pub(super) fn find(&self, fingerprint: u8) -> (u32, bool) {
        let [low, high] = [0, 1].map(|half| self.marks.get(half).map_or(0, |w| w.load(Acquire)));
        let slots = simd::equal_bytes([low, high], fingerprint) & ((1 << SLOTS) - 1);
        (slots, (high >> 32) as u32 & 1 << (fingerprint & 31) != 0)
    }

    /// Calls `each` with the numbers of records under a fingerprint; says whether there is more, in
    /// piles or the next bucket.
    #[inline]
    pub(super) fn candidates(&self, fingerprint: u8, mut each: impl FnMut(u32)) -> bool {
        let (mut slots, mut more) = self.find(fingerprint);
        while slots != 0 {
            match self.number(slots.trailing_zeros()) {
                Some(number) if number < PILE => each(number),
                _ => more = true,
            }
            slots &= slots - 1;
        }
        more
    }

    #[inline]
    pub(super) fn number(&self, slot: u32) -> Option<u32> {
        // Whoever sees the number of a new pile sees the pile.
        self.numbers.get(slot as usize).map(|number| number.load(Acquire))
    }

    fn byte(slot: usize) -> (usize, u32) {
        (slot / 8, (slot % 8) as u32 * 8)
    }

    fn set(&self, slot: usize, fingerprint: u8) {
        let (half, shift) = Self::byte(slot);
        if let Some(word) = self.marks.get(half) {
            let others = word.load(Relaxed) & !(0xff << shift);
            word.store(others | u64::from(fingerprint) << shift, Release);
        }
    }

    fn free(&self) -> Option<usize> {
        (0..SLOTS as usize).find(|slot| {
            let (half, shift) = Self::byte(*slot);
            self.marks.get(half).is_some_and(|word| word.load(Relaxed) >> shift & 0xff == 0)
        })
    }

    fn goes_on(&self, fingerprint: u8) {
        let [_, word] = &self.marks;
        word.store(word.load(Relaxed) | 1 << (32 + u32::from(fingerprint & 31)), Relaxed);
    }
}

impl Buckets {
    /// For about this many entries.
    pub(super) fn new(entries: usize) -> Self {
        let count = (entries / FILLED + 1).max(2);
        Self((0..count).map(|_| Bucket::default()).collect())
    }

    /// Whether they don't fit into a core's second cache.
    #[inline]
    pub(super) fn are_far(&self) -> bool {
        self.0.len() > FAR
    }

    #[inline]
    pub(super) fn place(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.0.len() as u64) >> 32) as usize
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&Bucket> {
        self.0.get(place)
    }

    #[inline]
    pub(super) fn next(&self, place: usize) -> usize {
        if place + 1 < self.0.len() { place + 1 } else { 0 }
    }

    /// How many numbers there are under a hash, at most, if they are all in the hash's own bucket.
    pub(super) fn at_most(&self, hash: u64) -> Option<usize> {
        let (slots, more) = self.get(self.place(hash))?.find(fingerprint(hash));
        (!more).then_some(slots.count_ones() as usize)
    }

    /// Calls `each` with the numbers under a hash until it says no.
    #[inline]
    pub(super) fn each(&self, hash: u64, each: impl FnMut(u32) -> bool) {
        self.each_from(self.place(hash), hash, each);
    }

    /// Like [`Self::each`], from a bucket on that is not the hash's own.
    #[inline]
    pub(super) fn each_from(&self, mut place: usize, hash: u64, mut each: impl FnMut(u32) -> bool) {
        let fingerprint = fingerprint(hash);
        // Not without an end, even if every bucket should say that there is more.
        for _ in 0..self.0.len() {
            let Some(bucket) = self.get(place) else { return };
            let (mut slots, more) = bucket.find(fingerprint);
            while slots != 0 {
                if bucket.number(slots.trailing_zeros()).is_some_and(|number| !each(number)) {
                    return;
                }
                slots &= slots - 1;
            }
            if !more {
                return;
            }
            place = self.next(place);
        }
    }

    /// Puts a number under a hash; says no when every bucket is full. Writer only.
    pub(super) fn insert(&self, hash: u64, number: u32) -> bool {
        let fingerprint = fingerprint(hash);
        let start = self.place(hash);
        let mut place = start;
        for distance in 0..self.0.len() {
            let Some(bucket) = self.get(place) else { return false };
            if let Some(slot) = bucket.free() {
                if let Some(cell) = bucket.numbers.get(slot) {
                    cell.store(number, Relaxed);
                }
                bucket.set(slot, fingerprint);
                let mut passed = start;
                for _ in 0..distance {
                    if let Some(bucket) = self.get(passed) {
                        bucket.goes_on(fingerprint);
                    }
                    passed = self.next(passed);
                }
                return true;
            }
            place = self.next(place);
        }
        false
    }

    /// Takes all numbers away. Only while nobody reads.
    pub(super) fn clear(&self) {
        for bucket in &self.0 {
            bucket.marks.iter().for_each(|word| word.store(0, Relaxed));
        }
    }

    /// Puts a number in the place of another. Writer only.
    pub(super) fn replace(&self, hash: u64, old: u32, new: u32) {
        self.change(hash, old, |bucket, slot| {
            if let Some(cell) = bucket.numbers.get(slot) {
                cell.store(new, Release);
            }
        });
    }

    /// Takes a number away from under a hash. Writer only.
    pub(super) fn remove(&self, hash: u64, number: u32) {
        self.change(hash, number, |bucket, slot| bucket.set(slot, 0));
    }

    fn change(&self, hash: u64, number: u32, change: impl FnOnce(&Bucket, usize)) {
        let fingerprint = fingerprint(hash);
        let mut place = self.place(hash);
        for _ in 0..self.0.len() {
            let Some(bucket) = self.get(place) else { return };
            let (mut slots, more) = bucket.find(fingerprint);
            while slots != 0 {
                let slot = slots.trailing_zeros();
                if bucket.number(slot) == Some(number) {
                    return change(bucket, slot as usize);
                }
                slots &= slots - 1;
            }
            if !more {
                return;
            }
            place = self.next(place);
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }
}
