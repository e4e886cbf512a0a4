//! The same with AVX-512, as Intel has it since Ice Lake and AMD since Zen 4.
//!
//! Goes in and comes out: see [`Vectors`].

mod block;
mod still;

use super::super::batch::{Fields, Lanes, Pairs, Searches, WIDTH};
use super::super::boxes::{Boxes, Point};
use super::super::buckets::Bucket;
use super::super::family::Seeds;
use super::super::plan::Columns;
use super::super::small::{Row, WORDS};
use super::super::still::hint::Hints;
use super::super::still::list::{All, Lines};
use super::super::still::seat::{Others, Seat};
use super::super::still::seats::Seats;
use super::super::tree::{Narrow, Wide};
use super::super::words::Maps;
use super::{Vectors, Work};
use block::{candidates_avx512, choose_avx512, classes_avx512, open_avx512, seats_avx512};
use std::hint::select_unpredictable;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use still::{compare_avx512, hinted_avx512, others_avx512};

/// Whether the processor has all that is needed, once that was asked.
static FOUND: AtomicU8 = AtomicU8::new(0);
const YES: u8 = 1;
const NO: u8 = 2;

/// A processor with AVX-512.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx512(());

impl Avx512 {
    #[inline]
    pub(super) fn new() -> Option<Self> {
        match FOUND.load(Relaxed) {
            YES => Some(Self(())),
            NO => None,
            _ => Self::find(),
        }
    }

