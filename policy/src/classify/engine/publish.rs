//! How updates become visible: all at once, without a lock and without readers that write.
//!
//! ```text
//!            horizon                version
//! ──────────────┼──────────────────────┼────────► updates
//!   memory used │ kept for readers     │ being written,
//!   again       │ that began here      │ seen by nobody
//! ```
//!
//! Every update has a number. A reader takes the last published one when it begins and sees just
//! the rules that were there then, in the order that they had: each rule that came, moved or went
//! lately has the number of that update and its order before it ([`Flux`]). What went is only taken
//! apart, and its memory used again, when the horizon has passed the update that ended it. A reader
//! checks the horizon when it is through; if it was overtaken, which takes dozens of updates during
//! one lookup, it asks again with its pin down, and the writer moves no horizon while a pin is down.
//! So a lookup is done after two rounds at most, and in nearly every case a reader writes nothing
//! that others see.
//!
//! Generic over the atomics, so that a model checker can stand in for them.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A 64-bit word that threads share.
pub(super) trait Word {
    fn new(value: u64) -> Self;
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn fence(order: Ordering);
}

impl Word for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}

/// The numbers of the last update that counts and of the last whose remains are gone.
#[derive(Debug)]
pub(super) struct Clock<W = AtomicU64> {
    version: Apart<W>,
    /// Moves far less often than the version, so it is on a line that readers keep.
    horizon: Apart<W>,
}

/// Something on lines of the cache of its own; the processor fetches two at a time.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

impl<W: Word> Clock<W> {
    /// At an update after which nothing is left behind.
    pub(super) fn at(version: u64) -> Self {
        Self { version: Apart(W::new(version)), horizon: Apart(W::new(version)) }
    }

    /// Begins a lookup: all that was written up to this update is seen.
    #[inline]
    pub(super) fn begin(&self) -> u64 {
        self.version.0.load(Ordering::Acquire)
    }

    /// Ends a lookup: whether what it read was there until now.
    #[inline]
    pub(super) fn held(&self, version: u64) -> bool {
        // Seeing anything that was written after the horizon moved means seeing it moved.
        W::fence(Ordering::Acquire);
        self.horizon.0.load(Ordering::Relaxed) <= version
    }

    /// Makes an update count. Writer only.
    pub(super) fn publish(&self, version: u64) {
        self.version.0.store(version, Ordering::Release);
    }

    /// Says that what ended up to this update will be taken apart, unless a pin is down; returns
    /// whether it may. Writer only.
    pub(super) fn pass<'a>(&self, version: u64, pins: impl IntoIterator<Item = &'a Pin<W>>) -> bool
    where
        W: 'a,
    {
        // With the fence in `Pin::begin`: either this sees the pin, or its reader sees every update
        // that was published before.
        W::fence(Ordering::SeqCst);
        if pins.into_iter().any(|pin| pin.0.0.load(Ordering::Relaxed) != UP) {
            return false;
        }
        self.horizon.0.store(version, Ordering::Relaxed);
        W::fence(Ordering::Release);
        true
    }
}

const UP: u64 = 0;
const DOWN: u64 = 1;

/// A reader's way to hold the horizon.
#[derive(Debug)]
pub(super) struct Pin<W = AtomicU64>(Apart<W>);

impl<W: Word> Pin<W> {
    pub(super) fn new() -> Self {
        Self(Apart(W::new(UP)))
    }

    /// Begins a lookup that can't be overtaken; [`Self::end`] has to follow.
    pub(super) fn begin(&self, clock: &Clock<W>) -> u64 {
        self.0.0.store(DOWN, Ordering::Relaxed);
        W::fence(Ordering::SeqCst);
        clock.begin()
    }

    pub(super) fn end(&self) {
        self.0.0.store(UP, Ordering::Release);
    }
}

/// What a rule's order was before an update, and when the rule goes.
#[derive(Debug)]
pub(super) struct Flux<W = AtomicU64> {
    /// The update from which on the order in the rule's record counts.
    since: W,
    /// The order until then.
    before: W,
    /// The update from which on there is no such rule.
    dies: W,
}

