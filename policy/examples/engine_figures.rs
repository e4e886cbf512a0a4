//! What the decision engine takes on this machine: nanoseconds a lookup, milliseconds a reload.
//!
//! Reads nothing. Lookups are the median of five runs, plans the best of five.
//! `cargo run --release -p twinwall-policy --example engine_figures`
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;
use twinwall_policy::address::AddressSet;
use twinwall_policy::classify::{Classifier, Linear, TupleHash};
use twinwall_policy::diff::{Installed, PlanError, plan};
use twinwall_policy::flow::{Flow, Tuple, protocol};
use twinwall_policy::keys::KeyAllocator;
use twinwall_policy::matching::{Match, PortRange, Service};
use twinwall_policy::ruleset::{Action, OnChange, QueueFailure, Rule, RuleIndex, RuleSet, Zone};
use twinwall_policy::zone::{ZoneId, ZoneSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("classifier            rules  groups 4/6   build ms   ns/lookup IPv4     IPv6");
    for count in [1_000, 10_000, 100_000] {
        classifiers(&rule_set(count));
    }
    println!("key of rule and zones: {:.1} ns", key_lookup()?);
    println!("plan                                           rules    ms     kept  removed");
    for count in [10_000, 100_000] {
        plans(count)?;
    }
    Ok(())
}

fn classifiers(rules: &RuleSet) {
    let count = rules.rules.len();
    let mut random = Random(99);
    let v4: Vec<Flow> = (0..1 << 16).map(|_| hit(rules, &mut random, false)).collect();
    let v6: Vec<Flow> = (0..1 << 16).map(|_| hit(rules, &mut random, true)).collect();
    let (engine, built) = timed(|| TupleHash::new(rules, [1, 2, 3, 4]));
    let (groups4, groups6) = engine.groups();
    println!(
        "TupleHash        {count:>10}  {groups4:>5}/{groups6:<5} {built:>9.1}   {:>15.0} {:>8.0}",
        ns_a_lookup(&engine, &v4, 1 << 19),
        ns_a_lookup(&engine, &v6, 1 << 19),
    );
    let (oracle, built) = timed(|| Linear::new(rules));
    let lookups = (20_000_000 / count).max(64);
    println!(
        "Linear           {count:>10}  {:>11} {built:>9.1}   {:>15.0} {:>8.0}",
        "",
        ns_a_lookup(&oracle, &v4, lookups),
        ns_a_lookup(&oracle, &v6, lookups),
    );
}

fn ns_a_lookup(classifier: &impl Classifier, flows: &[Flow], lookups: usize) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let ((), ms) = timed(|| {
                for flow in flows.iter().cycle().take(lookups) {
                    black_box(classifier.classify(black_box(flow)));
                }
            });
            ms * 1e6 / lookups as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(2).copied().unwrap_or_default()
}

fn key_lookup() -> Result<f64, Box<dyn std::error::Error>> {
    let mut allocator = KeyAllocator::new(0xff_ffff)?;
    let installed = plan(None, rule_set(10_000), &mut allocator)?.next;
    let mut random = Random(5);
    let asked: Vec<_> = (0..1 << 16)
        .map(|_| {
            let index = random.below(installed.rules().rules.len() as u64) as u32;
            let matches = installed.rules().rules.get(index as usize).map(|rule| &rule.matches);
            let first = |set: Option<ZoneSet>| set.and_then(|set| set.iter().next());
            let from = first(matches.map(|m| m.from)).unwrap_or(ZoneId::OUTSIDE);
            (RuleIndex(index), from, first(matches.map(|m| m.to)).unwrap_or(ZoneId::OUTSIDE))
        })
        .collect();
    let rounds = 50;
    let ((), ms) = timed(|| {
        for (rule, from, to) in asked.iter().cycle().take(asked.len() * rounds) {
            black_box(installed.key(black_box(*rule), *from, *to));
        }
    });
    Ok(ms * 1e6 / (asked.len() * rounds) as f64)
}

