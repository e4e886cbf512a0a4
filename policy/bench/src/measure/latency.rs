//! How long one lookup takes that nothing else overlaps with.

use super::quantile;
use crate::machine::clock_cost;
use crate::subjects::Subject;
use std::hint::black_box;
use std::time::Instant;
use twinwall_policy::flow::Flow;

/// Lookups that are timed one by one.
const LOOKUPS: usize = 200_000;

/// Nanoseconds that 99 of 100 lookups stay below, each timed alone, less what reading the clock
/// takes. Interrupts and other processes are in it.
#[must_use]
pub fn p99_ns(subject: &impl Subject, headers: &[Flow]) -> f64 {
    let clock = clock_cost().as_nanos() as f64;
    let timed = headers.iter().cycle().take(if headers.is_empty() { 0 } else { LOOKUPS });
    let times: Vec<f64> = timed
        .map(|header| {
            let start = Instant::now();
            black_box(subject.lookup(black_box(header)));
            start.elapsed().as_nanos() as f64
        })
        .collect();
    (quantile(&times, 0.99).unwrap_or(0.0) - clock).max(0.0)
}
