//! Instructions of the processor that compare many values at once, and their plain counterparts.
//!
//! The only unsafe code of the crate. Each use is a vector instruction that the compiler can't know
//! to be there, or that takes a pointer.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector instructions and prefetches, each with its reason")
)]

use super::batch::{Asked, Lanes, PAIRS, Pairs, WIDTH};
use super::boxes::{Boxes, LANES, Point};
use super::buckets::{Bucket, SLOTS};
use super::small::{Row, WORDS};
use super::tree::{Narrow, Wide};
use super::words::Maps;
use std::sync::atomic::AtomicU64;

/// Ways to do the same with one value after the other, or with many at once.
pub(super) trait Vectors: Copy {
    /// How many numbers of a node are below a value.
    fn below(self, node: &Narrow, value: u32) -> usize;
    /// The same for wider numbers.
    fn below_wide(self, node: &Wide, value: u128) -> usize;
    /// The first bit that all rows have, or more than the last one.
    fn first<const N: usize>(self, rows: [&Row; N]) -> usize;
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
    if let Some(vectors) = Avx512::new() {
        // SAFETY: the processor has the instructions.
        return unsafe { work_avx512(work, vectors) };
    }
    work.run(Plain)
}

/// One value after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain;

impl Vectors for Plain {
    #[inline(always)]
    fn below(self, node: &Narrow, value: u32) -> usize {
        node.0.iter().map(|number| usize::from(*number < value)).sum()
    }

    #[inline(always)]
    fn below_wide(self, node: &Wide, value: u128) -> usize {
        let Wide([highs, lows]) = node;
        let number = |(high, low): (&u64, &u64)| u128::from(*high) << 64 | u128::from(*low);
        let below = highs.iter().zip(lows).map(|both| usize::from(number(both) < value));
        below.sum()
    }

    #[inline(always)]
    fn first<const N: usize>(self, rows: [&Row; N]) -> usize {
        let mut all = [u64::MAX; WORDS];
        for row in rows {
            for (all, word) in all.iter_mut().zip(&row.0) {
                *all &= word;
            }
        }
        let word = all.iter().position(|word| *word != 0);
        let bit = word.and_then(|place| all.get(place)).map_or(0, |word| word.trailing_zeros());
        word.unwrap_or(WORDS) * 64 + bit as usize
    }
}

/// A processor with AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

#[cfg(target_arch = "x86_64")]
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2,popcnt")]
fn work_avx512<W: Work>(work: W, vectors: Avx512) -> W::Output {
    work.run(vectors)
}

#[cfg(target_arch = "x86_64")]
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
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn below_avx512(node: &Narrow, value: u32) -> usize {
    use std::arch::x86_64::{_mm512_cmplt_epu32_mask, _mm512_loadu_si512, _mm512_set1_epi32};
    // SAFETY: a node has sixteen words of 32 bits, as many as are loaded.
    let numbers = unsafe { _mm512_loadu_si512(node.0.as_ptr().cast()) };
    let below = _mm512_cmplt_epu32_mask(numbers, _mm512_set1_epi32(value.cast_signed()));
    below.count_ones() as usize
}

#[cfg(target_arch = "x86_64")]
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

#[cfg(target_arch = "x86_64")]
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

/// Addresses, or ports and the other fields, of a block of headers.
type Columns<'a> = (&'a [u32; WIDTH], &'a [u32; WIDTH]);

