//! `testbed`: gateways, clients and servers in network namespaces, by hand.
//!
//! Options in, exit code out: 0 done, 1 error; `exec` ends with the code of its command. Not here:
//! what the verbs do (`commands`, and the library).

mod bench;
mod commands;
mod replay;
mod scenario;
mod soak;
mod table;

use clap::{Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use twinwall_testbed::vrrp::Mac;

/// A gateway (or two), clients and servers in network namespaces.
///
/// Needs no root: an ordinary user gets a user namespace. Nothing outside of the testbed is touched.
#[derive(Debug, Parser)]
#[command(name = "testbed", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build a testbed and leave it running.
    Up(Up),
    /// Run a command in a node: testbed exec client -- ping 203.0.113.9
    Exec(Exec),
    /// Take a testbed down, with everything that runs in it.
    Down(Name),
    /// Show the testbeds that are up, with their nodes.
    List,
    /// Print the daemons' logs.
    Logs(Logs),
    /// Start, stop, restart, reload or kill the daemon of a gateway.
    Daemon(Daemon),
    /// Measure what a pair of gateways does to a stream when something happens to one of them.
    Scenario(scenario::Options),
    /// Random failovers of a pair under load, with everything checked after each.
    SoakFailover(soak::Options),
    /// Feed a daemon's flight.rec to the state machine again, and compare what comes out.
    Replay(replay::Options),
    /// Run all scenarios with Twinwall and keepalived in turn.
    BenchVrrp(scenario::BenchOptions),
    /// Measure replication and failover with Twinwall and with keepalived and conntrackd in turn.
    BenchPair(bench::Options),
    /// The process that holds a testbed's namespaces.
    #[command(hide = true)]
    Hold {
        /// The testbed's folder.
        folder: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Name {
    /// Which testbed
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Debug, clap::Args)]
struct Up {
    #[command(flatten)]
    name: Name,
    /// Policy for the daemons [default: a small one of the testbed's own]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How many gateways
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    gateways: u8,
    /// Let gw-a of two hold the virtual addresses for good, without VRRP
    #[arg(long = "static")]
    fixed: bool,
    /// Two gateways with a second set of virtual addresses: each is active for one set
    #[arg(long, conflicts_with = "fixed")]
    active_active: bool,
    /// With two, time between two adverts, as in 10ms or 1s
    #[arg(long, default_value = "100ms", value_parser = scenario::duration)]
    interval: Duration,
    /// With two, which MAC address the virtual addresses have
    #[arg(long, default_value = "virtual")]
    mac: Mac,
    /// With two, replicate sessions over the link between them
    #[arg(long)]
    sync: bool,
    /// Don't start the daemons
    #[arg(long)]
    no_daemon: bool,
    /// Use a user namespace even as root
    #[arg(long)]
    user_namespace: bool,
    /// Stay, and take the testbed down at the end of standard input
    #[arg(long)]
    attached: bool,
}

#[derive(Debug, clap::Args)]
struct Exec {
    #[command(flatten)]
    name: Name,
    /// Leave the command running, its output in this log, and print its process id
    #[arg(long, hide = true, value_name = "LOG")]
    background: Option<PathBuf>,
    /// client, client2, server, dmz, gw-a, gw-b, or switch (which holds the bridges)
    node: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct Logs {
    #[command(flatten)]
    name: Name,
    /// Only this gateway
    gateway: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Daemon {
    #[command(flatten)]
    name: Name,
    /// What to do
    action: Action,
    /// gw-a or gw-b
    #[arg(default_value = "gw-a")]
    gateway: String,
}

/// What can be done to a daemon.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    /// Start it and wait until it answers.
    Start,
    /// Stop it in good order.
    Stop,
    /// Stop it and start it again.
    Restart,
    /// Make it read its policy again.
    Reload,
    /// Kill it (SIGKILL).
    Kill,
}

fn main() -> ExitCode {
    commands::run(Arguments::parse().verb).unwrap_or_else(|error| {
        eprintln!("testbed: {error}");
        ExitCode::FAILURE
    })
}
