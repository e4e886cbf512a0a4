//! All ways to compare agree.

use super::super::batch::{Block, Scratch};
use super::super::boxes::Bounds;
use super::super::buckets::{Buckets, PILE};
use super::super::family::{Pair, fold};
use super::super::plan::Side;
use super::super::small::WORDS;
use super::super::still::hint::{NONE, View};
use super::super::still::list::LINE;
use super::super::still::seat::OTHERS;
use super::*;

mod seats;

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
        let mut point = || Point {
            addresses: [range(&mut random, u32::MAX).0, range(&mut random, u32::MAX).1],
            rest: [short(&mut random).0, short(&mut random).1, short(&mut random).0],
        };
        let (from, to) = (point(), point());
        let (from, to) = if round % 2 == 0 { (from, from) } else { (from, to) };
        let boxes = Boxes::new(bounds.iter().copied());
        let holds = |bounds: &Bounds| {
            let addresses = bounds.addresses.iter().zip(from.addresses.iter().zip(to.addresses));
            let rest = bounds.rest.iter().zip(from.rest.iter().zip(to.rest));
            addresses.into_iter().all(|(range, (from, to))| range.0 <= *from && to <= range.1)
                && rest.into_iter().all(|(range, (from, to))| range.0 <= *from && to <= range.1)
        };
        let wanted = bits(bounds.iter().take(LANES).map(holds));
        found += wanted.count_ones();
        assert_eq!(between(&boxes, &from, &to), wanted);
        assert_eq!(between_plain(&boxes, &from, &to), wanted);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has the instructions.
            assert_eq!(unsafe { between_avx2(&boxes, &from, &to) }, wanted);
        }
    }
    assert!(found > 1000, "{found}");
}

#[test]
fn numbers_below_their_bounds_are_found() {
    let mut random = Random(11);
    for _ in 0..20_000 {
        let mut word = || random.next() << 32 ^ random.next();
        let (numbers, bounds) = (word(), word());
        // Some of the four are equal.
        let numbers = numbers ^ (numbers ^ bounds) & word().wrapping_mul(0xffff);
        assert_eq!(below(numbers, bounds) == 0, below_plain(numbers, bounds) == 0);
    }
    assert_eq!(below(u64::MAX, u64::MAX), 0);
}

struct First<'a>(&'a [Row; 5]);

impl Work for First<'_> {
    type Output = usize;

    fn run<V: Vectors>(self, vectors: V) -> usize {
        vectors.first(self.0.each_ref())
    }
}

#[test]
fn the_first_bit_of_all_rows_is_found() {
    let mut random = Random(12);
    let mut found = 0;
    for round in 0..20_000u64 {
        let mut rows = [Row([0; WORDS]); 5];
        for row in &mut rows {
            for word in &mut row.0 {
                *word = (random.next() << 32 | random.next()) & (random.next() << 17);
            }
        }
        if round % 2 == 0 {
            let bit = random.next() % (WORDS as u64 * 64);
            rows.iter_mut().for_each(|row| row.0[bit as usize / 64] |= 1 << (bit % 64));
        }
        let bits = (0..WORDS * 64)
            .find(|bit| rows.iter().all(|row| row.0[bit / 64] >> (bit % 64) & 1 != 0));
        let right = |place: usize| match bits {
            Some(bit) => place == bit,
            None => place >= WORDS * 64,
        };
        found += usize::from(bits.is_some());
        assert!(right(work(First(&rows))) && right(First(&rows).run(Plain)), "{bits:?}");
    }
    assert!(found > 10_000);
}

/// Chooses tables for a block; the classes, tables, factors and open headers afterwards.
struct Choose<'a>(&'a Columns, &'a Block<u32>, [u64; WIDTH]);

type Chosen = ([u64; WIDTH], [u64; WIDTH], [[u64; WIDTH]; 2], Vec<usize>);

