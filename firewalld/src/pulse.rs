//! Whether the whole process stood still: stopped, or its machine paused.
//!
//! A thread that does nothing else looks at the clock ten times a second, with real-time priority, so
//! that other programs that want the processor don't look like a standstill.
//!
//! Goes in: the time. Comes out: the last standstill. Not here: what follows from it
//! ([`crate::delay`]).

use crate::clock::since_boot;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use twinwall_netlink::sys;

/// How often the clock is looked at.
const EVERY: Duration = Duration::from_millis(100);
/// The shortest standstill that counts. TCP repeats a SYN after a second (RFC 6298, section 2.1).
const STANDSTILL: Duration = Duration::from_millis(500);
/// No higher than that of any thread of VRRP and replication that has one.
const REALTIME: i32 = 1;

/// Readings of the clock, in nanoseconds since the system was started.
#[derive(Debug)]
pub struct Pulse {
    beat: AtomicU64,
    /// The last beat before the last standstill, 0 without one, and how long that was.
    since: AtomicU64,
    lasted: AtomicU64,
}

/// A time in which the process did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// When it began. No two begin at the same time.
    pub since: Duration,
    /// How long it was at least.
    pub lasted: Duration,
}

impl Pulse {
    /// Starts the thread. It ends when nobody asks it any more.
    ///
    /// # Errors
    /// When a thread can't be had.
    pub fn start() -> io::Result<Arc<Self>> {
        let pulse = Arc::new(Self::new(since_boot()));
        let weak = Arc::downgrade(&pulse);
        std::thread::Builder::new().name("pulse".into()).spawn(move || run(&weak))?;
        Ok(pulse)
    }

    /// The last standstill; also one that the thread hasn't noticed yet.
    #[must_use]
    pub fn standstill(&self, now: Duration) -> Option<Standstill> {
        let beat = Duration::from_nanos(self.beat.load(Ordering::Acquire));
        if let Some(lasted) = longer(beat, now) {
            return Some(Standstill { since: beat, lasted });
        }
        let since = Duration::from_nanos(self.since.load(Ordering::Relaxed));
        let lasted = Duration::from_nanos(self.lasted.load(Ordering::Relaxed));
        (since > Duration::ZERO).then_some(Standstill { since, lasted })
    }

    const fn new(now: Duration) -> Self {
        let now = AtomicU64::new(nanoseconds(now));
        Self { beat: now, since: AtomicU64::new(0), lasted: AtomicU64::new(0) }
    }

    fn beat(&self, now: Duration) {
        let before = self.beat.load(Ordering::Relaxed);
        if let Some(lasted) = longer(Duration::from_nanos(before), now) {
            self.since.store(before, Ordering::Relaxed);
            self.lasted.store(nanoseconds(lasted), Ordering::Relaxed);
        }
        // Who sees this beat sees the standstill before it too.
        self.beat.store(nanoseconds(now), Ordering::Release);
    }
}

fn run(pulse: &Weak<Pulse>) {
    if let Err(error) = sys::set_realtime(REALTIME) {
        tracing::debug!(%error, "the clock is watched without real-time priority");
    }
    while let Some(pulse) = pulse.upgrade() {
        pulse.beat(since_boot());
        drop(pulse);
        std::thread::sleep(EVERY);
    }
}

/// How long the process stood still between two beats, if it did.
fn longer(beat: Duration, now: Duration) -> Option<Duration> {
    now.saturating_sub(beat).checked_sub(EVERY).filter(|still| *still > STANDSTILL)
}

/// 584 years are enough.
const fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_standstill_is_the_same_before_and_after_the_thread_has_noticed_it() {
        let pulse = Pulse::new(at(1_000));
        pulse.beat(at(1_100));
        assert_eq!(pulse.standstill(at(1_600)), None);
        let still = Standstill { since: at(1_100), lasted: at(900) };
        assert_eq!(pulse.standstill(at(2_100)), Some(still));
        pulse.beat(at(2_100));
        assert_eq!(pulse.standstill(at(2_150)), Some(still));
        pulse.beat(at(2_200));
        assert_eq!(pulse.standstill(at(2_700)), Some(still));
    }

    #[test]
    fn a_beat_that_is_a_little_late_is_no_standstill() {
        let pulse = Pulse::new(at(1_000));
        for now in [1_100, 1_300, 1_900, 2_500] {
            pulse.beat(at(now));
            assert_eq!(pulse.standstill(at(now)), None, "{now}");
        }
    }

    #[test]
    fn the_thread_ends_with_the_last_who_asks() {
        let pulse = Pulse::start().unwrap();
        let weak = Arc::downgrade(&pulse);
        assert!(pulse.standstill(since_boot()).is_none_or(|still| still.lasted > STANDSTILL));
        drop(pulse);
        // The thread holds it for a moment at a time.
        let deadline = since_boot() + Duration::from_secs(20);
        while weak.upgrade().is_some() {
            assert!(since_boot() < deadline);
            std::thread::yield_now();
        }
    }
}
