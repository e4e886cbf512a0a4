//! Time as an argument, and the intervals that the protocol derives.
//!
//! Not here: a clock. The driver passes the time to every verb.

use crate::types::{Centiseconds, Priority};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A moment on the driver's monotonic clock, as the time since an origin of its choice. The clock
/// should go on while the machine sleeps (on Linux `CLOCK_BOOTTIME`), so that a router that woke
/// up knows that it is late.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The origin.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The moment that long after the origin.
    #[must_use]
    pub const fn new(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// The time since the origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The time since an earlier moment; zero if that one is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment that much later, at most the last that there is.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// Skew_Time: what a backup waits so that the one of the highest priority is first (RFC 9568
/// section 6.1). Rounded down to a nanosecond.
#[must_use]
pub const fn skew_time(priority: Priority, interval: Centiseconds) -> Duration {
    // At most 256 * 40.95e9, well within 64 bits.
    let nanoseconds = interval.get() as u64 * 10_000_000;
    Duration::from_nanos((256 - priority.get() as u64) * nanoseconds / 256)
}

/// Active_Down_Interval: after so long without an advert the active router counts as dead
/// (section 6.1). `interval` is Active_Adver_Interval, which the active router's adverts carry.
#[must_use]
pub const fn active_down_interval(priority: Priority, interval: Centiseconds) -> Duration {
    Duration::from_millis(interval.get() as u64 * 30).saturating_add(skew_time(priority, interval))
}

/// No Active_Down_Interval is this long, whatever the priority: who has been silent for four
/// intervals has been replaced, if there is anybody to do it.
#[must_use]
pub const fn longest_down_interval(interval: Centiseconds) -> Duration {
    Duration::from_millis(interval.get() as u64 * 40)
}
