//! Finds the rules that may cover another: those above it that match one flow of it, or hold one
//! part of it whole.
//!
//! Goes in: what the rules match in one address family. Comes out: rules in the order of decision.
//! No more than [`LIMIT`] rules are looked at for a question. A rule that its boxes stand for exactly
//! is not looked at in vain, so that one that covers another is found however many rules there are
//! between them. Not here: how they are found, see [`crate::overlap`].

use super::region::{Address, Area, Probe};
use crate::overlap::boxes::{self, Sets};
use crate::overlap::tree::{Bounds, Item, OTHER_PROTOCOL, Query, Search, Tree, before};
use crate::zone::ZoneSet;
use std::sync::OnceLock;

/// Rules that are looked at for one question before giving up.
pub(super) const LIMIT: usize = 64;
/// Steps of a search before giving up.
const STEPS: usize = 1024;

/// Ranks: boxes that hold just what the rule matches, and those that hold more.
const EXACT: u32 = 1;
const ROUGH: u32 = 0;

/// Which rules a covering one is sought among.
#[derive(Clone, Copy, Debug)]
pub(super) struct Above {
    /// The first and the last; none when the first comes after the last.
    orders: (u32, u32),
    rank: u32,
}

impl Above {
    /// All rules above this one.
    pub(super) fn all(rule: u32) -> Self {
        Self { orders: before(rule), rank: ROUGH }
    }

    /// Those from `first` on that are above `rule`, only those that their boxes stand for exactly
    /// if `exact`.
    pub(super) const fn rest(first: u32, rule: u32, exact: bool) -> Self {
        let rank = if exact { EXACT } else { ROUGH };
        if first < rule {
            Self { orders: (first, rule - 1), rank }
        } else {
            Self { orders: (1, 0), rank }
        }
    }
}

/// The rules of one address family.
pub(super) struct Family<'r, A> {
    /// By rule; `None` for rules that match nothing in this family.
    areas: Vec<Option<Area<'r, A>>>,
    /// Made when it is asked for the first time: most policies are for one family mainly.
    tree: OnceLock<Tree<A>>,
}

impl<'r, A: Address> Family<'r, A> {
    /// From rules in the order of decision.
    pub(super) fn new(areas: Vec<Option<Area<'r, A>>>) -> Self {
        Self { areas, tree: OnceLock::new() }
    }

    fn tree(&self) -> Tree<A> {
        let limit = boxes::limit(self.areas.len());
        let mut items = Vec::with_capacity(self.areas.len());
        for (rule, area) in (0_u32..).zip(&self.areas) {
            let Some(Area { from, to, src, dst, services }) = *area else { continue };
            let first = items.len();
            let exact = Sets { from, to, src, dst, services }.boxes(limit, |bounds| {
                items.push(Item { order: rule, rank: ROUGH, number: rule, bounds });
            });
            let rank = if exact { EXACT } else { ROUGH };
            items.iter_mut().skip(first).for_each(|item| item.rank = rank);
        }
        Tree::new(items)
    }

    /// What a rule matches in this family.
    pub(super) fn area(&self, rule: u32) -> Option<&Area<'r, A>> {
        self.areas.get(usize::try_from(rule).ok()?)?.as_ref()
    }

    /// Calls `each` with rules above `limit` that match a flow, in order, until it says that it is
    /// enough. When these may not have been all, tells from which rule on it did not look.
    pub(super) fn matching(
        &self,
        probe: &Probe<A>,
        limit: u32,
        mut each: impl FnMut(u32, &Area<'r, A>) -> bool,
    ) -> Option<u32> {
        let protocol = probe.protocol.map_or(OTHER_PROTOCOL, u16::from);
        let bounds = Bounds {
            addresses: [(probe.src, probe.src), (probe.dst, probe.dst)],
            rest: [probe.src_port, probe.dst_port, protocol].map(|value| (value, value)),
            from: ZoneSet::only(probe.from),
            to: ZoneSet::only(probe.to),
        };
        let query = Query {
            bounds: std::slice::from_ref(&bounds),
            whole: false,
            orders: before(limit),
            rank: ROUGH,
        };
        self.look(query, |rule, area| area.contains(probe) && each(rule, area))
    }

    /// Whether any rule above `limit` may overlap an area; no is certain.
    pub(super) fn met(&self, area: &Area<'_, A>, limit: u32) -> bool {
        let Area { from, to, src, dst, services } = *area;
        let (mut met, orders) = (false, before(limit));
        Sets { from, to, src, dst, services }.boxes(1, |bounds| {
            let bounds = std::slice::from_ref(&bounds);
            let mut search = self.search(Query { bounds, whole: false, orders, rank: ROUGH });
            met |= search.next().is_some();
        });
        met
    }

    /// The first rule of these that covers an area, and of which `wanted` is true. An area of the
    /// first entries of all lists has to lie in one box of such a rule.
    pub(super) fn covering(
        &self,
        area: &Area<'_, A>,
        rules: Above,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let bounds = Bounds {
            addresses: [*area.src.first()?, *area.dst.first()?],
            rest: boxes::ranges(area.services.first()?),
            from: area.from,
            to: area.to,
        };
        let bounds = std::slice::from_ref(&bounds);
        let query = Query { bounds, whole: true, orders: rules.orders, rank: rules.rank };
        let mut found = None;
        self.look(query, |rule, above| {
            let covers = above.covers(area) && wanted(rule);
            found = covers.then_some(rule);
            covers
        });
        found
    }

    fn search<'s>(&'s self, query: Query<'s, A>) -> Search<'s, A> {
        self.tree.get_or_init(|| self.tree()).search(query)
    }

    /// Calls `each` with rules one of whose boxes is found, in order, until it says that it is enough.
    /// When these may not have been all, tells from which rule on it did not look.
    fn look(
        &self,
        query: Query<'_, A>,
        mut each: impl FnMut(u32, &Area<'r, A>) -> bool,
    ) -> Option<u32> {
        let mut search = self.search(query);
        let mut room = LIMIT;
        let mut last = None;
        while let Some(found) = search.next() {
            // A rule with several boxes can be found for each.
            if last.replace(found.order) == Some(found.order) {
                continue;
            }
            if room == 0 || search.steps() > STEPS {
                return Some(found.order);
            }
            room -= 1;
            if self.area(found.order).is_some_and(|area| each(found.order, area)) {
                return Some(found.order + 1);
            }
        }
        None
    }
}
