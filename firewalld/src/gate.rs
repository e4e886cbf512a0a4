//! What the workers read while they classify, and how it is replaced without a lock.
//!
//! ```text
//! engine                                  worker
//!   store new snapshot                      enter: own counter becomes odd
//!   for each worker whose counter is odd:   load the snapshot, classify the batch, send verdicts
//!     wait until it changes                 leave: own counter becomes even
//! ```
//!
//! When [`Gate::replace`] returns, every verdict that was made with the old snapshot has been
//! sent, and the kernel has carried it out. Not here: what a snapshot says.

use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

/// How long a worker may take for one batch of at most 32 packets. It doesn't block, so more than
/// this means that it doesn't run at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a busy worker is looked at.
const GLANCE: Duration = Duration::from_micros(20);

/// A snapshot, and for each worker whether it is reading it.
#[derive(Debug)]
pub struct Gate<T> {
    current: ArcSwap<T>,
    workers: Box<[Turn]>,
}

/// A worker's counter, alone in its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Turn(AtomicU64);

/// A worker that stopped in the middle of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker {0} has been busy with one batch for 5 s")]
pub struct Stuck(pub usize);

impl<T> Gate<T> {
    /// A gate for a number of workers.
    pub fn new(first: T, workers: usize) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
            workers: (0..workers).map(|_| Turn::default()).collect(),
        }
    }

    /// Runs one batch of a worker with the current snapshot. `worker` is below the number that the
    /// gate was made for; others are not waited for.
    pub fn with<R>(&self, worker: usize, batch: impl FnOnce(&T) -> R) -> R {
        let turn = self.workers.get(worker);
        let count = || turn.map(|turn| turn.0.fetch_add(1, Ordering::SeqCst));
        count();
        // The engine has to see the odd counter, or this load has to see its new snapshot.
        fence(Ordering::SeqCst);
        let result = batch(&self.current.load());
        count();
        result
    }

    /// Replaces the snapshot and waits until no worker uses the old one.
    ///
    /// # Errors
    /// When a worker doesn't finish its batch; the new snapshot is in place all the same.
    pub fn replace(&self, next: Arc<T>) -> Result<(), Stuck> {
        self.current.store(next);
        fence(Ordering::SeqCst);
        let deadline = Instant::now() + PATIENCE;
        for (number, turn) in self.workers.iter().enumerate() {
            let seen = turn.0.load(Ordering::SeqCst);
            while seen % 2 == 1 && turn.0.load(Ordering::SeqCst) == seen {
                if Instant::now() > deadline {
                    return Err(Stuck(number));
                }
                std::thread::sleep(GLANCE);
            }
        }
        Ok(())
    }

    /// Whether a worker has had the same batch in hand at two looks at [`Self::turns`].
    #[must_use]
    pub fn is_stuck(before: &[u64], now: &[u64]) -> bool {
        // An odd number that hasn't changed is a batch that was begun before the first look.
        now.iter().zip(before).any(|(now, before)| now == before && now % 2 == 1)
    }

    /// For each worker a number that changes whenever it begins or ends a batch.
    pub fn turns(&self) -> Vec<u64> {
        self.workers.iter().map(|turn| turn.0.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn no_batch_uses_the_old_snapshot_after_replace_returns() {
        let gate = Gate::new(0_u64, 3);
        let newest = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let late = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (gate, newest, stop, late) = (&gate, &newest, &stop, &late);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        gate.with(worker, |snapshot| {
                            std::hint::spin_loop();
                            // Replace returned for `newest` before this batch ended only if the
                            // batch had loaded it, or something newer.
                            if newest.load(Ordering::SeqCst) > *snapshot {
                                late.fetch_add(1, Ordering::SeqCst);
                            }
                        });
                    }
                });
            }
            for next in 1..=2_000 {
                gate.replace(Arc::new(next)).unwrap();
                newest.store(next, Ordering::SeqCst);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(late.into_inner(), 0);
    }
}
