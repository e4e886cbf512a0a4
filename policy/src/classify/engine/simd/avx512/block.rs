//! What batches do for a block of headers at once: words, tables, buckets.
//!
//! Goes in and comes out: see [`Vectors`](super::super::Vectors).

use super::super::super::batch::{Fields, Lanes, Pairs, WIDTH};
use super::super::super::buckets::{Bucket, SLOTS};
use super::super::super::family::{SCATTER, Seeds};
use super::super::super::plan::{Columns, PORTS, SLOT_SHIFT};
use super::super::super::still::seats::{MIX, Seats};
use super::super::super::words::Maps;
use std::arch::x86_64::__m512i;
use std::sync::atomic::AtomicU64;

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn classes_avx512(
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
    const { assert!(WIDTH.is_multiple_of(8)) };
    for start in (0..fields.count.min(WIDTH)).step_by(8) {
        // SAFETY: both columns have a multiple of eight words of 64 bits; eight are loaded from a
        // multiple of eight on.
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
        // SAFETY: the target has as many words; eight are written from a multiple of eight on.
        unsafe { _mm512_storeu_si512(classes.as_mut_ptr().add(start).cast(), found) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512cd")]
pub(super) fn choose_avx512(
    keys: &Columns,
    seeds: &Seeds,
    fields: Fields<'_>,
    classes: &mut [u64; WIDTH],
    tables: &mut [u64; WIDTH],
    [left, right]: &mut [[u64; WIDTH]; 2],
) {
    use std::arch::x86_64::{
        __m512i, _mm512_and_si512, _mm512_andnot_si512, _mm512_i64gather_epi64, _mm512_loadu_si512,
        _mm512_lzcnt_epi64, _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512,
        _mm512_storeu_si512, _mm512_sub_epi64, _mm512_test_epi64_mask, _mm512_xor_si512,
    };
    let all = |word: u64| _mm512_set1_epi64(word.cast_signed());
    let [a, b, ..] = seeds.0.map(all);
    let key = |column: &[u64; 64], class: __m512i| {
        // SAFETY: each class is below 64, the length of the column.
        unsafe { _mm512_i64gather_epi64::<8>(class, column.as_ptr().cast()) }
    };
    for start in (0..fields.count.min(WIDTH)).step_by(8) {
        // SAFETY: all columns have a multiple of eight words of 64 bits; eight are loaded from a
        // multiple of eight on.
        let (open, addresses, rest) = unsafe {
            (
                _mm512_loadu_si512(classes.as_ptr().add(start).cast()),
                _mm512_loadu_si512(fields.addresses.as_ptr().add(start).cast()),
                _mm512_loadu_si512(fields.rest.as_ptr().add(start).cast()),
            )
        };
        if _mm512_test_epi64_mask(open, open) == 0 {
            continue;
        }
        let lowest = _mm512_and_si512(open, _mm512_sub_epi64(_mm512_setzero_si512(), open));
        // A header without classes gets the last.
        let class = _mm512_sub_epi64(all(63), _mm512_lzcnt_epi64(lowest));
        let class = _mm512_and_si512(class, all(63));
        let (mask, fixed, own) =
            (key(&keys.masks, class), key(&keys.rest, class), key(&keys.classes, class));
        let address = _mm512_xor_si512(_mm512_and_si512(addresses, mask), a);
        // The ports that the table hashes, and its salt.
        let rest = _mm512_and_si512(_mm512_or_si512(rest, all(!PORTS)), fixed);
        let rest = _mm512_xor_si512(rest, b);
        // SAFETY: as above, for stores.
        unsafe {
            let left_over = _mm512_andnot_si512(own, open);
            _mm512_storeu_si512(classes.as_mut_ptr().add(start).cast(), left_over);
            _mm512_storeu_si512(tables.as_mut_ptr().add(start).cast(), own);
            _mm512_storeu_si512(left.as_mut_ptr().add(start).cast(), address);
            _mm512_storeu_si512(right.as_mut_ptr().add(start).cast(), rest);
        }
    }
}

/// Both halves of eight products of 64 bits, mixed, see [`fold`](super::super::super::family::fold).
#[inline]
#[target_feature(enable = "avx512f")]
fn fold_avx512(a: __m512i, b: __m512i) -> __m512i {
    use std::arch::x86_64::{
        _mm512_add_epi64, _mm512_and_si512, _mm512_mul_epu32, _mm512_or_si512, _mm512_set1_epi64,
        _mm512_slli_epi64, _mm512_srli_epi64, _mm512_xor_si512,
    };
    let high = |word| _mm512_srli_epi64::<32>(word);
    let low = |word| _mm512_and_si512(word, _mm512_set1_epi64(0xffff_ffff));
    let (ll, lh) = (_mm512_mul_epu32(a, b), _mm512_mul_epu32(a, high(b)));
    let (hl, hh) = (_mm512_mul_epu32(high(a), b), _mm512_mul_epu32(high(a), high(b)));
    let middle = _mm512_add_epi64(high(ll), _mm512_add_epi64(low(lh), low(hl)));
    let upper = _mm512_add_epi64(_mm512_add_epi64(high(lh), high(hl)), high(middle));
    let upper = _mm512_add_epi64(hh, upper);
    _mm512_xor_si512(upper, _mm512_or_si512(_mm512_slli_epi64::<32>(middle), low(ll)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn seats_avx512(
    seats: &Seats,
    [left, right]: &[[u64; WIDTH]; 2],
    count: usize,
    numbers: &mut [u32; WIDTH],
) {
    use std::arch::x86_64::{
        _mm256_and_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm512_cvtepi64_epi32,
        _mm512_cvtepu32_epi64, _mm512_i64gather_epi32, _mm512_loadu_si512, _mm512_min_epu64,
        _mm512_mul_epu32, _mm512_mullo_epi64, _mm512_set1_epi64, _mm512_srli_epi64,
        _mm512_xor_si512,
    };
    let pilots = seats.pilots();
    let Some(last) = pilots.len().checked_sub(2) else { return };
    let all = |word: u64| _mm512_set1_epi64(word.cast_signed());
    // Of a number's upper half that part of a range that it is of all numbers.
    let part = |number, range| {
        _mm512_srli_epi64::<32>(_mm512_mul_epu32(_mm512_srli_epi64::<32>(number), all(range)))
    };
    let [of_pilots, of_hashes] = MIX.map(all);
    for start in (0..count.min(WIDTH)).step_by(8) {
        // SAFETY: both columns have a multiple of eight words of 64 bits; eight are loaded from a
        // multiple of eight on.
        let (left, right) = unsafe {
            (
                _mm512_loadu_si512(left.as_ptr().add(start).cast()),
                _mm512_loadu_si512(right.as_ptr().add(start).cast()),
            )
        };
        let hash = fold_avx512(left, right);
        let group = _mm512_min_epu64(part(hash, seats.groups()), all(last as u64));
        // SAFETY: two numbers of 16 bits are read from each group's on, and that isn't the last.
        let pilot = unsafe { _mm512_i64gather_epi32::<2>(group, pilots.as_ptr().cast::<i32>()) };
        let pilot = _mm512_cvtepu32_epi64(_mm256_and_si256(pilot, _mm256_set1_epi32(0xffff)));
        let mixed = _mm512_xor_si512(hash, _mm512_mullo_epi64(pilot, of_pilots));
        let seat = part(_mm512_mullo_epi64(mixed, of_hashes), u64::from(seats.len()));
        // SAFETY: the column has a multiple of eight words of 32 bits; eight are written from a
        // multiple of eight on.
        unsafe {
            _mm256_storeu_si256(
                numbers.as_mut_ptr().add(start).cast(),
                _mm512_cvtepi64_epi32(seat),
            );
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn open_avx512(classes: &[u64; WIDTH], count: usize) -> Lanes {
    use std::arch::x86_64::{_mm512_loadu_si512, _mm512_test_epi64_mask};
    let mut open = 0;
    for start in (0..WIDTH).step_by(8) {
        // SAFETY: the column has a multiple of eight words of 64 bits; eight are loaded from a
        // multiple of eight on.
        let own = unsafe { _mm512_loadu_si512(classes.as_ptr().add(start).cast()) };
        open |= u64::from(_mm512_test_epi64_mask(own, own)) << start;
    }
    Lanes(open & Lanes::first(count).0)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
pub(super) fn candidates_avx512(
    bucket: &Bucket,
    fingerprint: u8,
    (low, high): (u32, u32),
    place: usize,
    pairs: &mut Pairs,
) -> bool {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8_mask, _mm_extract_epi32, _mm_set1_epi8, _mm256_storeu_si256,
        _mm512_castsi512_si128, _mm512_castsi512_si256, _mm512_cmpge_epu32_mask,
        _mm512_cmplt_epi32_mask, _mm512_cvtepu32_epi64, _mm512_extracti64x4_epi64,
        _mm512_loadu_si512, _mm512_maskz_compress_epi32, _mm512_or_si512, _mm512_set1_epi32,
        _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_sub_epi32,
    };
    // SAFETY: a bucket has 64 bytes. They are atomics that the writer may change meanwhile: the
    // processor loads each aligned word at once, and whichever it gets is right for a reader at its
    // update.
    let all = unsafe { _mm512_loadu_si512(std::ptr::from_ref(bucket).cast()) };
    let each = |word: u32| _mm512_set1_epi32(word.cast_signed());
    let marks = _mm512_castsi512_si128(all);
    let equal = _mm_set1_epi8(fingerprint.cast_signed());
    let slots = _mm_cmpeq_epi8_mask(marks, equal) & ((1 << SLOTS) - 1);
    let more = _mm_extract_epi32::<3>(marks) >> (fingerprint & 31) & 1 != 0;
    // The numbers follow sixteen bytes of marks; those of piles are negative.
    let slots = slots << 4;
    let piles = slots & _mm512_cmplt_epi32_mask(all, _mm512_setzero_si512());
    let mut records = slots & !piles;
    // Mostly none for all headers of a round, or for none.
    if low < high {
        // Those between: by their distance from the lower end.
        let start = low + 1;
        let distance = _mm512_sub_epi32(all, each(start));
        records &= _mm512_cmpge_epu32_mask(distance, each(high - start));
    }
    if let Some(room) = pairs.room() {
        let packed = _mm512_maskz_compress_epi32(records, all);
        let header = _mm512_set1_epi64((place as i64) << 32);
        let paired = |numbers| _mm512_or_si512(_mm512_cvtepu32_epi64(numbers), header);
        let first = paired(_mm512_castsi512_si256(packed));
        let count = records.count_ones() as usize;
        // SAFETY: there is room for sixteen pairs. Mostly there are few, and what is written for
        // nothing costs time.
        unsafe {
            _mm256_storeu_si256(room.as_mut_ptr().cast(), _mm512_castsi512_si256(first));
            if count > 4 {
                let rest = paired(_mm512_extracti64x4_epi64::<1>(packed));
                _mm512_storeu_si512(room.as_mut_ptr().cast(), first);
                _mm512_storeu_si512(room.as_mut_ptr().add(8).cast(), rest);
            }
        }
        pairs.count += count;
    }
    more | (piles != 0)
}