    /// One question for each of the instructions is too much for a single lookup.
    #[cold]
    fn find() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        FOUND.store(if has { YES } else { NO }, Relaxed);
        has.then_some(Self(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1,bmi2,popcnt")]
pub(super) fn work_avx512<W: Work>(work: W, vectors: Avx512) -> W::Output {
    work.run(vectors)
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1,bmi2,popcnt")]
fn apart_avx512<W: Work>(work: W, vectors: Avx512) -> W::Output {
    work.run(vectors)
}

impl Vectors for Avx512 {
    #[inline(always)]
    fn apart<W: Work>(self, work: W) -> W::Output {
        // SAFETY: there is an `Avx512` only where the processor has the instructions.
        unsafe { apart_avx512(work, self) }
    }

    #[inline(always)]
    fn holding(self, boxes: &Boxes, point: &Point) -> u32 {
        // SAFETY: as above.
        unsafe { between_avx512(boxes, point, point) }
    }

    #[inline(always)]
    fn below(self, node: &Narrow, value: u32) -> usize {
        // SAFETY: as above.
        unsafe { below_avx512(node, value) }
    }

    #[inline(always)]
    fn below_wide(self, node: &Wide, value: u128) -> usize {
        // SAFETY: as above.
        unsafe { below_wide_avx512(node, value) }
    }

    #[inline(always)]
    fn first<const N: usize>(self, rows: [&Row; N]) -> usize {
        // SAFETY: as above.
        unsafe { first_avx512(rows) }
    }

    #[inline(always)]
    fn candidates(
        self,
        bucket: &Bucket,
        fingerprint: u8,
        between: (u32, u32),
        place: usize,
        pairs: &mut Pairs,
    ) -> bool {
        // SAFETY: as above.
        unsafe { candidates_avx512(bucket, fingerprint, between, place, pairs) }
    }

    #[inline(always)]
    fn classes(
        self,
        words: &[AtomicU64],
        maps: &Maps,
        any: [u64; 2],
        told: [bool; 2],
        fields: Fields<'_>,
        classes: &mut [u64; WIDTH],
    ) -> bool {
        // SAFETY: as above.
        unsafe { classes_avx512(words, maps, any, told, fields, classes) };
        true
    }

    #[inline(always)]
    fn choose(
        self,
        keys: &Columns,
        seeds: &Seeds,
        fields: Fields<'_>,
        classes: &mut [u64; WIDTH],
        tables: &mut [u64; WIDTH],
        factors: &mut [[u64; WIDTH]; 2],
    ) {
        // SAFETY: as above.
        unsafe { choose_avx512(keys, seeds, fields, classes, tables, factors) }
    }

    #[inline(always)]
    fn seats(
        self,
        seats: &Seats,
        factors: &[[u64; WIDTH]; 2],
        count: usize,
        numbers: &mut [u32; WIDTH],
    ) {
        // SAFETY: as above.
        unsafe { seats_avx512(seats, factors, count, numbers) };
    }

    #[inline(always)]
    fn compare(
        self,
        seats: &[Seat<u32>],
        numbers: &[u32; WIDTH],
        fields: Fields<'_>,
        open: Lanes,
        searches: &mut Searches<'_>,
    ) -> Option<[Lanes; 2]> {
        // SAFETY: as above.
        Some(unsafe { compare_avx512(seats, numbers, fields, open, searches) })
    }

    #[inline(always)]
    fn others(self, others: &Others, header: Hints, place: usize, pairs: &mut Pairs) {
        // SAFETY: as above.
        unsafe { others_avx512(others, header, place, pairs) };
    }

    #[inline(always)]
    fn hinted(self, lines: &Lines, header: All) -> u64 {
        // SAFETY: as above.
        unsafe { hinted_avx512(lines, header) }
    }

    #[inline(always)]
    fn open(self, classes: &[u64; WIDTH], count: usize) -> Lanes {
        // SAFETY: as above.
        unsafe { open_avx512(classes, count) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn below_avx512(node: &Narrow, value: u32) -> usize {
    use std::arch::x86_64::{_mm512_cmplt_epu32_mask, _mm512_loadu_si512, _mm512_set1_epi32};
    // SAFETY: a node has sixteen words of 32 bits, as many as are loaded.
    let numbers = unsafe { _mm512_loadu_si512(node.0.as_ptr().cast()) };
    let below = _mm512_cmplt_epu32_mask(numbers, _mm512_set1_epi32(value.cast_signed()));
    below.count_ones() as usize
}

#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn below_wide_avx512(node: &Wide, value: u128) -> usize {
    use std::arch::x86_64::{
        _mm512_cmpeq_epu64_mask, _mm512_cmplt_epu64_mask, _mm512_loadu_si512,
        _mm512_mask_cmplt_epu64_mask, _mm512_set1_epi64,
    };
    let Wide([highs, lows]) = node;
    // SAFETY: each half has eight words of 64 bits, as many as are loaded.
    let (highs, lows) = unsafe {
        (_mm512_loadu_si512(highs.as_ptr().cast()), _mm512_loadu_si512(lows.as_ptr().cast()))
    };
    let high = _mm512_set1_epi64((value >> 64) as i64);
    let low = _mm512_set1_epi64(value as i64);
    let same = _mm512_cmpeq_epu64_mask(highs, high);
    let below = _mm512_cmplt_epu64_mask(highs, high);
    (below | _mm512_mask_cmplt_epu64_mask(same, lows, low)).count_ones() as usize
}

#[inline]
#[target_feature(enable = "avx512f,bmi1")]
fn first_avx512<const N: usize>(rows: [&Row; N]) -> usize {
    use std::arch::x86_64::{
        __m512i, _mm_cvtsi128_si64, _mm512_and_si512, _mm512_castsi512_si128, _mm512_load_si512,
        _mm512_maskz_compress_epi64, _mm512_set1_epi64, _mm512_test_epi64_mask,
    };
    let mut low = _mm512_set1_epi64(-1);
    let mut high = low;
    for row in rows {
        let start = row.0.as_ptr();
        // SAFETY: a row has sixteen words of 64 bits, and begins where a cache line does.
        let (a, b) =
            unsafe { (_mm512_load_si512(start.cast()), _mm512_load_si512(start.add(8).cast())) };
        (low, high) = (_mm512_and_si512(low, a), _mm512_and_si512(high, b));
    }
    let in_low = _mm512_test_epi64_mask(low, low);
    let in_high = _mm512_test_epi64_mask(high, high);
    // The first word with bits, or none of them.
    let word = |some: u8, words: __m512i| {
        _mm_cvtsi128_si64(_mm512_castsi512_si128(_mm512_maskz_compress_epi64(some, words)))
    };
    let (low, high) = (word(in_low, low), word(in_high, high));
    let bits = select_unpredictable(in_low != 0, low, high).cast_unsigned();
    let words = u32::from(in_low) | u32::from(in_high) << 8 | 1 << WORDS;
    words.trailing_zeros() as usize * 64 + bits.trailing_zeros() as usize
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn between_avx512(boxes: &Boxes, from: &Point, to: &Point) -> u32 {
    use std::arch::x86_64::{
        _mm256_loadu_si256, _mm256_mask_cmpge_epu16_mask, _mm256_mask_cmple_epu16_mask,
        _mm256_set1_epi16, _mm512_loadu_si512, _mm512_mask_cmpge_epu32_mask,
        _mm512_mask_cmple_epu32_mask, _mm512_set1_epi32,
    };
    let mut lanes = u16::MAX;
    let values = from.addresses.into_iter().zip(to.addresses);
    for (pair, (from, to)) in boxes.addresses.chunks_exact(2).zip(values) {
        let [lows, highs] = pair else { continue };
        let from = _mm512_set1_epi32(from.cast_signed());
        let to = _mm512_set1_epi32(to.cast_signed());
        // SAFETY: a row has sixteen words of 32 bits, as many as are loaded.
        let (low, high) = unsafe {
            (_mm512_loadu_si512(lows.as_ptr().cast()), _mm512_loadu_si512(highs.as_ptr().cast()))
        };
        lanes = _mm512_mask_cmpge_epu32_mask(lanes, from, low);
        lanes = _mm512_mask_cmple_epu32_mask(lanes, to, high);
    }
    // Mostly none is left: the rest needn't be loaded.
    if lanes == 0 {
        return 0;
    }
    let values = from.rest.into_iter().zip(to.rest);
    for (pair, (from, to)) in boxes.rest.chunks_exact(2).zip(values) {
        let [lows, highs] = pair else { continue };
        let from = _mm256_set1_epi16(from.cast_signed());
        let to = _mm256_set1_epi16(to.cast_signed());
        // SAFETY: a row has sixteen words of 16 bits, as many as are loaded.
        let (low, high) = unsafe {
            (_mm256_loadu_si256(lows.as_ptr().cast()), _mm256_loadu_si256(highs.as_ptr().cast()))
        };
        lanes = _mm256_mask_cmpge_epu16_mask(lanes, from, low);
        lanes = _mm256_mask_cmple_epu16_mask(lanes, to, high);
    }
    u32::from(lanes)
}
