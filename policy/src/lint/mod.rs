//! Rules and definitions that can't do what they seem to.
//!
//! Goes in: a compiled policy and what it was compiled from. Comes out: warnings. Each one is
//! proved by sets: a rule that is said never to match never does. Not every such rule is found:
//! work is bounded, so that a policy of 100,000 rules is looked through in the time that it takes
//! to compile. Not here: NAT rules, and whether the policy is wise.

mod family;
mod region;
mod unused;

use crate::diag::{Fault, Faults, codes};
use crate::matching::Match;
use crate::parallel;
use crate::resolve::Resolved;
use crate::ruleset::{Action, Rule};
use crate::syntax::{self, Draft, Word};
use crate::yaml::Node;
use crate::zone::ZoneSet;
use family::{Above, Family};
use region::{Address, Area, Rest};

/// Fewer rules than this are not worth a thread.
const LEAST: usize = 1000;
/// Cuts that are tried to prove a rule unreachable; also the most rules that such a proof names.
const CUTS: usize = 16;
/// Entries of a list that are looked at one by one.
const ENTRIES: usize = 16;

/// Adds all warnings about a policy without errors.
pub(crate) fn check(
    draft: &Draft<'_>,
    resolved: &Resolved<'_>,
    threads: usize,
    faults: &mut Faults,
) {
    unused::check(resolved, faults);
    let linter = Linter::new(draft, resolved);
    let rules: Vec<u32> = (0..).take(resolved.origins.len()).collect();
    for more in parallel::run(parallel::chunks(&rules, threads, LEAST), threads, |rules| {
        let mut faults = Faults::new();
        for rule in rules {
            linter.check(*rule, &mut faults);
        }
        faults
    }) {
        faults.append(more);
    }
}

struct Linter<'t, 'r> {
    draft: &'r Draft<'t>,
    resolved: &'r Resolved<'t>,
    zones: ZoneSet,
    v4: Family<'r, u32>,
    v6: Family<'r, u128>,
}

impl<'t, 'r> Linter<'t, 'r> {
    fn new(draft: &'r Draft<'t>, resolved: &'r Resolved<'t>) -> Self {
        let zones = ZoneSet::first(resolved.rules.zones.len());
        let rules = || resolved.rules.rules.iter().take(resolved.origins.len());
        Self {
            draft,
            resolved,
            zones,
            v4: Family::new(rules().map(|rule| Area::of(&rule.matches, zones)).collect()),
            v6: Family::new(rules().map(|rule| Area::of(&rule.matches, zones)).collect()),
        }
    }

    fn rule(&self, rule: u32) -> Option<(&'r Rule, &'r syntax::Rule<'t>)> {
        let index = usize::try_from(rule).ok()?;
        let origin = self.draft.rules.get(*self.resolved.origins.get(index)?)?;
        Some((self.resolved.rules.rules.get(index)?, origin))
    }

    fn check(&self, rule: u32, faults: &mut Faults) {
        let Some((compiled, declared)) = self.rule(rule) else { return };
        let Some(name) = declared.name else { return };
        let (v4, v6) = (self.v4.area(rule), self.v6.area(rule));
        if v4.is_none() && v6.is_none() {
            faults.push(empty(compiled, name));
            return;
        }
        // Nothing covers a rule, alone or with others, that doesn't match this flow of it.
        let (mut covering, mut met) = (None, false);
        let left = self.matching(v4, v6, rule, |above| {
            met = true;
            covering = self.covers(above, v4, v6).then_some(above);
            covering.is_some()
        });
        if let (None, Some(left)) = (covering, left) {
            // Where many rules only seemed to match the flow, lists would go on to mislead.
            covering = self.covering(v4, v6, Above::rest(left, rule, !met));
        }
        if let Some(above) = covering {
            faults.push(self.shadowed(rule, compiled, name, above));
            return;
        }
        let together = if met { self.covering_together(v4, v6, rule) } else { None };
        if let Some(above) = together {
            faults.push(self.unreachable(name, &above));
        } else {
            self.check_entries(rule, compiled, declared, faults);
        }
    }

