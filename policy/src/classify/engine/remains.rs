//! Tables for the rules that suit none of those that [`super::choose`] takes first.
//!
//! Together such rules would be one pile, which grows with the rule set and slows every lookup that
//! has to look at it. A table that parts them helps even if some share a key. How much is tried with
//! headers drawn from the rules: each candidate costs what these find under their keys, and what
//! the pile of the rest still costs.
//!
//! Goes in: the rules, and the shapes that there are. Comes out: more shapes.

use super::choose::cuts;
use super::family::{Family, Pair, Seeds, fold, rest};
use super::plan::{DST_PORT, SRC_PORT, Shape, low};
use super::record::Entry;
use super::weigh::Drawn;
use ahash::AHashMap;

/// Rules that may remain: a pile of so few costs little more than a table.
const FEW: usize = 64;
/// Fewer than one in so many rules are left in a pile, too, if they aren't [`MANY`]: lookups rarely
/// get there, and each would pay for one more length of an address.
const RARE: usize = 128;
const MANY: usize = 4096;
/// Rules that are looked at, about; of more only some.
const SAMPLE: usize = 2048;
/// Headers that are tried.
const HEADERS: usize = 256;
/// New lengths of an address, 0 included, that candidates are made from.
const CUTS: usize = 4;
/// Rules with one key that are not on a pile.
const LONE: u64 = 4;
/// The protocol of headers that may have any.
const TCP: u8 = 6;
/// Costs are in these parts of one look at a record.
const UNIT: u64 = 16;

/// Shapes of further tables, at most so many.
pub(super) fn choose<A: Family>(
    entries: &[Entry<A>],
    first: &[Shape],
    most: usize,
    seeds: &Seeds,
) -> Vec<Shape> {
    let fixed = entries.iter().map(|entry| (entry, Shape::of(entry)));
    let mut left: Vec<(&Entry<A>, Shape)> =
        fixed.filter(|(_, own)| !first.iter().any(|shape| shape.holds(*own))).collect();
    if left.len() < MANY && left.len() < entries.len() / RARE {
        return Vec::new();
    }
    let step = left.len().div_ceil(SAMPLE).max(1);
    left = left.into_iter().step_by(step).collect();
    let headers = headers(entries, HEADERS, seeds);
    let mut chosen = Vec::new();
    while chosen.len() < most && left.len() * step > FEW {
        let shapes = || first.iter().chain(&chosen).copied();
        let cost = |shape: &Shape| cost(&left, &headers, step as u64, *shape, seeds);
        let costs = candidates(&left, shapes, A::BITS).into_iter().map(|own| (cost(&own), own));
        let Some((cost, shape)) = costs.min_by_key(|(cost, _)| *cost) else { break };
        if cost + UNIT / 4 > pile((left.len() * step) as u64) {
            break;
        }
        left.retain(|(_, own)| !shape.holds(*own));
        chosen.push(shape);
    }
    chosen
}

/// Up to so many headers drawn from the rules.
pub(super) fn headers<A: Family>(
    entries: &[Entry<A>],
    most: usize,
    seeds: &Seeds,
) -> Vec<Drawn<A>> {
    let step = entries.len().div_ceil(most).max(1);
    let [seed, ..] = seeds.0;
    let mut drawn = 0u64;
    let mut draw = || {
        drawn += 1;
        fold(drawn ^ seed, 0x9e37_79b9_7f4a_7c15)
    };
    let header = |entry: &Entry<A>| {
        let mut address = |network: A, len: u8| {
            let any = u128::from(draw()) << 64 | u128::from(draw());
            A::narrowed(network.wide() | any & !A::mask(len).wide())
        };
        let src = address(entry.addresses.src, entry.src_len);
        let dst = address(entry.addresses.dst, entry.dst_len);
        let mut port = |low: u16, high: u16| low + (draw() % (u64::from(high - low) + 1)) as u16;
        let src_port = port(entry.src_port.low(), entry.src_port.high());
        let dst_port = port(entry.dst_port.low(), entry.dst_port.high());
        (Pair { src, dst }, rest(src_port, dst_port, entry.protocol.unwrap_or(TCP)))
    };
    entries.iter().step_by(step).map(header).collect()
}