impl Work for Choose<'_> {
    type Output = Chosen;

    fn run<V: Vectors>(self, vectors: V) -> Chosen {
        let Self(keys, block, mut classes) = self;
        let (mut tables, mut factors) = ([0; WIDTH], [[0; WIDTH]; 2]);
        let fields = block.fields().unwrap();
        let seeds = Seeds([3, 1 << 60, 0, 0]);
        vectors.choose(keys, &seeds, fields, &mut classes, &mut tables, &mut factors);
        let open = vectors.open(&classes, block.count);
        (classes, tables, factors, open.get().collect())
    }
}

#[test]
fn tables_and_factors_of_a_block_are_those_of_its_headers() {
    let mut random = Random(13);
    let mut open = 0;
    for _ in 0..500 {
        let mut word = || random.next() << 32 ^ random.next();
        let keys = Columns {
            masks: std::array::from_fn(|_| word()),
            rest: std::array::from_fn(|_| word()),
            classes: std::array::from_fn(|class| word() | 1 << class),
        };
        let mut block = Block::<u32>::new();
        let count = word() as usize % (WIDTH + 1);
        for place in 0..count {
            let addresses = Pair { src: word() as u32, dst: word() as u32 };
            block.put(place, addresses, word());
        }
        block.complete(count);
        // Few classes each, so that some have none and some keep none.
        let classes = std::array::from_fn(|_| word() & word() & word() & word() & word());
        let (left, tables, factors, lanes) = work(Choose(&keys, &block, classes));
        let plain = Choose(&keys, &block, classes).run(Plain);
        let with: Vec<usize> = (0..count).filter(|place| classes[*place] != 0).collect();
        for place in with {
            let own = keys.classes[classes[place].trailing_zeros() as usize];
            assert_eq!((tables[place], left[place]), (own, classes[place] & !own));
            assert_eq!((plain.0[place], plain.1[place]), (left[place], tables[place]));
            assert_eq!(plain.2.map(|column| column[place]), factors.map(|column| column[place]));
        }
        let wanted: Vec<usize> = (0..count).filter(|place| left[*place] != 0).collect();
        assert_eq!((&lanes, &plain.3), (&wanted, &wanted));
        open += lanes.len();
    }
    assert!(open > 1000, "{open}");
}

/// Which records of a bucket are candidates, and whether there is more.
struct Candidates<'a>(&'a Bucket, u8, (u32, u32));

impl Work for Candidates<'_> {
    type Output = (Vec<(usize, u32)>, bool);

    fn run<V: Vectors>(self, vectors: V) -> Self::Output {
        let Scratch { mut pairs, .. } = Scratch::new();
        let more = vectors.candidates(self.0, self.1, self.2, 5, &mut pairs);
        (pairs.get().collect(), more)
    }
}

#[test]
fn candidates_of_a_bucket_leave_out_piles_and_those_between() {
    let mut random = Random(14);
    let mut found = 0;
    for _ in 0..2000 {
        let buckets = Buckets::new(1);
        let hash = |mark: u64| mark << 56;
        let mut numbers = Vec::new();
        for _ in 0..random.next() % 20 {
            let pile = if random.next().is_multiple_of(8) { PILE } else { 0 };
            let number = (random.next() % 40) as u32 | pile;
            let mark = 1 + random.next() % 3;
            assert!(buckets.insert(hash(mark), number));
            numbers.push((mark, number));
        }
        numbers.truncate(12);
        let (low, high) = ((random.next() % 40) as u32, (random.next() % 40) as u32);
        let bucket = buckets.get(0).unwrap();
        for mark in 1..4_u64 {
            let of = || numbers.iter().filter(|(own, _)| *own == mark).map(|(_, number)| *number);
            let wanted: Vec<(usize, u32)> = of()
                .filter(|number| *number < PILE && (*number <= low || high <= *number))
                .map(|number| (5, number))
                .collect();
            let between = (low, high);
            let vectors = work(Candidates(bucket, mark as u8, between));
            assert_eq!(vectors, Candidates(bucket, mark as u8, between).run(Plain));
            assert_eq!(vectors.0, wanted);
            assert!(vectors.1 || of().all(|number| number < PILE));
            found += wanted.len();
        }
    }
    assert!(found > 2000, "{found}");
}

