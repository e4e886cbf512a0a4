//! `testbed soak-failover`: options in, a table or JSON out.
//!
//! Exit code 0 when everything held, 1 when something didn't. Not here: the soak (the library's
//! `soak`).

use crate::commands::print;
use crate::scenario::duration;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, process};
use twinwall_testbed::soak::{Failure, Plan, run as soak};
use twinwall_testbed::vrrp::Vrrp;
use twinwall_testbed::{Error, clock};

/// High ones: a backup waits for three intervals and for the part of another one by which its
/// priority is below 256.
const PRIORITIES: [u8; 2] = [254, 250];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many failovers
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    failovers: u32,
    /// Which failovers, in which order [default: by the clock; it is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Idle sessions besides
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    idle: u32,
    /// Long TCP sessions
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=1_000))]
    tcp: u32,
    /// Without short TCP sessions that come and go
    #[arg(long)]
    no_short: bool,
    /// One of each main kind in turn instead of random ones
    #[arg(long)]
    main_kinds: bool,
    /// Only failovers whose name has this in it, as in `leg down`
    #[arg(long, value_name = "WORDS", conflicts_with = "main_kinds")]
    only: Option<String>,
    /// Time between two adverts, as in 10ms or 1s
    #[arg(long, default_value = "10ms", value_parser = duration)]
    interval: Duration,
    /// Where logs and flight recordings go after a failure [default: a folder of its own beside
    /// other temporary files]
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Print JSON, with what each failover did
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Error> {
    let seed = options.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs()
    });
    let kept = || env::temp_dir().join(format!("twinwall-soak-{}", process::id()));
    let plan = Plan {
        failovers: options.failovers,
        seed,
        idle: options.idle,
        tcp: options.tcp,
        short: !options.no_short,
        main_kinds: options.main_kinds,
        only: options.only.clone(),
        vrrp: Vrrp { interval: options.interval, priorities: PRIORITIES, ..Vrrp::default() },
        binaries: None,
        keep: options.keep.clone().unwrap_or_else(kept),
    };
    eprintln!("seed {seed}");
    let (report, broken) =
        match soak(&plan, |step, kind| eprintln!("{step}: {kind} at {}", clock::now())) {
            Ok(report) => (report, false),
            Err(Failure::Setup(error)) => return Err(error),
            Err(Failure::Broken { seed, step, kind, wrong, kept, report }) => {
                eprintln!("error: after failover {step} ({kind}) of seed {seed}:");
                wrong.iter().for_each(|wrong| eprintln!("  {wrong}"));
                for (event, _) in report.rows.iter().rev().take(4).rev() {
                    eprintln!("  {} at {}", event.name, event.at);
                }
                eprintln!(
                    "logs and flight recordings are in {} (`testbed replay {}/gw-a/flight.rec`)",
                    kept.display(),
                    kept.display()
                );
                (*report, true)
            }
        };
    if options.json {
        // Plain data; it can't fail.
        print(&(serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"));
    } else {
        print(&report.table());
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