    /// Calls `each` with the rules above that match a flow of a match, until it says that it is
    /// enough. When these may not have been all, tells from which rule on it did not look.
    fn matching(
        &self,
        v4: Option<&Area<'_, u32>>,
        v6: Option<&Area<'_, u128>>,
        before: u32,
        mut each: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let (v4, v6) = (v4.and_then(Area::probe), v6.and_then(Area::probe));
        match (v4, v6) {
            (Some(probe), _) => self.v4.matching(&probe, before, |rule, _| each(rule)),
            (None, Some(probe)) => self.v6.matching(&probe, before, |rule, _| each(rule)),
            (None, None) => None,
        }
    }

    /// The first rule of these that covers both parts of a match.
    fn covering(
        &self,
        v4: Option<&Area<'_, u32>>,
        v6: Option<&Area<'_, u128>>,
        rules: Above,
    ) -> Option<u32> {
        match (v4, v6) {
            (Some(area), _) => self.v4.covering(area, rules, |rule| covers(&self.v6, rule, v6)),
            (None, Some(area)) => self.v6.covering(area, rules, |_| true),
            (None, None) => None,
        }
    }

    /// Whether any rule above may overlap a rule; no is certain.
    fn met(&self, rule: u32) -> bool {
        self.v4.area(rule).is_some_and(|area| self.v4.met(area, rule))
            || self.v6.area(rule).is_some_and(|area| self.v6.met(area, rule))
    }

    /// Whether a rule covers both parts of a match.
    fn covers(&self, rule: u32, v4: Option<&Area<'_, u32>>, v6: Option<&Area<'_, u128>>) -> bool {
        covers(&self.v4, rule, v4) && covers(&self.v6, rule, v6)
    }

    /// Rules above that together cover both parts of a match.
    fn covering_together(
        &self,
        v4: Option<&Area<'_, u32>>,
        v6: Option<&Area<'_, u128>>,
        before: u32,
    ) -> Option<Vec<u32>> {
        let mut above = Vec::new();
        if let Some(area) = v4 {
            exhaust(&self.v4, area, before, &mut above)?;
        }
        if let Some(area) = v6 {
            exhaust(&self.v6, area, before, &mut above)?;
        }
        above.sort_unstable();
        above.dedup();
        Some(above)
    }

    fn shadowed(&self, rule: u32, compiled: &Rule, name: Word<'_>, above: u32) -> Fault {
        let Some((first, declared)) = self.rule(above) else {
            return Fault::warning(codes::SHADOWED_RULE, "");
        };
        let place = declared.name.map_or(declared.start, |name| name.span);
        let back = self.covers(rule, self.v4.area(above), self.v6.area(above));
        let what = format!("seq {}, {}", first.seq, action(first.action));
        if back && first.action == compiled.action {
            let message = format!("rule `{}` repeats rule `{}`", name.text, first.name);
            return Fault::warning(codes::DUPLICATE_RULE, message)
                .at(name.span, "matches the same and does the same")
                .at(place, what);
        }
        let message = format!("rule `{}` is shadowed by rule `{}`", name.text, first.name);
        Fault::warning(codes::SHADOWED_RULE, message)
            .at(name.span, format!("never decides: {}", action(compiled.action)))
            .at(place, format!("{what}: takes every packet first"))
    }

    fn unreachable(&self, name: Word<'_>, above: &[u32]) -> Fault {
        let message = format!("rule `{}` is unreachable", name.text);
        let label = "the rules above that take every packet, together:";
        let names: Vec<_> = above.iter().filter_map(|rule| self.rule(*rule)).collect();
        let list: Vec<_> = names.iter().map(|(rule, _)| format!("`{}`", rule.name)).collect();
        let fault = Fault::warning(codes::UNREACHABLE_RULE, message);
        let mut fault = fault.at(name.span, format!("{label} {}", list.join(", ")));
        for (rule, declared) in names {
            let place = declared.name.map_or(declared.start, |name| name.span);
            fault = fault.at(place, format!("seq {}, {}", rule.seq, action(rule.action)));
        }
        fault
    }

