//! What the runs come to: medians, worst values, whether the aims held; as a table and as JSON.
//!
//! In: the values of each run. Out: [`Table`]. It reads the machine's load, and does no other I/O.

use super::row::{Aim, Measure, Row};
use crate::scenario::pair::Peer;
use crate::scenario::run::Values;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

/// Middle, lowest and highest of some runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The value in the middle; of an even number of runs the higher one of the two.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

/// All runs of a row with one peer.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// The row.
    pub row: &'static str,
    /// What ran on both gateways.
    pub peer: Peer,
    /// By the value's name.
    pub summary: BTreeMap<String, Summary>,
    /// Aims by the value's name, and whether they held; only of Twinwall.
    pub held: BTreeMap<&'static str, bool>,
    /// The values of each run.
    pub runs: Vec<Values>,
    #[serde(skip)]
    of: Row,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// How often each row was to be run.
    pub runs: u32,
    /// Processors of the machine.
    pub processors: usize,
    /// The machine's load of the last minute, when it began and when it ended.
    pub load: [f64; 2],
    /// The rows.
    pub rows: Vec<Runs>,
    /// Rows that weren't measured, and why.
    pub not_measured: BTreeMap<&'static str, String>,
}

impl Runs {
    /// Sums up.
    pub(super) fn new(of: Row, peer: Peer, runs: Vec<Values>) -> Self {
        let mut summary = BTreeMap::new();
        for name in runs.iter().flat_map(BTreeMap::keys) {
            let mut values: Vec<_> = runs.iter().filter_map(|run| run.get(name).copied()).collect();
            values.sort_by(f64::total_cmp);
            let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
            let [median, lowest, highest] = [values.len() / 2, 0, values.len() - 1].map(at);
            summary.insert(name.clone(), Summary { median, lowest, highest });
        }
        Self { row: of.name(), peer, summary, held: BTreeMap::new(), runs, of }
    }
}

impl Table {
    pub(super) fn begin(runs: u32) -> Self {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let (load, rows) = ([load(); 2], Vec::new());
        Self { runs, processors, load, rows, not_measured: BTreeMap::new() }
    }

    pub(super) fn not_measured(&mut self, row: Row, reason: &str) {
        self.not_measured.insert(row.name(), reason.to_owned());
    }

    /// Adds a run, and judges the aims anew.
    pub(super) fn add(&mut self, row: Row, peer: Peer, values: Values) {
        let same = |runs: &Runs| runs.of == row && runs.peer == peer;
        let place = self.rows.iter().position(same);
        let mut all = place.map_or_else(Vec::new, |place| self.rows.remove(place).runs);
        all.push(values);
        let runs = Runs::new(row, peer, all);
        self.rows.insert(place.unwrap_or(self.rows.len()), runs);
        self.judge();
    }

    fn judge(&mut self) {
        self.load = [self.load.first().copied().unwrap_or_default(), load()];
        let peers: Vec<_> = self.rows.iter().map(|r| (r.of, r.peer, r.summary.clone())).collect();
        for runs in self.rows.iter_mut().filter(|runs| runs.peer == Peer::TwinwallSync) {
            let other = |of: &Row, peer: &Peer| *of == runs.of && *peer != runs.peer;
            let other = peers.iter().find(|(of, peer, _)| other(of, peer)).map(|(_, _, s)| s);
            for Measure { value, aim, .. } in runs.of.measures() {
                let (Some(ours), theirs) =
                    (runs.summary.get(*value), other.and_then(|s| s.get(*value)))
                else {
                    continue;
                };
                if let Some(held) = held(*aim, *ours, theirs.copied()) {
                    runs.held.insert(value, held);
                }
            }
        }
    }

