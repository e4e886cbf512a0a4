//! The tuple-hash engine gives the oracle's answer, for whatever rules and flows.

use crate::random::{NARROW, Random, Spread, WIDE, flow, hit, rule_set};
use crate::rules::{matching, rules_of, tcp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_policy::address::AddressSet;
use twinwall_policy::classify::{Classifier, Linear, TupleHash};
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::matching::{Match, PortRange, Service};
use twinwall_policy::ruleset::{RuleIndex, RuleSet};
use twinwall_policy::zone::{ZoneId, ZoneSet};

const SEEDS: [u64; 4] = [11, 22, 33, 44];
const ZONES: u8 = 6;

fn assert_agree(rules: &RuleSet, flows: impl Iterator<Item = Flow>, seed: u64) -> (usize, usize) {
    let oracle = Linear::new(rules);
    let engine = TupleHash::new(rules, SEEDS);
    let (mut hits, mut misses) = (0, 0);
    for flow in flows {
        let wanted = oracle.classify(&flow);
        assert_eq!(engine.classify(&flow), wanted, "seed {seed}, {flow:?}");
        if wanted.is_some() { hits += 1 } else { misses += 1 }
    }
    (hits, misses)
}

/// The flow with one field moved by one, as far as it can be.
fn near_misses(flow: &Flow) -> Vec<Flow> {
    let next = |address: IpAddr, up: bool| match address {
        IpAddr::V4(a) if up => Ipv4Addr::from_bits(a.to_bits().wrapping_add(1)).into(),
        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits().wrapping_sub(1)).into(),
        IpAddr::V6(a) if up => Ipv6Addr::from_bits(a.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits().wrapping_sub(1)).into(),
    };
    let mut all = Vec::new();
    for up in [false, true] {
        let step = |value: u16| if up { value.wrapping_add(1) } else { value.wrapping_sub(1) };
        let zone = |zone: ZoneId| {
            let index = if up { zone.index() + 1 } else { zone.index() + ZONES - 1 };
            ZoneId::new(index % ZONES).unwrap()
        };
        let tuple = flow.tuple;
        let tuples = [
            Tuple { src: next(tuple.src, up), ..tuple },
            Tuple { dst: next(tuple.dst, up), ..tuple },
            Tuple { src_port: step(tuple.src_port), ..tuple },
            Tuple { dst_port: step(tuple.dst_port), ..tuple },
            Tuple { protocol: tuple.protocol ^ 1, ..tuple },
        ];
        all.extend(tuples.map(|tuple| Flow { tuple, ..*flow }));
        all.push(Flow { from: zone(flow.from), ..*flow });
        all.push(Flow { to: zone(flow.to), ..*flow });
    }
    all
}

fn agree_on_random_rules(sizes: &[usize], rounds: u64, spread: Spread) {
    let (mut hits, mut misses, mut just_missed) = (0, 0, 0);
    for (seed, size) in (0..rounds).flat_map(|seed| sizes.iter().map(move |size| (seed, *size))) {
        let mut random = Random::new(seed << 32 | size as u64);
        let rules = rule_set(&mut random, size, ZONES, spread);
        let mut flows: Vec<_> = (0..500).map(|_| flow(&mut random, ZONES, spread)).collect();
        for rule in &rules.rules {
            let Some(hit) = hit(&rule.matches, ZONES, &mut random) else { continue };
            assert!(rule.matches.contains(&hit), "seed {seed}, {rule:?}");
            let near = near_misses(&hit);
            just_missed += near.iter().filter(|flow| !rule.matches.contains(flow)).count();
            flows.push(hit);
            flows.extend(near);
        }
        let (hit, missed) = assert_agree(&rules, flows.into_iter(), seed);
        hits += hit;
        misses += missed;
    }
    assert!(hits > 1000 && misses > 100 && just_missed > 1000, "{hits} {misses} {just_missed}");
}

#[test]
fn tuple_hash_agrees_with_oracle_on_few_rules() {
    agree_on_random_rules(&[0, 1, 2, 3, 7, 20, 60], 40, NARROW);
    agree_on_random_rules(&[0, 1, 2, 3, 7, 20, 60], 40, WIDE);
}

#[test]
fn tuple_hash_agrees_with_oracle_on_many_rules() {
    agree_on_random_rules(&[200, 700, 2000], 2, WIDE);
    agree_on_random_rules(&[200, 2000], 1, NARROW);
}

#[test]
fn tuple_hash_agrees_with_oracle_where_rules_differ_in_one_field_only() {
    let count = 3000u32;
    let range = |low: u32| PortRange::new(low as u16, (low + low % 900) as u16).unwrap();
    let one = |index: u32| AddressSet::from_ranges([(index, index)], []);
    let zone = |index: u32| ZoneSet::only(ZoneId::new((index % 60) as u8).unwrap());
    type Shape<'a> = &'a dyn Fn(u32, &mut Match);
    let shapes: [Shape<'_>; 5] = [
        &|i, m| m.src = one(0x0a00_0000 + 7 * i),
        &|i, m| m.services = vec![tcp(range(20 * i))],
        &|i, m| m.services = vec![Service { src_port: range(20 * i), ..tcp(PortRange::ANY) }],
        &|i, m| (m.from, m.to) = (zone(i / 60), zone(i)),
        // More ports than entries.
        &|i, m| m.services = (0..99).map(|n| tcp(PortRange::only((i * 20 + n) as u16))).collect(),
    ];
    for (seed, shape) in (0..).zip(shapes) {
        let matches = (0..count).map(|index| {
            let mut matches = matching();
            shape(index, &mut matches);
            matches
        });
        let mut rules = rules_of(matches);
        rules.zones = (0..60).map(|_| rules.zones[0].clone()).collect();
        let mut random = Random::new(seed);
        let flows = (0..4000).map(|_| {
            let mut all = flow(&mut random, 60, WIDE);
            all.tuple.protocol = 6;
            if seed == 0 {
                all.tuple.src =
                    Ipv4Addr::from_bits(0x0a00_0000 + random.below(25_000) as u32).into();
                all.tuple.dst = Ipv4Addr::from_bits(1).into();
            }
            all
        });
        let (hits, misses) = assert_agree(&rules, flows, seed);
        assert!(hits > 100 && (misses > 100 || seed > 0), "shape {seed}: {hits} {misses}");
    }
}

#[test]
fn groups_stay_few() {
    let mut random = Random::new(5);
    let rules = rule_set(&mut random, 2000, ZONES, WIDE);
    let (v4, v6) = TupleHash::new(&rules, SEEDS).groups();
    assert!(v4 <= 257 && v6 <= 257, "{v4} {v6}");
}

#[test]
fn first_of_two_equal_rules_decides() {
    let rules = rules_of([matching(), matching()]);
    let flow = flow(&mut Random::new(1), ZONES, NARROW);
    assert_eq!(TupleHash::new(&rules, SEEDS).classify(&flow), Some(RuleIndex(0)));
    assert_eq!(Linear::new(&rules).classify(&flow), Some(RuleIndex(0)));
}

#[test]
fn engines_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Linear>();
    shared::<TupleHash>();
}
