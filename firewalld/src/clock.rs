//! The clock of VRRP and replication.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The time since the system was started, on a clock that goes on while the machine sleeps or the
/// process is stopped (`CLOCK_BOOTTIME`).
pub(crate) fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}