/// For each header of a block the classes that can match, see [`super::words`]; `any` are
/// those of every source and of every destination. Says whether it could: if not, the caller has to
/// go through the headers one by one.
#[inline]
pub(super) fn classes(
    words: &[AtomicU64],
    maps: &Maps,
    any: [u64; 2],
    addresses: Columns<'_>,
    rest: Columns<'_>,
    classes: &mut [u64; WIDTH],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the instructions.
        unsafe { classes_avx512(words, maps, any, addresses, rest, classes) };
        return true;
    }
    let _ = (words, maps, any, addresses, rest, classes);
    false
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn classes_avx512(
    words: &[AtomicU64],
    maps: &Maps,
    any: [u64; 2],
    addresses: Columns<'_>,
    rest: Columns<'_>,
    classes: &mut [u64; WIDTH],
) {
    use std::arch::x86_64::{
        __m512i, _mm_cvtsi32_si128, _mm512_add_epi32, _mm512_and_si512, _mm512_castsi512_si256,
        _mm512_extracti64x4_epi64, _mm512_i32gather_epi64, _mm512_loadu_si512, _mm512_min_epu32,
        _mm512_mullo_epi32, _mm512_or_si512, _mm512_set1_epi32, _mm512_set1_epi64,
        _mm512_srl_epi32, _mm512_srli_epi32, _mm512_storeu_si512,
    };
    let last = i32::try_from(words.len().saturating_sub(1)).unwrap_or(0);
    if words.is_empty() {
        return;
    }
    let gather = |places: __m512i| {
        let places = _mm512_min_epu32(places, _mm512_set1_epi32(last));
        let low = _mm512_castsi512_si256(places);
        let high = _mm512_extracti64x4_epi64::<1>(places);
        let start = words.as_ptr().cast::<i64>();
        // SAFETY: each place is below the length of the list. The words are atomics that the
        // writer may set bits in meanwhile: the processor loads each aligned word at once, and the
        // old and the new word are both right for a reader at its update.
        unsafe {
            (_mm512_i32gather_epi64::<8>(low, start), _mm512_i32gather_epi64::<8>(high, start))
        }
    };
    let or = |a: (__m512i, __m512i), b: (__m512i, __m512i)| {
        (_mm512_or_si512(a.0, b.0), _mm512_or_si512(a.1, b.1))
    };
    let and = |a: (__m512i, __m512i), b: (__m512i, __m512i)| {
        (_mm512_and_si512(a.0, b.0), _mm512_and_si512(a.1, b.1))
    };
    let from = |start: u32, places: __m512i| {
        gather(_mm512_add_epi32(places, _mm512_set1_epi32(start.cast_signed())))
    };
    let column = |column: &[u32; WIDTH], half: usize| {
        // SAFETY: a column has 32 words of 32 bits; sixteen are loaded from the first or the
        // seventeenth on.
        unsafe { _mm512_loadu_si512(column.as_ptr().add(half).cast()) }
    };
    for half in (0..WIDTH).step_by(16) {
        let mut found = (_mm512_set1_epi64(-1), _mm512_set1_epi64(-1));
        let sides = [addresses.0, addresses.1];
        for ((side, levels), any) in sides.into_iter().zip(&maps.addresses).zip(any) {
            let any = _mm512_set1_epi64(any.cast_signed());
            let mut own = (any, any);
            let address = column(side, half);
            for level in levels.iter().map_while(|level| *level) {
                let cut = _mm_cvtsi32_si128(32 - i32::from(level.len));
                let leading = _mm512_srl_epi32(address, cut);
                let hash = _mm512_mullo_epi32(
                    leading,
                    _mm512_set1_epi32(super::family::SCATTER.cast_signed()),
                );
                let place = _mm512_srl_epi32(hash, _mm_cvtsi32_si128(i32::from(level.shift)));
                own = or(own, from(level.start, place));
            }
            found = and(found, own);
        }
        let (ports, rest) = (column(rest.0, half), column(rest.1, half));
        let [src, dst] = maps.ports;
        let exact = |ports| _mm512_and_si512(ports, _mm512_set1_epi32(0xfff));
        let block = |ports| _mm512_and_si512(ports, _mm512_set1_epi32(0xff));
        let upper = _mm512_srli_epi32::<16>(ports);
        let src = or(from(src.0, exact(ports)), from(src.1, block(_mm512_srli_epi32::<8>(ports))));
        let dst = or(from(dst.0, exact(upper)), from(dst.1, block(_mm512_srli_epi32::<8>(upper))));
        found = and(found, and(src, dst));
        let [ingress, egress] = maps.zones;
        found = and(found, from(maps.protocol, block(rest)));
        found = and(found, from(ingress, block(_mm512_srli_epi32::<8>(rest))));
        found = and(found, from(egress, block(_mm512_srli_epi32::<16>(rest))));
        let target = classes.as_mut_ptr();
        // SAFETY: the target has 32 words of 64 bits; sixteen are written from the first or the
        // seventeenth on.
        unsafe {
            _mm512_storeu_si512(target.add(half).cast(), found.0);
            _mm512_storeu_si512(target.add(half + 8).cast(), found.1);
        }
    }
}

