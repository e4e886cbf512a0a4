//! Headers compared with the rules in their keys' seats.

use super::super::super::batch::{Block, Lanes, Searches, WIDTH};
use super::super::super::family::Pair;
use super::super::super::index::NOTHING;
use super::super::super::packed::Compared;
use super::super::super::plan::Side;
use super::super::super::record::{ALL_ZONES, Entry};
use super::super::super::still::hint::{View, like};
use super::super::super::still::seat::{Others, Seat};
use super::super::{Plain, Vectors, Work, work};
use super::Random;
use crate::matching::PortRange;

/// What is known of a block's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    best: [u64; WIDTH],
    classes: [u64; WIDTH],
    tables: [u64; WIDTH],
}

impl State {
    const fn searches(&mut self) -> Searches<'_> {
        Searches { best: &mut self.best, classes: &mut self.classes, tables: &self.tables }
    }
}

/// Who has seats, and which of them each header of a block comes to.
struct Compare<'a> {
    seats: &'a [Seat<u32>],
    numbers: &'a [u32; WIDTH],
    block: &'a Block<u32>,
    open: Lanes,
    state: &'a mut State,
}

impl Work for Compare<'_> {
    type Output = Option<[Lanes; 2]>;

    fn run<V: Vectors>(self, vectors: V) -> Option<[Lanes; 2]> {
        let Self { seats, numbers, block, open, state } = self;
        vectors.compare(seats, numbers, block.fields()?, open, &mut state.searches())
    }
}

/// The same, one after the other.
fn one_by_one(compare: Compare<'_>) -> [Lanes; 2] {
    let Compare { seats, numbers, block, open, state } = compare;
    let (mut beyond, mut alone) = (Lanes::NONE, Lanes::NONE);
    for place in open.get() {
        let Some(seat) = seats.get(numbers[place] as usize) else { continue };
        let Compared { matches, head } = seat.compare(&block.probe(place));
        let matches = matches && state.tables[place] >> head.class() & 1 != 0;
        beyond.push(place, !matches && seat.has_others());
        alone.push(place, matches && head.odd());
        let own = u64::from(head.order()) << 32 | u64::from(numbers[place]);
        if matches && !head.odd() && own < state.best[place] {
            state.best[place] = own;
            state.classes[place] &= seat.shadow;
        }
    }
    [beyond, alone]
}

/// Any rule, most of them wide.
fn entry(random: &mut Random) -> Entry<u32> {
    let mut below = |limit: u64| random.next() % limit;
    let mut ports = || match below(4) {
        0 => PortRange::only(below(1 << 16) as u16),
        1 => PortRange::new(below(1 << 15) as u16, (1 << 15 | below(1 << 15)) as u16).unwrap(),
        _ => PortRange::ANY,
    };
    let (src_port, dst_port) = (ports(), ports());
    let mut network = || {
        let len = [0, 1, 8, 24, 31, 32][below(6) as usize];
        ((below(1 << 32) as u32).checked_shl(32 - u32::from(len)).unwrap_or(0), len)
    };
    let ((src, src_len), (dst, dst_len)) = (network(), network());
    Entry {
        order: below(1 << 32) as u32,
        src_len,
        dst_len,
        addresses: Pair { src, dst },
        protocol: (below(2) == 0).then(|| below(256) as u8),
        src_port,
        dst_port,
        zones: if below(8) == 0 { 1 } else { ALL_ZONES },
        coarse: below(8) == 0,
        value: 0,
    }
}

#[test]
fn headers_of_a_block_meet_who_has_their_seats_as_they_do_one_by_one() {
    let mut random = Random(21);
    let (mut better, mut left) = (0, [0; 2]);
    for _ in 0..2_000 {
        let mut word = || random.next() << 32 ^ random.next();
        let numbers: [u32; WIDTH] = std::array::from_fn(|_| word() as u32 % 40);
        let open = Lanes(word() | word());
        let count = word() as usize % (WIDTH + 1);
        let mut state = State {
            best: std::array::from_fn(|_| if word() & 1 == 0 { NOTHING } else { word() }),
            classes: std::array::from_fn(|_| word()),
            tables: std::array::from_fn(|_| word() | word()),
        };
        // Fewer than there are numbers.
        let rules: Vec<Entry<u32>> = (0..36).map(|_| entry(&mut random)).collect();
        let mut seats: Vec<Seat<u32>> = Vec::new();
        for (rule, entry) in (0..).zip(&rules) {
            let class = random.next() as u8 % 64;
            let mut seat = Seat::new(entry, class, random.next(), rule);
            if random.next() & 1 == 0 {
                let view = View::new(Side::Src, 8);
                seat.link(Others { first: 40, count: 2, hints: [0; 7], view });
            }
            seats.push(seat);
        }
        seats[7] = Seat::VACANT;
        let mut block = Block::<u32>::new();
        for (place, number) in numbers.iter().enumerate().take(count) {
            // A header that the rule matches, or nearly.
            let rule = rules.get(*number as usize).unwrap_or(&rules[0]);
            let header = like(rule);
            let (mut addresses, mut rest) = (header.addresses, header.rest);
            match random.next() % 8 {
                0 => addresses.src ^= 1 << (random.next() % 32),
                1 => addresses.dst ^= 1 << (random.next() % 32),
                2 => rest ^= 1 << (random.next() % 40),
                _ => {}
            }
            block.put(place, addresses, rest);
        }
        block.complete(count);
        let open = Lanes(open.0 & Lanes::first(count).0);
        let (seats, numbers, block) = (&*seats, &numbers, &block);
        let before = state.clone();
        let mut wanted = state.clone();
        let expected = one_by_one(Compare { seats, numbers, block, open, state: &mut wanted });
        let compare = Compare { seats, numbers, block, open, state: &mut state };
        // Without vector instructions all of them are left.
        assert_eq!(compare.run(Plain), None);
        assert_eq!(state, before);
        if let Some(found) = work(Compare { seats, numbers, block, open, state: &mut state }) {
            assert_eq!((found, &state), (expected, &wanted));
        }
        better += before.best.iter().zip(&wanted.best).filter(|(a, b)| a != b).count();
        left[0] += expected[0].count();
        left[1] += expected[1].count();
    }
    assert!(better > 10_000 && left.iter().all(|left| *left > 1_000), "{better} {left:?}");
}
