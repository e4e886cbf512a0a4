//! Finds the rules that may cover another: those above it that match one flow of it, or hold one
//! part of it whole.
//!
//! Goes in: what the rules match in one address family. Comes out: rules in the order of decision.
//! No more than [`LIMIT`] rules are looked at for a question. Not here: how they are found, see
//! [`crate::overlap`].

use super::region::{Address, Area, Probe};
use crate::overlap::boxes::{self, Sets};
use crate::overlap::tree::{Bounds, Item, OTHER_PROTOCOL, Query, Tree, before};
use crate::zone::ZoneSet;
use std::sync::OnceLock;

/// Rules that are looked at for one question before giving up; those that turn out not to be meant
/// count twice.
const LIMIT: usize = 64;
/// Steps of a search before giving up.
const STEPS: usize = 1024;

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
            Sets { from, to, src, dst, services }.boxes(limit, |bounds| {
                items.push(Item { order: rule, rank: 0, number: rule, bounds });
            });
        }
        Tree::new(items)
    }

    /// What a rule matches in this family.
    pub(super) fn area(&self, rule: u32) -> Option<&Area<'r, A>> {
        self.areas.get(usize::try_from(rule).ok()?)?.as_ref()
    }

    /// Calls `each` with rules above `before` that match a flow, in order, until it says that it is
    /// enough. Says whether these were all.
    pub(super) fn matching(
        &self,
        probe: &Probe<A>,
        before: u32,
        mut each: impl FnMut(u32, &Area<'r, A>) -> bool,
    ) -> bool {
        let protocol = probe.protocol.map_or(OTHER_PROTOCOL, u16::from);
        let bounds = Bounds {
            addresses: [(probe.src, probe.src), (probe.dst, probe.dst)],
            rest: [probe.src_port, probe.dst_port, protocol].map(|value| (value, value)),
            from: ZoneSet::only(probe.from),
            to: ZoneSet::only(probe.to),
        };
        self.look(&bounds, false, before, |rule, area| {
            let matches = area.contains(probe);
            (matches, matches && each(rule, area))
        })
    }

    /// Whether any rule above `before` may overlap an area; no is certain.
    pub(super) fn met(&self, area: &Area<'_, A>, before: u32) -> bool {
        let Area { from, to, src, dst, services } = *area;
        let mut met = false;
        Sets { from, to, src, dst, services }.boxes(1, |bounds| {
            self.look(&bounds, false, before, |_, _| {
                met = true;
                (true, true)
            });
        });
        met
    }

    /// The first rule above `before` that covers an area, and of which `wanted` is true. An area of
    /// the first entries of all lists has to lie in one box of such a rule.
    pub(super) fn covering(
        &self,
        area: &Area<'_, A>,
        before: u32,
        wanted: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let bounds = Bounds {
            addresses: [*area.src.first()?, *area.dst.first()?],
            rest: boxes::ranges(area.services.first()?),
            from: area.from,
            to: area.to,
        };
        let mut found = None;
        self.look(&bounds, true, before, |rule, above| {
            let covers = above.covers(area) && wanted(rule);
            found = covers.then_some(rule);
            (covers, covers)
        });
        found
    }

    /// Calls `each` with rules above `limit` one of whose boxes meets the bounds, or holds them
    /// whole, in order; it says whether the rule is meant, and whether that is enough. Says whether all
    /// were looked at.
    fn look(
        &self,
        bounds: &Bounds<A>,
        whole: bool,
        limit: u32,
        mut each: impl FnMut(u32, &Area<'r, A>) -> (bool, bool),
    ) -> bool {
        let bounds = std::slice::from_ref(bounds);
        let tree = self.tree.get_or_init(|| self.tree());
        let mut search = tree.search(Query { bounds, whole, orders: before(limit), rank: 0 });
        let mut room = LIMIT;
        let mut last = None;
        while let Some(found) = search.next() {
            if room == 0 || search.steps() > STEPS {
                return false;
            }
            // A rule with several boxes can be found for each.
            if last.replace(found.order) == Some(found.order) {
                continue;
            }
            let Some(area) = self.area(found.order) else { continue };
            let (meant, enough) = each(found.order, area);
            if enough {
                return false;
            }
            room = room.saturating_sub(if meant { 1 } else { 2 });
        }
        true
    }
}
