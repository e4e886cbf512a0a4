//! The command line.

use crate::generate::Family;
use clap::{ArgGroup, Parser};
use std::path::PathBuf;

/// Measures the classifier and holds its answers to a linear scan's.
///
/// Rules and headers come from ClassBench files or are made by this program. Prints how many
/// answers differ from the first rule, from the top, that matches; nanoseconds a lookup, in batches
/// and one at a time; how long the engine takes to build, how much memory it needs, how fast it
/// takes updates while readers run, and how much throughput those readers lose.
#[derive(Debug, Parser)]
#[command(name = "classifier-bench", version, after_long_help = AFTER)]
#[command(group = ArgGroup::new("load").args(["rules", "generate", "table"]).required(true))]
pub struct Options {
    /// Filter set in ClassBench's format, plain or Zstandard
    #[arg(long, value_name = "FILE", requires = "trace")]
    pub rules: Option<PathBuf>,
    /// Trace for it, plain or Zstandard
    #[arg(long, value_name = "FILE", requires = "rules")]
    pub trace: Option<PathBuf>,
    /// Make a filter set and a trace of this family
    #[arg(long, value_name = "FAMILY", value_enum)]
    pub generate: Option<Family>,
    /// Rules to make, 1 to 4,000,000
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "generate",
        value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub size: u32,
    /// Seed of what is made; the same seed makes the same files
    #[arg(long, value_name = "S", default_value_t = 1, requires = "generate")]
    pub seed: u64,
    /// Headers to make, 1 to 10,000,000 [default: as many as rules, 100,000 to 1,000,000, for misses to 200,000]
    #[arg(long, value_name = "N", requires = "generate",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub headers: Option<u32>,
    /// Write what was made into this folder, and measure nothing
    #[arg(long, value_name = "DIR", requires = "generate", conflicts_with = "json")]
    pub write: Option<PathBuf>,
    /// Updates to time: rules inserted, removed and renumbered; 0 for none
    #[arg(long, value_name = "N", default_value_t = 200_000,
        value_parser = clap::value_parser!(u32).range(..=100_000_000))]
    pub updates: u32,
    /// Threads that look up during the updates, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub readers: u32,
    /// Turns that each engine takes; figures are medians
    #[arg(long, value_name = "N", default_value_t = 7,
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Measure a linear scan and a tuple space search beside it
    #[arg(long)]
    pub peers: bool,
    /// Measure DPDK's rte_acl beside it, by this program (see policy/bench/run)
    #[arg(long, value_name = "PROGRAM")]
    pub rte_acl: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, conflicts_with = "table")]
    pub json: bool,
    /// Measure the whole table, with peers
    #[arg(long)]
    pub table: bool,
    /// Leave loads of more rules out of the table
    #[arg(long, value_name = "N", requires = "table", default_value_t = 1_000_000)]
    pub largest: u32,
    /// Take the filter sets of the table from here: acl1_1000.rules.zst, acl1_1000.trace.zst, ...
    #[arg(long, value_name = "DIR", requires = "table")]
    pub classbench: Option<PathBuf>,
    /// Write the table into this document, between its markers
    #[arg(long, value_name = "FILE", requires = "table")]
    pub document: Option<PathBuf>,
    /// The command that the document is to name
    #[arg(long, value_name = "TEXT", requires = "table", default_value = "make bench-classifier")]
    pub command: String,
}

const AFTER: &str = "\
FILES
  A rule on a line, the first one decides first:
    @src/len  dst/len  low : high  low : high  protocol/mask  [flags/mask]  [from:ZONES]  [to:ZONES]
  A header on a line:
    src dst sport dport protocol [flags] [rule] [from:ZONE] [to:ZONE]
  Addresses of headers may be numbers or text; IPv6 works in both files. ZONES is a mask in
  hexadecimal, a bit for each zone; ZONE is the zone's number. Flags, and the rule that a header was
  drawn from, are not used.

FIGURES
  mismatches     headers for which the engine and the linear scan name different rules: those of the
                 trace (of a long one 80,000 to 1,000,000, spread over it), further ones made from
                 the rules, half of them near misses, and some more after the updates
  batched_ns     a lookup in batches of 256, on one core
  scalar_ns      a lookup, one at a time
  p99_ns         99 of 100 lookups, each timed alone, stay below; the clock's cost is subtracted
  build_ms       from the list of rules to the engine
  bytes_per_rule memory of the engine
  updates_per_s  one writer, readers running
  update_p99_us  99 of 100 updates stay below, at 100,000 updates/s
  reader_loss    part of their throughput that readers lose at 100,000 updates/s
  Times are processor time of the thread, but for p99, builds and single updates.

EXIT STATUS
  0  every answer was right
  1  some were wrong, or a file could not be used
  2  the command line could not be understood";