fn plans(count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut allocator = KeyAllocator::new(0xff_ffff)?;
    let (first, ms) = timed(|| plan(None, rule_set(count), &mut allocator));
    let old = first?.next;
    println!("first load {:>43} {ms:>6.1} {:>8} {:>8}", count, 0, 0);
    let try_one = |what: &str, new: RuleSet, allocator: KeyAllocator| -> Result<(), PlanError> {
        let mut best = f64::INFINITY;
        let mut last = None;
        for _ in 0..5 {
            let (mut allocator, new) = (allocator, new.clone());
            let (plan, ms) = timed(|| plan(Some(&old), new, &mut allocator));
            best = best.min(ms);
            last = Some(plan?);
        }
        let (Some(plan), ms) = (last, best) else { return Ok(()) };
        let (kept, removed) = (plan.unchanged, plan.removed.len());
        println!("{what:<44} {count:>9} {ms:>6.1} {kept:>8} {removed:>8}");
        Ok(())
    };
    let edited = |edit: &dyn Fn(&mut Vec<Rule>)| {
        let mut new = old.rules().clone();
        edit(&mut new.rules);
        new
    };
    try_one("nothing changed", edited(&|_| {}), allocator)?;
    try_one(
        "action of one rule in the middle",
        edited(&|rules| flip(rules, count / 2, 1)),
        allocator,
    )?;
    try_one("addresses of one rule at the top", edited(&|rules| widen(rules, 0, 1)), allocator)?;
    try_one(
        "one rule for any to any added at the top",
        edited(&|rules| {
            let any = AddressSet::any();
            if let Some(mut rule) = rules.first().cloned() {
                rule.name = "new".into();
                (rule.matches.src, rule.matches.dst) = (any.clone(), any);
                rules.insert(0, rule);
            }
        }),
        allocator,
    )?;
    try_one("one rule removed", edited(&|rules| drop(rules.remove(count / 3))), allocator)?;
    try_one(
        "last rule moved to the top",
        edited(&|rules| {
            rules.swap(0, count - 1);
        }),
        allocator,
    )?;
    try_one(
        "addresses of 100 rules",
        edited(&|rules| {
            for n in 0..100 {
                widen(rules, n * (count / 100), 1);
            }
        }),
        allocator,
    )?;
    try_one(
        "addresses of every 10th rule",
        edited(&|rules| {
            for n in 0..count / 10 {
                widen(rules, n * 10, 1);
            }
        }),
        allocator,
    )?;
    try_one("every action", edited(&|rules| flip(rules, 0, count)), allocator)?;
    try_one("every address", edited(&|rules| widen(rules, 0, count)), allocator)?;
    try_one(
        "all rules renamed",
        edited(&|rules| {
            for rule in rules.iter_mut() {
                rule.name = format!("new-{}", rule.name).into();
            }
        }),
        allocator,
    )?;
    try_one(
        "order reversed",
        edited(&|rules| {
            if let Some(own) = rules.get_mut(..count) {
                own.reverse();
            }
        }),
        allocator,
    )?;
    try_one(
        "every rule made any to any, other ports",
        edited(&|rules| {
            for rule in rules.iter_mut() {
                (rule.matches.src, rule.matches.dst) = (AddressSet::any(), AddressSet::any());
            }
        }),
        allocator,
    )?;
    let (restored, ms) = timed(|| Installed::restore(old.rules().clone(), old.table()));
    restored?;
    println!("restore from the stored table {count:>24} {ms:>6.1}");
    Ok(())
}

fn flip(rules: &mut [Rule], start: usize, count: usize) {
    for rule in rules.iter_mut().skip(start).take(count) {
        rule.action = if rule.action.passes() { Action::Drop } else { Action::Accept };
    }
}