/// More than any order: that of no rule.
pub(super) const NO_ORDER: u64 = 1 << 32;

impl<W: Word> Flux<W> {
    /// Of a rule that neither changed nor goes.
    pub(super) fn new() -> Self {
        Self { since: W::new(0), before: W::new(NO_ORDER), dies: W::new(u64::MAX) }
    }

    /// The rule's order at an update; `order` is what the record says.
    #[inline]
    pub(super) fn order(&self, version: u64, order: u64) -> u64 {
        if version >= self.dies.load(Ordering::Relaxed) {
            return NO_ORDER;
        }
        let settled = version >= self.since.load(Ordering::Relaxed);
        if settled { order } else { self.before.load(Ordering::Relaxed) }
    }

    /// The first of the orders that the rule has for readers; `order` is what the record says.
    pub(super) fn first(&self, order: u32) -> u32 {
        u32::try_from(self.before.load(Ordering::Relaxed)).map_or(order, |before| before.min(order))
    }

    /// Writer only, as long as no reader can hold this flux. `before` is [`NO_ORDER`] for a rule that
    /// comes.
    pub(super) fn set(&self, since: u64, before: u64, dies: u64) {
        self.since.store(since, Ordering::Relaxed);
        self.before.store(before, Ordering::Relaxed);
        self.dies.store(dies, Ordering::Relaxed);
    }

    /// Writer only; `dies` is not published yet.
    pub(super) fn end(&self, dies: u64) {
        self.dies.store(dies, Ordering::Relaxed);
    }

