//! What lookups cost with some tables, so that the best of several choices can be taken.
//!
//! Goes in: the rules, headers like them, and the shapes of tables. Comes out: a cost, counted in
//! steps of a lookup: seats that it comes to, and others with their keys that it has to look at.

use super::family::{Family, Pair, Seeds, fold};
use super::plan::{SLOTS, Shape, Side, low};
use super::record::Entry;
use super::still::seat::OTHERS;
use crate::matching::PortRange;
use ahash::AHashMap;

/// A header: addresses, and ports and protocol as in [`rest`](super::family::rest).
pub(super) type Drawn<A> = (Pair<A>, u64);

/// Prices of steps, in about half a nanosecond each.
#[derive(Clone, Copy, Debug)]
struct Prices {
    /// A table whose key has a seat.
    seat: u64,
    /// The rule there doesn't match, and there are others.
    others: u64,
    /// Each of them.
    other: u64,
    /// More of them than have hints in a seat.
    heap: u64,
    /// A length that tables cut an address to.
    length: u64,
}

/// Of rules that a core's second cache holds.
const NEAR: Prices = Prices { seat: 20, others: 14, other: 4, heap: 150, length: 1 };
/// Of more.
const FAR: Prices = Prices { seat: 36, others: 36, other: 6, heap: 200, length: 1 };
/// Rules up to which they are near.
const MANY: usize = 30_000;

/// Rules of which all fields are looked at, about.
const SAMPLE: usize = 16_384;

/// Bits of the filter that most rules don't pass, as a power of two.
const FILTER: u32 = 20;
/// Mixes parts of keys.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the headers cost with tables of these shapes.
pub(super) fn weigh<A: Family>(
    entries: &[Entry<A>],
    headers: &[Drawn<A>],
    shapes: &[Shape],
    seeds: &Seeds,
) -> u64 {
    let prices = if entries.len() > MANY { FAR } else { NEAR };
    let tables: Vec<Table> =
        (0u64..).zip(shapes).map(|(place, shape)| Table { place, shape: *shape }).collect();
    let mut known = Known::new(headers, &tables, seeds);
    let step = entries.len().div_ceil(SAMPLE).max(1);
    for (number, entry) in entries.iter().enumerate() {
        known.add(entry, &tables, seeds, number % step == 0);
    }
    for rules in known.keys.values_mut() {
        rules.sort_by_key(|entry| entry.order);
    }
    let one = |header: &Drawn<A>| {
        let (mut cost, mut best) = (0, None::<(&Entry<A>, Shape)>);
        for table in &tables {
            let rules = known.keys.get(&table.key(*header, seeds)).map_or(&[][..], Vec::as_slice);
            let may_hold = || !rules.is_empty() || known.may_hold(table, *header);
            let asked = match best {
                None => may_hold(),
                // What the shadow of the one that was found knows, or may know, see `shadow`.
                Some((best, own)) => {
                    if table.shape.holds(Shape::of(best)) || own.holds(table.shape) {
                        let mut better = rules.iter().take_while(|rule| rule.order < best.order);
                        better.any(|rule| rule.intersects(best))
                    } else {
                        known.best.get(&table.place).is_some_and(|first| *first < best.order)
                            && may_hold()
                    }
                }
            };
            if !asked {
                continue;
            }
            cost += prices.seat;
            let found = rules.iter().position(|rule| rule.matches(header.0, header.1));
            if found != Some(0) {
                cost += match rules.len().saturating_sub(1) {
                    0 => 0,
                    others @ ..=OTHERS => prices.others + prices.other * others as u64,
                    _ => prices.heap,
                };
            }
            let found = found.and_then(|place| rules.get(place)).map(|rule| (*rule, table.shape));
            best = best.into_iter().chain(found).min_by_key(|(rule, _)| rule.order);
        }
        cost
    };
    let lengths = |len: fn(&Shape) -> u8| {
        let mut lengths: Vec<u8> = shapes.iter().map(len).filter(|len| *len > 0).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths.len() as u64
    };
    let lengths = lengths(|shape| shape.src_len) + lengths(|shape| shape.dst_len);
    headers.iter().map(one).sum::<u64>() + lengths * prices.length * headers.len() as u64
}