/// Pairs of lengths that some of the rules have or are cut to, with and without ports; no more
/// lengths than there may be.
fn candidates<A: Family, S: Iterator<Item = Shape>>(
    left: &[(&Entry<A>, Shape)],
    shapes: impl Fn() -> S,
    bits: u8,
) -> Vec<Shape> {
    let lengths = |len: fn(&Shape) -> u8| {
        let mut all: Vec<u8> = shapes().map(|shape| len(&shape)).filter(|len| *len > 0).collect();
        all.sort_unstable();
        all.dedup();
        if all.len() < CUTS {
            all.extend(cuts(left.iter().map(|(_, shape)| len(shape)), bits, CUTS));
        }
        all.push(0);
        all.sort_unstable();
        all.dedup();
        all
    };
    let (src, dst) = (lengths(|shape| shape.src_len), lengths(|shape| shape.dst_len));
    let mut all = Vec::new();
    for rest in [0, SRC_PORT, DST_PORT, SRC_PORT | DST_PORT] {
        for src_len in &src {
            for dst_len in &dst {
                all.push(Shape { src_len: *src_len, dst_len: *dst_len, rest });
            }
        }
    }
    all.retain(|shape| *shape != Shape::ALL && !shapes().any(|other| other == *shape));
    all
}

/// What a header costs with a table of this shape, and the rest of the rules on a pile. Of the
/// rules one in `step` is there.
fn cost<A: Family>(
    left: &[(&Entry<A>, Shape)],
    headers: &[(Pair<A>, u64)],
    step: u64,
    shape: Shape,
    seeds: &Seeds,
) -> u64 {
    let mask = Pair::mask(shape.src_len, shape.dst_len);
    let key = |addresses: Pair<A>, ports: u64| A::key(addresses, mask, ports & shape.rest, seeds);
    let mut keys: AHashMap<u64, u64> = AHashMap::new();
    let mut fitting = 0;
    for (entry, _) in left.iter().filter(|(_, own)| shape.holds(*own)) {
        *keys.entry(key(entry.addresses, low(entry))).or_default() += step;
        fitting += 1;
    }
    let of = |header: &(Pair<A>, u64)| keys.get(&key(header.0, header.1)).copied().unwrap_or(0);
    let found = headers.iter().map(|header| match of(header) {
        0 => 0,
        count if count <= LONE => UNIT + count * UNIT / 2,
        count => UNIT + LONE * UNIT / 2 + pile(count - LONE),
    });
    let others = (left.len() as u64 - fitting) * step;
    // A table that has to be asked in vain costs, too.
    UNIT / 4 + found.sum::<u64>() / headers.len().max(1) as u64 + pile(others)
}

/// What a pile costs.
fn pile(rules: u64) -> u64 {
    if rules == 0 { 0 } else { 5 * UNIT + rules.isqrt() * UNIT / 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::PortRange;

    fn rule(number: u32, lens: (u8, u8)) -> Entry<u32> {
        let address = number.wrapping_mul(0x9e37_79b1);
        Entry {
            order: number,
            src_len: lens.0,
            dst_len: lens.1,
            addresses: Pair { src: address, dst: address.rotate_left(9) }
                .and(Pair::mask(lens.0, lens.1)),
            protocol: None,
            src_port: PortRange::ANY,
            dst_port: PortRange::only(number as u16 % 300),
            zones: 0,
            coarse: false,
            value: 0,
        }
    }

    fn chosen(entries: &[Entry<u32>], first: &[Shape], most: usize) -> Vec<Shape> {
        choose(entries, first, most, &Seeds([1, 2, 3, 4]))
    }

    #[test]
    fn many_rules_that_suit_no_table_get_their_own() {
        let first = [Shape { src_len: 0, dst_len: 24, rest: 0 }];
        let lens = |n: u32| if n.is_multiple_of(10) { (12, 0) } else { (0, 24) };
        let entries: Vec<Entry<u32>> = (0..20_000).map(|n| rule(n, lens(n))).collect();
        let more = chosen(&entries, &first, 5);
        assert!(more.iter().any(|shape| shape.src_len > 0 && shape.dst_len == 0), "{more:?}");
        let all = || first.iter().chain(&more);
        let left = entries.iter().filter(|own| !all().any(|shape| shape.holds(Shape::of(own))));
        assert!(left.count() <= FEW);
        assert!(chosen(&entries, &first, 0).is_empty());
    }

    #[test]
    fn few_rules_that_suit_no_table_get_none() {
        let first = [Shape { src_len: 0, dst_len: 24, rest: 0 }];
        let lens = |n: u32| if n < FEW as u32 { (12, 0) } else { (0, 24) };
        let entries: Vec<Entry<u32>> = (0..5000).map(|n| rule(n, lens(n))).collect();
        assert!(chosen(&entries, &first, 5).is_empty());
    }
}
