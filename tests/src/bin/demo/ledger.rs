//! Who decided the packets of a step, and who should have.
//!
//! In: what the witness counted between two readings, what the firewall's own counters say, and
//! the policy that is loaded. Out: a line for each flow, and the packets that a wrong rule decided.

use crate::flows::Flow;
use crate::page;
use crate::phases::{Phase, Rule};
use crate::witness::Reading;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The packets of one flow during one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) flow: Flow,
    /// Whether they left the gateway.
    pub(crate) passed: bool,
    /// How many.
    pub(crate) packets: u64,
    /// Who decided them: rules as `30 stream`, or words for no rule.
    pub(crate) decided_by: Vec<String>,
    /// The rule that the policy has for them.
    pub(crate) expected: String,
    /// How many of them another rule decided, or no rule.
    pub(crate) wrong: u64,
    /// How many of them passed although the policy drops them.
    pub(crate) let_through: u64,
}

/// What a firewall says of itself.
pub(crate) trait Firewall {
    /// The rule that a connection mark stands for under the policy that is loaded.
    fn rule_of(&self, mark: u32, phase: &Phase) -> Option<Rule>;

    /// Packets that each rule has counted during the step, by name; also what isn't a rule.
    fn counted(&self) -> &BTreeMap<String, u64>;
}

/// Accounts for a step.
pub(crate) fn account(phase: &Phase, window: &Reading, firewall: &impl Firewall) -> Vec<Entry> {
    Flow::ALL.map(|flow| entry(flow, phase, window, firewall)).into()
}

fn entry(flow: Flow, phase: &Phase, window: &Reading, firewall: &impl Firewall) -> Entry {
    let expected = phase.decides(flow);
    let marks = window.marks(flow);
    let passed = !marks.is_empty();
    let deciders: Vec<(Option<Rule>, u64)> = if passed {
        marks.into_iter().map(|(mark, n)| (firewall.rule_of(mark, phase), n)).collect()
    } else {
        stopped_by(phase, firewall, window.arrived_both_ways(flow))
    };
    let packets = deciders.iter().map(|(_, packets)| packets).sum();
    let wrong = deciders.iter().filter(|(rule, _)| *rule != expected).map(|(_, n)| n).sum();
    let drops = expected.is_some_and(|rule| !rule.accepts);
    let mut decided_by: Vec<String> = Vec::new();
    for (rule, _) in &deciders {
        let label = label(*rule);
        if !decided_by.contains(&label) {
            decided_by.push(label);
        }
    }
    Entry {
        flow,
        passed,
        packets,
        decided_by,
        expected: label(expected),
        wrong,
        let_through: if passed && drops { packets } else { 0 },
    }
}

/// Who stopped the packets of a flow of which none passed: the firewall's counters say which rules
/// that drop have counted anything. With more than one of them, none can be held to be right.
fn stopped_by(phase: &Phase, firewall: &impl Firewall, packets: u64) -> Vec<(Option<Rule>, u64)> {
    let counted = firewall.counted().iter().filter(|(_, packets)| **packets > 0);
    let droppers: Vec<Option<Rule>> = counted
        .map(|(name, _)| phase.named(name))
        .filter(|rule| rule.is_none_or(|rule| !rule.accepts))
        .collect();
    match droppers.as_slice() {
        [one] => vec![(*one, packets)],
        _ => vec![(None, packets)],
    }
}

fn label(rule: Option<Rule>) -> String {
    rule.map_or_else(|| "no rule".to_owned(), |rule| rule.to_string())
}

/// Packets that a wrong rule decided.
pub(crate) fn wrong(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.wrong).sum()
}

/// Packets that passed although the policy drops them.
pub(crate) fn let_through(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.let_through).sum()
}

/// The entries for readers.
pub(crate) fn table(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut row = |cells: [&str; 6]| {
        let [flow, packets, outcome, by, expected, wrong] = cells;
        let _ = writeln!(text, "  {flow:8}{packets:>8}  {outcome:9}{by:17}{expected:17}{wrong:>7}");
    };
    row(["flow", "packets", "", "decided by", "should be", "wrong"]);
    for entry in entries {
        row([
            entry.flow.name(),
            &page::number(entry.packets),
            if entry.passed { "passed" } else { "stopped" },
            &entry.decided_by.join(", "),
            &entry.expected,
            &page::number(entry.wrong),
        ]);
    }
    text
}
