//! The engine on rules of its own kind: the scan's answer for whatever rules and headers.

use crate::random::Random;
use std::net::{Ipv4Addr, Ipv6Addr};
use twinwall_policy::classify::engine::{Engine, Header, Hit, Networks, Rule};
use twinwall_policy::flow::Tuple;
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::{Prefix, Word};
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// How rules are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Addresses come from so many networks of 8 bits.
    pub(crate) networks: u64,
    /// Of ten rules, how many say nothing of an address.
    pub(crate) wild: u64,
    /// Of ten rules, how many have a range of ports.
    pub(crate) ranges: u64,
    /// Of ten rules, how many are for some zones only.
    pub(crate) zoned: u64,
}

pub(crate) const KINDS: [Kind; 5] = [
    Kind { networks: 200, wild: 1, ranges: 1, zoned: 0 },
    Kind { networks: 3, wild: 5, ranges: 5, zoned: 2 },
    Kind { networks: 2, wild: 2, ranges: 2, zoned: 8 },
    // All rules overlap: wildcards and ranges of both ports.
    Kind { networks: 1, wild: 10, ranges: 10, zoned: 0 },
    Kind { networks: 20, wild: 9, ranges: 0, zoned: 1 },
];

fn prefix<T: Word>(bits: T, len: u8) -> Prefix<T> {
    Prefix { bits, len: T::BITS }.shortened(len)
}

fn address(random: &mut Random, kind: Kind) -> u32 {
    let low = if random.below(2) == 0 { random.below(4) << 8 } else { random.below(1 << 24) };
    (random.below(kind.networks) << 24 | low | random.below(4)) as u32
}

fn wide(address: u32) -> u128 {
    0x2001_0db8 << 96 | u128::from(address >> 8) << 64 | u128::from(address & 0xff)
}

fn ports(random: &mut Random, kind: Kind) -> PortRange {
    if random.below(10) < kind.ranges {
        let (a, b) = (random.below(65536) as u16, random.below(65536) as u16);
        return PortRange::new(a.min(b), a.max(b)).unwrap();
    }
    match random.below(3) {
        0 => PortRange::only(random.below(20) as u16),
        _ => PortRange::ANY,
    }
}

pub(crate) fn rule(random: &mut Random, kind: Kind, order: u32) -> Rule {
    let len = |random: &mut Random, most: u8| {
        if random.below(10) < kind.wild {
            return random.below(2) as u8;
        }
        [most, most, most - 1, most - 8, most / 2, random.below(u64::from(most)) as u8]
            [random.below(6) as usize]
    };
    let (a, b) = (address(random, kind), address(random, kind));
    let networks = match random.below(8) {
        0 => Networks::Any,
        1 | 2 => Networks::V6 {
            src: prefix(wide(a), len(random, 128)),
            dst: prefix(wide(b), len(random, 128)),
        },
        _ => Networks::V4 { src: prefix(a, len(random, 32)), dst: prefix(b, len(random, 32)) },
    };
    let zones = |random: &mut Random| {
        if random.below(10) >= kind.zoned {
            return ZoneSet::ALL;
        }
        let zone = |random: &mut Random| ZoneId::new(random.below(5) as u8).unwrap();
        ZoneSet::only(zone(random)).with(zone(random))
    };
    Rule {
        order,
        networks,
        protocol: [None, Some(6), Some(6), Some(17), Some(1)][random.below(5) as usize],
        src_port: if random.below(2) == 0 { PortRange::ANY } else { ports(random, kind) },
        dst_port: ports(random, kind),
        from: zones(random),
        to: zones(random),
        value: u64::from(order) << 20 | 7,
    }
}

pub(crate) fn header(random: &mut Random, kind: Kind) -> Header {
    let (a, b) = (address(random, kind), address(random, kind));
    let (src, dst) = match random.below(4) {
        0 => (Ipv6Addr::from_bits(wide(a)).into(), Ipv6Addr::from_bits(wide(b)).into()),
        _ => (Ipv4Addr::from_bits(a).into(), Ipv4Addr::from_bits(b).into()),
    };
    let port = |random: &mut Random| {
        if random.below(2) == 0 { random.below(20) } else { random.below(65536) }
    };
    Header {
        tuple: Tuple {
            src,
            dst,
            protocol: [6, 17, 1, 47][random.below(4) as usize],
            src_port: port(random) as u16,
            dst_port: port(random) as u16,
        },
        from: ZoneId::new(random.below(6) as u8).unwrap(),
        to: ZoneId::new(random.below(6) as u8).unwrap(),
    }
}