/// A table.
#[derive(Clone, Copy, Debug)]
struct Table {
    place: u64,
    shape: Shape,
}

impl Table {
    fn key<A: Family>(&self, (addresses, rest): Drawn<A>, seeds: &Seeds) -> u64 {
        let Self { place, shape } = self;
        let mask = Pair::mask(shape.src_len, shape.dst_len);
        A::key(addresses, mask, (rest & shape.rest) ^ place << 40, seeds)
    }

    /// What words tell of a header, field by field: it has to share each with some rule of a class,
    /// or else the table isn't asked. In each the first is what the header has, the second what
    /// rules have that ask for nothing or for a range.
    fn parts<A: Family>(&self, (addresses, rest): Drawn<A>) -> [[u64; 2]; FIELDS] {
        let Self { place, shape } = *self;
        let address = |side: Side| match (side, shape.len(side)) {
            (_, 0) => 0,
            (Side::Src, len) => addresses.src.leading(len),
            (Side::Dst, len) => addresses.dst.leading(len),
        };
        let (src, dst) = (address(Side::Src), address(Side::Dst));
        let (main, other) = if shape.side() == Some(Side::Src) { (src, dst) } else { (dst, src) };
        // Rules of one class share their slot.
        let class = fold(main, SCATTER) % SLOTS as u64;
        let part = |field: u64, value: u64| {
            fold(value ^ place << 58 ^ field << 54 ^ class << 48, SCATTER.rotate_left(9))
        };
        let [a, b, c, d, protocol, ..] = rest.to_le_bytes();
        let (src_port, dst_port) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        [
            [part(0, main); 2],
            [part(1, other); 2],
            [part(2, src_port.into()), part(3, 0)],
            [part(4, dst_port.into()), part(5, 0)],
            [part(6, protocol.into()), part(7, 0)],
        ]
    }
}

/// Fields that words tell of: an address that parts classes, the other one, ports and protocol.
const FIELDS: usize = 5;

/// What is known of the keys that headers have.
struct Known<'a, A> {
    keys: AHashMap<u64, Vec<&'a Entry<A>>>,
    /// Parts of keys: whether some rule has them.
    parts: AHashMap<u64, bool>,
    /// The best order of each table.
    best: AHashMap<u64, u32>,
    /// A bit for each key or part; most of those of rules aren't there.
    filter: Vec<u64>,
}

impl<'a, A: Family> Known<'a, A> {
    fn new(headers: &[Drawn<A>], tables: &[Table], seeds: &Seeds) -> Self {
        let filter = vec![0; 1 << (FILTER - 6)];
        let mut own =
            Self { keys: AHashMap::new(), parts: AHashMap::new(), best: AHashMap::new(), filter };
        for header in headers {
            for table in tables {
                let (key, parts) = (table.key(*header, seeds), table.parts(*header));
                own.keys.entry(key).or_default();
                for part in parts.into_iter().flatten() {
                    own.parts.entry(part).or_default();
                }
                for value in parts.into_iter().flatten().chain([key]) {
                    let (word, bit) = bit(value);
                    if let Some(word) = own.filter.get_mut(word) {
                        *word |= bit;
                    }
                }
            }
        }
        own
    }

