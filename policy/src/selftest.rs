//! Runs the tests that a policy brings along.
//!
//! Goes in: the tests and the compiled rules. Comes out: a fault for each test whose outcome is
//! another than it expects. Tests describe flows as rules see them: after destination NAT, before
//! source NAT.
//!
//! A test without `to` stands for the egress zones that the packet may go to: `self` when it is for
//! the gateway; those of its `rule` when it names one; otherwise every zone of the policy. Its
//! outcome has to be the same for all of them.

use crate::classify::{Classifier, TupleHash};
use crate::diag::suggest::Budget;
use crate::diag::{Fault, Faults, codes};
use crate::flow::{Flow, Tuple};
use crate::resolve::Resolved;
use crate::ruleset::{Action, Rule, RuleIndex};
use crate::source::Span;
use crate::syntax::{Destination, Draft, Test, Word};
use crate::zone::{ZoneId, ZoneSet};
use ahash::AHashMap;

/// From so many comparisons of a test with a rule on it pays to build hash tables first.
const MANY: usize = 5_000_000;

/// Runs all tests.
pub(crate) fn run(draft: &Draft<'_>, resolved: &Resolved<'_>, faults: &mut Faults) {
    if draft.tests.is_empty() {
        return;
    }
    let names = draft.tests.iter().map(|test| Some(test.name));
    crate::resolve::unique_names(names, "test", faults);
    let rules = resolved.rules.rules.as_slice();
    let flows = draft.tests.len().saturating_mul(resolved.rules.zones.len());
    // Nobody attacks a policy's own tests: fixed seeds serve.
    let engine = (flows.saturating_mul(rules.len()) > MANY)
        .then(|| TupleHash::new(&resolved.rules, [1, 2, 3, 4]));
    let by_name = rules.iter().enumerate().map(|(index, rule)| (&*rule.name, index));
    let runner = Runner { draft, resolved, engine, by_name: by_name.collect() };
    for test in &draft.tests {
        if let Err(fault) = runner.run(test) {
            faults.push(fault);
        }
    }
    let mut budget = Budget::default();
    faults.suggest("rule", |name| {
        let near = budget.nearest(name, rules.iter().map(|rule| &*rule.name))?;
        Some((near, runner.by_name.get(near).and_then(|index| runner.place(*index))))
    });
}

struct Runner<'t, 'r> {
    draft: &'r Draft<'t>,
    resolved: &'r Resolved<'t>,
    engine: Option<TupleHash>,
    by_name: AHashMap<&'r str, usize>,
}

