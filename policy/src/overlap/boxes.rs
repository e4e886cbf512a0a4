//! The boxes that stand for a rule with lists.
//!
//! Together they hold every flow of the rule, and often more: the entries of a list share one box
//! where one for each would be too many. Goes in: what a rule matches in one address family. Comes out:
//! boxes for [`super::tree`]. Not here: whether a rule really matches, see [`crate::matching`].

use super::tree::{Bounds, protocol};
use crate::matching::{Match, Service};
use crate::prefix::Word;
use crate::zone::ZoneSet;

/// What a rule matches in one address family: one of each set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets<'r, A> {
    pub(crate) from: ZoneSet,
    pub(crate) to: ZoneSet,
    /// Sorted and disjoint, as `dst`.
    pub(crate) src: &'r [(A, A)],
    pub(crate) dst: &'r [(A, A)],
    pub(crate) services: &'r [Service],
}

/// Boxes of all rules together, where lists ask for more than one each.
const ALL: usize = 1 << 18;

/// The most boxes of one rule of this many, 4 to 8.
pub(crate) fn limit(rules: usize) -> usize {
    (ALL / rules.max(1)).clamp(4, 8)
}

impl<'r> Sets<'r, u32> {
    pub(crate) fn v4(matches: &'r Match) -> Self {
        let Match { from, to, src, dst, services } = matches;
        Self { from: *from, to: *to, src: src.v4(), dst: dst.v4(), services }
    }
}

impl<'r> Sets<'r, u128> {
    pub(crate) fn v6(matches: &'r Match) -> Self {
        let Match { from, to, src, dst, services } = matches;
        Self { from: *from, to: *to, src: src.v6(), dst: dst.v6(), services }
    }
}

impl<A: Word> Sets<'_, A> {
    /// Calls `emit` with each of at most `limit` boxes; with none if the rule matches nothing. Says
    /// whether they hold nothing that the rule doesn't match.
    pub(crate) fn boxes(&self, limit: usize, mut emit: impl FnMut(Bounds<A>)) -> bool {
        let (telling_src, telling_dst) = (telling(self.src), telling(self.dst));
        // Addresses alone tell most rules apart.
        let few = if telling_src || telling_dst { 1 } else { limit };
        let (services, left) = share(self.services.len(), few.min(limit), limit);
        // The side that says more goes first, so that the other is made coarser.
        let src_first = (!telling_src, self.src.len()) <= (!telling_dst, self.dst.len());
        let (first, second) = if src_first { (self.src, self.dst) } else { (self.dst, self.src) };
        let (firsts, left) = share(first.len(), left, left);
        let (seconds, _) = share(second.len(), left, left);
        for chunk in self.services.chunks(services) {
            let Some(rest) = chunk.iter().map(ranges).reduce(around) else { continue };
            for one in first.chunks(firsts).filter_map(hull) {
                for other in second.chunks(seconds).filter_map(hull) {
                    let addresses = if src_first { [one, other] } else { [other, one] };
                    emit(Bounds { addresses, rest, from: self.from, to: self.to });
                }
            }
        }
        let alone = |share: usize, entries: usize| share == 1 || entries <= 1;
        alone(services, self.services.len())
            && alone(firsts, first.len())
            && alone(seconds, second.len())
    }
}

/// How many of so many entries share a box, if they may have `most` boxes: one, or else all. And how
/// many of `left` boxes remain for each combination with them.
fn share(entries: usize, most: usize, left: usize) -> (usize, usize) {
    if entries <= most { (1, left / entries.max(1)) } else { (entries, left) }
}

/// Whether addresses tell rules apart: none of the ranges is more than a 256th of all.
fn telling<A: Word>(ranges: &[(A, A)]) -> bool {
    ranges.iter().all(|(low, high)| low.common_bits(*high) >= 8)
}

/// From the first to the last address of sorted ranges.
fn hull<A: Copy>(ranges: &[(A, A)]) -> Option<(A, A)> {
    Some((ranges.first()?.0, ranges.last()?.1))
}

/// The ranges of a service as a box has them.
pub(crate) fn ranges(service: &Service) -> [(u16, u16); 3] {
    let Service { src_port, dst_port, .. } = service;
    [
        (src_port.low(), src_port.high()),
        (dst_port.low(), dst_port.high()),
        protocol(service.protocol),
    ]
}

fn around(a: [(u16, u16); 3], b: [(u16, u16); 3]) -> [(u16, u16); 3] {
    let join = |a: (u16, u16), b: (u16, u16)| (a.0.min(b.0), a.1.max(b.1));
    let ([a, b, c], [d, e, f]) = (a, b);
    [join(a, d), join(b, e), join(c, f)]
}
