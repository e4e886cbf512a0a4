//! The same with AVX-512, as Intel has it since Ice Lake and AMD since Zen 4.
//!
//! Goes in and comes out: see [`Vectors`].

use super::super::batch::{Pairs, WIDTH};
use super::super::boxes::{Boxes, Point};
use super::super::buckets::{Bucket, SLOTS};
use super::super::family::SCATTER;
use super::super::plan::SLOT_SHIFT;
use super::super::small::{Row, WORDS};
use super::super::tree::{Narrow, Wide};
use super::super::words::{Fields, Maps};
use super::{Vectors, Work};
use std::sync::atomic::AtomicU64;

/// A processor with AVX-512.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx512(());

impl Avx512 {
    #[inline]
    pub(super) fn new() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt");
        has.then_some(Self(()))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2,popcnt")]
pub(super) fn work_avx512<W: Work>(work: W, vectors: Avx512) -> W::Output {
    work.run(vectors)
}

impl Vectors for Avx512 {
    #[inline(always)]
    fn below(self, node: &Narrow, value: u32) -> usize {
        // SAFETY: there is an `Avx512` only where the processor has the instructions.
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
    fn candidates(self, bucket: &Bucket, fingerprint: u8, place: u8, pairs: &mut Pairs) -> bool {
        // SAFETY: as above.
        unsafe { candidates_avx512(bucket, fingerprint, place, pairs) }
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
        _mm512_and_si512, _mm512_load_si512, _mm512_set1_epi64, _mm512_store_si512,
        _mm512_test_epi64_mask,
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
    let mut all = Row([0; WORDS]);
    let start = all.0.as_mut_ptr();
    // SAFETY: as above.
    unsafe {
        _mm512_store_si512(start.cast(), low);
        _mm512_store_si512(start.add(8).cast(), high);
    }
    let words = u32::from(_mm512_test_epi64_mask(low, low))
        | u32::from(_mm512_test_epi64_mask(high, high)) << 8
        | 1 << WORDS;
    let word = words.trailing_zeros() as usize;
    // Without any, the word is one of none, and the place beyond all.
    let bits = all.0.get(word % WORDS).map_or(0, |word| word.trailing_zeros());
    word * 64 + bits as usize
}

#[inline]
#[target_feature(enable = "avx512f")]
fn classes_avx512(
    words: &[AtomicU64],
    maps: &Maps,
    any: [u64; 2],
    [src_ports, zones]: [bool; 2],
    fields: Fields<'_>,
    classes: &mut [u64; WIDTH],
) {
    use std::arch::x86_64::{
        __m256i, _mm_cvtsi32_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_min_epu32,
        _mm256_mullo_epi32, _mm256_set1_epi32, _mm256_srl_epi32, _mm256_srli_epi32,
        _mm512_and_si512, _mm512_cvtepi64_epi32, _mm512_cvtepu32_epi64, _mm512_i32gather_epi64,
        _mm512_loadu_si512, _mm512_or_si512, _mm512_permutex2var_epi64, _mm512_set1_epi64,
        _mm512_srli_epi64, _mm512_storeu_si512,
    };
    let Some(last) = words.len().checked_sub(1) else { return };
    let last = _mm256_set1_epi32(i32::try_from(last).unwrap_or(0));
    let from = |start: u32, places: __m256i| {
        let places = _mm256_add_epi32(places, _mm256_set1_epi32(start.cast_signed()));
        let places = _mm256_min_epu32(places, last);
        // SAFETY: each place is below the length of the list. The words are atomics that the
        // writer may set bits in meanwhile: the processor loads each aligned word at once, and the
        // old and the new word are both right for a reader at its update.
        unsafe { _mm512_i32gather_epi64::<8>(places, words.as_ptr().cast::<i64>()) }
    };
    let low = |value: __m256i, mask: i32| _mm256_and_si256(value, _mm256_set1_epi32(mask));
    for start in (0..WIDTH).step_by(8) {
        // SAFETY: both columns have 64 words of 64 bits; eight are loaded from a multiple of eight
        // on.
        let (addresses, rest) = unsafe {
            (
                _mm512_loadu_si512(fields.addresses.as_ptr().add(start).cast()),
                _mm512_loadu_si512(fields.rest.as_ptr().add(start).cast()),
            )
        };
        let src = _mm512_cvtepi64_epi32(addresses);
        let dst = _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(addresses));
        let mut found = _mm512_set1_epi64(-1);
        for ((address, levels), any) in [src, dst].into_iter().zip(&maps.addresses).zip(any) {
            let mut own = _mm512_set1_epi64(any.cast_signed());
            for level in levels.iter().map_while(Option::as_ref) {
                let cut = _mm_cvtsi32_si128(32 - i32::from(level.len));
                let scattered = _mm256_mullo_epi32(
                    _mm256_srl_epi32(address, cut),
                    _mm256_set1_epi32(SCATTER.cast_signed()),
                );
                let place = _mm256_srl_epi32(scattered, _mm_cvtsi32_si128(maps.shift.into()));
                let slots = _mm256_srli_epi32::<{ SLOT_SHIFT as i32 }>(scattered);
                // SAFETY: there are sixteen picks.
                let (low, high) = unsafe {
                    let picks = level.picks.as_ptr();
                    (_mm512_loadu_si512(picks.cast()), _mm512_loadu_si512(picks.add(8).cast()))
                };
                // Takes the lowest four bits of a slot for the place.
                let slots = _mm512_cvtepu32_epi64(slots);
                let picks = _mm512_permutex2var_epi64(low, slots, high);
                let found = _mm512_and_si512(from(maps.start, place), picks);
                own = _mm512_or_si512(own, found);
            }
            found = _mm512_and_si512(found, own);
        }
        let ports = _mm512_cvtepi64_epi32(rest);
        let upper = _mm512_cvtepi64_epi32(_mm512_srli_epi64::<32>(rest));
        let port = |(exact, blocks): (u32, u32), port: __m256i| {
            let block = low(_mm256_srli_epi32::<8>(port), 0xff);
            _mm512_or_si512(from(exact, low(port, 0xfff)), from(blocks, block))
        };
        let [src, dst] = maps.ports;
        found = _mm512_and_si512(found, port(dst, _mm256_srli_epi32::<16>(ports)));
        found = _mm512_and_si512(found, from(maps.protocol, low(upper, 0xff)));
        if src_ports {
            found = _mm512_and_si512(found, port(src, ports));
        }
        if zones {
            let [ingress, egress] = maps.zones;
            let to = low(_mm256_srli_epi32::<16>(upper), 0xff);
            found = _mm512_and_si512(found, from(egress, to));
            let came = low(_mm256_srli_epi32::<8>(upper), 0xff);
            found = _mm512_and_si512(found, from(ingress, came));
        }
        // SAFETY: the target has 64 words of 64 bits; eight are written from a multiple of eight on.
        unsafe { _mm512_storeu_si512(classes.as_mut_ptr().add(start).cast(), found) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn candidates_avx512(bucket: &Bucket, fingerprint: u8, place: u8, pairs: &mut Pairs) -> bool {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8_mask, _mm_extract_epi32, _mm_set1_epi8, _mm512_castsi512_si128,
        _mm512_cmplt_epi32_mask, _mm512_loadu_si512, _mm512_maskz_compress_epi32,
        _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };
    // SAFETY: a bucket has 64 bytes. They are atomics that the writer may change meanwhile: the
    // processor loads each aligned word at once, and whichever it gets is right for a reader at its
    // update.
    let all = unsafe { _mm512_loadu_si512(std::ptr::from_ref(bucket).cast()) };
    let marks = _mm512_castsi512_si128(all);
    let equal = _mm_set1_epi8(fingerprint.cast_signed());
    let slots = _mm_cmpeq_epi8_mask(marks, equal) & ((1 << SLOTS) - 1);
    let more = _mm_extract_epi32::<3>(marks) >> (fingerprint & 31) & 1 != 0;
    // The numbers follow sixteen bytes of marks; those of piles are negative.
    let slots = slots << 4;
    let piles = slots & _mm512_cmplt_epi32_mask(all, _mm512_setzero_si512());
    let records = slots & !piles;
    if let Some((places, numbers)) = pairs.room() {
        // SAFETY: each has room for sixteen numbers.
        unsafe {
            let packed = _mm512_maskz_compress_epi32(records, all);
            _mm512_storeu_si512(numbers.as_mut_ptr().cast(), packed);
            _mm512_storeu_si512(places.as_mut_ptr().cast(), _mm512_set1_epi32(place.into()));
        }
        pairs.count += records.count_ones() as usize;
    }
    more | (piles != 0)
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