/// The seats of headers, by the factors of their hashes.
struct Numbers<'a>(&'a Seats, &'a [[u64; WIDTH]; 2], usize);

impl Work for Numbers<'_> {
    type Output = Vec<u32>;

    fn run<V: Vectors>(self, vectors: V) -> Vec<u32> {
        let mut numbers = [0; WIDTH];
        vectors.seats(self.0, self.1, self.2, &mut numbers);
        numbers.into_iter().take(self.2).collect()
    }
}

#[test]
fn seats_of_a_block_are_those_of_its_headers() {
    let mut random = Random(15);
    for keys in [0, 1, 2, 3, 50, 1000, 10_000] {
        let mut word = || random.next() << 32 ^ random.next();
        let mut hashes: Vec<u64> = (0..keys).map(|_| word()).collect();
        hashes.sort_unstable();
        let seats = Seats::new(&hashes).unwrap();
        for count in [0, 1, 7, 8, 9, 63, WIDTH] {
            let factors = [(); 2].map(|()| std::array::from_fn(|_| word()));
            let hash = |place: usize| fold(factors[0][place], factors[1][place]);
            let wanted: Vec<u32> = (0..count).map(|place| seats.of(hash(place))).collect();
            assert_eq!(work(Numbers(&seats, &factors, count)), wanted);
            assert_eq!(Numbers(&seats, &factors, count).run(Plain), wanted);
        }
    }
}

/// Which others a header can match.
struct Matching<'a>(&'a Others, Hints);

impl Work for Matching<'_> {
    type Output = Vec<(usize, u32)>;

    fn run<V: Vectors>(self, vectors: V) -> Self::Output {
        let Scratch { mut pairs, .. } = Scratch::new();
        vectors.others(self.0, self.1, 5, &mut pairs);
        pairs.get().collect()
    }
}

#[test]
fn others_are_left_out_by_their_hints() {
    let mut random = Random(16);
    let mut found = 0;
    for _ in 0..10_000 {
        // Few values, so that many are equal, and some that only the byte after the hints has.
        let mut byte = || [0, 1, 64, 130, 192, 254][random.next() as usize % 6];
        let hints = std::array::from_fn(|_| byte());
        let header = [byte(), byte(), byte(), byte()];
        let first = random.next() as u32 >> 1;
        let count = random.next() as u32 % (OTHERS as u32 + 1);
        let others = Others { first, count, hints, view: View::new(Side::Dst, 65) };
        let wanted: Vec<(usize, u32)> = (first..first + count)
            .zip(hints)
            .filter(|(_, hint)| *hint == NONE || header.contains(hint))
            .map(|(number, _)| (5, number))
            .collect();
        assert_eq!(work(Matching(&others, header)), wanted);
        assert_eq!(Matching(&others, header).run(Plain), wanted);
        found += wanted.len();
    }
    assert!(found > 10_000, "{found}");
}

struct Hinted<'a>(&'a Lines, All);

impl Work for Hinted<'_> {
    type Output = u64;

    fn run<V: Vectors>(self, vectors: V) -> u64 {
        vectors.hinted(self.0, self.1)
    }
}

#[test]
fn rules_of_a_list_are_left_out_by_any_of_their_hints() {
    let mut random = Random(17);
    let mut found = 0;
    for _ in 0..2000 {
        let mut byte = || [NONE, NONE, 1, 2, 255][random.next() as usize % 5];
        let lines = Lines(std::array::from_fn(|_| std::array::from_fn(|_| byte())));
        let header = std::array::from_fn(|_| byte());
        let fits = |rule: usize| {
            lines.0.iter().zip(header).all(|(line, own)| line[rule] == NONE || line[rule] == own)
        };
        let wanted = (0..LINE).filter(|rule| fits(*rule)).fold(0, |bits, rule| bits | 1 << rule);
        assert_eq!(work(Hinted(&lines, header)), wanted);
        assert_eq!(Hinted(&lines, header).run(Plain), wanted);
        found += wanted.count_ones();
    }
    assert!(found > 2000, "{found}");
}
