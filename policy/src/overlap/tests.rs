//! What a search finds, against comparing each with each.

use super::tree::{Bounds, Item, OTHER_PROTOCOL, Query, Tree, before};
use super::{Asked, Placed, Rules};
use crate::address::AddressSet;
use crate::flow::protocol;
use crate::matching::{Match, PortRange, Service};
use crate::zone::{ZoneId, ZoneSet};

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn addresses(&mut self, bits: u32) -> AddressSet {
        let count = [1, 1, 2, 3, 12, 60][self.below(6) as usize];
        let mut range = |wide: u32| {
            let low = self.below(1 << bits) << (wide - bits);
            let rest = (1u64 << self.below(u64::from(wide))) - 1;
            match self.below(3) {
                0 => (low, low),
                1 => (low & !rest, low | rest),
                _ => (low, low + self.below(1000).min(u64::from(u32::MAX).saturating_sub(low))),
            }
        };
        let v4: Vec<_> = (0..count).map(|_| range(32)).collect();
        let v6: Vec<_> = (0..count / 2).map(|_| range(40)).collect();
        let v4 = v4.into_iter().map(|(low, high)| (low as u32, high as u32));
        let v6 = v6.into_iter().map(|(low, high)| (u128::from(low) << 80, u128::from(high) << 80));
        match self.below(8) {
            0 => AddressSet::any(),
            1 => AddressSet::from_ranges([], v6),
            2 => AddressSet::from_ranges(v4, []),
            _ => AddressSet::from_ranges(v4, v6),
        }
    }

    fn service(&mut self) -> Service {
        let port = |random: &mut Self| {
            let low = random.below(40) as u16;
            PortRange::new(low, low + random.below(4) as u16 * 5).unwrap_or(PortRange::ANY)
        };
        let (number, src_port, dst_port) = match self.below(7) {
            0 => return Service::ANY,
            1 => (protocol::ICMP, PortRange::only(self.below(9) as u16), PortRange::ANY),
            2 => (protocol::ICMPV6, PortRange::only(128 + self.below(9) as u16), port(self)),
            3 => (47, PortRange::ANY, PortRange::ANY),
            4 => (protocol::UDP, port(self), port(self)),
            _ => (protocol::TCP, PortRange::ANY, port(self)),
        };
        Service { protocol: Some(number), src_port, dst_port }
    }

    fn zones(&mut self) -> ZoneSet {
        let mut zone = || ZoneId::new(self.below(6) as u8).map_or(ZoneSet::ALL, ZoneSet::only);
        let (one, other) = (zone(), zone());
        match self.below(4) {
            0 => ZoneSet::ALL,
            1 => other.iter().fold(one, ZoneSet::with),
            _ => one,
        }
    }

    /// What a rule may match: lists of networks and services, any, both families. Of `bits` random
    /// bits an address.
    pub(crate) fn matches(&mut self, bits: u32) -> Match {
        let count = [1, 1, 2, 5, 30][self.below(5) as usize];
        let mut services: Vec<_> = (0..count).map(|_| self.service()).collect();
        services.sort_unstable();
        services.dedup();
        let (src, dst) = (self.addresses(bits), self.addresses(bits));
        Match { from: self.zones(), to: self.zones(), src, dst, services }
    }
}

#[test]
fn every_rule_that_overlaps_is_found_in_order() {
    for (seed, bits) in [(1, 4), (2, 8), (3, 16), (4, 24)] {
        let mut random = Random(seed);
        let all: Vec<Match> = (0..500).map(|_| random.matches(bits)).collect();
        let ranks: Vec<u32> = (0..500).map(|_| random.below(9) as u32).collect();
        let rules = Rules::new((0..500).zip(&all).zip(&ranks).map(|((place, matches), rank)| {
            Placed { place, rank: *rank, zones: (matches.from, matches.to), matches }
        }));
        let (mut met, mut found) = (0, 0);
        for asked in &all {
            let (first, last) = (random.below(400) as u32, random.below(500) as u32);
            let rank = random.below(9) as u32;
            let boxes = Asked::new(asked);
            let near: Vec<u32> = rules.meeting(&boxes, (first, last), rank).collect();
            assert!(near.is_sorted_by(|a, b| a < b), "seed {seed}: {near:?}");
            for ((place, own), own_rank) in (0..).zip(&all).zip(&ranks) {
                let wanted = (first..=last).contains(&place) && *own_rank >= rank;
                let is_there = near.binary_search(&place).is_ok();
                assert!(wanted || !is_there, "seed {seed}");
                if wanted && own.intersects(asked) {
                    met += 1;
                    assert!(is_there, "seed {seed}: {asked:?} {own:?}");
                }
            }
            found += near.len();
        }
        assert!(met > 500 && found < 8 * met, "seed {seed}: {met} {found}");
    }
}

