//! Rules, with or without hits.

use super::table::{Side, Table};
use super::words::{ago, ago_and_when, grouped, size};
use std::time::SystemTime;
use twinwall_control::report::{Rule, Rules};

/// Order, name and action of each rule.
#[must_use]
pub fn rules(report: &Rules) -> String {
    let mut table =
        Table::new([("SEQ", Side::Right), ("NAME", Side::Left), ("ACTION", Side::Left)]);
    for rule in &report.rules {
        table.row([seq(rule), rule.name.clone(), rule.action.clone()]);
    }
    table.text()
}

/// The same with sessions and counters.
#[must_use]
pub fn hits(report: &Rules, now: SystemTime) -> String {
    let mut table = Table::new([
        ("SEQ", Side::Right),
        ("NAME", Side::Left),
        ("ACTION", Side::Left),
        ("SESSIONS", Side::Right),
        ("PACKETS", Side::Right),
        ("BYTES", Side::Right),
        ("LAST HIT", Side::Right),
    ]);
    for rule in &report.rules {
        let last = match &rule.last_hit {
            Some(time) => ago(time, now),
            None if rule.packets == 0 => "never".into(),
            // Counted before the daemon was started, which doesn't know when.
            None => "unknown".into(),
        };
        table.row([
            seq(rule),
            rule.name.clone(),
            rule.action.clone(),
            grouped(rule.sessions),
            grouped(rule.packets),
            size(rule.bytes),
            last,
        ]);
    }
    let since = ago_and_when(&report.since, now);
    format!("{}\ngeneration {}, counters began {since}\n", table.text(), report.generation)
}

fn seq(rule: &Rule) -> String {
    rule.seq.map_or_else(|| "-".into(), |seq| seq.to_string())
}
