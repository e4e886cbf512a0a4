//! The engine without vector instructions agrees with a scan, and with the engine that has them.

use super::simd::{Plain, Work, work};
use super::*;
use crate::flow::Tuple;
use crate::matching::PortRange;
use crate::prefix::Prefix;
use crate::zone::{ZoneId, ZoneSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn address(&mut self) -> u32 {
        (0x0a00_0000 + (self.below(30) << 12) + self.below(40)) as u32
    }
}

const fn wide(address: u32) -> u128 {
    0x2001_0db8 << 96 | (address as u128) << 50
}

fn rule(random: &mut Random, order: u32) -> Rule {
    let (src, dst) = (random.address(), random.address());
    let len = |random: &mut Random| [32, 32, 24, 20, 8, 0][random.below(6) as usize];
    let networks = if random.below(3) == 0 {
        let part = |address: u32, len: u8| Prefix { bits: wide(address), len: 128 }.shortened(len);
        let more = |len: u8| if len == 0 { 0 } else { len + 46 };
        let lens = (more(len(random)), more(len(random)));
        Networks::V6 { src: part(src, lens.0), dst: part(dst, lens.1) }
    } else {
        let part = |address: u32, len: u8| Prefix { bits: address, len: 32 }.shortened(len);
        Networks::V4 { src: part(src, len(random)), dst: part(dst, len(random)) }
    };
    let port = random.below(9) as u16;
    let ports = [PortRange::ANY, PortRange::only(port), PortRange::new(port, 5000).unwrap()];
    let zones = [ZoneSet::ALL, ZoneSet::ALL, ZoneSet::only(ZoneId::new(port as u8 % 4).unwrap())];
    Rule {
        order,
        networks,
        protocol: [None, Some(6), Some(17)][random.below(3) as usize],
        src_port: ports[random.below(3) as usize],
        dst_port: ports[random.below(3) as usize],
        from: zones[random.below(3) as usize],
        to: zones[random.below(3) as usize],
        value: u64::from(order) + 1,
    }
}

fn header(random: &mut Random) -> Header {
    let (a, b) = (random.address(), random.address());
    let address = |v6: bool, address: u32| -> IpAddr {
        if v6 {
            Ipv6Addr::from_bits(wide(address)).into()
        } else {
            Ipv4Addr::from_bits(address).into()
        }
    };
    let v6 = random.below(3) == 0;
    // Now and then an address of each family, as no packet has them.
    let other = v6 != (random.below(50) == 0);
    Header {
        tuple: Tuple {
            src: address(v6, a),
            dst: address(other, b),
            protocol: [6, 17, 1][random.below(3) as usize],
            src_port: random.below(12) as u16,
            dst_port: random.below(6000) as u16 % 12,
        },
        from: ZoneId::new(random.below(5) as u8).unwrap(),
        to: ZoneId::new(random.below(5) as u8).unwrap(),
    }
}

/// The same rules as they are kept while they change.
fn unsettled(engine: Engine) -> Engine {
    let (v4, v6) = engine.source();
    let source = Source { v4, v6, numbers: engine.numbers };
    let form =
        Form::Tables(Box::new(Generation::build(&source, 0, engine.seeds, SPARE, Choice::Quick)));
    Engine { form, numbers: source.numbers, ..engine }
}

#[test]
fn plain_code_gives_the_answers_of_a_scan_and_of_vector_instructions() {
    let mut random = Random(21);
    for (count, settled) in
        [3, 500, 3000, 6000].into_iter().flat_map(|count| [(count, true), (count, false)])
    {
        let rules: Vec<Rule> = (0..count).map(|order| rule(&mut random, order)).collect();
        let headers: Vec<Header> = (0..1500).map(|_| header(&mut random)).collect();
        let engine = Engine::build(&rules);
        let engine = if settled { engine } else { unsettled(engine) };
        let all = |_: &Header, _: u64| true;
        // What is there before doesn't count.
        let before = Some(Hit { order: 0, value: 0 });
        let (mut plain, mut best) = (vec![before; 1500], vec![before; 1500]);
        Many { engine: &engine, headers: &headers, hits: &mut plain, verify: all }.run(Plain);
        work(Many { engine: &engine, headers: &headers, hits: &mut best, verify: all });
        for ((header, plain), best) in headers.iter().zip(&plain).zip(&best) {
            let first = rules.iter().find(|rule| rule.matches(header));
            let wanted = first.map(|rule| Hit { order: rule.order, value: rule.value });
            let one = One { engine: &engine, header, verify: |_| true };
            assert_eq!([*plain, *best, one.run(Plain)], [wanted; 3], "{count}: {header:?}");
        }
        assert!(plain.iter().flatten().count() > 0);
    }
}

/// Three rules and more for each of some pairs of hosts: one for a destination port, one for a source
/// port, one for a protocol, one for all.
fn crowded(hosts: u32) -> Vec<Rule> {
    let host = |number: u32| Prefix { bits: 0x0a00_0000 + number, len: 32 };
    let rule = |number: u32, kind: u32| Rule {
        order: number * 4 + kind,
        networks: Networks::V4 { src: host(number), dst: host(number + 1) },
        protocol: (kind == 2).then_some(17),
        src_port: if kind == 1 { PortRange::only((number % 5) as u16) } else { PortRange::ANY },
        dst_port: if kind == 0 { PortRange::only((number % 7) as u16) } else { PortRange::ANY },
        from: ZoneSet::ALL,
        to: ZoneSet::ALL,
        value: u64::from(number * 4 + kind),
    };
    let last = |number: u32| if number.is_multiple_of(3) { 3 } else { 4 };
    (0..hosts).flat_map(|number| (0..last(number)).map(move |kind| rule(number, kind))).collect()
}

#[test]
fn rules_that_share_a_key_are_found_beside_the_best() {
    let mut random = Random(22);
    let rules = crowded(1000);
    let engine = Engine::build(&rules);
    let Form::Still(still) = &engine.form else { panic!("keys have no seats") };
    let shared = still.v4.rules.iter().filter(|rule| rule.has_others()).count();
    assert!(shared > 500, "{shared}");
    let headers: Vec<Header> = (0..20_000)
        .map(|_| {
            let number = random.below(1000) as u32;
            let address = |number| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + number));
            let tuple = Tuple {
                src: address(number),
                dst: address(number + 1),
                protocol: [6, 17][random.below(2) as usize],
                src_port: random.below(6) as u16,
                dst_port: random.below(8) as u16,
            };
            Header { tuple, from: ZoneId::OUTSIDE, to: ZoneId::SELF }
        })
        .collect();
    let mut hits = vec![None; headers.len()];
    let mut kinds = [0; 5];
    for plain in [true, false] {
        let all = |_: &Header, _: u64| true;
        let many = Many { engine: &engine, headers: &headers, hits: &mut hits, verify: all };
        if plain {
            many.run(Plain)
        } else {
            work(many)
        }
        for (header, hit) in headers.iter().zip(&hits) {
            let first = rules.iter().find(|rule| rule.matches(header));
            assert_eq!(hit.map(|hit| hit.value), first.map(|rule| rule.value), "{header:?}");
            kinds[first.map_or(4, |rule| rule.order as usize % 4)] += 1;
        }
    }
    assert!(kinds.iter().all(|answers| *answers > 100), "{kinds:?}");
}
