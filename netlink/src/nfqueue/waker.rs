//! Wakes a thread that waits for packets.
//!
//! Goes in: a call from any thread. Comes out: [`super::Received::Woken`] in the thread that owns
//! the queue. Not here: why it is woken.

use crate::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes the owner of one queue. Clones wake the same one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What a thread under load looks at, without a system call.
    raised: AtomicBool,
    /// What a waiting thread waits for.
    event: File,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let event = File::from(sys::eventfd()?);
        Ok(Self(Arc::new(Shared { raised: AtomicBool::new(false), event })))
    }

    /// Makes the next or the current [`super::Queue::receive`] return at once. Several calls
    /// before it does may count as one; one call may count twice.
    pub fn wake(&self) {
        if !self.0.raised.swap(true, Ordering::AcqRel) {
            // It fails only when the counter is at its limit, and then it can be read already.
            let _ = (&self.0.event).write(&1u64.to_ne_bytes());
        }
    }

    /// Whether it was woken since the last call.
    pub(super) fn take(&self) -> bool {
        let raised = self.0.raised.load(Ordering::Acquire);
        if raised {
            self.reset();
        }
        raised
    }

    pub(super) fn reset(&self) {
        // First the counter, then the flag: a call in between finds the flag up and writes
        // nothing, and is answered by the wake-up that is being delivered. The swap reads that
        // call's store, so what its thread did before is visible to the woken one.
        let _ = (&self.0.event).read(&mut [0; 8]);
        self.0.raised.swap(false, Ordering::AcqRel);
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wake_up_is_seen_once_by_flag_and_by_descriptor() {
        let waker = Waker::new().unwrap();
        let readable = || sys::poll_readable(sys::borrow(&waker), Duration::ZERO).unwrap();
        assert!(!waker.take() && !readable());
        waker.clone().wake();
        waker.wake();
        assert!(readable());
        assert!(waker.take());
        assert!(!waker.take() && !readable());
    }
}
