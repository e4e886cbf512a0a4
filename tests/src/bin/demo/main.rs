//! `demo`: shows with real traffic what Twinwall is for, and proves what it shows.
//!
//! Options in; text on standard output, a report in JSON and the same as a page out. Exit code 0 when every check
//! held, 1 when one did not or a step failed, 130 when interrupted. Whatever happens, nothing is
//! left behind: all of it runs in testbeds that end with this process. What is shown is in
//! `chapters`, one module each; not here.

mod chapter;
mod chapters;
mod error;
mod flows;
mod html;
mod interrupt;
mod ledger;
mod page;
mod pair;
mod phases;
mod report;
mod system;
mod witness;

use chapter::{Chapter, Scene, Settings};
use clap::Parser;
use error::Error;
use interrupt::Interrupt;
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Exit code after SIGINT or SIGTERM, as shells have it.
const INTERRUPTED: u8 = 130;

/// Changes firewall rules under running traffic, first as an old appliance did it on iptables, then
/// with Twinwall, and counts the packets that a wrong rule decides. Then lets the active gateway of
/// a pair die under 100 TCP sessions, come back and hand over.
///
/// Needs no root: an ordinary user gets a user namespace. Nothing outside of it is touched.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Options {
    /// Add so many rules to Twinwall's policies, none of which the demo's traffic matches
    #[arg(long, default_value_t = 0, value_name = "N",
          value_parser = clap::value_parser!(u32).range(..=100_000))]
    rules: u32,
    /// Only this chapter; may be given again
    #[arg(long = "chapter", value_name = "NAME",
          value_parser = clap::builder::PossibleValuesParser::new(chapters::names()))]
    chapters: Vec<String>,
    /// Where to write the report, with a page beside it [default: demo/report.json beside the
    /// folder of this program]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Use a user namespace even as root
    #[arg(long)]
    user_namespace: bool,
}

fn main() -> ExitCode {
    run(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("demo: {error}");
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> Result<ExitCode, Error> {
    let path = options.report.clone().map_or_else(report::default_path, Ok)?;
    // Before anything else: a demo whose report can't be written would have run for nothing, and
    // an old report must not be taken for the new one.
    report::prepare(&path)?;
    let page = html::path(&path);
    report::prepare(&page)?;
    let interrupt = Interrupt::watch()?;
    let settings = Settings { rules: options.rules, user_namespace: options.user_namespace };
    let began = Instant::now();
    let mut report = Report::new(system::describe(&settings));
    page::introduction(&settings);
    for (chapter, number) in selected(&options.chapters).zip(1..) {
        page::heading(number, chapter.title);
        let mut scene = Scene::new(chapter, &settings, &interrupt, began);
        let result = (chapter.run)(&mut scene);
        let go_on = scene.close(result, &mut report);
        if !go_on {
            break;
        }
    }
    report.conclude(began.elapsed());
    page::conclusion(&report, &path, &page);
    report::write(&path, &report)?;
    html::write(&page, &report, &path)?;
    Ok(match (report.held, report.interrupted) {
        (_, true) => ExitCode::from(INTERRUPTED),
        (true, false) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

fn selected(names: &[String]) -> impl Iterator<Item = &'static Chapter> {
    chapters::ALL
        .iter()
        .filter(|chapter| names.is_empty() || names.iter().any(|name| name == chapter.name))
}
