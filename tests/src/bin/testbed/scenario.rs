//! `testbed scenario` and `testbed bench-vrrp`: options in, a table or JSON out.
//!
//! Exit code 0 when all runs were done, whatever came of them; with `--assert` 1 when an aim was
//! missed. Not here: the scenarios (the library's `scenario`).

use crate::commands::print;
use crate::table;
use clap::ValueEnum;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use twinwall_testbed::Error;
use twinwall_testbed::scenario::Plan;
use twinwall_testbed::scenario::pair::Peer;
use twinwall_testbed::scenario::report::{Report, Summary};
use twinwall_testbed::scenario::run::{Event, Values};
use twinwall_testbed::vrrp::{Family, Mac, Vrrp};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What happens
    which: Which,
    /// What runs on both gateways
    #[arg(long, default_value = "twinwall")]
    peer: Peer,
    #[command(flatten)]
    common: Common,
    /// Print JSON, with the values of each run
    #[arg(long)]
    json: bool,
    /// End with code 1 when an aim is missed
    #[arg(long = "assert")]
    asserted: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchOptions {
    #[command(flatten)]
    common: Common,
    /// Write the table into this file, between the lines `<!-- bench-vrrp -->` and
    /// `<!-- /bench-vrrp -->`
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print JSON, with the values of each run
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// How often it happens
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Time between two adverts, as in 10ms or 1s
    #[arg(long, default_value = "10ms", value_parser = duration)]
    interval: Duration,
    /// Which MAC address the virtual addresses have
    #[arg(long, default_value = "virtual")]
    mac: Mac,
    /// The family of the stream
    #[arg(long, default_value = "4")]
    family: Family,
}

/// The lines that the table stands between.
const LINES: table::Lines =
    table::Lines { begin: "<!-- bench-vrrp -->\n", end: "<!-- /bench-vrrp -->" };

/// Priorities of the two gateways, whatever runs on them: high ones, since a backup waits for three
/// intervals and for the part of another one by which its priority is below 256.
const PRIORITIES: [u8; 2] = [254, 250];

/// A scenario.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The active node falls silent on all of its links.
    VrrpNodeDeath,
    /// The active node's LAN port goes down.
    VrrpLegDown,
    /// The active node hands over in good order.
    VrrpGraceful,
    /// The node of higher priority comes back.
    VrrpFailback,
    /// The active node's daemon is killed, then stopped: how long do both answer?
    VrrpKill9,
    /// The nodes don't hear each other for a while: how long until there is one again?
    VrrpSplit,
}

/// All events, in the order of the table.
const ALL: [Event; 7] = [
    Event::NodeDeath,
    Event::LegDown,
    Event::Graceful,
    Event::Failback,
    Event::Kill9,
    Event::Stopped,
    Event::Split,
];

impl Which {
    const fn events(self) -> &'static [Event] {
        match self {
            Self::VrrpNodeDeath => &[Event::NodeDeath],
            Self::VrrpLegDown => &[Event::LegDown],
            Self::VrrpGraceful => &[Event::Graceful],
            Self::VrrpFailback => &[Event::Failback],
            Self::VrrpKill9 => &[Event::Kill9, Event::Stopped],
            Self::VrrpSplit => &[Event::Split],
        }
    }
}

