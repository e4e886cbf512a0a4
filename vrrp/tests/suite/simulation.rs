//! The promises of `sim::watch` over a million acts of fate, one router alone and groups of two.
//!
//! A failure names its seed. To see what led to it:
//! `cargo run -p twinwall-vrrp --example soak -- --seed SEED --steps 25000 --trace 50`

use crate::sim;

/// Acts in each run.
const STEPS: u64 = 25_000;

/// Four tests of this many runs, so that they run beside each other: 1,000,000 acts.
const SEEDS: u64 = 10;

#[test]
fn never_two_nor_none_first_quarter() {
    run(0);
}

#[test]
fn never_two_nor_none_second_quarter() {
    run(SEEDS);
}

#[test]
fn never_two_nor_none_third_quarter() {
    run(2 * SEEDS);
}

#[test]
fn never_two_nor_none_last_quarter() {
    run(3 * SEEDS);
}

#[test]
fn a_seed_repeats_its_run() {
    let runs = [0, 1].map(|_| format!("{:?}", sim::run(4711, 2_000, None)));
    assert_eq!(runs[0], runs[1]);
}

fn run(first: u64) {
    for seed in first..first + SEEDS {
        match sim::run(seed, STEPS, None) {
            Ok(summary) => {
                println!("seed {seed}: {summary:?}");
                // The run has to have been one.
                assert!(summary.calms > 100 && summary.takeovers > 100, "seed {seed}: {summary:?}");
            }
            Err(broken) => panic!("{broken}"),
        }
    }
}
