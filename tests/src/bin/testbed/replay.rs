//! Feeds a flight recorder's file to the state machine that it was recorded from.

use std::path::PathBuf;
use std::process::ExitCode;
use twinwall_ctsync::recorder::{Replayed, halves, replay};

/// A file of at most so many bytes is read.
const MOST: u64 = 8 << 30;

/// Arguments of `testbed replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The daemon's flight.rec
    file: PathBuf,
    /// Print every input with its outputs
    #[arg(long)]
    steps: bool,
}

/// Replays both halves, the elder first. 0: the same came out; 1: something else did, or the file
/// can't be read.
pub(crate) fn run(options: &Options) -> ExitCode {
    let path = options.file.display();
    let bytes = match std::fs::metadata(&options.file) {
        Ok(file) if file.len() > MOST => Err(format!("more than {MOST} bytes")),
        Ok(_) => std::fs::read(&options.file).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(reason) => {
            eprintln!("error: cannot read {path}: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let mut played = 0;
    let mut failed = false;
    for (half, name) in halves(&bytes).into_iter().zip(["elder", "younger"]) {
        if half.is_empty() {
            continue;
        }
        played += 1;
        let outcome = replay(half, |now, input, outputs| {
            if options.steps {
                println!("{:?} {input:?}", now.since_origin());
                outputs.iter().for_each(|output| println!("    {output:?}"));
            }
        });
        match outcome {
            Ok(Replayed { inputs, differs_at: None, sessions }) => {
                println!(
                    "{name} half: {inputs} inputs, the same outputs; {sessions} sessions at the end"
                );
            }
            Ok(Replayed { inputs, differs_at: Some(at), .. }) => {
                eprintln!("error: {name} half: other outputs from input {at} of {inputs} on");
                failed = true;
            }
            Err(error) => {
                eprintln!("error: {path}, {name} half: {error}");
                failed = true;
            }
        }
    }
    if played == 0 {
        eprintln!("error: {path} is no flight recorder's file");
        failed = true;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
