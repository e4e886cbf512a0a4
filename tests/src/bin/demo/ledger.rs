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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phases::{CHANGES, START};
    use serde_json::{Value, json};

    /// A firewall whose marks are rule numbers, as the appliance's.
    struct ByNumber(BTreeMap<String, u64>);

    impl ByNumber {
        fn new<const N: usize>(counted: [(&str, u64); N]) -> Self {
            Self(counted.map(|(name, packets)| (name.to_owned(), packets)).into())
        }
    }

    impl Firewall for ByNumber {
        fn rule_of(&self, mark: u32, phase: &Phase) -> Option<Rule> {
            phase.numbered(mark)
        }

        fn counted(&self) -> &BTreeMap<String, u64> {
            &self.0
        }
    }

    /// Ten packets of the stream and five pings came; these passed, by protocol and mark.
    fn window(passed: &[(&str, u32, u64)]) -> Reading {
        let element = |key: Value, packets: u64| json!({"elem": {"val": {"concat": key}, "counter": {"packets": packets}}});
        let passed: Vec<Value> = passed
            .iter()
            .map(|(protocol, mark, packets)| element(json!([protocol, "reply", mark]), *packets))
            .collect();
        let arrived =
            [element(json!(["udp", "reply"]), 10), element(json!(["icmp", "original"]), 5)];
        Reading::parse(&json!({"nftables": [
            {"set": {"name": "arrived", "elem": arrived}},
            {"set": {"name": "passed", "elem": passed}},
        ]}))
        .unwrap()
    }

    #[test]
    fn right_rules_leave_nothing_wrong() {
        let entries =
            account(&START, &window(&[("udp", 30, 10), ("icmp", 50, 5)]), &ByNumber::new([]));
        assert_eq!((wrong(&entries), let_through(&entries)), (0, 0));
        assert_eq!(entries[0].decided_by, ["30 stream"]);
    }

    #[test]
    fn old_number_is_the_wrong_rule_and_a_gone_one_is_none() {
        let firewall = ByNumber::new([("client-all", 10), ("no rule", 5)]);
        let entries = account(&CHANGES[0], &window(&[("udp", 30, 10)]), &firewall);
        assert_eq!(entries[0].decided_by, ["30 client-all"]);
        assert_eq!((entries[0].packets, entries[0].wrong), (10, 10));
        assert_eq!(entries[1].decided_by, ["no rule"]);
        assert_eq!((entries[1].passed, entries[1].wrong), (false, 5));
    }

    #[test]
    fn single_packet_of_many_on_a_wrong_rule_is_counted() {
        let entries =
            account(&START, &window(&[("udp", 30, 9), ("udp", 50, 1)]), &ByNumber::new([]));
        assert_eq!((entries[0].packets, entries[0].wrong), (10, 1));
    }

    #[test]
    fn what_passes_although_it_is_dropped_is_let_through() {
        let firewall = ByNumber::new([("stream", 10), ("client-all", 5)]);
        let entries = account(&CHANGES[2], &window(&[("udp", 30, 10)]), &firewall);
        assert_eq!((entries[0].wrong, entries[0].let_through), (10, 10));
        assert_eq!((entries[1].wrong, entries[1].let_through), (0, 0));
        assert_eq!(entries[1].decided_by, ["20 client-all"]);
    }

    #[test]
    fn what_two_rules_may_have_stopped_is_not_held_to_be_right() {
        let firewall = ByNumber::new([("client-all", 5), ("no rule", 1)]);
        let entries = account(&CHANGES[2], &window(&[]), &firewall);
        assert_eq!(wrong(&entries), 15);
    }
}
