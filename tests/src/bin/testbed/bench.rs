//! `testbed bench-pair`: options in, a table and JSON out.
//!
//! Exit code 0 when the rows were measured, whatever came of them; with `--assert` 1 when an aim was
//! missed. Not here: the rows (the library's `bench`).

use crate::commands::print;
use crate::table;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use twinwall_testbed::Error;
use twinwall_testbed::bench::report::Table;
use twinwall_testbed::bench::row::Row;
use twinwall_testbed::bench::{PEERS, Plan, Scale};
use twinwall_testbed::scenario::pair::Peer;
use twinwall_testbed::scenario::run::Values;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each row is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Only these rows, as in `pair-loss` [default: all]
    #[arg(long = "row", value_name = "ROW", value_parser = row)]
    rows: Vec<Row>,
    /// Only this peer [default: both]
    #[arg(long)]
    peer: Option<Peer>,
    /// Leave out the row that raises the machine's own limits for a while
    #[arg(long)]
    keep_limits: bool,
    /// Write the table into this file, between the lines `<!-- bench-pair -->` and
    /// `<!-- /bench-pair -->`
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Write JSON with the values of each run into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// End with code 1 when an aim is missed
    #[arg(long = "assert")]
    asserted: bool,
}

/// The lines that the table stands between.
const LINES: table::Lines =
    table::Lines { begin: "<!-- bench-pair -->\n", end: "<!-- /bench-pair -->" };

/// Runs the rows.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Error> {
    if let Some(path) = &options.write {
        // Better now than after minutes of measuring.
        LINES.around(path)?;
    }
    let mut rows = if options.rows.is_empty() { Row::ALL.to_vec() } else { options.rows.clone() };
    rows.retain(|row| !(options.keep_limits && *row == Row::ResyncMany));
    let plan = Plan {
        rows,
        peers: options.peer.map_or_else(|| PEERS.to_vec(), |peer| vec![peer]),
        runs: options.runs,
        scale: Scale::default(),
        binaries: None,
    };
    // After each row, so that a run that is ended early has not been for nothing.
    let found = plan.run(progress, |table| options.store(table))?;
    options.store(&found)?;
    print(&found.markdown());
    let held = found.rows.iter().all(|runs| runs.held.values().all(|held| *held));
    Ok(if options.asserted && !held { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Options {
    fn store(&self, found: &Table) -> Result<(), Error> {
        if let Some(path) = &self.write {
            LINES.replace(path, &found.markdown())?;
        }
        if let Some(path) = &self.json {
            let failed =
                |source| Error::Io { attempt: format!("write {}", path.display()), source };
            fs::write(path, json(found)).map_err(failed)?;
        }
        Ok(())
    }
}

fn row(name: &str) -> Result<Row, String> {
    let known = || Row::ALL.map(Row::name).join(", ");
    Row::named(name).ok_or_else(|| format!("there is no row `{name}`; there are {}", known()))
}

fn progress(row: Row, peer: Peer, run: u32, found: Result<&Values, &Error>) {
    let text = match found {
        Ok(values) => {
            let list: Vec<_> = values.iter().map(|(name, v)| format!("{name} {v:.2}")).collect();
            list.join(", ")
        }
        Err(error) => {
            let text = error.to_string();
            format!("failed: {}", text.lines().next().unwrap_or_default())
        }
    };
    eprintln!("{} {} run {run}: {text}", row.name(), peer.name());
}

fn json(table: &Table) -> String {
    // Plain data; it can't fail.
    serde_json::to_string_pretty(table).unwrap_or_default() + "\n"
}