    pub(super) fn dies(&self) -> u64 {
        self.dies.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    //! All orders in which a reader and the writer can take turns, and all that each may then see
    //! of the other's writes.

    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64 as Modelled;
    use loom::thread;

    impl Word for Modelled {
        fn new(value: u64) -> Self {
            Self::new(value)
        }

        fn load(&self, order: Ordering) -> u64 {
            self.load(order)
        }

        fn store(&self, value: u64, order: Ordering) {
            self.store(value, order);
        }

        fn fence(order: Ordering) {
            loom::sync::atomic::fence(order);
        }
    }

    const GONE: u64 = 9;

    /// One record. Update 1 ends its rule, whose value is 10; then the record is used again, for a
    /// rule of value 20 that counts from update 2 on.
    struct Shared {
        clock: Clock<Modelled>,
        pin: Pin<Modelled>,
        flux: [Flux<Modelled>; 3],
        state: Modelled,
        value: Modelled,
    }

    impl Shared {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                clock: Clock::at(0),
                pin: Pin::new(),
                flux: [Flux::new(), Flux::new(), Flux::new()],
                state: Word::new(0),
                value: Word::new(10),
            })
        }

        fn write(&self) {
            self.flux[1].set(0, NO_ORDER, 1);
            self.state.store(1, Ordering::Release);
            self.clock.publish(1);
            if self.clock.pass(1, [&self.pin]) {
                self.state.store(GONE, Ordering::Release);
                self.value.store(20, Ordering::Relaxed);
                self.flux[2].set(2, NO_ORDER, u64::MAX);
                self.state.store(2, Ordering::Release);
                self.clock.publish(2);
            }
        }

        fn look(&self, version: u64) -> Option<u64> {
            let counts = match self.state.load(Ordering::Acquire) {
                0 => true,
                GONE => false,
                flux => self.flux[flux as usize].order(version, 0) != NO_ORDER,
            };
            counts.then(|| self.value.load(Ordering::Relaxed))
        }

        fn assert_right(version: u64, found: Option<u64>) {
            assert_eq!(found, [Some(10), None, Some(20)][version as usize], "at {version}");
        }
    }

    #[test]
    fn a_lookup_sees_the_rules_of_one_update_and_ends_after_two_rounds() {
        loom::model(|| {
            let shared = Shared::new();
            let writer = Arc::clone(&shared);
            let writer = thread::spawn(move || writer.write());
            let version = shared.clock.begin();
            let found = shared.look(version);
            if shared.clock.held(version) {
                Shared::assert_right(version, found);
            } else {
                let version = shared.pin.begin(&shared.clock);
                Shared::assert_right(version, shared.look(version));
                shared.pin.end();
            }
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_lookup_with_its_pin_down_is_never_overtaken() {
        loom::model(|| {
            let shared = Shared::new();
            let writer = Arc::clone(&shared);
            let writer = thread::spawn(move || writer.write());
            let version = shared.pin.begin(&shared.clock);
            Shared::assert_right(version, shared.look(version));
            assert!(shared.clock.held(version));
            shared.pin.end();
            writer.join().unwrap();
        });
    }

    #[test]
    #[should_panic(expected = "at ")]
    fn the_model_finds_a_reader_that_does_not_look_at_the_horizon() {
        loom::model(|| {
            let shared = Shared::new();
            let writer = Arc::clone(&shared);
            let writer = thread::spawn(move || writer.write());
            let version = shared.clock.begin();
            Shared::assert_right(version, shared.look(version));
            writer.join().unwrap();
        });
    }

    const ODD: u64 = 1 << 63;

    /// One record that moves in place, from order 5 to 7 with update 1, and to 3 with update 2 when
    /// it has no flux any more.
    struct Moving {
        clock: Clock<Modelled>,
        pin: Pin<Modelled>,
        flux: [Flux<Modelled>; 3],
        order: Modelled,
        state: Modelled,
    }

    impl Moving {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                clock: Clock::at(0),
                pin: Pin::new(),
                flux: [Flux::new(), Flux::new(), Flux::new()],
                order: Word::new(5),
                state: Word::new(0),
            })
        }

        fn set(&self, order: u64, state: u64) {
            self.state.store(state, Ordering::Release);
            self.order.store(order, Ordering::Release);
        }

        fn write(&self, waits: bool) {
            self.flux[1].set(1, 5, u64::MAX);
            self.set(7 | ODD, 1);
            self.clock.publish(1);
            if self.clock.pass(1, [&self.pin]) || !waits {
                self.set(7, 0);
                self.flux[2].set(2, 7, u64::MAX);
                self.set(3 | ODD, 2);
                self.clock.publish(2);
            }
        }

        fn look(&self, version: u64) -> u64 {
            let order = self.order.load(Ordering::Acquire);
            if order & ODD == 0 {
                return order;
            }
            match self.state.load(Ordering::Acquire) {
                0 => order & !ODD,
                flux => self.flux[flux as usize].order(version, order & !ODD),
            }
        }

        fn assert_right(version: u64, order: u64) {
            assert_eq!(order, [5, 7, 3][version as usize], "at {version}");
        }
    }

    #[test]
    fn a_lookup_sees_the_order_of_its_update_while_a_rule_moves() {
        loom::model(|| {
            let moving = Moving::new();
            let writer = Arc::clone(&moving);
            let writer = thread::spawn(move || writer.write(true));
            let version = moving.clock.begin();
            let order = moving.look(version);
            if moving.clock.held(version) {
                Moving::assert_right(version, order);
            } else {
                let version = moving.pin.begin(&moving.clock);
                Moving::assert_right(version, moving.look(version));
                moving.pin.end();
            }
            writer.join().unwrap();
        });
    }

    #[test]
    #[should_panic(expected = "at ")]
    fn the_model_finds_a_rule_that_moves_again_while_a_reader_may_be_before_its_last_move() {
        loom::model(|| {
            let moving = Moving::new();
            let writer = Arc::clone(&moving);
            let writer = thread::spawn(move || writer.write(false));
            let version = moving.pin.begin(&moving.clock);
            Moving::assert_right(version, moving.look(version));
            moving.pin.end();
            writer.join().unwrap();
        });
    }
}
