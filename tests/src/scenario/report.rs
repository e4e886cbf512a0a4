//! What the runs of a scenario come to: medians, worst values, tables, and whether the aims held.
//!
//! In: the values of each run. Out: [`Report`]. No I/O.

use crate::scenario::pair::Peer;
use crate::scenario::run::{Event, Values};
use crate::vrrp::{Mac, Vrrp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Median and worst of some runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The value in the middle; of an even number of runs the higher one of the two.
    pub median: f64,
    /// The highest value.
    pub worst: f64,
}

/// An aim and whether it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aim {
    /// The value that it is about.
    pub value: String,
    /// Whether it is about the worst run; otherwise about the median.
    pub worst: bool,
    /// The highest value that is good enough.
    pub at_most: f64,
    /// Whether it held.
    pub held: bool,
}

/// All runs of one scenario with one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// What ran on both gateways.
    pub peer: Peer,
    /// Time between two adverts, in milliseconds.
    pub interval_ms: f64,
    /// `virtual` or `interface`.
    pub mac: String,
    /// Median and worst by the value's name.
    pub summary: BTreeMap<String, Summary>,
    /// The aims of `performance.md` that this scenario has.
    pub aims: Vec<Aim>,
    /// The values of each run.
    pub runs: Vec<Values>,
}

impl Report {
    /// Sums up.
    #[must_use]
    pub fn new(event: Event, peer: Peer, vrrp: &Vrrp, runs: Vec<Values>) -> Self {
        let mut summary = BTreeMap::new();
        for name in runs.iter().flat_map(BTreeMap::keys) {
            let mut values: Vec<_> = runs.iter().filter_map(|run| run.get(name).copied()).collect();
            values.sort_by(f64::total_cmp);
            let median = values.get(values.len() / 2).copied().unwrap_or(0.0);
            let worst = values.last().copied().unwrap_or(0.0);
            summary.insert(name.clone(), Summary { median, worst });
        }
        let aims = aims(event, vrrp)
            .into_iter()
            .map(|(value, worst, at_most)| {
                let found = summary.get(value).copied().unwrap_or_default();
                let found = if worst { found.worst } else { found.median };
                let known = summary.contains_key(value);
                Aim { value: value.to_owned(), worst, at_most, held: known && found <= at_most }
            })
            .collect();
        Self {
            scenario: event.name().to_owned(),
            peer,
            interval_ms: vrrp.interval.as_secs_f64() * 1e3,
            mac: if vrrp.mac == Mac::Virtual { "virtual" } else { "interface" }.to_owned(),
            summary,
            aims,
            runs,
        }
    }

    /// Whether every aim held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.aims.iter().all(|aim| aim.held)
    }

    /// For a person.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}, {}, adverts every {} ms, {} MAC, {} runs\n{:28} {:>10} {:>10}\n",
            self.scenario,
            self.peer.name(),
            self.interval_ms,
            self.mac,
            self.runs.len(),
            "",
            "median",
            "worst"
        );
        for (name, summary) in &self.summary {
            // Writing to a String never fails.
            let _ = writeln!(text, "{name:28} {:>10.1} {:>10.1}", summary.median, summary.worst);
        }
        for aim in &self.aims {
            let which = if aim.worst { "worst" } else { "median" };
            let held = if aim.held { "held" } else { "not held" };
            let _ = writeln!(text, "aim: {which} {} at most {}: {held}", aim.value, aim.at_most);
        }
        text
    }
}

/// The value, whether its worst run counts, and the highest that is good enough.
fn aims(event: Event, vrrp: &Vrrp) -> Vec<(&'static str, bool, f64)> {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let both =
        |value: f64| [("gap_ms_to_server", false, value), ("gap_ms_to_client", false, value)];
    match event {
        // Three intervals and a tenth for all the rest; 33 ms with adverts every 10 ms.
        Event::NodeDeath => both(milliseconds(vrrp.interval) * 3.3).to_vec(),
        Event::LegDown => both(5.0).to_vec(),
        Event::Graceful | Event::Failback => {
            vec![("lost_to_server", true, 0.0), ("lost_to_client", true, 0.0)]
        }
        Event::Kill9 | Event::Stopped => vec![
            ("two_owners_arp_ms", true, 1000.0),
            ("two_owners_nd_ms", true, 1000.0),
            ("two_owners_arp_to_the_end", true, 0.0),
            ("two_owners_nd_to_the_end", true, 0.0),
        ],
        // The protocol's own bound, and what it takes to heal the split by commands.
        Event::Split => {
            let down = vrrp.down_interval(vrrp.priority("gw-b"));
            vec![("until_one_owner_ms", true, milliseconds(down) + 50.0)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(gaps: &[f64]) -> Report {
        let run = |&gap: &f64| {
            let names = ["gap_ms_to_server", "gap_ms_to_client"];
            names.into_iter().map(|name| (name.to_owned(), gap)).collect()
        };
        let runs = gaps.iter().map(run).collect();
        Report::new(Event::LegDown, Peer::Twinwall, &Vrrp::default(), runs)
    }

    #[test]
    fn median_and_worst_are_those_of_the_runs() {
        let report = report(&[9.0, 1.0, 4.0]);
        let found = report.summary["gap_ms_to_server"];
        assert_eq!(found, Summary { median: 4.0, worst: 9.0 });
        assert!(report.holds(), "the aim is for the median");
        assert!(report.table().contains("aim: median gap_ms_to_server at most 5: held"));
    }

    #[test]
    fn an_aim_without_a_value_does_not_hold() {
        assert!(!report(&[]).holds());
        assert!(!report(&[6.0, 6.0]).holds());
    }
}