/// Adds an address to the source of some rules.
fn widen(rules: &mut [Rule], start: usize, count: usize) {
    for rule in rules.iter_mut().skip(start).take(count) {
        let one = (0xcb00_7101, 0xcb00_7101);
        let v4 = rule.matches.src.v4().iter().copied().chain([one]);
        rule.matches.src = AddressSet::from_ranges(v4, rule.matches.src.v6().iter().copied());
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = run();
    (result, start.elapsed().as_secs_f64() * 1e3)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

/// Rules as a large site has them: some servers for everybody, networks for networks, blocked
/// ranges, ports and port ranges; four zones, two families. The last rule matches everything.
fn rule_set(count: usize) -> RuleSet {
    let mut random = Random(count as u64);
    let zone = |name: &str, interface: &str| Zone {
        name: name.into(),
        interfaces: vec![interface.into()],
    };
    let mut rules: Vec<Rule> = (0..count)
        .map(|index| Rule {
            seq: index as u32,
            name: format!("rule-{index}").into(),
            matches: matches(&mut random),
            action: if random.below(4) == 0 { Action::Drop } else { Action::Accept },
            log: false,
            on_change: OnChange::Rematch,
        })
        .collect();
    rules.push(Rule {
        seq: u32::MAX,
        name: "(default)".into(),
        matches: Match {
            from: ZoneSet::ALL,
            to: ZoneSet::ALL,
            src: AddressSet::any(),
            dst: AddressSet::any(),
            services: vec![Service::ANY],
        },
        action: Action::Drop,
        log: false,
        on_change: OnChange::Rematch,
    });
    RuleSet {
        name: "figures".into(),
        zones: vec![
            Zone { name: "(outside)".into(), interfaces: vec![] },
            Zone { name: "self".into(), interfaces: vec![] },
            zone("lan", "eth1"),
            zone("wan", "eth0"),
            zone("dmz", "eth2"),
            zone("guest", "eth3"),
        ],
        rules,
        nat: vec![],
        queue_failure: QueueFailure::Closed,
    }
}

fn matches(random: &mut Random) -> Match {
    let (src, dst) = match random.below(10) {
        0 => (AddressSet::any(), network(random, 32)),
        1 => (network(random, 24), AddressSet::any()),
        2..5 => (network(random, 24), network(random, 32)),
        5..8 => (network(random, 32), network(random, 32)),
        _ => (network(random, 16), network(random, 24)),
    };
    let known = [22, 25, 53, 80, 123, 143, 389, 443, 445, 993, 3306, 3389, 5432, 8080, 8443];
    let port = |random: &mut Random| known.get(random.below(15) as usize).copied().unwrap_or(80);
    let service = |random: &mut Random| {
        let dst_port = match random.below(10) {
            0 => PortRange::ANY,
            1 => PortRange::new(1024, 65_535).unwrap_or(PortRange::ANY),
            2 => PortRange::only(random.below(65_535) as u16),
            _ => PortRange::only(port(random)),
        };
        let protocol = if random.below(4) == 0 { protocol::UDP } else { protocol::TCP };
        Service { protocol: Some(protocol), src_port: PortRange::ANY, dst_port }
    };
    let mut services = vec![service(random)];
    if random.below(3) == 0 {
        services.push(service(random));
    }
    services.sort_unstable();
    services.dedup();
    let zone = |random: &mut Random| {
        ZoneId::new(2 + random.below(4) as u8).map_or(ZoneSet::ALL, ZoneSet::only)
    };
    Match { from: zone(random), to: zone(random), src, dst, services }
}

/// One network of each family, of about this length for IPv4 and one to match for IPv6.
fn network(random: &mut Random, len: u32) -> AddressSet {
    let len = len - random.below(4) as u32 % len;
    let base = [0x0a00_0000u32, 0xac10_0000, 0xc0a8_0000, 0x5000_0000];
    let spread = random.next() as u32 & 0x00ff_ffff;
    let v4 = base.get(random.below(4) as usize).copied().unwrap_or(0) | spread;
    let rest = u32::MAX.checked_shr(len).unwrap_or(0);
    let v6 = 0x2001_0db8u128 << 96 | u128::from(spread) << 56 | u128::from(spread & 0xff);
    let rest6 = if len == 32 { 0 } else { u128::MAX >> (40 + len) };
    AddressSet::from_ranges([(v4 & !rest, v4 | rest)], [(v6 & !rest6, v6 | rest6)])
}

/// A flow that some rule matches.
fn hit(rules: &RuleSet, random: &mut Random, v6: bool) -> Flow {
    let index = random.below(rules.rules.len() as u64 - 1) as usize;
    let first = |set: &AddressSet, random: &mut Random| -> IpAddr {
        if v6 {
            let (low, high) = set.v6().first().copied().unwrap_or_default();
            Ipv6Addr::from_bits(low + (u128::from(random.next()) << 20) % (high - low).max(1))
                .into()
        } else {
            let (low, high) = set.v4().first().copied().unwrap_or_default();
            Ipv4Addr::from_bits(low + random.next() as u32 % (high - low).max(1)).into()
        }
    };
    let any = AddressSet::any();
    let matches = rules.rules.get(index).map(|rule| &rule.matches);
    let service = matches.and_then(|m| m.services.first()).copied().unwrap_or(Service::ANY);
    let zone = |set: Option<ZoneSet>| set.and_then(|set| set.iter().next());
    Flow {
        tuple: Tuple {
            src: first(matches.map_or(&any, |m| &m.src), random),
            dst: first(matches.map_or(&any, |m| &m.dst), random),
            protocol: service.protocol.unwrap_or(protocol::TCP),
            src_port: 40_000,
            dst_port: service.dst_port.low(),
        },
        from: zone(matches.map(|m| m.from)).unwrap_or(ZoneId::OUTSIDE),
        to: zone(matches.map(|m| m.to)).unwrap_or(ZoneId::OUTSIDE),
    }
}