    fn passes(&self, value: u64) -> bool {
        let (word, bit) = bit(value);
        self.filter.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Adds a rule to the table that it goes to. What words tell of fields that many rules share is
    /// known when some rules are told `whole`.
    fn add(&mut self, entry: &'a Entry<A>, tables: &[Table], seeds: &Seeds, whole: bool) {
        let (own, header) = (Shape::of(entry), (entry.addresses, low(entry)));
        let mut best: Option<(usize, u64, &Table)> = None;
        for table in tables.iter().filter(|table| table.shape.holds(own)) {
            let key = table.key(header, seeds);
            let alike = if self.passes(key) { self.keys.get(&key).map(Vec::len) } else { None };
            // Where nothing is known there is room, mostly.
            let alike = alike.unwrap_or(0);
            if best.is_none_or(|(least, ..)| alike < least) {
                best = Some((alike, key, table));
            }
            if alike < OTHERS {
                break;
            }
        }
        let Some((_, key, table)) = best else { return };
        let first = self.best.entry(table.place).or_insert(entry.order);
        *first = entry.order.min(*first);
        if self.passes(key)
            && let Some(rules) = self.keys.get_mut(&key)
        {
            rules.push(entry);
        }
        let exact = |ports: PortRange| ports.low() == ports.high();
        let exact =
            [true, true, exact(entry.src_port), exact(entry.dst_port), entry.protocol.is_some()];
        let told = if whole { FIELDS } else { 1 };
        for ([own, open], exact) in table.parts(header).into_iter().zip(exact).take(told) {
            let part = if exact { own } else { open };
            if self.passes(part)
                && let Some(there) = self.parts.get_mut(&part)
            {
                *there = true;
            }
        }
    }

    /// Whether words can't tell that a table has nothing for a header.
    fn may_hold(&self, table: &Table, header: Drawn<A>) -> bool {
        let there = |part: &u64| self.parts.get(part).is_some_and(|there| *there);
        table.parts(header).iter().all(|parts| parts.iter().any(there))
    }
}

/// The place of a value's bit in the filter.
const fn bit(value: u64) -> (usize, u64) {
    ((value >> (64 + 6 - FILTER)) as usize, 1 << (value >> 20 & 63))
}

#[cfg(test)]
mod tests {
    use super::super::plan::DST_PORT;
    use super::super::remains::headers;
    use super::*;

    /// Rules for hosts of some networks, several for each, by destination port.
    fn rules(hosts: u32, ports: u16) -> Vec<Entry<u32>> {
        let rule = |host: u32, port: u16| Entry {
            order: host * u32::from(ports) + u32::from(port),
            src_len: 0,
            dst_len: 32,
            addresses: Pair { src: 0, dst: host.wrapping_mul(0x9e37_79b1) },
            protocol: Some(6),
            src_port: PortRange::ANY,
            dst_port: PortRange::only(port),
            zones: 0,
            coarse: false,
            value: 0,
        };
        (0..hosts).flat_map(|host| (0..ports).map(move |port| rule(host, port))).collect()
    }

    fn costs(rules: &[Entry<u32>], shapes: &[&[Shape]]) -> Vec<u64> {
        let seeds = Seeds([1, 2, 3, 4]);
        let headers = headers(rules, 700, &seeds);
        shapes.iter().map(|shapes| weigh(rules, &headers, shapes, &seeds)).collect()
    }

    const HOST: Shape = Shape { src_len: 0, dst_len: 32, rest: 0 };
    const PORT: Shape = Shape { src_len: 0, dst_len: 32, rest: DST_PORT };
    const NETWORK: Shape = Shape { src_len: 0, dst_len: 8, rest: 0 };

    #[test]
    fn keys_that_rules_share_cost_more_than_their_own() {
        let shapes: [&[Shape]; 3] =
            [&[PORT, Shape::ALL], &[HOST, Shape::ALL], &[NETWORK, Shape::ALL]];
        let costs = costs(&rules(1000, 5), &shapes);
        assert!(costs.windows(2).all(|two| two[0] < two[1]), "{costs:?}");
    }

    #[test]
    fn a_second_table_costs_more_where_its_rules_decide_first() {
        // Of two rules for a host the one for all ports comes first.
        let mut rules = rules(1000, 2);
        for rule in &mut rules {
            rule.order ^= 1;
            if rule.dst_port == PortRange::only(1) {
                rule.dst_port = PortRange::ANY;
            }
        }
        let costs = costs(&rules, &[&[HOST, Shape::ALL], &[PORT, HOST, Shape::ALL]]);
        assert!(costs[0] < costs[1], "{costs:?}");
    }
}
