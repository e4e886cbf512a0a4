//! The choice of the tables: few, so that lookups ask few, and such that few rules share a key.
//!
//! Prefix lengths worth a table come from dynamic programming over the lengths in use: those with
//! the least sum of bits cut off. All pairs of them, with and without ports, are candidates. The
//! one under whose key the most rules are nearly alone is taken first, then the best for the rules
//! that are left, and so on.
//!
//! Tables are asked in the order of what they fix, most first. So a rule goes to the table that
//! tells most of it and has room under its key, few share keys, and what matches there leaves out
//! most of the rest.
//!
//! Large rule sets are judged by a sample. It has all rules with some destinations and all rules
//! with some sources, so that of a part of its rules all that share a key with them are known.

use super::family::{Family, Pair, Seeds, fold};
use super::plan::{DST_PORT, SRC_PORT, Shape, TABLES, low};
use super::record::Entry;
use super::remains;
use super::weigh::weigh;
use crate::parallel;
use std::cmp::Reverse;

/// One way to choose.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Lengths of a field that candidates are made from, at most, 0 included.
    cuts: usize,
    /// What a rule is worth that shares its key with none, one, two ... others.
    worth: [u64; 4],
    /// Tables that are left for the rules that suit none of the others.
    spare: usize,
}

const QUICK: Way = Way { cuts: 4, worth: [16, 14, 7, 2], spare: 0 };
/// The ways that are tried for the best.
const WAYS: [Way; 4] = [
    QUICK,
    Way { cuts: 3, worth: [16, 2, 1, 1], spare: 0 },
    Way { cuts: 5, worth: [16, 4, 2, 1], spare: 0 },
    Way { cuts: 6, worth: [16, 1, 0, 0], spare: 3 },
];
/// Rules from which on the ways are tried at the same time: as many take some milliseconds each.
const MANY: usize = 4096;
/// Headers that the choices are tried with.
const HEADERS: usize = 1024;
/// Bits cut off beyond these cost no more: rules share a key by then or never.
const DEAREST: usize = 10;
/// Rules from which on a sample is taken: about as many by destination, and as many by source.
const SAMPLE: usize = 4000;
/// A table has to suit this share of the rules, in thousandths.
const LEAST: usize = 4;

/// How tables are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Soon, for rules that change.
    Quick,
    /// The best of several.
    Best,
}

/// The shapes of the tables; the last is [`Shape::ALL`].
pub(super) fn choose<A: Family>(entries: &[Entry<A>], seeds: &Seeds, choice: Choice) -> Vec<Shape> {
    let sample = sample(entries, seeds);
    let shapes: Vec<Shape> = entries.iter().map(Shape::of).collect();
    let choose = |way: &Way| {
        let mut chosen = first(&sample, &candidates(&shapes, A::BITS, way.cuts), way, seeds);
        let room = TABLES.saturating_sub(chosen.len() + 1);
        chosen.extend(remains::choose(entries, &chosen, room, seeds));
        chosen.sort_by_key(|shape| Reverse(shape.fixed()));
        chosen.push(Shape::ALL);
        chosen
    };
    if choice == Choice::Quick {
        return choose(&QUICK);
    }
    let headers = remains::headers(entries, HEADERS, seeds);
    let threads = if entries.len() < MANY { 1 } else { WAYS.len() };
    let mut choices = parallel::run(WAYS.iter().collect(), threads, choose);
    // Mostly several come to the same.
    choices.sort_unstable();
    choices.dedup();
    let weighed = parallel::run(choices, threads, |shapes| {
        (weigh(entries, &headers, &shapes, seeds), shapes)
    });
    let best = weighed.into_iter().min_by_key(|(cost, _)| *cost);
    best.map_or_else(|| vec![Shape::ALL], |(_, shapes)| shapes)
}

/// The shapes that suit the most rules each, of these candidates.
fn first<A: Family>(
    sample: &[Sampled<A>],
    candidates: &[Shape],
    way: &Way,
    seeds: &Seeds,
) -> Vec<Shape> {
    let mut sample = sample.to_vec();
    let all = sample.len();
    // What each candidate was worth when it was judged last. As rules are taken it gets less, so
    // those that were worth less than the best now needn't be judged again.
    let mut candidates: Vec<(u64, Shape)> =
        candidates.iter().map(|shape| (u64::MAX, *shape)).collect();
    let mut chosen: Vec<Shape> = Vec::new();
    let mut counter = Counter::new(all, way.worth);
    while chosen.len() + 1 + way.spare < TABLES {
        let mut best = (0, Shape::ALL);
        candidates.sort_by_key(|(worth, _)| u64::MAX - worth);
        for (worth, shape) in &mut candidates {
            if *worth <= best.0 {
                break;
            }
            *worth = counter.worth(&sample, *shape, seeds);
            if *worth > best.0 {
                best = (*worth, *shape);
            }
        }
        let (own, shape) = best;
        if shape == Shape::ALL || own < (all * LEAST) as u64 * way.worth[0] / 1000 {
            break;
        }
        counter.take(&mut sample, shape, seeds);
        candidates.retain(|(_, other)| *other != shape);
        chosen.push(shape);
    }
    chosen
}

