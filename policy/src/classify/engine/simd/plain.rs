//! The same with what every processor has.
//!
//! Goes in and comes out: see [`Vectors`].

use super::super::batch::{Fields, Lanes, Pairs, Searches, WIDTH};
use super::super::boxes::{Boxes, Point};
use super::super::buckets::Bucket;
use super::super::family::{Seeds, fold};
use super::super::plan::Columns;
use super::super::small::{Row, WORDS};
use super::super::still::hint::{Hints, NONE};
use super::super::still::list::{All, Lines};
use super::super::still::seat::{Others, Seat};
use super::super::still::seats::Seats;
use super::super::tree::{Narrow, Wide};
use super::super::words::Maps;
use super::{Vectors, Work, between};
use std::sync::atomic::AtomicU64;

/// One value after the other.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Plain;

impl Vectors for Plain {
    #[inline(never)]
    fn apart<W: Work>(self, work: W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    fn holding(self, boxes: &Boxes, point: &Point) -> u32 {
        between(boxes, point, point)
    }

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

    #[inline(always)]
    fn candidates(
        self,
        bucket: &Bucket,
        fingerprint: u8,
        (low, high): (u32, u32),
        place: usize,
        pairs: &mut Pairs,
    ) -> bool {
        bucket.candidates(fingerprint, |number| {
            if number <= low || high <= number {
                pairs.push(place, number);
            }
        })
    }

    #[inline(always)]
    fn classes(
        self,
        _: &[AtomicU64],
        _: &Maps,
        _: [u64; 2],
        _: [bool; 2],
        _: Fields<'_>,
        _: &mut [u64; WIDTH],
    ) -> bool {
        false
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
        let [left, right] = factors;
        let headers = fields.addresses.iter().zip(fields.rest).take(fields.count);
        let cells = classes.iter_mut().zip(tables).zip(left.iter_mut().zip(right));
        for ((addresses, rest), ((classes, table), (left, right))) in headers.zip(cells) {
            let class = classes.trailing_zeros() as usize % 64;
            *table = keys.classes.get(class).copied().unwrap_or(0);
            *classes &= !*table;
            [*left, *right] = keys.factors(class, *addresses, *rest, seeds);
        }
    }

    #[inline(always)]
    fn seats(
        self,
        seats: &Seats,
        factors: &[[u64; WIDTH]; 2],
        count: usize,
        numbers: &mut [u32; WIDTH],
    ) {
        let [left, right] = factors;
        let hashes = left.iter().zip(right).map(|(left, right)| fold(*left, *right));
        for (number, hash) in numbers.iter_mut().zip(hashes).take(count) {
            *number = seats.of(hash);
        }
    }

    #[inline(always)]
    fn compare(
        self,
        _: &[Seat<u32>],
        _: &[u32; WIDTH],
        _: Fields<'_>,
        _: Lanes,
        _: &mut Searches<'_>,
    ) -> Option<[Lanes; 2]> {
        None
    }

    #[inline(always)]
    fn others(self, others: &Others, header: Hints, place: usize, pairs: &mut Pairs) {
        let mut left = others.allowed(header);
        while left != 0 {
            pairs.push(place, others.first + left.trailing_zeros());
            left &= left - 1;
        }
    }

    #[inline(always)]
    fn hinted(self, Lines(kinds): &Lines, header: All) -> u64 {
        kinds.iter().zip(header).fold(u64::MAX, |left, (line, own)| {
            let fits = line.iter().map(|hint| *hint == NONE || *hint == own);
            left & (0..).zip(fits).fold(0, |bits, (place, fits)| bits | u64::from(fits) << place)
        })
    }

    #[inline(always)]
    fn open(self, classes: &[u64; WIDTH], count: usize) -> Lanes {
        let with = classes.iter().enumerate();
        let with = with.fold(0, |with, (place, own)| with | u64::from(*own != 0) << place);
        Lanes(with & Lanes::first(count).0)
    }
}
