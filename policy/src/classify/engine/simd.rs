//! Instructions of the processor that compare many values at once, and their plain counterparts.
//!
//! The only unsafe code of the crate. Each use is a vector instruction that the compiler can't know
//! to be there, or that takes a pointer.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector instructions and prefetches, each with its reason")
)]

#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

pub(super) use plain::Plain;

use super::batch::{Fields, Lanes, Pairs, Searches, WIDTH};
use super::boxes::{Boxes, LANES, Point};
use super::buckets::Bucket;
use super::family::Seeds;
use super::plan::Columns;
use super::small::Row;
use super::still::hint::Hints;
use super::still::list::{All, Lines};
use super::still::seat::{Others, Seat};
use super::still::seats::Seats;
use super::tree::{Narrow, Wide};
use super::words::Maps;
use std::sync::atomic::AtomicU64;

/// Ways to do the same with one value after the other, or with many at once.
pub(super) trait Vectors: Copy {
    /// Does a part of some work as a function of its own, so that the compiler has all registers
    /// for it.
    fn apart<W: Work>(self, work: W) -> W::Output;
    /// Which of the boxes hold a point, as bits.
    fn holding(self, boxes: &Boxes, point: &Point) -> u32;
    /// How many numbers of a node are below a value.
    fn below(self, node: &Narrow, value: u32) -> usize;
    /// The same for wider numbers.
    fn below_wide(self, node: &Wide, value: u128) -> usize;
    /// The first bit that all rows have, or more than the last one.
    fn first<const N: usize>(self, rows: [&Row; N]) -> usize;
    /// Pairs the header at this place of a block with the records under a fingerprint but those
    /// between two; says whether there is more, in piles or the next bucket.
    fn candidates(
        self,
        bucket: &Bucket,
        fingerprint: u8,
        between: (u32, u32),
        place: usize,
        pairs: &mut Pairs,
    ) -> bool;
    /// For each header of a block the classes that can match, see [`super::words`]; `any` are
    /// those of every source and of every destination, `told` says whether there are any by source
    /// ports and by zones. Says whether it could: if not, the caller has to go through the headers
    /// one by one.
    fn classes(
        self,
        words: &[AtomicU64],
        maps: &Maps,
        any: [u64; 2],
        told: [bool; 2],
        fields: Fields<'_>,
        classes: &mut [u64; WIDTH],
    ) -> bool;
    /// For each header of a block the next table of its classes, which lose those of that table, and
    /// the factors of its hash there; whatever for headers without classes.
    fn choose(
        self,
        keys: &Columns,
        seeds: &Seeds,
        fields: Fields<'_>,
        classes: &mut [u64; WIDTH],
        tables: &mut [u64; WIDTH],
        factors: &mut [[u64; WIDTH]; 2],
    );
    /// Compares open headers of a block with who has their keys' seats, and goes on with their
    /// searches. Returns those that don't match while others have the key, too, and those that have
    /// to be looked at one by one; `None` if that is all of them.
    fn compare(
        self,
        seats: &[Seat<u32>],
        numbers: &[u32; WIDTH],
        fields: Fields<'_>,
        open: Lanes,
        searches: &mut Searches<'_>,
    ) -> Option<[Lanes; 2]>;
    /// The seat of each header's key in the table that was chosen, from the factors of its hash;
    /// whatever for headers without classes. `count` is how many headers there are.
    fn seats(
        self,
        seats: &Seats,
        factors: &[[u64; WIDTH]; 2],
        count: usize,
        numbers: &mut [u32; WIDTH],
    );
    /// Pairs the header at this place of a block with those of the others with its key that it can
    /// match, see [`super::still::hint`].
    fn others(self, others: &Others, header: Hints, place: usize, pairs: &mut Pairs);
    /// Which rules a header with these hints can match, as bits.
    fn hinted(self, lines: &Lines, header: All) -> u64;
    /// Which of so many headers have classes.
    fn open(self, classes: &[u64; WIDTH], count: usize) -> Lanes;
}

/// Something to be done in the best way that the processor has.
pub(super) trait Work {
    /// What comes of it.
    type Output;

    /// Does it. Has to be inlined, with all that it calls.
    fn run<V: Vectors>(self, vectors: V) -> Self::Output;
}

/// Does something in the best way that the processor has.
#[inline]
pub(super) fn work<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(vectors) = avx512::Avx512::new() {
        // SAFETY: the processor has the instructions.
        return unsafe { avx512::work_avx512(work, vectors) };
    }
    work.run(Plain)
}

/// Which of the bytes 0 to 15, the lowest of the first word first, equal `byte`.
#[inline]
pub(super) fn equal_bytes(words: [u64; 2], byte: u8) -> u32 {
    let [low, high] = words;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
        // SAFETY: SSE2 is a part of x86-64, and nothing but values goes in and comes out.
        unsafe {
            let bytes = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
            let equal = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
            _mm_movemask_epi8(equal).cast_unsigned()
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        equal_in_word(low, byte) | equal_in_word(high, byte) << 8
    }
}

