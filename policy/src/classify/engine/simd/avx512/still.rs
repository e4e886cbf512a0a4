//! What batches do for a block of headers at once where rules don't change any more: who has the
//! seats, and the others with their keys.
//!
//! Goes in and comes out: see [`Vectors`](super::super::Vectors).

use super::super::super::batch::{Fields, Lanes, Pairs, Searches, WIDTH};
use super::super::super::packed::{ODD, PROTOCOL};
use super::super::super::still::hint::{Hints, NONE};
use super::super::super::still::list::{All, Lines};
use super::super::super::still::seat::{self, Others, Seat};

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn compare_avx512(
    seats: &[Seat<u32>],
    numbers: &[u32; WIDTH],
    fields: Fields<'_>,
    open: Lanes,
    searches: &mut Searches<'_>,
) -> [Lanes; 2] {
    use std::arch::x86_64::{
        _mm_setr_epi8, _mm256_loadu_si256, _mm256_setzero_si256, _mm256_test_epi32_mask,
        _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cmplt_epu64_mask, _mm512_cvtepu32_epi64,
        _mm512_loadu_si512, _mm512_mask_and_epi64, _mm512_mask_i64gather_epi32,
        _mm512_mask_i64gather_epi64, _mm512_mask_mov_epi64, _mm512_mask_test_epi64_mask,
        _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8,
        _mm512_slli_epi64, _mm512_srli_epi64, _mm512_srlv_epi64, _mm512_storeu_si512,
        _mm512_subs_epu16, _mm512_test_epi64_mask, _mm512_testn_epi64_mask, _mm512_xor_si512,
    };
    let all = |word: u64| _mm512_set1_epi64(word.cast_signed());
    let six_bits = |word| _mm512_and_si512(word, all(63));
    let Searches { best, classes, tables } = searches;
    let len = all(seats.len() as u64);
    // From ports, as in `Probe::rest`, to their edges.
    let edges = _mm_setr_epi8(0, 1, 0, 1, 2, 3, 2, 3, 8, 9, 8, 9, 10, 11, 10, 11);
    let (edges, inverted) = (_mm512_broadcast_i32x4(edges), all(0xffff_0000_ffff_0000));
    let (mut beyond, mut alone) = (0, 0);
    for start in (0..fields.count.min(WIDTH)).step_by(8) {
        let open = (open.0 >> start) as u8;
        if open == 0 {
            continue;
        }
        // SAFETY: all columns have a multiple of eight numbers; eight are loaded from a multiple of
        // eight on.
        let (number, addresses, rest, table, old, left) = unsafe {
            (
                _mm512_cvtepu32_epi64(_mm256_loadu_si256(numbers.as_ptr().add(start).cast())),
                _mm512_loadu_si512(fields.addresses.as_ptr().add(start).cast()),
                _mm512_loadu_si512(fields.rest.as_ptr().add(start).cast()),
                _mm512_loadu_si512(tables.as_ptr().add(start).cast()),
                _mm512_loadu_si512(best.as_ptr().add(start).cast()),
                _mm512_loadu_si512(classes.as_ptr().add(start).cast()),
            )
        };
        let open = open & _mm512_cmplt_epu64_mask(number, len);
        let offset = _mm512_slli_epi64::<6>(number);
        let field = |field: usize| {
            // SAFETY: this is read from seats of the list only, 64 bytes each, and is in them.
            unsafe {
                let start = seats.as_ptr().cast::<u8>().add(field);
                _mm512_mask_i64gather_epi64::<1>(_mm512_setzero_si512(), open, offset, start.cast())
            }
        };
        let [own, ports, head, shadow] = seat::COMPARED.map(field);
        let differ = _mm512_xor_si512(own, addresses);
        let src = _mm512_and_si512(differ, all(0xffff_ffff));
        let src = _mm512_srlv_epi64(src, six_bits(_mm512_srli_epi64::<32>(head)));
        let dst = _mm512_srli_epi64::<32>(differ);
        let dst = _mm512_srlv_epi64(dst, six_bits(_mm512_srli_epi64::<40>(head)));
        let edges = _mm512_xor_si512(_mm512_shuffle_epi8(rest, edges), inverted);
        // Something is left where an edge is below that of the bounds.
        let ports = _mm512_subs_epu16(ports, edges);
        let apart = _mm512_or_si512(_mm512_or_si512(src, dst), ports);
        let protocol = _mm512_srli_epi64::<32>(rest);
        let protocol = _mm512_xor_si512(_mm512_srli_epi64::<48>(head), protocol);
        let counts = _mm512_test_epi64_mask(head, all(PROTOCOL));
        let protocol = _mm512_mask_test_epi64_mask(counts, protocol, all(0xff));
        let class = six_bits(_mm512_srli_epi64::<57>(head));
        let of_table = _mm512_test_epi64_mask(_mm512_srlv_epi64(table, class), all(1));
        let matches = _mm512_testn_epi64_mask(apart, apart) & !protocol & of_table & open;
        let odd = matches & _mm512_test_epi64_mask(head, all(ODD));
        let new = _mm512_or_si512(_mm512_slli_epi64::<32>(head), number);
        let better = matches & !odd & _mm512_cmplt_epu64_mask(new, old);
        // SAFETY: as above, for stores.
        unsafe {
            let new = _mm512_mask_mov_epi64(old, better, new);
            _mm512_storeu_si512(best.as_mut_ptr().add(start).cast(), new);
            let left = _mm512_mask_and_epi64(left, better, left, shadow);
            _mm512_storeu_si512(classes.as_mut_ptr().add(start).cast(), left);
        }
        alone |= u64::from(odd) << start;
        let missed = open & !matches;
        if missed != 0 {
            let none = _mm256_setzero_si256();
            // SAFETY: as for other fields.
            let others = unsafe {
                let start = seats.as_ptr().cast::<u8>().add(seat::COUNT);
                _mm512_mask_i64gather_epi32::<1>(none, missed, offset, start.cast())
            };
            beyond |= u64::from(_mm256_test_epi32_mask(others, others)) << start;
        }
    }
    [Lanes(beyond), Lanes(alone)]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
pub(super) fn others_avx512(others: &Others, header: Hints, place: usize, pairs: &mut Pairs) {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8_mask, _mm_cvtsi64_si128, _mm_set1_epi8, _mm256_add_epi32,
        _mm256_maskz_compress_epi32, _mm256_set1_epi32, _mm256_setr_epi32, _mm512_cvtepu32_epi64,
        _mm512_or_si512, _mm512_set1_epi64, _mm512_storeu_si512,
    };
    let hints = _mm_cvtsi64_si128(others.word().cast_signed());
    let equal = |own: u8| _mm_cmpeq_epi8_mask(hints, _mm_set1_epi8(own.cast_signed()));
    let [a, b, c, d] = header.map(equal);
    let found = (a | b | c | d | equal(NONE)) as u8 & !(u32::MAX << (others.count & 7)) as u8;
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let numbers = _mm256_add_epi32(lanes, _mm256_set1_epi32(others.first.cast_signed()));
    let packed = _mm512_cvtepu32_epi64(_mm256_maskz_compress_epi32(found, numbers));
    let paired = _mm512_or_si512(packed, _mm512_set1_epi64((place as i64) << 32));
    if let Some(room) = pairs.room() {
        // SAFETY: there is room for sixteen pairs, and eight are written.
        unsafe { _mm512_storeu_si512(room.as_mut_ptr().cast(), paired) };
        pairs.count += found.count_ones() as usize;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn hinted_avx512(Lines(kinds): &Lines, header: All) -> u64 {
    use std::arch::x86_64::{
        _mm512_cmpeq_epi8_mask, _mm512_load_si512, _mm512_set1_epi8, _mm512_testn_epi8_mask,
    };
    const { assert!(NONE == 0) };
    kinds.iter().zip(header).fold(u64::MAX, |left, (line, own)| {
        // SAFETY: a line has 64 bytes, and begins where a cache line does.
        let hints = unsafe { _mm512_load_si512(line.as_ptr().cast()) };
        let equal = _mm512_cmpeq_epi8_mask(hints, _mm512_set1_epi8(own.cast_signed()));
        left & (equal | _mm512_testn_epi8_mask(hints, hints))
    })
}
