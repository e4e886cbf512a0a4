//! Filter sets of a family and size, without repeated rules.
//!
//! Goes in: family, size, seed. Comes out: rules in the order of decision, more specific ones first
//! by and large, so that few rules are hidden by those above. Not here: traces.

use super::Family;
use super::addresses::Trie;
use super::random::{Random, mix};
use super::seeds::{ACL, FW, IPC, PortClass, Seed};
use crate::model::{Networks, Rule};
use std::collections::HashSet;
use twinwall_policy::flow::protocol;
use twinwall_policy::matching::PortRange;
use twinwall_policy::prefix::Prefix;
use twinwall_policy::zone::{ZoneId, ZoneSet};

/// Zones of a zoned set, the gateway and the outside included.
pub(super) const ZONES: u8 = 18;

/// Draws in vain, as a multiple of the size, before the tries are widened.
const PATIENCE: usize = 4;

/// Bits that a related destination has in common with its source.
const SHARED: [u8; 5] = [4, 8, 16, 20, 22];

/// ICMP types that rules name, and those of ICMPv6.
const ICMP_TYPES: ([u16; 5], [u16; 5]) = ([0, 3, 8, 11, 13], [1, 2, 3, 128, 129]);

/// Exactly `size` different rules.
pub(super) fn rules(family: Family, size: usize, seed: u64) -> Vec<Rule> {
    let mut random = Random::new(mix(seed ^ mix(family as u64)));
    let mut seen = HashSet::with_capacity(size);
    let mut keyed: Vec<(u32, u64, Rule)> = Vec::with_capacity(size);
    let mut widened = 0;
    while keyed.len() < size {
        let sources: Vec<Source> = sources(family, size, widened, seed);
        for _ in 0..(size * PATIENCE).max(1_000) {
            let Some(source) = random.pick(&sources) else { return Vec::new() };
            let rule = source.rule(&mut random);
            if seen.insert(rule) {
                keyed.push((place(&rule, &mut random), random.number(), rule));
                if keyed.len() == size {
                    break;
                }
            }
        }
        widened += 1;
    }
    keyed.sort_unstable_by_key(|(place, tie, _)| (std::cmp::Reverse(*place), *tie));
    keyed.into_iter().map(|(_, _, rule)| rule).collect()
}

/// How early a rule comes: the more it fixes, the earlier, with some noise.
fn place(rule: &Rule, random: &mut Random) -> u32 {
    let lengths = match rule.networks {
        Networks::V4 { src, dst } => u32::from(src.len) + u32::from(dst.len),
        Networks::V6 { src, dst } => (u32::from(src.len) + u32::from(dst.len)) / 4,
    };
    let port = |range: PortRange| if range == PortRange::ANY { 0 } else { 4 };
    let zones = |zones: ZoneSet| if zones == ZoneSet::ALL { 0 } else { 4 };
    let protocol = if rule.protocol.is_some() { 4 } else { 0 };
    let fixed = lengths + protocol + port(rule.src_port) + port(rule.dst_port);
    fixed + zones(rule.from) + zones(rule.to) + random.below(6) as u32
}

/// One kind of rules that a set is mixed from.
struct Source {
    seed: &'static Seed,
    src: Trie,
    dst: Trie,
    v6: bool,
    zoned: bool,
    icmp: bool,
    lengths: Weighted<(u8, u8)>,
    shapes: Weighted<(Option<u8>, PortClass, PortClass)>,
    ports: Weighted<u16>,
    ranges: Weighted<(u16, u16)>,
}

/// The kinds of a family; one that counts more stands there more often.
fn sources(family: Family, size: usize, widened: u32, seed: u64) -> Vec<Source> {
    let source = |figures, v6, zoned| Source::new(figures, v6, zoned, size, widened, seed);
    match family {
        Family::Acl => vec![source(&ACL, false, false)],
        Family::Fw => vec![source(&FW, false, false)],
        Family::Ipc => vec![source(&IPC, false, false)],
        Family::Miss => vec![source(&ACL, false, false), source(&IPC, false, false)],
        Family::Ipv6 => [&ACL, &FW, &IPC].map(|figures| source(figures, true, false)).into(),
        Family::Zoned => [&ACL, &FW, &IPC]
            .into_iter()
            .flat_map(|figures| [false, false, true].map(|v6| source(figures, v6, true)))
            .collect(),
        Family::Mixed => [&ACL, &FW, &IPC]
            .into_iter()
            .flat_map(|figures| {
                [(false, false), (true, false), (false, true), (true, true)]
                    .map(|(v6, zoned)| source(figures, v6, zoned))
            })
            .collect(),
    }
}