/// Something that is 0 if none of four numbers of 16 bits is below its counterpart in `bounds`.
#[inline]
pub(super) fn below(numbers: u64, bounds: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_subs_epu16};
        // SAFETY: SSE2 is a part of x86-64, and nothing but values goes in and comes out.
        unsafe {
            let numbers = _mm_cvtsi64_si128(numbers.cast_signed());
            let bounds = _mm_cvtsi64_si128(bounds.cast_signed());
            _mm_cvtsi128_si64(_mm_subs_epu16(bounds, numbers)).cast_unsigned()
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    below_plain(numbers, bounds)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn below_plain(numbers: u64, bounds: u64) -> u64 {
    let lane = |shift: u32| u64::from(((numbers >> shift) as u16) < (bounds >> shift) as u16);
    lane(0) | lane(16) | lane(32) | lane(48)
}

/// Asks for the first cache line of a value, and for the next, ahead of its use.
#[inline]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        // SAFETY: a prefetch is a hint: it doesn't access memory and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start) };
        if size_of::<T>() > 8 && align_of::<T>() < 64 {
            let end = start.wrapping_add(size_of::<T>() - 1);
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(end) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for the cache line on which a value begins, ahead of its use.
#[inline]
pub(super) fn prefetch_first<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it doesn't access memory and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for all cache lines of a list ahead of its use.
#[inline]
pub(super) fn prefetch_all<T>(list: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = list.as_ptr().cast::<i8>();
        for line in (0..size_of_val(list)).step_by(64) {
            // SAFETY: a prefetch is a hint: it doesn't access memory and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = list;
}

/// Which of the eight bytes of a word equal `byte`.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_in_word(word: u64, byte: u8) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const REST: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let other = word ^ (u64::from(byte) * LOW);
    // The high bit of each byte that is zero.
    let zero = !(((other & REST) + REST) | other | REST);
    // Those bits, gathered in the top byte.
    (zero.wrapping_mul(0x0002_0408_1020_4081) >> 56) as u32
}

/// Which of the boxes begin at or before one point and end at or after another, as bits.
#[inline]
pub(super) fn between(boxes: &Boxes, from: &Point, to: &Point) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has the instructions.
            return unsafe { avx512::between_avx512(boxes, from, to) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has the instructions.
            return unsafe { between_avx2(boxes, from, to) };
        }
    }
    between_plain(boxes, from, to)
}

fn between_plain(boxes: &Boxes, from: &Point, to: &Point) -> u32 {
    let mut lanes = (1 << LANES) - 1;
    let values = from.addresses.into_iter().zip(to.addresses);
    for (pair, (from, to)) in boxes.addresses.chunks_exact(2).zip(values) {
        if let [lows, highs] = pair {
            let within = lows.iter().zip(highs).map(|(low, high)| *low <= from && to <= *high);
            lanes &= bits(within);
        }
    }
    let values = from.rest.into_iter().zip(to.rest);
    for (pair, (from, to)) in boxes.rest.chunks_exact(2).zip(values) {
        if let [lows, highs] = pair {
            let within = lows.iter().zip(highs).map(|(low, high)| *low <= from && to <= *high);
            lanes &= bits(within);
        }
    }
    lanes
}

fn bits(lanes: impl Iterator<Item = bool>) -> u32 {
    lanes.enumerate().fold(0, |bits, (lane, set)| bits | u32::from(set) << lane)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn between_avx2(boxes: &Boxes, from: &Point, to: &Point) -> u32 {
    use std::arch::x86_64::{
        _mm256_and_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi16, _mm256_cmpeq_epi32,
        _mm256_loadu_si256, _mm256_max_epu16, _mm256_max_epu32, _mm256_min_epu16, _mm256_min_epu32,
        _mm256_movemask_epi8, _mm256_movemask_ps, _mm256_set1_epi16, _mm256_set1_epi32,
    };
    let mut lanes = u32::MAX;
    let values = from.addresses.into_iter().zip(to.addresses);
    for (pair, (from, to)) in boxes.addresses.chunks_exact(2).zip(values) {
        let [lows, highs] = pair else { continue };
        let from = _mm256_set1_epi32(from.cast_signed());
        let to = _mm256_set1_epi32(to.cast_signed());
        for half in [0, 8] {
            // SAFETY: a row has sixteen words of 32 bits; eight are loaded from the first or the
            // ninth on.
            let (low, high) = unsafe {
                (
                    _mm256_loadu_si256(lows.as_ptr().add(half).cast()),
                    _mm256_loadu_si256(highs.as_ptr().add(half).cast()),
                )
            };
            // There is no comparison without sign, but a maximum.
            let above = _mm256_cmpeq_epi32(_mm256_max_epu32(low, from), from);
            let below = _mm256_cmpeq_epi32(_mm256_min_epu32(high, to), to);
            let both = _mm256_castsi256_ps(_mm256_and_si256(above, below));
            let found = _mm256_movemask_ps(both).cast_unsigned();
            lanes &= found << half | !(0xff << half);
        }
    }
    let mut doubled = u32::MAX;
    let values = from.rest.into_iter().zip(to.rest);
    for (pair, (from, to)) in boxes.rest.chunks_exact(2).zip(values) {
        let [lows, highs] = pair else { continue };
        let from = _mm256_set1_epi16(from.cast_signed());
        let to = _mm256_set1_epi16(to.cast_signed());
        // SAFETY: a row has sixteen words of 16 bits, as many as are loaded.
        let (low, high) = unsafe {
            (_mm256_loadu_si256(lows.as_ptr().cast()), _mm256_loadu_si256(highs.as_ptr().cast()))
        };
        let above = _mm256_cmpeq_epi16(_mm256_max_epu16(low, from), from);
        let below = _mm256_cmpeq_epi16(_mm256_min_epu16(high, to), to);
        doubled &= _mm256_movemask_epi8(_mm256_and_si256(above, below)).cast_unsigned();
    }
    // Two bits a lane.
    lanes & std::arch::x86_64::_pext_u32(doubled, 0x5555_5555)
}

#[cfg(test)]
mod tests;
