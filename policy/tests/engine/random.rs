//! Random rule sets and flows that meet often: few networks, few ports, few zones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_policy::address::AddressSet;
use twinwall_policy::flow::{Flow, Tuple, protocol};
use twinwall_policy::matching::{Match, PortRange, Service};
use twinwall_policy::ruleset::{Action, OnChange, QueueFailure, Rule, RuleSet, Zone};
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// SplitMix64: the same numbers from the same seed on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn index(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }
}

/// How far addresses and ports are spread: `bits` random bits each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) address_bits: u32,
    pub(crate) port_bits: u32,
}

pub(crate) const NARROW: Spread = Spread { address_bits: 4, port_bits: 3 };
pub(crate) const WIDE: Spread = Spread { address_bits: 20, port_bits: 16 };

pub(crate) fn v4(random: &mut Random, spread: Spread) -> u32 {
    let cluster = [0x0a00_0000u32, 0x0a14_0000, 0xc0a8_0000, 0xc633_6400];
    let base = cluster[random.index(if spread.address_bits < 8 { 2 } else { 4 })];
    base | random.next() as u32 & ((1 << spread.address_bits) - 1)
}

pub(crate) fn v6(random: &mut Random, spread: Spread) -> u128 {
    let cluster = [0x2001_0db8_0010u128 << 80, 0x2001_0db8_0020 << 80];
    let host = u128::from(random.next()) & ((1 << spread.address_bits) - 1);
    // Some differ in the subnet, some in the host.
    cluster[random.index(2)] | if random.one_in(2) { host } else { host << 60 }
}

fn v4_range(random: &mut Random, spread: Spread) -> (u32, u32) {
    let low = v4(random, spread);
    match random.below(4) {
        0 => (low, low),
        1 => (low, low.saturating_add(random.below(1 << (spread.address_bits / 2)) as u32)),
        _ => {
            let mask = (1u32 << random.below(u64::from(spread.address_bits) + 2)) - 1;
            (low & !mask, low | mask)
        }
    }
}

fn v6_range(random: &mut Random, spread: Spread) -> (u128, u128) {
    let low = v6(random, spread);
    match random.below(4) {
        0 => (low, low),
        1 => (low, low + u128::from(random.below(1 << spread.address_bits))),
        _ => {
            let mask = (1u128 << random.below(81)) - 1;
            (low & !mask, low | mask)
        }
    }
}

pub(crate) fn addresses(random: &mut Random, spread: Spread) -> AddressSet {
    if random.one_in(if spread.address_bits < 8 { 4 } else { 12 }) {
        return AddressSet::any();
    }
    let few = |random: &mut Random| if random.one_in(20) { 120 } else { random.below(3) };
    let (count4, count6) = (few(random), few(random));
    let v4: Vec<_> = (0..count4.max(1)).map(|_| v4_range(random, spread)).collect();
    let v6: Vec<_> = (0..count6).map(|_| v6_range(random, spread)).collect();
    AddressSet::from_ranges(v4, v6)
}

fn ports(random: &mut Random, spread: Spread) -> PortRange {
    let limit = (1u64 << spread.port_bits) - 1;
    let low = random.below(limit) as u16;
    let high = match random.below(5) {
        0 => low + random.below(limit - u64::from(low) + 1) as u16,
        1 => return PortRange::ANY,
        _ => low,
    };
    PortRange::new(low, high).unwrap()
}

fn service(random: &mut Random, spread: Spread) -> Service {
    let any = PortRange::ANY;
    let (protocol, src_port, dst_port) = match random.below(8) {
        0 => return Service::ANY,
        1 => (protocol::ICMP, PortRange::only(random.below(4) as u16), any),
        2 => (protocol::ICMPV6, PortRange::only(128 + random.below(4) as u16), any),
        3 => (47, any, any),
        4 => (protocol::UDP, ports(random, spread), ports(random, spread)),
        5 => (protocol::UDP, any, ports(random, spread)),
        _ => (protocol::TCP, any, ports(random, spread)),
    };
    Service { protocol: Some(protocol), src_port, dst_port }
}

pub(crate) fn services(random: &mut Random, spread: Spread) -> Vec<Service> {
    let count = if random.one_in(30) { 90 } else { 1 + random.below(3) };
    let mut services: Vec<_> = (0..count).map(|_| service(random, spread)).collect();
    services.sort_unstable();
    services.dedup();
    services
}

pub(crate) fn action(random: &mut Random) -> Action {
    *random.pick(&[Action::Accept, Action::Accept, Action::Drop, Action::Reject])
}