/// A box of this small world.
fn bounds(random: &mut Random) -> Bounds<u32> {
    let mut range = |limit: u64| {
        let (a, b) = (random.below(limit) as u32, random.below(limit) as u32);
        if random.below(5) == 0 { (0, u32::MAX) } else { (a.min(b), a.max(b)) }
    };
    let addresses = [range(4000), range(4000)];
    let mut short = |limit| {
        let (low, high) = range(limit);
        (low as u16, high as u16)
    };
    let (src, dst, protocol) = (short(20), short(60_000), short(9));
    let protocol = (protocol.0, protocol.1.min(OTHER_PROTOCOL));
    Bounds { addresses, rest: [src, dst, protocol], from: random.zones(), to: random.zones() }
}

fn meets<T: Ord>(a: (T, T), b: (T, T)) -> bool {
    a.0 <= b.1 && b.0 <= a.1
}

fn holds<T: Ord>(a: (T, T), b: (T, T)) -> bool {
    a.0 <= b.0 && b.1 <= a.1
}

#[test]
fn search_finds_exactly_the_boxes_that_meet_or_hold() {
    for size in [0u32, 1, 15, 16, 17, 40, 300, 3000] {
        let mut random = Random(size.into());
        let items: Vec<Item<u32>> = (0..size)
            .map(|number| Item {
                order: number / 3,
                rank: random.below(5) as u32,
                number,
                bounds: bounds(&mut random),
            })
            .collect();
        let tree = Tree::new(items.clone());
        let mut found = [0, 0];
        for turn in 0..400 {
            let asked: Vec<_> = (0..1 + random.below(3)).map(|_| bounds(&mut random)).collect();
            let whole = turn % 2 == 0;
            let orders = before(random.below(u64::from(size) + 1) as u32);
            let rank = random.below(3) as u32;
            let query = Query { bounds: &asked, whole, orders, rank };
            let hits: Vec<_> = tree.search(query).map(|hit| (hit.order, hit.number)).collect();
            assert!(hits.is_sorted_by_key(|(order, _)| *order));
            let mut numbers: Vec<u32> = hits.iter().map(|(_, number)| *number).collect();
            numbers.sort_unstable();
            let fits = |own: &Bounds<u32>, asked: &Bounds<u32>| {
                let addresses = own.addresses.iter().zip(asked.addresses);
                let rest = own.rest.iter().zip(asked.rest);
                if whole {
                    addresses.into_iter().all(|(a, b)| holds(*a, b))
                        && rest.into_iter().all(|(a, b)| holds(*a, b))
                        && own.from.covers(asked.from)
                        && own.to.covers(asked.to)
                } else {
                    addresses.into_iter().all(|(a, b)| meets(*a, b))
                        && rest.into_iter().all(|(a, b)| meets(*a, b))
                        && own.from.intersects(asked.from)
                        && own.to.intersects(asked.to)
                }
            };
            let wanted = items.iter().filter(|item| {
                meets(orders, (item.order, item.order))
                    && item.rank >= rank
                    && asked.iter().any(|asked| fits(&item.bounds, asked))
            });
            let wanted: Vec<u32> = wanted.map(|item| item.number).collect();
            assert_eq!(numbers, wanted, "{size} boxes, turn {turn}");
            found[turn % 2] += wanted.len();
        }
        assert!(size < 3000 || found.iter().all(|found| *found > 50), "{size}: {found:?}");
    }
}
