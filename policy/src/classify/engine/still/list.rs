//! Rules that share a key, in the order of decision, with a hint of each kind for each.
//!
//! Where [`hint`] has one byte for a rule, a list has five, so that of dozens of rules
//! hardly one is compared that doesn't match.

use super::super::family::{Family, Probe};
use super::super::plan::Side;
use super::super::record::Entry;
use super::super::simd::{Vectors, prefetch_all};
use super::hint::{self, NOBODY, NONE, View};

/// Rules in seats from a number on.
#[derive(Debug)]
pub(in super::super) struct List {
    first: u32,
    views: [View; 2],
    lines: Box<[Lines]>,
}

/// Rules that have their hints in the same lines.
pub(in super::super) const LINE: usize = 64;
/// Kinds of hints: ports, protocol, and what the views show of both addresses.
pub(in super::super) const KINDS: usize = 5;

/// Hints of some rules, kind by kind.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(in super::super) struct Lines(pub(in super::super) [[u8; LINE]; KINDS]);

/// A header's hints, one of each kind.
pub(in super::super) type All = [u8; KINDS];

impl List {
    /// Of rules from a number on. `None` if that leaves too many of them.
    pub(in super::super) fn new<A: Family>(first: u32, rules: &[Entry<A>]) -> Option<Self> {
        let views = [Side::Src, Side::Dst].map(|side| middle(rules, side));
        let hints: Vec<All> = rules.iter().map(|rule| of_rule(rule, views)).collect();
        let left = rules.iter().map(|rule| {
            let header = of_header(&hint::like(rule), views);
            let fits = |own: &All| own.iter().zip(header).all(|(a, b)| *a == NONE || *a == b);
            hints.iter().filter(|own| fits(own)).count()
        });
        if left.sum::<usize>() > LEFT * rules.len() {
            return None;
        }
        let lines = hints.chunks(LINE).map(|part| {
            let mut lines = Lines([[NOBODY; LINE]; KINDS]);
            for (place, own) in part.iter().enumerate() {
                for (line, hint) in lines.0.iter_mut().zip(own) {
                    if let Some(cell) = line.get_mut(place) {
                        *cell = *hint;
                    }
                }
            }
            lines
        });
        Some(Self { first, views, lines: lines.collect() })
    }

    /// Calls `each` with the numbers of rules that a header may match until it says no.
    #[inline(always)]
    pub(in super::super) fn find<A: Family, V: Vectors>(
        &self,
        probe: &Probe<A>,
        vectors: V,
        mut each: impl FnMut(u32) -> bool,
    ) {
        let header = of_header(probe, self.views);
        for (start, lines) in (self.first..).step_by(LINE).zip(&self.lines) {
            let mut left = vectors.hinted(lines, header);
            while left != 0 {
                if !each(start + left.trailing_zeros()) {
                    return;
                }
                left &= left - 1;
            }
        }
    }

    /// Asks for the memory that a lookup begins with.
    #[inline]
    pub(in super::super) fn prefetch(&self) {
        prefetch_all(&self.lines);
    }

    pub(in super::super) fn memory(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

/// Rules that hints may leave on average.
const LEFT: usize = 6;

#[inline(always)]
fn of_header<A: Family>(probe: &Probe<A>, [src, dst]: [View; 2]) -> All {
    let [a, b, c, d] = hint::of_header(probe, src);
    [a, b, c, d, dst.of(probe.addresses)]
}

fn of_rule<A: Family>(rule: &Entry<A>, views: [View; 2]) -> All {
    let [a, b, c] = hint::of_fields(rule);
    let [d, e] = views.map(|view| view.of_rule(rule));
    [a, b, c, d, e]
}

/// A view of one address that shows as much as half of the rules say of it.
fn middle<A: Family>(rules: &[Entry<A>], side: Side) -> View {
    let mut lengths: Vec<u8> = rules.iter().map(|rule| side.of(rule).1).collect();
    lengths.sort_unstable();
    View::new(side, lengths.get(lengths.len() / 4).copied().unwrap_or(1))
}