    /// For `docs/performance.md`: a line for each measure, the peers side by side.
    #[must_use]
    pub fn markdown(&self) -> String {
        let [before, after] = self.load;
        let mut text = format!(
            "Up to {} runs of each row, the peers in turn, median / worst; {} processors, load {before:.1} at the \
             beginning and {after:.1} at the end.\n\n| | | keepalived, conntrackd | Twinwall | aim \
             | held |\n|---|---|---|---|---|---|\n",
            self.runs, self.processors
        );
        for row in Row::ALL {
            if let Some(reason) = self.not_measured.get(row.name()) {
                let _ = writeln!(text, "| `{}` | not measured: {reason} | | | | |", row.name());
            }
            let of = |peer: Peer| self.rows.iter().find(|runs| runs.of == row && runs.peer == peer);
            let (ours, theirs) = (of(Peer::TwinwallSync), of(Peer::Conntrackd));
            if ours.or(theirs).is_none() {
                continue;
            }
            for measure in row.measures() {
                let cell =
                    |runs: Option<&Runs>| runs.map_or_else(String::new, |runs| cell(runs, measure));
                let held = ours.and_then(|runs| runs.held.get(measure.value));
                let held = held.map_or("", |held| if *held { "yes" } else { "no" });
                // Writing to a String never fails.
                let _ = writeln!(
                    text,
                    "| `{}` | {} | {} | {} | {} | {held} |",
                    row.name(),
                    measure.what,
                    cell(theirs),
                    cell(ours),
                    aim(measure)
                );
            }
        }
        text
    }
}

fn held(aim: Aim, ours: Summary, theirs: Option<Summary>) -> Option<bool> {
    match aim {
        Aim::AtMost(most) => Some(ours.median <= most),
        Aim::AtLeast(least) => Some(ours.median >= least),
        Aim::Never(most) => Some(ours.highest <= most),
        Aim::AsPeer => theirs.map(|theirs| ours.median <= theirs.median),
        Aim::None => None,
    }
}

fn cell(runs: &Runs, measure: &Measure) -> String {
    let Some(Summary { median, lowest, highest }) = runs.summary.get(measure.value).copied() else {
        return "not measured".to_owned();
    };
    let worst = if matches!(measure.aim, Aim::AtLeast(_)) { lowest } else { highest };
    let endless = measure.value.strip_suffix("_ms").is_some_and(|name| {
        let found = runs.summary.get(&format!("{name}_to_the_end"));
        found.is_some_and(|found| found.highest > 0.0)
    });
    let note = if endless { ", to the end of the observation" } else { "" };
    let digits = measure.digits;
    if runs.runs.len() < 2 {
        return format!("{median:.digits$}{note}");
    }
    format!("{median:.digits$} / {worst:.digits$}{note}")
}

fn aim(measure: &Measure) -> String {
    match measure.aim {
        Aim::AtMost(most) | Aim::Never(most) => format!("{most}"),
        Aim::AtLeast(least) => format!("{least}"),
        Aim::AsPeer => "the peer's".to_owned(),
        Aim::None => String::new(),
    }
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(table: &mut Table, peer: Peer, seconds: &[f64], missing: &[f64]) {
        for (seconds, missing) in seconds.iter().zip(missing) {
            let values = [("seconds", *seconds), ("missing", *missing)];
            let values = values.into_iter().map(|(name, value)| (name.to_owned(), value));
            table.add(Row::Resync, peer, values.collect());
        }
    }

    #[test]
    fn an_aim_of_never_is_broken_by_one_run() {
        let mut table = Table::begin(3);
        add(&mut table, Peer::TwinwallSync, &[0.4, 0.3, 9.0], &[0.0, 0.0, 1.0]);
        add(&mut table, Peer::Conntrackd, &[0.5, 0.6, 0.7], &[5.0, 6.0, 7.0]);
        let held = &table.rows[0].held;
        assert_eq!((held["seconds"], held["missing"]), (true, false));
        let text = table.markdown();
        let line =
            "| `pair-resync` | 100,000 again on both, s | 0.60 / 0.70 | 0.40 / 9.00 | 0.45 | yes |";
        assert!(text.contains(line), "{text}");
        assert!(table.rows[1].held.is_empty(), "the aims are Twinwall's");
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let mut table = Table::begin(1);
        table.not_measured(Row::ResyncMany, "no root");
        assert!(table.markdown().contains("not measured: no root"));
    }
}
