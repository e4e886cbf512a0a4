//! Reloads step by step, and questions about what they did.

use crate::rules::{LAN, WAN, rule, tcp_port};
use std::collections::BTreeMap;
use twinwall_policy::classify::Linear;
use twinwall_policy::diff::{Fate, Installed, Plan, SessionView, Sweep, plan};
use twinwall_policy::flow::Flow;
use twinwall_policy::keys::{KeyAllocator, KeyInfo, SessionKey};
use twinwall_policy::matching::Service;
use twinwall_policy::ruleset::{Action, Rule, RuleIndex, RuleSet};
use twinwall_policy::zone::ZoneId;

pub(crate) fn allocator() -> KeyAllocator {
    KeyAllocator::new(0xff_ffff).unwrap()
}

/// Loads policies one after the other; the last plan and what was there before it.
pub(crate) fn reload(policies: impl IntoIterator<Item = RuleSet>) -> (Installed, Plan) {
    let mut allocator = allocator();
    let mut old = Installed::default();
    let mut last = None;
    for policy in policies {
        if let Some::<Plan>(plan) = last.take() {
            old = plan.next;
        }
        last = Some(plan(Some(&old), policy, &mut allocator).unwrap());
    }
    (old, last.unwrap())
}

/// The key of a rule from lan to wan.
pub(crate) fn key(installed: &Installed, name: &str) -> SessionKey {
    key_between(installed, name, LAN, WAN)
}

pub(crate) fn key_between(
    installed: &Installed,
    name: &str,
    from: ZoneId,
    to: ZoneId,
) -> SessionKey {
    let rules = &installed.rules().rules;
    let index = rules.iter().position(|rule| rule.name.as_ref() == name).unwrap();
    installed.key(RuleIndex(index as u32), from, to).unwrap()
}

/// Where the sessions of removed keys from lan to wan go, by the rules' names.
pub(crate) fn successors(old: &Installed, plan: &Plan) -> BTreeMap<String, Option<String>> {
    let name = |info: KeyInfo| info.rule.to_string();
    let gone = plan.removed.iter().map(|gone| (old.table().info(gone.key).unwrap(), gone));
    gone.filter(|(info, _)| (info.from.as_ref(), info.to.as_ref()) == ("lan", "wan"))
        .map(|(info, gone)| {
            (name(info), gone.successor.map(|key| name(plan.next.table().info(key).unwrap())))
        })
        .collect()
}

pub(crate) fn expect(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    pairs.iter().map(|(from, to)| (from.to_string(), to.map(ToString::to_string))).collect()
}

pub(crate) fn fate(old: &Installed, plan: &Plan, key: SessionKey, flow: &Flow) -> Fate {
    let classifier = Linear::new(plan.next.rules());
    let info = old.table().info(key);
    Sweep::new(&plan.next, Some(old), &classifier).fate(info.as_ref(), &view(key, flow))
}

pub(crate) fn view(key: SessionKey, flow: &Flow) -> SessionView {
    SessionView {
        key: Some(key),
        tuple: flow.tuple,
        arriving_dst: flow.tuple.dst,
        arriving_dst_port: flow.tuple.dst_port,
        source_translated: false,
    }
}

pub(crate) fn web() -> Rule {
    rule("web", tcp_port(443))
}

pub(crate) fn ssh() -> Rule {
    rule("ssh", tcp_port(22))
}

pub(crate) fn all() -> Rule {
    rule("all", Service::ANY)
}

pub(crate) fn drops(rule: Rule) -> Rule {
    Rule { action: Action::Drop, ..rule }
}

pub(crate) fn plan_from(old: &Installed, new: RuleSet, allocator: &mut KeyAllocator) -> Plan {
    plan(Some(old), new, allocator).unwrap()
}