impl Source {
    fn new(
        seed: &'static Seed,
        v6: bool,
        zoned: bool,
        size: usize,
        widened: u32,
        number: u64,
    ) -> Self {
        Self {
            seed,
            src: Trie::new(&seed.src, size, widened, mix(number ^ 1)),
            dst: Trie::new(&seed.dst, size, widened, mix(number ^ 2)),
            v6,
            zoned,
            icmp: v6 || zoned,
            lengths: Weighted::new(seed.lengths.iter().map(|(a, b, share)| ((*a, *b), *share))),
            shapes: Weighted::new(
                seed.shapes.iter().map(|(a, b, c, share)| ((*a, *b, *c), *share)),
            ),
            ports: Weighted::new(seed.ports.iter().copied()),
            ranges: Weighted::new(seed.ranges.iter().map(|(a, b, share)| ((*a, *b), *share))),
        }
    }

    fn rule(&self, random: &mut Random) -> Rule {
        let (src_len, dst_len) = self.lengths.draw(random).unwrap_or_default();
        let related = random.chance(self.seed.related);
        let shared = random.pick(&SHARED).filter(|_| related).copied().unwrap_or(0);
        let networks = if self.v6 {
            let src = self.src.v6(src_len, Prefix::ANY, 0, random);
            Networks::V6 { src, dst: self.dst.v6(dst_len, src, shared * 2, random) }
        } else {
            let src = self.src.v4(src_len, Prefix::ANY, 0, random);
            Networks::V4 { src, dst: self.dst.v4(dst_len, src, shared, random) }
        };
        let any = (None, PortClass::Any, PortClass::Any);
        let (mut protocol, src_class, dst_class) = self.shapes.draw(random).unwrap_or(any);
        let mut src_port = self.port(src_class, random);
        let mut dst_port = self.port(dst_class, random);
        if self.icmp && protocol == Some(protocol::ICMP) {
            let types = if self.v6 { &ICMP_TYPES.1 } else { &ICMP_TYPES.0 };
            if let Some(of_icmp) = random.pick(types).filter(|_| random.chance(70)) {
                src_port = PortRange::only(*of_icmp);
                dst_port = if random.chance(50) { PortRange::only(0) } else { PortRange::ANY };
            }
            protocol = Some(if self.v6 { protocol::ICMPV6 } else { protocol::ICMP });
        }
        let (from, to) = match self.zoned {
            true => (zones(random), zones(random)),
            false => (ZoneSet::ALL, ZoneSet::ALL),
        };
        Rule { networks, protocol, src_port, dst_port, from, to }
    }

    fn port(&self, class: PortClass, random: &mut Random) -> PortRange {
        let range = match class {
            PortClass::Any => None,
            PortClass::High => PortRange::new(1024, u16::MAX),
            PortClass::One => self.ports.draw(random).map(PortRange::only),
            PortClass::Range => {
                self.ranges.draw(random).and_then(|(low, high)| PortRange::new(low, high))
            }
        };
        range.unwrap_or(PortRange::ANY)
    }
}

/// Mostly one zone, else all or some of them.
fn zones(random: &mut Random) -> ZoneSet {
    let one = |random: &mut Random| ZoneId::new(random.below(ZONES.into()) as u8);
    match random.below(20) {
        0..14 => one(random).map_or(ZoneSet::ALL, ZoneSet::only),
        14..17 => ZoneSet::ALL,
        _ => (0..4).filter_map(|_| one(random)).fold(ZoneSet::EMPTY, ZoneSet::with),
    }
}

/// Items drawn as often as their shares say.
struct Weighted<T> {
    items: Vec<(u64, T)>,
    total: u64,
}

impl<T: Copy> Weighted<T> {
    fn new(items: impl Iterator<Item = (T, u32)>) -> Self {
        let mut total = 0;
        let items = items.map(|(item, share)| {
            total += u64::from(share);
            (total, item)
        });
        let items = items.collect();
        Self { items, total }
    }

    fn draw(&self, random: &mut Random) -> Option<T> {
        let place = random.below(self.total);
        let index = self.items.partition_point(|(end, _)| *end <= place);
        self.items.get(index).map(|(_, item)| *item)
    }
}