fn zones(random: &mut Random, count: u8) -> ZoneSet {
    if random.one_in(3) {
        return ZoneSet::ALL;
    }
    (0..1 + random.below(2)).fold(ZoneSet::EMPTY, |set, _| set.with(zone(random, count)))
}

pub(crate) fn zone(random: &mut Random, count: u8) -> ZoneId {
    ZoneId::new(random.below(u64::from(count)) as u8).unwrap()
}

/// A rule set of this many rules, without a last rule that matches everything.
pub(crate) fn rule_set(
    random: &mut Random,
    rules: usize,
    zone_count: u8,
    spread: Spread,
) -> RuleSet {
    let zone = |index: u8| Zone { name: format!("z{index}").into(), interfaces: vec![] };
    let rule = |index: usize| {
        let random = &mut *random;
        Rule {
            seq: index as u32,
            name: format!("rule-{index}").into(),
            matches: Match {
                from: zones(random, zone_count),
                to: zones(random, zone_count),
                src: addresses(random, spread),
                dst: addresses(random, spread),
                services: services(random, spread),
            },
            action: action(random),
            log: false,
            on_change: OnChange::Rematch,
        }
    };
    RuleSet {
        name: "random".into(),
        zones: (0..zone_count).map(zone).collect(),
        rules: (0..rules).map(rule).collect(),
        nat: vec![],
        queue_failure: QueueFailure::Closed,
    }
}

pub(crate) fn tuple(random: &mut Random, spread: Spread) -> Tuple {
    let (src, dst): (IpAddr, IpAddr) = if random.one_in(3) {
        let mut one = || Ipv6Addr::from_bits(v6(random, spread)).into();
        (one(), one())
    } else {
        let mut one = || Ipv4Addr::from_bits(v4(random, spread)).into();
        (one(), one())
    };
    let port = |random: &mut Random| (random.next() & ((1 << spread.port_bits) - 1)) as u16;
    let known = [protocol::TCP, protocol::TCP, protocol::UDP, protocol::ICMP, protocol::ICMPV6, 47];
    let protocol = *random.pick(&known);
    let (src_port, dst_port) = match protocol {
        protocol::ICMP => (random.below(4) as u16, 0),
        protocol::ICMPV6 => (128 + random.below(4) as u16, 0),
        47 => (0, 0),
        _ => (port(random), port(random)),
    };
    Tuple { src, dst, protocol, src_port, dst_port }
}

pub(crate) fn flow(random: &mut Random, zone_count: u8, spread: Spread) -> Flow {
    let tuple = tuple(random, spread);
    Flow { tuple, from: zone(random, zone_count), to: zone(random, zone_count) }
}

/// A flow that the rule matches, if there is one.
pub(crate) fn hit(matches: &Match, zone_count: u8, random: &mut Random) -> Option<Flow> {
    let zones = ZoneSet::first(usize::from(zone_count));
    let zone = |set: ZoneSet, random: &mut Random| {
        let all: Vec<_> = set.and(zones).iter().collect();
        (!all.is_empty()).then(|| *random.pick(&all))
    };
    let service = random.pick(&matches.services);
    let port = |range: PortRange, random: &mut Random| match random.below(3) {
        0 => range.low(),
        1 => range.high(),
        _ => range.low() + (random.next() % (u64::from(range.high() - range.low()) + 1)) as u16,
    };
    let v6 = matches.src.v4().is_empty()
        || matches.dst.v4().is_empty()
        || (random.one_in(2) && !matches.src.v6().is_empty() && !matches.dst.v6().is_empty());
    let address = |set: &AddressSet, random: &mut Random| -> Option<IpAddr> {
        if v6 {
            let (low, high) = *set.v6().get(random.index(set.v6().len().max(1)))?;
            let bits = [low, high, low + (high - low) / 3][random.index(3)];
            return Some(Ipv6Addr::from_bits(bits).into());
        }
        let (low, high) = *set.v4().get(random.index(set.v4().len().max(1)))?;
        Some(Ipv4Addr::from_bits([low, high, low + (high - low) / 3][random.index(3)]).into())
    };
    Some(Flow {
        tuple: Tuple {
            src: address(&matches.src, random)?,
            dst: address(&matches.dst, random)?,
            protocol: service.protocol.unwrap_or(89),
            src_port: port(service.src_port, random),
            dst_port: port(service.dst_port, random),
        },
        from: zone(matches.from, random)?,
        to: zone(matches.to, random)?,
    })
}