/// Looks for the fingerprints of headers in their buckets: what has the number of a record becomes a
/// pair, and headers for which there is more go to `rest`. Says whether it could: if not, the caller
/// has to go through the headers one by one.
#[inline]
pub(super) fn candidates(
    buckets: &[Bucket],
    open: &[u8],
    asked: &[Asked; WIDTH],
    pairs: &mut Pairs,
    rest: &mut Lanes,
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
        // SAFETY: the processor has the instructions.
        unsafe { candidates_avx512(buckets, open, asked, pairs, rest) };
        return true;
    }
    let _ = (buckets, open, asked, pairs, rest);
    false
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt,bmi1")]
fn candidates_avx512(
    buckets: &[Bucket],
    open: &[u8],
    asked: &[Asked; WIDTH],
    pairs: &mut Pairs,
    rest: &mut Lanes,
) {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8_mask, _mm_extract_epi32, _mm_set1_epi8, _mm512_castsi512_si128,
        _mm512_cmplt_epi32_mask, _mm512_loadu_si512, _mm512_maskz_compress_epi32,
        _mm512_set1_epi32, _mm512_setzero_si512, _mm512_storeu_si512,
    };
    let mut count = 0;
    for place in open {
        let Some(asked) = asked.get(usize::from(*place) % WIDTH) else { continue };
        let Some(bucket) = buckets.get(asked.place as usize) else { continue };
        if count + 16 > PAIRS {
            break;
        }
        // SAFETY: a bucket has 64 bytes. They are atomics that the writer may change meanwhile: the
        // processor loads each aligned word at once, and whichever it gets is right for a reader at
        // its update.
        let all = unsafe { _mm512_loadu_si512(std::ptr::from_ref(bucket).cast()) };
        let marks = _mm512_castsi512_si128(all);
        let equal = _mm_set1_epi8(asked.fingerprint.cast_signed());
        let slots = _mm_cmpeq_epi8_mask(marks, equal) & ((1 << SLOTS) - 1);
        let more = _mm_extract_epi32::<3>(marks) >> (asked.fingerprint & 31) & 1 != 0;
        // The numbers follow sixteen bytes of marks; those of piles are negative.
        let slots = slots << 4;
        let piles = slots & _mm512_cmplt_epi32_mask(all, _mm512_setzero_si512());
        let records = slots & !piles;
        // SAFETY: both lists have room for sixteen more, see above.
        unsafe {
            let numbers = pairs.numbers.as_mut_ptr().add(count);
            _mm512_storeu_si512(numbers.cast(), _mm512_maskz_compress_epi32(records, all));
            let places = pairs.places.as_mut_ptr().add(count);
            _mm512_storeu_si512(places.cast(), _mm512_set1_epi32(i32::from(*place)));
        }
        count += records.count_ones() as usize;
        rest.push(*place, more | (piles != 0));
    }
    pairs.count = count;
}

/// Which of the boxes hold a point, as bits.
#[inline]
pub(super) fn holding(boxes: &Boxes, point: &Point) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the processor has the instructions.
            return unsafe { holding_avx512(boxes, point) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has the instructions.
            return unsafe { holding_avx2(boxes, point) };
        }
    }
    holding_plain(boxes, point)
}

