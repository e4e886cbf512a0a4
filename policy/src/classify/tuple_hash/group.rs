//! Groups: all entries of one mask in one hash table.
//!
//! An entry goes into the first group whose mask is a part of its own and whose bucket has room:
//! that keeps groups few. When there is none, a new group is made with a rounded mask, when that is
//! full too with one that is rounded less, and at last with the entry's own. Entries that are equal in all bits share a bucket,
//! however many they are.

use super::entries::{Bits, Entry, layout};
use crate::prefix::Word;
use ahash::RandomState;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// The most hash tables for one address family. Rules of a site need 10 to 25, 100,000 rules with
/// prefixes of every length about 180; without a bound somebody could write rules that each need
/// one of their own.
pub(super) const GROUP_LIMIT: usize = 256;

/// Candidates in a bucket before other groups are tried: comparing that many rules costs about as
/// much as asking a few more tables.
const BUCKET_LIMIT: usize = 4;

/// What address lengths of new groups are rounded to, the first that gives a new group.
const ROUNDING: [u8; 2] = [4, 2];

/// The groups of one address family, the one with the best rule first.
#[derive(Clone, Debug)]
pub(super) struct Groups<T> {
    groups: Box<[Group<T>]>,
    candidates: Box<[u32]>,
}

#[derive(Clone, Debug)]
struct Group<T> {
    /// The best rule in any of the buckets.
    best: u32,
    mask: Bits<T>,
    buckets: HashMap<Bits<T>, Bucket, RandomState>,
}

/// A part of [`Groups::candidates`], in the order of decision.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    start: u32,
    end: u32,
}

impl<T: Word> Groups<T> {
    /// The best rule among the candidates of these bits for which `verify` says yes.
    pub(super) fn find(&self, bits: Bits<T>, verify: impl Fn(u32) -> bool) -> Option<u32> {
        let mut found = u32::MAX;
        for group in &self.groups {
            if group.best >= found {
                break;
            }
            let Some(bucket) = group.buckets.get(&bits.masked(group.mask)) else { continue };
            let range = bucket.start as usize..bucket.end as usize;
            for rule in self.candidates.get(range).unwrap_or_default() {
                if *rule >= found {
                    break;
                }
                if verify(*rule) {
                    found = *rule;
                }
            }
        }
        (found != u32::MAX).then_some(found)
    }

    /// How many hash tables there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }
}

/// Groups that entries are still added to, in the order of decision.
pub(super) struct Builder<T> {
    groups: Vec<GroupBuilder<T>>,
    hasher: RandomState,
}

struct GroupBuilder<T> {
    best: u32,
    mask: Bits<T>,
    buckets: HashMap<Bits<T>, Vec<u32>, RandomState>,
}

impl<T: Word> Builder<T> {
    pub(super) fn new(seeds: [u64; 4]) -> Self {
        let [a, b, c, d] = seeds;
        Self { groups: Vec::new(), hasher: RandomState::with_seeds(a, b, c, d) }
    }

    /// Adds an entry of a rule; rules come in rising order.
    pub(super) fn insert(&mut self, entry: Entry<T>, rule: u32) {
        for group in &mut self.groups {
            if group.mask.within(entry.mask) && group.insert_if_room(entry, rule) {
                return;
            }
        }
        let rounded = ROUNDING.map(|step| entry.mask.rounded(step));
        let mask = rounded.into_iter().find(|mask| !self.has(*mask)).unwrap_or(entry.mask);
        if self.groups.len() < GROUP_LIMIT && !self.has(mask) {
            self.groups.push(GroupBuilder {
                best: rule,
                mask,
                buckets: HashMap::with_hasher(self.hasher.clone()),
            });
        }
        self.insert_anyway(entry, rule);
    }

    fn has(&self, mask: Bits<T>) -> bool {
        self.groups.iter().any(|group| group.mask == mask)
    }

    /// Adds an entry to the shortest of the buckets that can hold it.
    fn insert_anyway(&mut self, entry: Entry<T>, rule: u32) {
        let usable = self.groups.iter_mut().filter(|group| group.mask.within(entry.mask));
        let shortest = usable.min_by_key(|group| {
            group.buckets.get(&entry.bits.masked(group.mask)).map_or(0, Vec::len)
        });
        match shortest {
            Some(group) => {
                group.buckets.entry(entry.bits.masked(group.mask)).or_default().push(rule);
            }
            // Past the limit and nothing fits: a group without a mask holds everything.
            None => {
                let mask = Bits { src: T::ZERO, dst: T::ZERO, rest: 0 };
                let mut buckets = HashMap::with_hasher(self.hasher.clone());
                buckets.insert(mask, vec![rule]);
                self.groups.push(GroupBuilder { best: rule, mask, buckets });
            }
        }
    }

    /// The groups, for lookups only.
    pub(super) fn finish(self) -> Groups<T> {
        // Rules came in order, so the groups are in the order of their best rules already.
        let mut candidates = Vec::new();
        let groups = self.groups.into_iter().map(|group| {
            let mut buckets =
                HashMap::with_capacity_and_hasher(group.buckets.len(), self.hasher.clone());
            for (bits, rules) in group.buckets {
                let start = candidates.len() as u32;
                candidates.extend_from_slice(&rules);
                buckets.insert(bits, Bucket { start, end: candidates.len() as u32 });
            }
            Group { best: group.best, mask: group.mask, buckets }
        });
        let groups = groups.collect();
        Groups { groups, candidates: candidates.into_boxed_slice() }
    }
}

impl<T: Word> GroupBuilder<T> {
    /// Adds an entry if its bucket has room or the rule is there already.
    fn insert_if_room(&mut self, entry: Entry<T>, rule: u32) -> bool {
        let bucket = self.buckets.entry(entry.bits.masked(self.mask)).or_default();
        if bucket.last() == Some(&rule) {
            return true;
        }
        if bucket.len() >= BUCKET_LIMIT {
            return false;
        }
        bucket.push(rule);
        true
    }
}

impl<T: Word> Bits<T> {
    fn masked(self, mask: Self) -> Self {
        Self {
            src: self.src.and(mask.src),
            dst: self.dst.and(mask.dst),
            rest: self.rest & mask.rest,
        }
    }

    /// Whether every bit of this mask is in the other.
    fn within(self, other: Self) -> bool {
        self.masked(other) == self
    }

    /// A smaller mask that more entries can share: address lengths to the next multiple of `step`
    /// below, ports only if all of their bits are fixed, zones not at all.
    fn rounded(self, step: u8) -> Self {
        let port = |place: u32| {
            let field = 0xffff << place;
            if self.rest & field == field { field } else { 0 }
        };
        let protocol = self.rest & (0xff << layout::PROTOCOL);
        Self {
            src: round(self.src, step),
            dst: round(self.dst, step),
            rest: protocol | port(layout::DST_PORT) | port(layout::SRC_PORT),
        }
    }
}

fn round<T: Word>(mask: T, step: u8) -> T {
    let len = mask.common_bits(T::mask(T::BITS));
    T::mask(len - len % step)
}

impl<T: Word> Hash for Bits<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.src.hash(state);
        self.dst.hash(state);
        state.write_u64(self.rest);
    }
}
