//! Ranges of ports that rules had lately, with the classes that all their blocks have.
//!
//! A range has up to 256 blocks, each with a word of its own; rule sets have few different ranges,
//! so mostly none of these words has to be looked at. Not for readers.

use super::family::SCATTER;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Places for ranges; those of one place drive each other out.
const PLACES: usize = 32;

/// For each place the range, see [`Range::key`], and classes.
#[derive(Debug, Default)]
pub(super) struct Ranges(Box<[[AtomicU64; 2]; PLACES]>);

/// Blocks of ports in the words that begin at `map`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) map: u32,
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Range {
    /// Tells ranges apart; not 0.
    fn key(self) -> u64 {
        u64::from(self.map) << 32 | u64::from(self.first) << 16 | u64::from(self.last) | 1 << 63
    }
}

impl Ranges {
    /// Classes that all blocks of a range are known to have.
    pub(super) fn classes(&self, range: Range) -> u64 {
        match self.cell(range) {
            Some([key, classes]) if key.load(Relaxed) == range.key() => classes.load(Relaxed),
            _ => 0,
        }
    }

    /// Notes that all blocks of a range have these classes.
    pub(super) fn note(&self, range: Range, known: u64) {
        if let Some([key, classes]) = self.cell(range) {
            key.store(range.key(), Relaxed);
            classes.store(known, Relaxed);
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.0)
    }

    fn cell(&self, range: Range) -> Option<&[AtomicU64; 2]> {
        let scattered = (range.key() as u32 ^ range.map).wrapping_mul(SCATTER);
        self.0.get(scattered as usize >> 16 & (PLACES - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_noted_last_of_the_same_range_or_none() {
        let ranges = Ranges::default();
        let mut noted = Vec::new();
        for n in 0..2000u32 {
            let range = Range { map: n % 2 * 300, first: (n % 7) as u16, last: (n % 250) as u16 };
            let known = ranges.classes(range);
            let last = noted.iter().rev().find(|(other, _)| *other == range.key());
            assert!(known == 0 || last.is_some_and(|(_, classes)| *classes == known));
            ranges.note(range, u64::from(n) + 1);
            assert_eq!(ranges.classes(range), u64::from(n) + 1);
            noted.push((range.key(), u64::from(n) + 1));
        }
    }
}