fn holding_plain(boxes: &Boxes, point: &Point) -> u32 {
    let mut lanes = (1 << LANES) - 1;
    for (pair, value) in boxes.addresses.chunks_exact(2).zip(point.addresses) {
        if let [lows, highs] = pair {
            let within = lows.iter().zip(highs).map(|(low, high)| *low <= value && value <= *high);
            lanes &= bits(within);
        }
    }
    for (pair, value) in boxes.rest.chunks_exact(2).zip(point.rest) {
        if let [lows, highs] = pair {
            let within = lows.iter().zip(highs).map(|(low, high)| *low <= value && value <= *high);
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn holding_avx512(boxes: &Boxes, point: &Point) -> u32 {
    use std::arch::x86_64::{
        _mm256_loadu_si256, _mm256_mask_cmpge_epu16_mask, _mm256_mask_cmple_epu16_mask,
        _mm256_set1_epi16, _mm512_loadu_si512, _mm512_mask_cmpge_epu32_mask,
        _mm512_mask_cmple_epu32_mask, _mm512_set1_epi32,
    };
    let mut lanes = u16::MAX;
    for (pair, value) in boxes.addresses.chunks_exact(2).zip(point.addresses) {
        let [lows, highs] = pair else { continue };
        let value = _mm512_set1_epi32(value.cast_signed());
        // SAFETY: a row has sixteen words of 32 bits, as many as are loaded.
        let (low, high) = unsafe {
            (_mm512_loadu_si512(lows.as_ptr().cast()), _mm512_loadu_si512(highs.as_ptr().cast()))
        };
        lanes = _mm512_mask_cmpge_epu32_mask(lanes, value, low);
        lanes = _mm512_mask_cmple_epu32_mask(lanes, value, high);
    }
    for (pair, value) in boxes.rest.chunks_exact(2).zip(point.rest) {
        let [lows, highs] = pair else { continue };
        let value = _mm256_set1_epi16(value.cast_signed());
        // SAFETY: a row has sixteen words of 16 bits, as many as are loaded.
        let (low, high) = unsafe {
            (_mm256_loadu_si256(lows.as_ptr().cast()), _mm256_loadu_si256(highs.as_ptr().cast()))
        };
        lanes = _mm256_mask_cmpge_epu16_mask(lanes, value, low);
        lanes = _mm256_mask_cmple_epu16_mask(lanes, value, high);
    }
    u32::from(lanes)
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn holding_avx2(boxes: &Boxes, point: &Point) -> u32 {
    use std::arch::x86_64::{
        _mm256_and_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi16, _mm256_cmpeq_epi32,
        _mm256_loadu_si256, _mm256_max_epu16, _mm256_max_epu32, _mm256_min_epu16, _mm256_min_epu32,
        _mm256_movemask_epi8, _mm256_movemask_ps, _mm256_set1_epi16, _mm256_set1_epi32,
    };
    let mut lanes = u32::MAX;
    for (pair, value) in boxes.addresses.chunks_exact(2).zip(point.addresses) {
        let [lows, highs] = pair else { continue };
        let value = _mm256_set1_epi32(value.cast_signed());
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
            let above = _mm256_cmpeq_epi32(_mm256_max_epu32(low, value), value);
            let below = _mm256_cmpeq_epi32(_mm256_min_epu32(high, value), value);
            let both = _mm256_castsi256_ps(_mm256_and_si256(above, below));
            let found = _mm256_movemask_ps(both).cast_unsigned();
            lanes &= found << half | !(0xff << half);
        }
    }
    let mut doubled = u32::MAX;
    for (pair, value) in boxes.rest.chunks_exact(2).zip(point.rest) {
        let [lows, highs] = pair else { continue };
        let value = _mm256_set1_epi16(value.cast_signed());
        // SAFETY: a row has sixteen words of 16 bits, as many as are loaded.
        let (low, high) = unsafe {
            (_mm256_loadu_si256(lows.as_ptr().cast()), _mm256_loadu_si256(highs.as_ptr().cast()))
        };
        let above = _mm256_cmpeq_epi16(_mm256_max_epu16(low, value), value);
        let below = _mm256_cmpeq_epi16(_mm256_min_epu16(high, value), value);
        doubled &= _mm256_movemask_epi8(_mm256_and_si256(above, below)).cast_unsigned();
    }
    // Two bits a lane.
    lanes & std::arch::x86_64::_pext_u32(doubled, 0x5555_5555)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::Bounds;
    use super::*;

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            self.0 >> 16
        }
    }

    #[test]
    fn equal_bytes_are_found_in_every_place() {
        let mut random = Random(9);
        for _ in 0..10_000 {
            // Few values, so that many are equal.
            let state = random.next() << 16;
            let words = [state & 0x0303_0303_0303_0303, (state >> 5) & 0x0103_8003_0103_ff03];
            for byte in [0, 1, 2, 3, 0x80, 0xff] {
                let bytes = words.iter().flat_map(|word| word.to_le_bytes());
                let wanted = (0..).zip(bytes).filter(|(_, b)| *b == byte).map(|(i, _)| 1 << i);
                let wanted: u32 = wanted.sum();
                assert_eq!(equal_bytes(words, byte), wanted);
                let [low, high] = words;
                assert_eq!(equal_in_word(low, byte) | equal_in_word(high, byte) << 8, wanted);
            }
        }
    }

    /// Edges of the number range, small numbers, and any.
    fn range(random: &mut Random, most: u32) -> (u32, u32) {
        let mut one = || match random.next() % 4 {
            0 => 0,
            1 => most,
            2 => (random.next() % 16) as u32,
            _ => random.next() as u32 & most,
        };
        let (a, b) = (one(), one());
        (a.min(b), a.max(b))
    }

    #[test]
    fn all_ways_to_compare_boxes_agree() {
        let mut random = Random(10);
        let mut found = 0;
        for round in 0..20_000 {
            let short = |random: &mut Random| {
                let (low, high) = range(random, 0xffff);
                (low as u16, high as u16)
            };
            let bounds: Vec<Bounds> = (0..round % 18)
                .map(|_| Bounds {
                    addresses: [range(&mut random, u32::MAX), range(&mut random, u32::MAX)],
                    rest: [short(&mut random), short(&mut random), short(&mut random)],
                })
                .collect();
            let point = Point {
                addresses: [range(&mut random, u32::MAX).0, range(&mut random, u32::MAX).1],
                rest: [short(&mut random).0, short(&mut random).1, short(&mut random).0],
            };
            let boxes = Boxes::new(bounds.iter().copied());
            let holds = |bounds: &Bounds| {
                let addresses = bounds.addresses.iter().zip(point.addresses);
                let rest = bounds.rest.iter().zip(point.rest);
                addresses.into_iter().all(|(range, value)| range.0 <= value && value <= range.1)
                    && rest.into_iter().all(|(range, value)| range.0 <= value && value <= range.1)
            };
            let wanted = bits(bounds.iter().take(LANES).map(holds));
            found += wanted.count_ones();
            assert_eq!(holding(&boxes, &point), wanted);
            assert_eq!(holding_plain(&boxes, &point), wanted);
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
                // SAFETY: the processor has the instructions.
                assert_eq!(unsafe { holding_avx2(&boxes, &point) }, wanted);
            }
        }
        assert!(found > 1000, "{found}");
    }
}
