//! Rules that share a key and are too many to be compared one by one.
//!
//! Not here: those that may still change, see [`super::super::piles`].

use super::super::boxes::Point;
use super::super::family::{Family, Pair, Probe};
use super::super::index::Best;
use super::super::pile::Pile;
use super::super::record::Entry;
use super::super::simd::Vectors;
use super::super::small::{RULES, Small};
use super::list::List;
use crate::zone::ZoneSet;

/// The rules of a key.
#[derive(Debug)]
pub(super) enum Heap<A: Family> {
    /// One after the other: what their hints leave is little.
    List(List),
    /// As a tree of boxes.
    Tree(Pile),
    /// Many rules: as rows of bits, in parts, the best rules first.
    Rows(Box<[Part<A>]>),
}

/// Some rules as rows of bits.
#[derive(Debug)]
pub(super) struct Part<A: Family> {
    rows: Small<A>,
    /// Their numbers, in the order of decision.
    numbers: Box<[u32]>,
    /// The best order.
    best: u32,
}

/// Rules from which on rows are worth their memory.
const MANY: usize = 100;
/// Parts, at most: beyond them a tree leaves out more than rows do.
const PARTS: usize = 4;

impl<A: Family> Heap<A> {
    /// Of the rules of a pile, each with its number. `zones` has the zones of rules by number.
    pub(super) fn new(
        pile: Pile,
        mut rules: Vec<(u32, Entry<A>)>,
        zones: impl Fn(u32) -> (ZoneSet, ZoneSet),
    ) -> Self {
        if !(MANY..=PARTS * RULES).contains(&rules.len()) {
            return Self::Tree(pile);
        }
        rules.sort_by_key(|(_, entry)| entry.order);
        let part = |rules: &[(u32, Entry<A>)]| {
            let entries: Vec<Entry<A>> = rules.iter().map(|(_, entry)| *entry).collect();
            Some(Part {
                rows: Small::new(&entries, &zones)?,
                numbers: rules.iter().map(|(number, _)| *number).collect(),
                best: entries.first()?.order,
            })
        };
        rules.chunks(RULES).map(part).collect::<Option<_>>().map_or(Self::Tree(pile), Self::Rows)
    }

    /// Calls `each` with the numbers of rules that may match and be better than `best`; `each`
    /// returns the best from then on.
    #[inline(always)]
    pub(super) fn find<V: Vectors>(
        &self,
        probe: &Probe<A>,
        best: Best,
        vectors: V,
        verify: &impl Fn(u64) -> bool,
        mut each: impl FnMut(u32) -> Best,
    ) {
        match self {
            Self::List(list) => list.find(probe, vectors, |number| each(number) >= best),
            Self::Tree(pile) => {
                let Pair { src, dst } = probe.addresses;
                let (rest, (skip_src, skip_dst)) = (probe.rest, pile.skip);
                let point = Point {
                    addresses: [src.window(skip_src), dst.window(skip_dst)],
                    rest: [rest as u16, (rest >> 16) as u16, probe.protocol().into()],
                };
                pile.find(&point, best, vectors, each);
            }
            Self::Rows(parts) => {
                let mut better = parts.iter().take_while(|part| u64::from(part.best) << 32 < best);
                let found = better.find_map(|part| {
                    part.numbers.get(part.rows.place(probe, vectors, verify)).copied()
                });
                found.map(&mut each);
            }
        }
    }

    /// Asks for the memory that a lookup begins with.
    #[inline]
    pub(super) fn prefetch(&self) {
        match self {
            Self::List(list) => list.prefetch(),
            Self::Tree(pile) => pile.prefetch(),
            Self::Rows(_) => {}
        }
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Self::List(list) => list.memory(),
            Self::Tree(pile) => pile.memory(),
            Self::Rows(parts) => {
                let of = |part: &Part<A>| part.rows.memory() + size_of_val(&*part.numbers);
                parts.iter().map(of).sum::<usize>() + size_of_val(&**parts)
            }
        }
    }
}
