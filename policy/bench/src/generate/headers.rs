//! Traces for a filter set: headers that hit, and headers that just miss.
//!
//! A hit is drawn from a rule chosen evenly; each field is a corner of what the rule allows, as
//! ClassBench does it, or any value in it. A miss is a hit with one field changed, or nothing but
//! chance, and is asked for in a tuple space search: it matches no rule.

use super::Family;
use super::random::{Random, mix};
use super::rules::ZONES;
use crate::model::{Networks, Rule};
use crate::subjects::{NONE, Subject, TupleSpace};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use twinwall_policy::flow::{Flow, Tuple};
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::{Prefix, Word};
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// Headers of [`Family::Miss`] in 100 that hit.
const HITS: u64 = 5;

/// Headers that are tried for each miss. Where rules cover nearly everything, the last one stays.
const TRIES: u32 = 40;

pub(super) fn headers(family: Family, rules: &[Rule], count: usize, seed: u64) -> Vec<Flow> {
    let mut random = Random::new(mix(seed ^ mix(!(family as u64))));
    let search = (family == Family::Miss).then(|| TupleSpace::new(rules));
    let zoned = rules.iter().any(|rule| !rule.any_zone());
    let header = |random: &mut Random| {
        let rule = random.pick(rules)?;
        match &search {
            Some(search) if !random.chance(HITS) => Some(miss(rule, search, random)),
            _ => Some(hit(rule, zoned, random)),
        }
    };
    (0..count).filter_map(|_| header(&mut random)).collect()
}

/// Headers drawn from the rules, and every other one changed a little, so that it may miss.
#[must_use]
pub fn near(rules: &[Rule], count: usize, seed: u64) -> Vec<Flow> {
    let mut random = Random::new(mix(seed));
    let zoned = rules.iter().any(|rule| !rule.any_zone());
    let header = |random: &mut Random| {
        let header = hit(random.pick(rules)?, zoned, random);
        Some(if random.chance(50) { nearly(header, random) } else { header })
    };
    (0..count).filter_map(|_| header(&mut random)).collect()
}

fn miss(rule: &Rule, search: &TupleSpace, random: &mut Random) -> Flow {
    let mut header = nearly(hit(rule, false, random), random);
    for _ in 0..TRIES {
        if search.lookup(&header) == NONE {
            break;
        }
        header = nearly(header, random);
    }
    header
}

/// The header with a field changed; every fourth time all of it.
fn nearly(mut header: Flow, random: &mut Random) -> Flow {
    let tuple = &mut header.tuple;
    match random.below(8) {
        0 => tuple.src = changed(tuple.src, random),
        1 | 2 => tuple.dst = changed(tuple.dst, random),
        3 => tuple.dst_port = random.number() as u16,
        4 => tuple.src_port = random.number() as u16,
        5 => tuple.protocol = if tuple.protocol == 6 { 17 } else { 6 },
        _ => {
            let port = |random: &mut Random| random.number() as u16;
            (tuple.src, tuple.dst) = (chance(tuple.src, random), chance(tuple.dst, random));
            (tuple.src_port, tuple.dst_port) = (port(random), port(random));
        }
    }
    header
}

/// The address with one bit changed, and those below it drawn anew.
fn changed(address: IpAddr, random: &mut Random) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let bit = 1u32 << random.below(32);
            let below = random.number() as u32 & (bit - 1);
            Ipv4Addr::from_bits((address.to_bits() ^ bit) & !(bit - 1) | below).into()
        }
        IpAddr::V6(address) => {
            let bit = 1u128 << random.below(112);
            let below = wide(random) & (bit - 1);
            Ipv6Addr::from_bits((address.to_bits() ^ bit) & !(bit - 1) | below).into()
        }
    }
}

fn chance(like: IpAddr, random: &mut Random) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(random.number() as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(wide(random)).into(),
    }
}

fn hit(rule: &Rule, zoned: bool, random: &mut Random) -> Flow {
    let corners = random.chance(50);
    let (src, dst): (IpAddr, IpAddr) = match rule.networks {
        Networks::V4 { src, dst } => {
            let inside = |network: Prefix<u32>, random: &mut Random| {
                let host = !u32::mask(network.len);
                let value = if corners { corner(random) as u32 } else { random.number() as u32 };
                IpAddr::from(Ipv4Addr::from_bits(network.bits | value & host))
            };
            (inside(src, random), inside(dst, random))
        }
        Networks::V6 { src, dst } => {
            let inside = |network: Prefix<u128>, random: &mut Random| {
                let host = !u128::mask(network.len);
                let value = if corners { corner(random) } else { wide(random) };
                IpAddr::from(Ipv6Addr::from_bits(network.bits | value & host))
            };
            (inside(src, random), inside(dst, random))
        }
    };
    let port = |range: PortRange, random: &mut Random| {
        let size = u64::from(range.high() - range.low());
        let offset = match corners {
            true => corner(random) as u64 & u64::from(u16::MAX),
            false => random.below(size + 1),
        };
        range.low() + offset.min(size) as u16
    };
    let (src_port, dst_port) = (port(rule.src_port, random), port(rule.dst_port, random));
    let protocol = rule.protocol.unwrap_or_else(|| match random.below(4) {
        0 if corners => corner(random) as u8,
        0 => random.number() as u8,
        1 => 17,
        _ => 6,
    });
    let (from, to) = match zoned {
        true => (zone(rule.from, random), zone(rule.to, random)),
        false => (ZoneId::OUTSIDE, ZoneId::OUTSIDE),
    };
    Flow { tuple: Tuple { src, dst, protocol, src_port, dst_port }, from, to }
}

/// No bit or every bit.
fn corner(random: &mut Random) -> u128 {
    if random.chance(50) { u128::MAX } else { 0 }
}

fn wide(random: &mut Random) -> u128 {
    u128::from(random.number()) << 64 | u128::from(random.number())
}

/// A zone of the set, of those that generated sets use.
fn zone(zones: ZoneSet, random: &mut Random) -> ZoneId {
    if zones == ZoneSet::ALL {
        return ZoneId::new(random.below(ZONES.into()) as u8).unwrap_or(ZoneId::OUTSIDE);
    }
    let place = random.below(zones.len().into()) as usize;
    zones.iter().nth(place).unwrap_or(ZoneId::OUTSIDE)
}
