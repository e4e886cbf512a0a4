//! Pairs of zone sets by number, so that a rule keeps a number instead of two sets.

use crate::zone::ZoneSet;
use ahash::AHashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers that there are at most: they have 24 bits in a record.
const LIMIT: usize = 1 << 24;

/// The pairs as readers see them. Number 0 is every zone.
#[derive(Debug)]
pub(super) struct Zones(Box<[[AtomicU64; 2]]>);

/// Gives out the numbers. A pair keeps its number.
#[derive(Debug)]
pub(super) struct Numbers {
    of: AHashMap<(ZoneSet, ZoneSet), u32>,
    pairs: Vec<(ZoneSet, ZoneSet)>,
}

impl Zones {
    /// The pairs that have numbers, and room for more.
    pub(super) fn new(numbers: &Numbers) -> Self {
        let word = |zones: ZoneSet| AtomicU64::new(zones.bits());
        let pairs = numbers.pairs.iter().map(|(from, to)| [word(*from), word(*to)]);
        let spare = (0..numbers.pairs.len() / 4 + 64).map(|_| Default::default());
        Self(pairs.chain(spare).collect())
    }

    #[inline]
    pub(super) fn hold(&self, number: u32, from: u8, to: u8) -> bool {
        let holds = |set: &AtomicU64, zone: u8| set.load(Relaxed) >> (zone & 63) & 1 != 0;
        self.0.get(number as usize).is_some_and(|[a, b]| holds(a, from) && holds(b, to))
    }

    /// Makes a new number known to readers; says no when there is no room. Writer only.
    pub(super) fn add(&self, number: u32, (from, to): (ZoneSet, ZoneSet)) -> bool {
        let Some([a, b]) = self.0.get(number as usize) else { return false };
        // Mostly known already: looking first keeps the line shared.
        for (word, set) in [(a, from), (b, to)] {
            if word.load(Relaxed) != set.bits() {
                word.store(set.bits(), Relaxed);
            }
        }
        true
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }
}

impl Numbers {
    pub(super) fn new() -> Self {
        let all = (ZoneSet::ALL, ZoneSet::ALL);
        Self { of: AHashMap::from_iter([(all, 0)]), pairs: vec![all] }
    }

    /// The number of a pair, a new one if need be; `None` when there are too many.
    pub(super) fn get(&mut self, from: ZoneSet, to: ZoneSet) -> Option<u32> {
        if (from, to) == (ZoneSet::ALL, ZoneSet::ALL) {
            return Some(0);
        }
        if let Some(number) = self.of.get(&(from, to)) {
            return Some(*number);
        }
        let number = u32::try_from(self.pairs.len()).ok()?;
        if self.pairs.len() >= LIMIT {
            return None;
        }
        self.pairs.push((from, to));
        self.of.insert((from, to), number);
        Some(number)
    }

    /// The pair of a number.
    pub(super) fn pair(&self, number: u32) -> (ZoneSet, ZoneSet) {
        self.pairs.get(number as usize).copied().unwrap_or((ZoneSet::ALL, ZoneSet::ALL))
    }
}