    /// Looks for entries of the rule's lists that one rule above takes whole, with another action.
    fn check_entries(
        &self,
        rule: u32,
        compiled: &Rule,
        declared: &syntax::Rule<'_>,
        faults: &mut Faults,
    ) {
        let services = match &declared.service {
            syntax::ServiceRef::Names(nodes) => nodes,
            _ => &[][..],
        };
        let sides = [
            (Side::From, declared.from),
            (Side::To, declared.to),
            (Side::Src, declared.src),
            (Side::Dst, declared.dst),
            (Side::Service, services),
        ];
        if sides.iter().all(|(_, nodes)| nodes.len() < 2) || !self.met(rule) {
            return;
        }
        for (side, nodes) in sides {
            if nodes.len() < 2 {
                continue;
            }
            for node in nodes.iter().take(ENTRIES) {
                let Some(part) = self.only(&compiled.matches, side, node) else { continue };
                let (v4, v6) = (Area::of(&part, self.zones), Area::of(&part, self.zones));
                let above = self.covering(v4.as_ref(), v6.as_ref(), Above::all(rule));
                let Some(above) = above else { continue };
                let Some((first, origin)) = self.rule(above) else { continue };
                if first.action == compiled.action {
                    continue;
                }
                let text = node.text().unwrap_or("");
                let message = format!(
                    "`{text}` in rule `{}` is shadowed by rule `{}`",
                    compiled.name, first.name
                );
                let label = format!("never decides: {}", action(compiled.action));
                let place = origin.name.map_or(origin.start, |name| name.span);
                let what = format!("seq {}, {}", first.seq, action(first.action));
                let fault = Fault::warning(codes::PARTLY_SHADOWED, message).at(node.span, label);
                faults.push(fault.at(place, format!("{what}: takes these packets first")));
            }
        }
    }

    /// A match with one entry of a list instead of all of them.
    fn only(&self, matches: &Match, side: Side, node: &Node<'_>) -> Option<Match> {
        let word = Word::of(node).filter(|word| word.text != "any")?;
        let nodes = std::slice::from_ref(node);
        let mut part = matches.clone();
        let mut faults = Faults::new();
        match side {
            Side::From => part.from = ZoneSet::only(self.resolved.zones.get(word.text)?),
            Side::To => part.to = ZoneSet::only(self.resolved.zones.get(word.text)?),
            Side::Src => part.src = self.resolved.symbols.addresses(nodes, &mut faults),
            Side::Dst => part.dst = self.resolved.symbols.addresses(nodes, &mut faults),
            Side::Service => part.services = self.resolved.symbols.services(nodes, &mut faults),
        }
        Some(part)
    }
}

/// A part of a rule that can be a list.
#[derive(Clone, Copy)]
enum Side {
    From,
    To,
    Src,
    Dst,
    Service,
}

/// Whether a rule covers an area; nothing is covered by every rule.
fn covers<A: Address>(index: &Family<'_, A>, rule: u32, area: Option<&Area<'_, A>>) -> bool {
    area.is_none_or(|area| index.area(rule).is_some_and(|above| above.covers(area)))
}

/// Takes rules above from an area until nothing is left, and adds them to `above`; `None` when
/// something is left.
fn exhaust<A: Address>(
    family: &Family<'_, A>,
    area: &Area<'_, A>,
    before: u32,
    above: &mut Vec<u32>,
) -> Option<()> {
    let mut rest = Rest::new(area);
    for _ in 0..CUTS {
        let Some(left) = rest.area() else { return Some(()) };
        // One of the rules that match this flow has to take it; the highest comes first.
        let mut taken = None;
        family.matching(&left.probe()?, before, |rule, area| {
            let takes = rest.take(area);
            taken = takes.then_some(rule);
            takes
        });
        above.push(taken?);
    }
    rest.area().is_none().then_some(())
}

fn empty(rule: &Rule, name: Word<'_>) -> Fault {
    let (src, dst) = (&rule.matches.src, &rule.matches.dst);
    let label = if src.is_empty() || dst.is_empty() {
        "its service goes with one address family, its addresses are of the other"
    } else {
        "its sources are of one address family, its destinations of the other"
    };
    let message = format!("no packet can match rule `{}`", rule.name);
    Fault::warning(codes::EMPTY_MATCH, message).at(name.span, label)
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}