/// Pairs of lengths, with and without ports; the longest first.
fn candidates(shapes: &[Shape], bits: u8, most: usize) -> Vec<Shape> {
    let src = cuts(shapes.iter().map(|shape| shape.src_len), bits, most);
    let dst = cuts(shapes.iter().map(|shape| shape.dst_len), bits, most);
    let ports = [0, SRC_PORT, DST_PORT, SRC_PORT | DST_PORT];
    let used = ports.map(|rest| shapes.iter().any(|shape| shape.rest & rest == rest));
    let mut all = Vec::new();
    for (rest, _) in ports.into_iter().zip(used).filter(|(_, used)| *used) {
        for src_len in &src {
            for dst_len in &dst {
                all.push(Shape { src_len: *src_len, dst_len: *dst_len, rest });
            }
        }
    }
    all
}

/// A rule of the sample.
#[derive(Clone, Copy, Debug)]
struct Sampled<A> {
    entry: Entry<A>,
    shape: Shape,
    /// Whether the sample has all rules with its destination.
    by_dst: bool,
    /// Whether the sample has all rules with its source.
    by_src: bool,
}

impl<A> Sampled<A> {
    /// Whether the sample has all rules that share a key of this shape with the rule.
    const fn complete(&self, shape: Shape) -> bool {
        (shape.dst_len > 0 && self.by_dst) || (shape.src_len > 0 && self.by_src)
    }
}

/// All rules, or a sample of them.
fn sample<A: Family>(entries: &[Entry<A>], seeds: &Seeds) -> Vec<Sampled<A>> {
    let share = (SAMPLE as u64) << 32;
    let limit = share.checked_div(entries.len() as u64).unwrap_or(share);
    let picked = |one: (A, u8), other: (A, u8)| {
        // A rule that says little of the one address goes by the other.
        let (address, len) = if one.1 >= A::BITS / 2 { one } else { other };
        let key = if len == 0 { 0 } else { address.leading(len.min(A::BITS / 2)) };
        limit >> 32 != 0 || fold(key ^ seeds.0[3], 0x9e37_79b9_7f4a_7c15) >> 32 < limit
    };
    let sampled = entries.iter().filter_map(|entry| {
        let src = (entry.addresses.src, entry.src_len);
        let dst = (entry.addresses.dst, entry.dst_len);
        let (by_dst, by_src) = (picked(dst, src), picked(src, dst));
        (by_dst || by_src).then_some(Sampled {
            entry: *entry,
            shape: Shape::of(entry),
            by_dst,
            by_src,
        })
    });
    sampled.take(SAMPLE * 4).collect()
}

/// Counts rules by key.
struct Counter {
    /// How many rules have a key, by its hash; different keys rarely meet.
    counts: Vec<u8>,
    places: Vec<u32>,
    /// See [`Way::worth`].
    worth: [u64; 4],
}

impl Counter {
    fn new(rules: usize, worth: [u64; 4]) -> Self {
        Self { counts: vec![0; (rules * 4).next_power_of_two()], places: Vec::new(), worth }
    }

    /// What a table of this shape would be worth for the rules: as much on average for those of
    /// which nothing is known as for the others.
    fn worth<A: Family>(&mut self, sample: &[Sampled<A>], shape: Shape, seeds: &Seeds) -> u64 {
        self.count(sample, shape, seeds);
        let (mut worth, mut known) = (0, 0);
        let fitting = sample.iter().filter(|own| shape.holds(own.shape));
        for (_, place) in fitting.zip(&self.places).filter(|(own, _)| own.complete(shape)) {
            let sharing = self.counts.get(*place as usize).copied().unwrap_or(0);
            let own = self.worth.get(usize::from(sharing.saturating_sub(1)));
            worth += own.copied().unwrap_or(0);
            known += 1;
        }
        let all = self.places.len() as u64;
        self.clear();
        (worth * all).checked_div(known).unwrap_or(0)
    }

