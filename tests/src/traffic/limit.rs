//! When a tool has to end: after a time, or when it is told to.

use crate::clock;
use crate::error::{Attempt, Error};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Seconds after which a tool ends if nobody says otherwise: longer than any test takes on a busy
/// machine, so that what is forgotten ends by itself and nothing ends in the middle of a test.
pub const DEFAULT: f64 = 600.0;

/// How long a tool may not look at its limit.
pub const TICK: Duration = Duration::from_millis(20);

/// A deadline that SIGTERM or SIGINT brings forward. Clones share the latter.
#[derive(Clone, Debug)]
pub struct Limit {
    deadline: u64,
    stopped: Arc<AtomicBool>,
}

impl Limit {
    /// A limit so many seconds from now. At most a day.
    ///
    /// # Errors
    /// When the signals can't be watched.
    pub fn seconds(seconds: f64) -> Result<Self, Error> {
        let stopped = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            flag::register(signal, Arc::clone(&stopped))
                .attempt(|| "watch for SIGTERM".to_owned())?;
        }
        Ok(Self { deadline: clock::now().saturating_add(nanoseconds(seconds)), stopped })
    }

    /// The same end, but not later than so many seconds from now.
    #[must_use]
    pub fn at_most(&self, seconds: f64) -> Self {
        let deadline = self.deadline.min(clock::now().saturating_add(nanoseconds(seconds)));
        Self { deadline, stopped: Arc::clone(&self.stopped) }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || clock::now() >= self.deadline
    }

    /// Ends it for all clones.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Time to wait at most before looking again: up to [`TICK`], and never zero.
    #[must_use]
    pub fn slice(&self) -> Duration {
        clock::between(clock::now(), self.deadline).min(TICK).max(Duration::from_micros(100))
    }

    /// Sleeps until a reading of the clock. Returns `false` when the limit is over before.
    #[must_use]
    pub fn sleep_until(&self, time: u64) -> bool {
        loop {
            if self.is_over() {
                return false;
            }
            let left = clock::between(clock::now(), time);
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(self.slice()));
        }
    }
}

/// Seconds as nanoseconds, between 0 and a day.
fn nanoseconds(seconds: f64) -> u64 {
    const DAY: f64 = 86_400.0;
    let bounded = if seconds.is_finite() { seconds.clamp(0.0, DAY) } else { DAY };
    u64::try_from(Duration::from_secs_f64(bounded).as_nanos()).unwrap_or(u64::MAX)
}