impl<'r> Runner<'_, 'r> {
    fn run(&self, test: &Test<'_>) -> Result<(), Fault> {
        let from = self.zone(test.from)?;
        let rule = match test.rule {
            Some(word) => Some(self.rule(word)?),
            None => None,
        };
        let candidates = self.egress(test, rule)?;
        let mut first_good = None;
        let mut first_bad = None;
        let mut outcomes = Vec::new();
        for to in candidates.iter() {
            let (index, decided) = self.decide(test, from, to)?;
            let good =
                decided.action == test.expect && rule.is_none_or(|(expected, _)| expected == index);
            outcomes.push((to, decided));
            if good {
                first_good.get_or_insert(to);
            } else {
                first_bad.get_or_insert((index, decided, to));
            }
        }
        match (first_bad, first_good) {
            (None, _) => Ok(()),
            (Some(_), Some(good)) => Err(self.ambiguous(test, &outcomes, good)),
            (Some((index, decided, to)), None) => {
                let to = (candidates.len() > 1 || test.to.is_none()).then_some(to);
                Err(self.failed(test, index, decided, to))
            }
        }
    }

    fn zone(&self, word: Word<'_>) -> Result<ZoneId, Fault> {
        if word.text == "any" {
            let fault = Fault::error(codes::TEST_INCOMPLETE, "a test needs one zone here");
            return Err(fault.at(word.span, "the zone of one packet"));
        }
        self.resolved.zones.get(word.text).ok_or_else(|| self.resolved.zones.unknown(word))
    }

    fn rule(&self, word: Word<'_>) -> Result<(usize, &'r Rule), Fault> {
        let found = self
            .by_name
            .get(word.text)
            .and_then(|index| Some((*index, self.resolved.rules.rules.get(*index)?)));
        found.ok_or_else(|| {
            let shown = crate::syntax::scalar::shorten(word.text);
            let fault = Fault::error(codes::UNKNOWN_RULE, format!("unknown rule `{shown}`"));
            let fault = fault.at(word.span, "not in rules");
            fault.unknown("rule", word.text)
        })
    }

    /// The egress zones that a test stands for.
    fn egress(&self, test: &Test<'_>, rule: Option<(usize, &Rule)>) -> Result<ZoneSet, Fault> {
        if let Some(word) = test.to {
            let zone = self.zone(word)?;
            if test.dst == Destination::Gateway && zone != ZoneId::SELF {
                let fault =
                    Fault::error(codes::CONFLICTING_KEYS, "`dst: self` goes to zone `self`");
                return Err(fault.at(word.span, ""));
            }
            return Ok(ZoneSet::only(zone));
        }
        if test.dst == Destination::Gateway {
            return Ok(ZoneSet::only(ZoneId::SELF));
        }
        let named = self.resolved.zones.named().map(|(zone, _)| zone);
        let named = named.fold(ZoneSet::EMPTY, ZoneSet::with);
        let all = if named.is_empty() { ZoneSet::only(ZoneId::OUTSIDE) } else { named };
        Ok(match rule {
            Some((_, rule)) if rule.matches.to.intersects(all) => rule.matches.to.and(all),
            Some((_, rule)) if rule.matches.to.contains(ZoneId::SELF) => {
                ZoneSet::only(ZoneId::SELF)
            }
            _ => all,
        })
    }

    fn decide(
        &self,
        test: &Test<'_>,
        from: ZoneId,
        to: ZoneId,
    ) -> Result<(usize, &'r Rule), Fault> {
        let tuple = Tuple {
            src: test.src,
            dst: test.destination(),
            protocol: test.protocol,
            src_port: test.src_port,
            dst_port: test.dst_port,
        };
        let flow = Flow { tuple, from, to };
        let rules = &self.resolved.rules.rules;
        let index = match &self.engine {
            Some(engine) => {
                engine.classify(&flow).and_then(|RuleIndex(index)| usize::try_from(index).ok())
            }
            None => rules.iter().position(|rule| rule.matches.contains(&flow)),
        };
        let decided = index.and_then(|index| Some((index, rules.get(index)?)));
        decided.ok_or_else(|| {
            let fault = Fault::error(codes::TEST_FAILED, "no rule decides this test");
            fault.at(test.name.span, "")
        })
    }

    fn failed(&self, test: &Test<'_>, index: usize, rule: &Rule, to: Option<ZoneId>) -> Fault {
        let (expected, got) = (action(test.expect), action(rule.action));
        let name = test.name.text;
        let by = format!("by rule `{}`", rule.name);
        let zone = to.map(|to| format!(" to zone `{}`", self.zone_name(to))).unwrap_or_default();
        let fault = match test.rule {
            Some(word) if test.expect == rule.action => {
                let message = format!("test `{name}` failed: decided by another rule");
                Fault::error(codes::TEST_FAILED, message).at(word.span, format!("{got} {by}{zone}"))
            }
            _ => {
                let message = format!("test `{name}` failed: expected {expected}, got {got}");
                Fault::error(codes::TEST_FAILED, message)
                    .at(test.expect_span, format!("{got} {by}{zone}"))
            }
        };
        match self.place(index) {
            Some(place) => fault.at(place, format!("seq {}, {got}", rule.seq)),
            None => fault,
        }
    }

    fn ambiguous(&self, test: &Test<'_>, outcomes: &[(ZoneId, &Rule)], good: ZoneId) -> Fault {
        let message =
            format!("the outcome of test `{}` depends on the egress zone", test.name.text);
        let mut fault = Fault::error(codes::TEST_AMBIGUOUS, message)
            .at(test.name.span, "`to` is missing")
            .help(format!("add `to: {}`", self.zone_name(good)));
        for (zone, rule) in outcomes.iter().take(8) {
            let (zone, name) = (self.zone_name(*zone), &rule.name);
            fault = fault.note(format!("to `{zone}`: {} by rule `{name}`", action(rule.action)));
        }
        if outcomes.len() > 8 {
            fault = fault.note(format!("and {} more zones", outcomes.len() - 8));
        }
        fault
    }

    /// Where a rule's name stands; `None` for the built-in ones.
    fn place(&self, index: usize) -> Option<Span> {
        let origin = self.resolved.origins.get(index)?;
        Some(self.draft.rules.get(*origin)?.name?.span)
    }

    fn zone_name(&self, zone: ZoneId) -> &'r str {
        let zone = self.resolved.rules.zones.get(usize::from(zone.index()));
        zone.map_or("", |zone| &zone.name)
    }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Drop => "drop",
        Action::Reject => "reject",
    }
}