    /// Takes away the rules that suit a table of this shape, and of those of which nothing is known
    /// the same share.
    fn take<A: Family>(&mut self, sample: &mut Vec<Sampled<A>>, shape: Shape, seeds: &Seeds) {
        self.count(sample, shape, seeds);
        let mut suits = |place: &u32| {
            let sharing = self.counts.get(*place as usize).copied().unwrap_or(0);
            usize::from(sharing) <= self.worth.len()
        };
        let fitting = sample.iter().filter(|own| shape.holds(own.shape));
        let known = fitting.zip(&self.places).filter(|(own, _)| own.complete(shape));
        let (mut good, mut all) = (0u64, 0u64);
        for (_, place) in known {
            good += u64::from(suits(place));
            all += 1;
        }
        let mut places = self.places.iter();
        let mut unknown = 0;
        sample.retain(|own| {
            if !shape.holds(own.shape) {
                return true;
            }
            let place = places.next();
            if own.complete(shape) {
                return !place.is_some_and(&mut suits);
            }
            unknown += good;
            if unknown < all {
                return true;
            }
            unknown -= all;
            false
        });
        self.clear();
    }

    fn count<A: Family>(&mut self, sample: &[Sampled<A>], shape: Shape, seeds: &Seeds) {
        let last = self.counts.len() - 1;
        let mask = Pair::mask(shape.src_len, shape.dst_len);
        for Sampled { entry, .. } in sample.iter().filter(|own| shape.holds(own.shape)) {
            let key = A::key(entry.addresses, mask, low(entry) & shape.rest, seeds);
            let place = (key >> 20) as usize & last;
            if let Some(count) = self.counts.get_mut(place) {
                *count = count.saturating_add(1);
            }
            self.places.push(place as u32);
        }
    }

    fn clear(&mut self) {
        for place in self.places.drain(..) {
            if let Some(count) = self.counts.get_mut(place as usize) {
                *count = 0;
            }
        }
    }
}

/// The lengths to cut prefixes to, at most so many, rising, 0 first.
pub(super) fn cuts(lengths: impl Iterator<Item = u8>, bits: u8, most: usize) -> Vec<u8> {
    let mut counts = vec![0usize; usize::from(bits) + 1];
    for len in lengths {
        if let Some(count) = counts.get_mut(usize::from(len)) {
            *count += 1;
        }
    }
    // For each number of cuts and each length as the last of them: the least number of bits that
    // shorter prefixes lose, and the cut before.
    let lost = |cut: usize, end: usize| -> usize {
        let range = counts.iter().enumerate().take(end).skip(cut);
        range.map(|(len, count)| count * (len - cut).min(DEAREST)).sum()
    };
    let mut rows = vec![vec![None; counts.len()]];
    if let Some(start) = rows.first_mut().and_then(|row| row.first_mut()) {
        *start = Some((0, 0));
    }
    for _ in 1..most {
        let last = rows.last().cloned().unwrap_or_default();
        let row = (0..counts.len()).map(|cut| {
            let before = (0..cut).filter_map(|before| {
                let (sum, _) = (*last.get(before)?)?;
                Some((sum + lost(before, cut), before))
            });
            before.min().filter(|_| counts.get(cut).is_some_and(|count| *count > 0))
        });
        let row = row.collect();
        rows.push(row);
    }
    let ends = rows.iter().enumerate().flat_map(|(row, cells)| {
        let reached = cells.iter().enumerate().filter_map(move |(cut, cell)| Some((cut, (*cell)?)));
        reached.map(move |(cut, (sum, _))| (row, cut, sum))
    });
    let best = ends.min_by_key(|(row, cut, sum)| (sum + lost(*cut, counts.len()), *row));
    let Some((row, mut cut, _)) = best else { return vec![0] };
    let mut cuts = Vec::new();
    for row in rows.iter().take(row + 1).rev() {
        cuts.push(cut as u8);
        cut = row.get(cut).and_then(|cell| cell.map(|(_, before)| before)).unwrap_or(0);
    }
    cuts.reverse();
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_the_lengths_in_use_when_they_are_few() {
        assert_eq!(cuts([24, 32, 32, 8].into_iter(), 32, 4), [0, 8, 24, 32]);
        assert_eq!(cuts([].into_iter(), 32, 4), [0]);
        assert_eq!(cuts([0, 0].into_iter(), 128, 4), [0]);
    }

    #[test]
    fn lengths_of_few_rules_are_cut_to_the_next_below() {
        let many = (0..1000).map(|n| [16, 24, 32][n % 3]);
        let rare = (1..=32).filter(|len| len % 8 != 0);
        let cuts = cuts(many.chain(rare), 32, 4);
        assert_eq!(cuts.len(), 4);
        assert!([0, 16, 24, 32].iter().all(|len| cuts.contains(len)), "{cuts:?}");
    }
}
