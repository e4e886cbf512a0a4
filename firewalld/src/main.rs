//! The Twinwall daemon.

use clap::Parser;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use twinwall_firewalld::{daemon, options::Options};

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("TWINWALL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false);
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
