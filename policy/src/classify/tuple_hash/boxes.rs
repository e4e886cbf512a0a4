//! A rule of a policy as boxes of the engine.
//!
//! Together the boxes of a rule hold every flow that the rule matches. Where a rule has too many
//! combinations of networks and services they hold more: the list that is longest is made coarser
//! until they fit; neighbouring networks become one larger, ports become blocks of ports.

use super::super::engine::{Networks, Rule};
use crate::matching::{Match, PortRange, Service};
use crate::prefix::{Prefix, Word, prefixes};
use crate::zone::ZoneSet;

/// The most boxes that a rule may have in one address family.
pub(super) const LIMIT: usize = 64;

/// Adds the boxes of a rule of this index, each with whether it is coarse; says whether none is.
/// `zones` are those that exist.
pub(super) fn of(
    matches: &Match,
    index: u32,
    zones: ZoneSet,
    boxes: &mut Vec<(Rule, bool)>,
) -> bool {
    // All zones that exist are as good as all that there could be, and need no check.
    let widened = |own: ZoneSet| if own.covers(zones) { ZoneSet::ALL } else { own };
    let rule = Rule {
        order: index,
        networks: Networks::Any,
        protocol: None,
        src_port: PortRange::ANY,
        dst_port: PortRange::ANY,
        from: widened(matches.from),
        to: widened(matches.to),
        value: u64::from(index),
    };
    let Match { src, dst, services, .. } = matches;
    let v4 = family(src.v4(), dst.v4(), services, |src, dst, service, coarse| {
        boxes.push((with(rule, Networks::V4 { src, dst }, service), coarse));
    });
    let v6 = family(src.v6(), dst.v6(), services, |src, dst, service, coarse| {
        boxes.push((with(rule, Networks::V6 { src, dst }, service), coarse));
    });
    v4 && v6
}

fn with(rule: Rule, networks: Networks, service: &Service) -> Rule {
    let Service { protocol, src_port, dst_port } = *service;
    Rule { networks, protocol, src_port, dst_port, ..rule }
}

/// Calls `emit` with each box of one address family, and whether it is coarse; says whether none is.
fn family<T: Word>(
    src: &[(T, T)],
    dst: &[(T, T)],
    services: &[Service],
    mut emit: impl FnMut(Prefix<T>, Prefix<T>, &Service, bool),
) -> bool {
    let mut src = networks(src);
    let mut dst = networks(dst);
    let mut services = services.to_vec();
    let mut coarse = false;
    while src.len() * dst.len() * services.len() > LIMIT {
        coarse = true;
        let longest = src.len().max(dst.len()).max(services.len());
        if longest == services.len() {
            services = blocks(&services, longest / 2);
        } else if longest == dst.len() {
            dst = coarser(dst, longest / 2);
        } else {
            src = coarser(src, longest / 2);
        }
    }
    for src in &src {
        for dst in &dst {
            for service in &services {
                emit(*src, *dst, service, coarse);
            }
        }
    }
    !coarse
}

/// The prefixes of sorted ranges.
fn networks<T: Word>(ranges: &[(T, T)]) -> Vec<Prefix<T>> {
    ranges.iter().flat_map(|(low, high)| prefixes(*low, *high)).collect()
}

/// Sorted prefixes shortened, as little as need be, until there are at most `limit`, and at least
/// one.
fn coarser<T: Word>(mut networks: Vec<Prefix<T>>, limit: usize) -> Vec<Prefix<T>> {
    // Shortened to n bits, neighbours stay apart if they differ within those: so the number of
    // neighbours by the length of what they share says how many are left at each length.
    let mut shared = [0usize; 129];
    for (a, b) in networks.iter().zip(networks.iter().skip(1)) {
        if let Some(count) = shared.get_mut(usize::from(a.bits.common_bits(b.bits))) {
            *count += 1;
        }
    }
    let mut left = 1;
    let mut len = 0;
    for count in shared {
        left += count;
        if left > limit {
            break;
        }
        len += 1;
    }
    for network in &mut networks {
        *network = network.shortened(len);
    }
    networks.dedup();
    networks
}

/// At most `limit` services, and at least one, that hold these.
fn blocks(services: &[Service], limit: usize) -> Vec<Service> {
    let wider = |range: PortRange, bits: u32| {
        let rest = ((1u32 << bits) - 1) as u16;
        PortRange::new(range.low() & !rest, range.high() | rest).unwrap_or(PortRange::ANY)
    };
    for bits in [2, 4, 6, 8, 10, 12, 16] {
        let blocks = services.iter().map(|service| Service {
            src_port: wider(service.src_port, bits),
            dst_port: wider(service.dst_port, bits),
            protocol: service.protocol,
        });
        let mut blocks: Vec<Service> = blocks.collect();
        blocks.sort_unstable();
        blocks.dedup();
        if blocks.len() <= limit.max(1) {
            return blocks;
        }
    }
    vec![Service::ANY]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarser_services_hold_the_finer() {
        let service = |low: u16| Service {
            protocol: Some(6),
            src_port: PortRange::ANY,
            dst_port: PortRange::only(low),
        };
        let many: Vec<Service> = (0..300).map(|n| service(n * 200)).collect();
        for limit in [1, 2, 30, 150] {
            let few = blocks(&many, limit);
            assert!((1..=limit).contains(&few.len()));
            assert!(many.iter().all(|own| few.iter().any(|wide| wide.covers(own))));
        }
    }

    #[test]
    fn coarser_networks_hold_the_finer() {
        let many: Vec<Prefix<u32>> =
            (0..1000u32).map(|n| Prefix { bits: n * 0x0020_0100, len: 32 }).collect();
        for limit in [1, 3, 32, 500] {
            let few = coarser(many.clone(), limit);
            assert!((1..=limit).contains(&few.len()));
            assert!(many.iter().all(|own| few.iter().any(|wide| own.shortened(wide.len) == *wide)));
        }
    }
}
