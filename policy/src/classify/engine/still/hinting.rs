//! Which hints the rules of a key get, see [`super::hint`].
//!
//! Goes in: the rules that share a key. Comes out: the view of their addresses and the hint of each,
//! such that headers like the rules themselves are left with the fewest to compare.

use super::super::family::{Family, Probe};
use super::super::plan::{DST_PORT, SRC_PORT, Shape, Side};
use super::super::record::Entry;
use super::hint::{self, Hints, NONE, View};

/// The hints of a key's rules.
#[derive(Clone, Debug)]
pub(super) struct Hinting {
    pub(super) view: View,
    pub(super) hints: Vec<u8>,
}

/// Headers that are tried, at most.
const TRIED: usize = 16;

impl Hinting {
    /// Of rules with one key in a table of this shape.
    pub(super) fn new<A: Family>(rules: &[Entry<A>], table: Shape) -> Self {
        let step = rules.len().div_ceil(TRIED).max(1);
        let headers: Vec<Probe<A>> = rules.iter().step_by(step).map(hint::like).collect();
        let views = [Side::Src, Side::Dst].into_iter().flat_map(|side| lengths(rules, table, side));
        let none = Self::with(rules, table, View::new(Side::Src, 1), false, &headers);
        let viewed = views.map(|view| Self::with(rules, table, view, true, &headers));
        viewed.fold(none, |best, other| if other.1 < best.1 { other } else { best }).0
    }

    /// With one view, and how many rules that leaves for some headers.
    fn with<A: Family>(
        rules: &[Entry<A>],
        table: Shape,
        view: View,
        viewed: bool,
        headers: &[Probe<A>],
    ) -> (Self, usize) {
        let kinds: Vec<[u8; 4]> =
            rules.iter().map(|rule| kinds(rule, table, view, viewed)).collect();
        let mut order = [0, 1, 2, 3].map(|kind: usize| (values(&kinds, kind), kind));
        order.sort_unstable_by_key(|(values, _)| std::cmp::Reverse(*values));
        let hint = |own: &[u8; 4]| {
            let hints = order.iter().filter_map(|(_, kind)| own.get(*kind).copied());
            hints.into_iter().find(|hint| *hint != NONE).unwrap_or(NONE)
        };
        let hints: Vec<u8> = kinds.iter().map(hint).collect();
        let left = headers.iter().map(|header| {
            let own: Hints = hint::of_header(header, view);
            hints.iter().filter(|hint| **hint == NONE || own.contains(hint)).count()
        });
        let left = left.sum();
        (Self { view, hints }, left)
    }
}

/// The hint of each kind that a rule could have, or [`NONE`].
fn kinds<A: Family>(rule: &Entry<A>, table: Shape, view: View, viewed: bool) -> [u8; 4] {
    let [dst_port, src_port, protocol] = hint::of_fields(rule);
    let new = |bits: u64, hint: u8| if table.rest & bits == 0 { hint } else { NONE };
    let address = if viewed { view.of_rule(rule) } else { NONE };
    [new(DST_PORT, dst_port), new(SRC_PORT, src_port), protocol, address]
}

/// How many different hints of a kind there are.
fn values(kinds: &[[u8; 4]], kind: usize) -> u32 {
    let mut seen = 0u64;
    for hint in kinds.iter().filter_map(|own| own.get(kind)).filter(|hint| **hint != NONE) {
        seen |= 1 << (hint & 63);
    }
    seen.count_ones()
}

/// Views of one address that show more than the table hashes: the shortest of the rules' lengths,
/// the middle one, and the longest.
fn lengths<A: Family>(
    rules: &[Entry<A>],
    table: Shape,
    side: Side,
) -> impl Iterator<Item = View> + use<A> {
    let own = rules.iter().map(|rule| Shape::of(rule).len(side));
    let mut lengths: Vec<u8> = own.filter(|len| *len > table.len(side)).collect();
    lengths.sort_unstable();
    let few = [lengths.first(), lengths.get(lengths.len() / 2), lengths.last()];
    let mut few: Vec<u8> = few.into_iter().flatten().copied().collect();
    few.dedup();
    few.into_iter().map(move |len| View::new(side, len))
}
