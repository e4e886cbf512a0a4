//! Packets that have waited too long, because the whole process stood still.
//!
//! By then their senders have repeated them, and perhaps the peer has taken over and let the
//! repeated ones through. A SYN that comes after the handshake could reset the session, so TCP
//! packets are dropped; whoever has sent them will do so again. (Where only a worker was kept from
//! its processor, nobody has taken over: its packets are answered, however late.)
//!
//! Late are those that were in the queue by then: at most as many as it has room for. What comes after
//! them isn't, however full the queue stays.
//!
//! Goes in: the last standstill, whenever a worker has looked into its queue, and how many packets it
//! found. Comes out: whether they are late. Not here: the packets; how a standstill is noticed
//! ([`crate::pulse`]).

use crate::pulse::Standstill;
use std::time::Duration;

/// What a worker knows of standstills.
#[derive(Debug)]
pub struct Delay {
    /// How long the worker waits for packets at most.
    wait: Duration,
    /// Packets that the queue has room for.
    room: u32,
    /// The last standstill that counted.
    last: Option<Standstill>,
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
    /// `before` is a standstill that was over when the queue was bound.
    #[must_use]
    pub const fn new(wait: Duration, room: u32, before: Option<Standstill>) -> Self {
        Self { wait, room, last: before, late: None }
    }

    /// How long to wait for packets: not at all while late ones may be left.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        if self.late.is_some() { Duration::ZERO } else { self.wait }
    }

    /// The worker has looked for packets, after this standstill.
    pub fn look(&mut self, standstill: Option<Standstill>) {
        let Some(Standstill { since, lasted }) = standstill else { return };
        if self.last.is_some_and(|last| last.since == since) {
            return;
        }
        self.last = standstill;
        let late = self.late.get_or_insert(Late { stood_still: lasted, left: 0, dropped: 0 });
        late.stood_still = late.stood_still.max(lasted);
        late.left = self.room;
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
    /// least the process stood still and how many packets were dropped for that, if any were.
    pub fn drained(&mut self) -> Option<(Duration, u64)> {
        let late = self.late.take().filter(|late| late.dropped > 0);
        late.map(|Late { stood_still, dropped, .. }| (stood_still, dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(250);

    fn still(since: u64, lasted: u64) -> Option<Standstill> {
        let [since, lasted] = [since, lasted].map(Duration::from_millis);
        Some(Standstill { since, lasted })
    }

    #[test]
    fn what_waited_while_the_process_stood_still_is_late_until_the_queue_is_empty() {
        let mut delay = Delay::new(WAIT, 10, None);
        delay.look(still(100, 950));
        assert_eq!((delay.is_late(), delay.wait()), (true, Duration::ZERO));
        delay.drop_one();
        delay.look(still(100, 950));
        assert!(delay.is_late());
        delay.drop_one();
        delay.look(still(100, 950));
        assert_eq!(delay.drained(), Some((Duration::from_millis(950), 2)));
        delay.look(still(100, 950));
        assert_eq!((delay.is_late(), delay.wait()), (false, WAIT));
        assert_eq!(delay.drained(), None);
    }

    #[test]
    fn in_a_queue_that_is_never_empty_only_as_many_are_late_as_it_has_room_for() {
        let mut delay = Delay::new(WAIT, 10, None);
        delay.look(still(100, 950));
        let late = (0..100).filter(|_| delay.is_late()).count();
        assert_eq!(late, 10);
        // Once more, after another standstill.
        delay.look(still(1_300, 600));
        assert!(delay.is_late());
    }

    #[test]
    fn what_was_over_when_the_queue_was_bound_delays_nothing() {
        let mut delay = Delay::new(WAIT, 10, still(100, 950));
        delay.look(still(100, 950));
        assert!(!delay.is_late());
        delay.look(None);
        assert!(!delay.is_late());
    }
}
