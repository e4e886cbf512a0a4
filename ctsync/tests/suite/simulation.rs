//! Both nodes have the same at the end of each calm, through faults of all kinds.
//!
//! A failure names its seed. To see what led to it:
//! `cargo run --release -p twinwall-ctsync --example soak -- --seed SEED --steps 5000 --trace 50`
//!
//! The 1,000,000 steps, in about 5 minutes of one core:
//! `cargo run --release -p twinwall-ctsync --example soak -- --seeds 50 --steps 20000`

use crate::sim;

/// Steps of each run.
const STEPS: u64 = 6_000;
/// Runs of each test; two tests, so that they run beside each other.
const SEEDS: u64 = 4;

#[test]
fn both_nodes_end_equal_whatever_happens_first_half() {
    run(0);
}

#[test]
fn both_nodes_end_equal_whatever_happens_second_half() {
    run(SEEDS);
}

#[test]
fn a_seed_repeats_its_run() {
    let runs = [0, 1].map(|_| format!("{:?}", sim::run(4711, 500, None)));
    assert_eq!(runs[0], runs[1]);
}

fn run(first: u64) {
    let mut taken = 0;
    for seed in first..first + SEEDS {
        match sim::run(seed, STEPS, None) {
            Ok(summary) => {
                println!("seed {seed}: {summary:?}");
                // The run has to have been one.
                assert!(summary.calms > 2 && summary.opened > 300, "seed {seed}: {summary:?}");
                taken += summary.taken;
            }
            Err(broken) => panic!("{broken}"),
        }
    }
    assert!(taken > 0, "no policy went over to the peer");
}