/// Runs one scenario.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Error> {
    let plan = options.common.plan(options.which.events(), &[options.peer]);
    let reports = plan.run(progress, again)?;
    if options.json {
        print(&json(&reports));
    } else {
        let tables: Vec<_> = reports.iter().map(Report::table).collect();
        print(&tables.join("\n"));
    }
    let held = reports.iter().all(Report::holds);
    Ok(if options.asserted && !held { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all scenarios with both peers.
pub(crate) fn bench(options: &BenchOptions) -> Result<ExitCode, Error> {
    let plan = options.common.plan(&ALL, &[Peer::Twinwall, Peer::TwinwallSync, Peer::Keepalived]);
    if let Some(path) = &options.write {
        // Better now than after minutes of measuring.
        LINES.around(path)?;
    }
    let reports = plan.run(progress, again)?;
    let table = markdown(&plan, &reports);
    if let Some(path) = &options.write {
        LINES.replace(path, &table)?;
    }
    print(&if options.json { json(&reports) } else { table });
    Ok(ExitCode::SUCCESS)
}

impl Common {
    fn plan(&self, events: &[Event], peers: &[Peer]) -> Plan {
        let vrrp = Vrrp {
            interval: self.interval,
            mac: self.mac,
            priorities: PRIORITIES,
            ..Vrrp::default()
        };
        Plan {
            events: events.to_vec(),
            peers: peers.to_vec(),
            vrrp,
            runs: self.runs,
            family: self.family,
            binaries: None,
        }
    }
}

fn progress(event: Event, peer: Peer, run: u32, values: &Values) {
    let list: Vec<_> = values.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
    eprintln!("{} {} run {run}: {}", event.name(), peer.name(), list.join(", "));
}

fn again(event: Event, run: u32, error: &Error) {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or_default();
    eprintln!("{} keepalived run {run}: {reason}: once more with a new pair", event.name());
}

fn json(reports: &[Report]) -> String {
    // Plain data; it can't fail.
    serde_json::to_string_pretty(reports).unwrap_or_default() + "\n"
}

/// The table for `docs/performance.md`: a row for each event, the peers side by side.
fn markdown(plan: &Plan, reports: &[Report]) -> String {
    let names: Vec<_> = plan.peers.iter().map(|peer| peer.name()).collect();
    let mut text = format!(
        "Adverts every {} ms, priorities {} and {}, {} MAC, {} runs each, taken in turn; a stream of one datagram each \
         millisecond. Median / worst.\n\n| | | {} |\n|---|---|{}\n",
        plan.vrrp.interval.as_millis(),
        plan.vrrp.priorities[0],
        plan.vrrp.priorities[1],
        if plan.vrrp.mac == Mac::Virtual { "virtual" } else { "interface" },
        plan.runs,
        names.join(" | "),
        "---|".repeat(names.len()),
    );
    for &event in &plan.events {
        for (value, what) in rows(event) {
            let cell = |peer: &Peer| {
                let found = reports.iter().find(|r| r.scenario == event.name() && r.peer == *peer);
                found.map_or_else(String::new, |report| cell(report, value))
            };
            let cells: Vec<_> = plan.peers.iter().map(cell).collect();
            // Writing to a String never fails.
            let _ = writeln!(text, "| `{}` | {what} | {} |", event.name(), cells.join(" | "));
        }
    }
    text
}

/// What the table says of an event: the value's name, and its meaning.
const fn rows(event: Event) -> &'static [(&'static str, &'static str)] {
    const GAPS: &[(&str, &str)] = &[
        ("gap_ms_to_server", "gap to the server, ms"),
        ("gap_ms_to_client", "gap to the client, ms"),
    ];
    const HAND_OVER: &[(&str, &str)] = &[
        ("gap_ms_to_server", "gap to the server, ms"),
        ("gap_ms_to_client", "gap to the client, ms"),
        ("lost_to_server", "lost to the server"),
        ("lost_to_client", "lost to the client"),
    ];
    const OWNERS: &[(&str, &str)] = &[
        ("two_owners_arp_ms", "both answer ARP, ms"),
        ("two_owners_nd_ms", "both answer neighbour solicitations, ms"),
    ];
    const SPLIT: &[(&str, &str)] = &[("until_one_owner_ms", "until one answers alone, ms")];
    match event {
        Event::NodeDeath | Event::LegDown => GAPS,
        Event::Graceful | Event::Failback => HAND_OVER,
        Event::Kill9 | Event::Stopped => OWNERS,
        Event::Split => SPLIT,
    }
}

fn cell(report: &Report, value: &str) -> String {
    let Some(Summary { median, worst }) = report.summary.get(value).copied() else {
        return "not measured".to_owned();
    };
    let endless = value.strip_suffix("_ms").is_some_and(|name| {
        let found = report.summary.get(&format!("{name}_to_the_end"));
        found.is_some_and(|found| found.worst > 0.0)
    });
    let digits = usize::from(value.contains("_ms"));
    let note = if endless { ", to the end of the observation" } else { "" };
    format!("{median:.digits$} / {worst:.digits$}{note}")
}

/// Reads a time between two adverts.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time from 10ms to 40s");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1000),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = number.checked_mul(unit).filter(|ms| (10..=40_000).contains(ms));
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}
