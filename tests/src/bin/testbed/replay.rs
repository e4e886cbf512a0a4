//! Feeds a flight recorder's file to the state machines that it was recorded from.

use std::fmt::Debug;
use std::path::PathBuf;
use std::process::ExitCode;
use twinwall_ctsync::replica::Replica;
use twinwall_recorder::{Frames, Machine, Replayed, halves, parts, replay};
use twinwall_vrrp::node::Node;

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

/// Replays what is there of each state machine, the elder half first. 0: the same came out; 1:
/// something else did, or the file can't be read.
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
    let (mut played, mut failed) = (0, false);
    for part in parts(bytes.len()) {
        let part = bytes.get(part).unwrap_or_default();
        for (half, age) in halves(part).into_iter().zip(["elder", "younger"]) {
            let Ok(frames) = Frames::read(half) else { continue };
            played += 1;
            let outcome = match frames.stream() {
                Replica::STREAM => {
                    let sessions = |replica: &Replica| format!("{} sessions", replica.counts().0);
                    play(half, options.steps, sessions)
                        .map_err(|why| format!("replication, {age} half: {why}"))
                        .map(|text| format!("replication, {age} half: {text}"))
                }
                Node::STREAM => {
                    let groups = |node: &Node| {
                        let state = |(_, group): (_, &twinwall_vrrp::group::Group)| {
                            format!("{} {}", group.name(), group.state())
                        };
                        let states: Vec<_> = node.groups().map(state).collect();
                        states.join(", ")
                    };
                    play(half, options.steps, groups)
                        .map_err(|why| format!("VRRP, {age} half: {why}"))
                        .map(|text| format!("VRRP, {age} half: {text}"))
                }
                other => Err(format!("{age} half: no state machine has number {other}")),
            };
            match outcome {
                Ok(text) => println!("{text}"),
                Err(why) => {
                    eprintln!("error: {path}: {why}");
                    failed = true;
                }
            }
        }
    }
    if played == 0 {
        eprintln!("error: {path} is no flight recorder's file");
        failed = true;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Replays a half; `end` says what the machine has at the end.
fn play<M: Machine>(half: &[u8], steps: bool, end: impl Fn(&M) -> String) -> Result<String, String>
where
    M::Input: Debug,
    M::Output: Debug,
{
    let outcome = replay::<M>(half, |now, input, outputs| {
        if steps {
            println!("{now:?} {input:?}");
            outputs.iter().for_each(|output| println!("    {output:?}"));
        }
    });
    let Replayed { inputs, differs_at, lost, machine } = outcome.map_err(|e| e.to_string())?;
    if let Some(at) = differs_at {
        return Err(format!("other outputs from input {at} of {inputs} on"));
    }
    let gap = match lost {
        0 => String::new(),
        lost => format!(", after a gap of {lost} chunks that could not be written"),
    };
    let end = match end(&machine) {
        nothing if nothing.is_empty() => String::new(),
        end => format!("; at the end {end}"),
    };
    Ok(format!("{inputs} inputs, the same outputs{gap}{end}"))
}
