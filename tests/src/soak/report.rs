//! What a soak has found: sums, and what each kind of event did to the traffic.
//!
//! In: the ledger and the sums. Out: JSON by serde, and a table. Not here: the checks.

use super::ledger::{Event, Ledger, Toll};
use super::load::Sums;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What repeats the order of failovers.
    pub seed: u64,
    /// Failovers that were begun.
    pub failovers: u32,
    /// How long it took.
    pub seconds: u64,
    /// Idle sessions.
    pub idle: u32,
    /// Sums over the whole run.
    pub sums: Sums,
    /// What each kind of event did.
    pub events: BTreeMap<String, Kind>,
    /// What each event did.
    pub rows: Vec<(Event, Toll)>,
    /// Resident memory of both daemons after each failover.
    pub memory: Vec<Memory>,
    /// How often notifications of a kernel were lost, and all sessions listed.
    pub overruns: u32,
    /// What was odd.
    pub notes: Vec<String>,
}

/// All events of a kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Kind {
    /// How many.
    pub count: usize,
    /// Longest silence of a TCP stream, ms.
    pub stream_stall_ms: Spread,
    /// Longest wait of an exchange, ms.
    pub exchange_stall_ms: Spread,
    /// Longest silence of a UDP stream, ms.
    pub gap_ms: Spread,
    /// Lost datagrams of the UDP streams.
    pub lost: Spread,
}

/// Median and worst.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them are not above it.
    pub median: f64,
    /// None is above it.
    pub worst: f64,
}

/// Resident memory of the daemons of `gw-a` and `gw-b` in kB.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// After which failover.
    pub step: u32,
    /// `null` where it could not be read.
    pub resident: [Option<u64>; 2],
}

/// Memory is compared between here and the end.
const WARM: u32 = 20;
/// Failovers around each of the two points whose median counts.
const AROUND: usize = 10;
/// How much more memory there may be at the end: percent, and kB that the allocator may keep.
const GROWTH: u64 = 8;
const SLACK: u64 = 4096;

/// Sums up by kind.
#[must_use]
pub fn summarise(ledger: &Ledger) -> BTreeMap<String, Kind> {
    let mut tolls: BTreeMap<String, Vec<Toll>> = BTreeMap::new();
    for (event, toll) in ledger.rows() {
        tolls.entry(event.name.clone()).or_default().push(toll);
    }
    tolls.into_iter().map(|(name, tolls)| (name, kind(&tolls))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn kind(tolls: &[Toll]) -> Kind {
    let spread = |value: fn(&Toll) -> f64| spread(tolls.iter().map(value).collect());
    Kind {
        count: tolls.len(),
        stream_stall_ms: spread(|toll| toll.stream_stall_ms),
        exchange_stall_ms: spread(|toll| toll.exchange_stall_ms),
        gap_ms: spread(|toll| toll.gap_ms),
        lost: spread(|toll| toll.lost as f64),
    }
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    let at = |place: usize| values.get(place).copied().unwrap_or(0.0);
    Spread { median: at(middle), worst: at(values.len().saturating_sub(1)) }
}

impl Report {
    /// What doesn't hold of the whole run.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.sums.faults.clone();
        if self.sums.seldom_lost > self.sums.seldom / 10 {
            let (lost, all) = (self.sums.seldom_lost, self.sums.seldom);
            faults.push(format!("sessions with a datagram each 4 s: {lost} of {all} lost"));
        }
        for (place, name) in ["gw-a", "gw-b"].into_iter().enumerate() {
            if let Some((then, now)) = self.growth(place)
                && now > then + then * GROWTH / 100 + SLACK
            {
                faults
                    .push(format!("{name}: {then} kB resident after {WARM} failovers, then {now}"));
            }
        }
        faults
    }

    /// Resident memory of a daemon around failover [`WARM`] and at the end, in kB.
    #[must_use]
    pub fn growth(&self, place: usize) -> Option<(u64, u64)> {
        let median = |from: usize| {
            let values = self.memory.iter().skip(from).take(AROUND);
            let mut values: Vec<u64> =
                values.filter_map(|memory| *memory.resident.get(place)?).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied()
        };
        let warm = usize::try_from(WARM).unwrap_or(0);
        let last = self.memory.len().checked_sub(AROUND)?;
        if last < warm + AROUND {
            return None;
        }
        Some((median(warm)?, median(last)?))
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String never fails.
        let _ = writeln!(
            text,
            "{} failovers in {} s, seed {}, {} idle sessions",
            self.failovers, self.seconds, self.seed, self.idle
        );
        let _ = writeln!(
            text,
            "\n{:<26} {:>5}  {:>15}  {:>15}  {:>15}  {:>11}",
            "median / worst", "times", "TCP stream, ms", "exchange, ms", "UDP gap, ms", "UDP lost"
        );
        for (name, kind) in &self.events {
            let ms = |spread: Spread| format!("{:.1} / {:.1}", spread.median, spread.worst);
            let lost = format!("{:.0} / {:.0}", kind.lost.median, kind.lost.worst);
            let _ = writeln!(
                text,
                "{name:<26} {:>5}  {:>15}  {:>15}  {:>15}  {lost:>11}",
                kind.count,
                ms(kind.stream_stall_ms),
                ms(kind.exchange_stall_ms),
                ms(kind.gap_ms),
            );
        }
        let Sums { sessions, short, bytes, ftp_tried, ftp_complete, datagrams, lost, .. } =
            &self.sums;
        let Sums { pings, unanswered, seldom, seldom_lost, ftp_failed, .. } = &self.sums;
        let _ = write!(
            text,
            "\nTCP: {sessions} long sessions, {short} short ones, {bytes} bytes\n\
             FTP: passive {} of {}, active {} of {} transfers whole\n\
             UDP: {lost} of {datagrams} datagrams lost; of those that come each 4 s {seldom_lost} \
             of {seldom}\n\
             ICMP: {unanswered} of {pings} echo requests not answered\n\
             lists of all sessions after lost notifications: {}\n",
            ftp_complete[0], ftp_tried[0], ftp_complete[1], ftp_tried[1], self.overruns,
        );
        for (place, name) in ["gw-a", "gw-b"].into_iter().enumerate() {
            if let Some((then, now)) = self.growth(place) {
                let _ =
                    writeln!(text, "{name}: {then} kB after {WARM} failovers, {now} in the end");
            }
        }
        for line in ftp_failed.iter().chain(&self.notes) {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
