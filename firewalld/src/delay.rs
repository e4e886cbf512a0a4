//! Packets that have waited too long, because the whole process stood still (stopped, or its machine
//! paused).
//!
//! By then their senders have repeated them, and perhaps the peer has taken over and let the
//! repeated ones through. A SYN that comes after the handshake could reset the session, so TCP
//! packets are dropped; whoever has sent them will do so again.
//!
//! Late are those that were in the queue by then: at most as many as it has room for. What comes after
//! them isn't, however full the queue stays.
//!
//! Goes in: the time, whenever a worker has looked into its queue, and how many packets it found.
//! Comes out: whether they are late. Not here: the packets.

use std::time::Duration;

/// The shortest standstill that counts. TCP repeats a SYN after a second (RFC 6298, section 2.1).
const STANDSTILL: Duration = Duration::from_millis(500);

/// What a worker knows of its own looks.
#[derive(Debug)]
pub struct Delay {
    /// How long the worker waits at most from one look to the next.
    wait: Duration,
    /// Packets that the queue has room for.
    room: u32,
    looked: Duration,
    late: Option<Late>,
}

/// A standstill, and what was dropped since.
#[derive(Debug)]
struct Late {
    stood_still: Duration,
    /// Packets that may still be late.
    left: u32,
    dropped: u64,
}

impl Delay {
    /// For a worker that waits for packets for so long at a time, at a queue with room for so many.
    /// Times are those of one clock that never stands still.
    #[must_use]
    pub const fn new(wait: Duration, room: u32, now: Duration) -> Self {
        Self { wait, room, looked: now, late: None }
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
            let late = self.late.get_or_insert(Late { stood_still, left: 0, dropped: 0 });
            late.stood_still = late.stood_still.max(stood_still);
            late.left = self.room;
        }
    }

    /// Whether the next packet of the queue may have waited too long.
    pub const fn is_late(&mut self) -> bool {
        match &mut self.late {
            Some(late) if late.left > 0 => {
                late.left -= 1;
                true
            }
            _ => false,
        }
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
        late.map(|Late { stood_still, dropped, .. }| (stood_still, dropped))
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
        let mut delay = Delay::new(WAIT, 10, at(0));
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
    fn in_a_queue_that_is_never_empty_only_as_many_are_late_as_it_has_room_for() {
        let mut delay = Delay::new(WAIT, 10, at(0));
        delay.look(at(1_200));
        let late = (0..100).filter(|_| delay.is_late()).count();
        assert_eq!(late, 10);
        // Once more, after another standstill.
        delay.look(at(2_400));
        assert!(delay.is_late());
    }

    #[test]
    fn a_worker_that_waited_in_vain_or_was_busy_is_not_late() {
        let mut delay = Delay::new(WAIT, 10, at(0));
        for now in [250, 500, 1_100] {
            delay.look(at(now));
            assert!(!delay.is_late(), "{now}");
        }
    }
}
