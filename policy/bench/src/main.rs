//! `classifier-bench`: see `classifier-bench --help`.

use clap::Parser;
use std::process::ExitCode;
use twinwall_classifier_bench::options::Options;

fn main() -> ExitCode {
    match twinwall_classifier_bench::run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("classifier-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
