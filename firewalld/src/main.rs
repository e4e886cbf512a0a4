//! The Twinwall daemon.

use clap::Parser;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use twinwall_firewalld::{daemon, options::Options};
use twinwall_netlink::sys;

/// Blocks of memory of at least so many bytes are given back when they are freed. The whole state of
/// replication, as the flight recorder writes it down now and then, has several MiB.
const LARGE: usize = 1 << 20;

fn main() -> ExitCode {
    sys::return_freed_blocks(LARGE);
    let filter = EnvFilter::try_from_env("TWINWALL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A full disk or a journal that hangs must not hold up adverts: a thread of its own writes, and
    // what comes while its queue of 128,000 lines is full is lost.
    let (stdout, _written_at_the_end) = tracing_appender::non_blocking(std::io::stdout());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_target(false)
        .with_writer(stdout);
    // The journal has its own clock.
    match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().init(),
        None => log.init(),
    }
    match daemon::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