/// A header that the rule matches.
pub(crate) fn inside(rule: &Rule, random: &mut Random, kind: Kind) -> Header {
    let mut header = header(random, kind);
    match rule.networks {
        Networks::Any => {}
        Networks::V4 { src, dst } => {
            let fill = |p: Prefix<u32>, r: u32| p.bits | r & !u32::mask(p.len);
            header.tuple.src = Ipv4Addr::from_bits(fill(src, random.below(1 << 32) as u32)).into();
            header.tuple.dst = Ipv4Addr::from_bits(fill(dst, random.below(1 << 32) as u32)).into();
        }
        Networks::V6 { src, dst } => {
            let fill = |p: Prefix<u128>, r: u64| p.bits | u128::from(r) & !u128::mask(p.len);
            header.tuple.src = Ipv6Addr::from_bits(fill(src, random.next())).into();
            header.tuple.dst = Ipv6Addr::from_bits(fill(dst, random.next())).into();
        }
    }
    let port = |range: PortRange, random: &mut Random| {
        range.low() + random.below(u64::from(range.high() - range.low()) + 1) as u16
    };
    header.tuple.protocol = rule.protocol.unwrap_or(header.tuple.protocol);
    header.tuple.src_port = port(rule.src_port, random);
    header.tuple.dst_port = port(rule.dst_port, random);
    header.from = rule.from.iter().next().unwrap();
    header.to = rule.to.iter().next().unwrap();
    header
}

pub(crate) fn scan<'a>(rules: impl IntoIterator<Item = &'a Rule>, header: &Header) -> Option<Hit> {
    let matching = rules.into_iter().filter(|rule| rule.matches(header));
    let first = matching.min_by_key(|rule| rule.order)?;
    Some(Hit { order: first.order, value: first.value })
}

fn assert_agree(rules: &[Rule], headers: &[Header], what: &str) -> usize {
    let engine = Engine::build(rules);
    assert_eq!(engine.len(), rules.len());
    let mut hits = vec![None; headers.len()];
    engine.lookup_batch(headers, &mut hits);
    for (header, hit) in headers.iter().zip(&hits) {
        let wanted = scan(rules, header);
        assert_eq!(engine.lookup(header), wanted, "{what}: {header:?}");
        assert_eq!(*hit, wanted, "in a batch, {what}: {header:?}");
    }
    // Rules that can change are always in tables, however few.
    let (_writer, mut reader) = engine.share();
    let mut shared = vec![None; headers.len()];
    reader.lookup_batch(headers, &mut shared);
    assert_eq!(shared, hits, "shared, in a batch, {what}");
    for (header, hit) in headers.iter().zip(&hits) {
        assert_eq!(reader.lookup(header), *hit, "shared, {what}: {header:?}");
    }
    hits.iter().flatten().count()
}

#[test]
fn engine_agrees_with_scan_on_random_boxes() {
    for kind in KINDS {
        for size in [0, 1, 5, 17, 63, 64, 65, 300, 1000, 2500] {
            let mut random = Random::new(size as u64);
            let mut rules: Vec<Rule> =
                (0..size).map(|order| rule(&mut random, kind, order * 3)).collect();
            // The order of decision needn't be the order of the list.
            for place in (1..rules.len()).rev() {
                rules.swap(place, random.below(place as u64 + 1) as usize);
            }
            let mut headers: Vec<Header> = (0..700).map(|_| header(&mut random, kind)).collect();
            headers.extend(
                rules.iter().step_by(rules.len() / 700 + 1).map(|r| inside(r, &mut random, kind)),
            );
            let hits = assert_agree(&rules, &headers, &format!("{kind:?}, {size} rules"));
            assert!(size == 0 || hits > 0, "{kind:?} {size}");
        }
    }
}

#[test]
fn batches_of_any_length_are_answered_in_place() {
    let kind = KINDS[1];
    let mut random = Random::new(3);
    let rules: Vec<Rule> = (0..500).map(|order| rule(&mut random, kind, order)).collect();
    let engine = Engine::build(&rules);
    let headers: Vec<Header> = (0..200).map(|_| header(&mut random, kind)).collect();
    let mark = Some(Hit { order: 9, value: 9 });
    for length in 0..=headers.len() {
        let mut hits = vec![mark; headers.len()];
        engine.lookup_batch(&headers[..length], &mut hits);
        let mut short = vec![mark; length];
        engine.lookup_batch(&headers, &mut short);
        assert_eq!(hits[..length], short);
        assert!(hits[length..].iter().all(|hit| *hit == mark));
        for (header, hit) in headers.iter().zip(&short) {
            assert_eq!(engine.lookup(header), *hit);
        }
    }
}

#[test]
fn memory_stays_in_proportion_to_the_rules() {
    let kind = KINDS[3];
    let mut random = Random::new(4);
    let rules: Vec<Rule> = (0..20_000).map(|order| rule(&mut random, kind, order)).collect();
    // Rules that nothing keeps apart are the dearest.
    let memory = Engine::build(&rules).memory();
    assert!(memory < rules.len() * 400 + (3 << 20), "{memory}");
}
