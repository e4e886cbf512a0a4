//! Runs the simulation of two nodes for as long as one likes.
//!
//! Goes in: seeds and a number of steps. Comes out: what the runs went through, or the first broken
//! promise with the seed that repeats it.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program has a command line, and the simulation is a test"
)]

#[path = "../tests/suite/sim/mod.rs"]
mod sim;

use std::process::ExitCode;

const USAGE: &str = "usage: soak [--seed FIRST] [--seeds COUNT] [--steps EACH] [--trace LAST]

  --seed FIRST    the first seed (0)
  --seeds COUNT   how many seeds (1)
  --steps EACH    steps a seed (50000)
  --trace LAST    after a failure run that seed again and print its last so many steps";

fn main() -> ExitCode {
    let Some([seed, seeds, steps, trace]) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    for seed in seed..seed.saturating_add(seeds) {
        match sim::run(seed, steps, None) {
            Ok(summary) => println!("seed {seed}: {summary:?}"),
            Err(broken) => {
                if trace > 0 {
                    let _ = sim::run(seed, steps, Some(broken.step.saturating_sub(trace)));
                }
                eprintln!("{broken}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// First seed, seeds, steps, traced steps; `None` if the command line isn't understood.
fn arguments() -> Option<[u64; 4]> {
    let mut values = [0, 1, 50_000, 0];
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let [seed, seeds, steps, trace] = &mut values;
        let value = match word.as_str() {
            "--seed" => seed,
            "--seeds" => seeds,
            "--steps" => steps,
            "--trace" => trace,
            _ => return None,
        };
        *value = words.next()?.parse().ok()?;
    }
    Some(values)
}
