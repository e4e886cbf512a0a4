//! How long things take.
//!
//! Subjects take turns, round after round, so that what else the machine does meets all of them;
//! figures are medians over the rounds. Goes in: subjects and headers. Comes out: nanoseconds.

mod latency;
mod lookups;
mod updates;

pub use latency::p99_ns;
pub use lookups::{Asked, Pass, Timed, sample, take_turns};
pub use updates::{Updates, updates};

/// The value in the middle of an odd number of them, or `None` when there are none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which this part of the values is.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let place = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!((median(&values), quantile(&values, 0.0)), (Some(3.0), Some(1.0)));
        assert_eq!(quantile(&values, 0.99), Some(5.0));
        assert_eq!((median(&[7.0]), median(&[])), (Some(7.0), None));
    }
}
