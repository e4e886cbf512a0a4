//! Packets that have waited too long, because the whole process stood still (stopped, or its machine
//! paused).
//!
//! By then their senders have repeated them, and perhaps the peer has taken over and let the
//! repeated ones through. A SYN that comes after the handshake could reset the session, so TCP
//! packets are dropped; whoever has sent them will do so again.
//!
//! Goes in: the time, whenever a worker has looked into its queue. Comes out: whether what it found
//! there is late. Not here: the packets.

use std::time::Duration;

/// The shortest standstill that counts. TCP repeats a SYN after a second (RFC 6298, section 2.1).
const STANDSTILL: Duration = Duration::from_millis(500);

/// What a worker knows of its own looks.
#[derive(Debug)]
pub struct Delay {
    /// How long the worker waits at most from one look to the next.
    wait: Duration,
    looked: Duration,
    late: Option<Late>,
}

/// A standstill, and what was dropped since.
#[derive(Debug)]
struct Late {
    stood_still: Duration,
    dropped: u64,
}

impl Delay {
    /// For a worker that waits for packets for so long at a time. Times are those of one clock that
    /// never stands still.
    #[must_use]
    pub const fn new(wait: Duration, now: Duration) -> Self {
        Self { wait, looked: now, late: None }
    }

    /// How long to wait for packets: not at all while late ones may be left.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        if self.late.is_some() { Duration::ZERO } else { self.wait }
    }

    /// The worker has looked for packets.
    pub fn look(&mut self, now: Duration) {
        let since = now.saturating_sub(std::mem::replace(&mut self.looked, now));
        if let Some(stood_still) = since.checked_sub(self.wait).filter(|time| *time > STANDSTILL) {
            let late = self.late.get_or_insert(Late { stood_still, dropped: 0 });
            late.stood_still = late.stood_still.max(stood_still);
        }
    }

    /// Whether packets may have waited too long.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// A late packet was dropped.
    pub const fn drop_one(&mut self) {
        if let Some(late) = &mut self.late {
            late.dropped += 1;
        }
    }

    /// There are no more packets: those that come from now on are not late. Returns for how long at
    /// least the worker stood still and how many packets were dropped for that, if any were.
    pub fn drained(&mut self) -> Option<(Duration, u64)> {
        let late = self.late.take().filter(|late| late.dropped > 0);
        late.map(|Late { stood_still, dropped }| (stood_still, dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(250);

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_waited_while_the_process_stood_still_is_late_until_the_queue_is_empty() {
        let mut delay = Delay::new(WAIT, at(0));
        delay.look(at(1_200));
        assert_eq!((delay.is_late(), delay.wait()), (true, Duration::ZERO));
        delay.drop_one();
        delay.look(at(1_201));
        assert!(delay.is_late());
        delay.drop_one();
        delay.look(at(1_202));
        assert_eq!(delay.drained(), Some((at(950), 2)));
        assert_eq!((delay.is_late(), delay.wait()), (false, WAIT));
        assert_eq!(delay.drained(), None);
    }

    #[test]
    fn a_worker_that_waited_in_vain_or_was_busy_is_not_late() {
        let mut delay = Delay::new(WAIT, at(0));
        for now in [250, 500, 1_100] {
            delay.look(at(now));
            assert!(!delay.is_late(), "{now}");
        }
    }
}
