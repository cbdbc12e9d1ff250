//! Clock for tests of locks: nothing sleeps, and the first sleep releases what is held.
use std::{cell::RefCell, time::Duration};

use durable::clock::{Clock, ManualClock};
use jiff::Timestamp;

/// A clock that drops `held` at its first sleep.
pub(crate) struct ReleasingClock<T> {
    held: RefCell<Option<T>>,
    clock: ManualClock,
}

impl<T> ReleasingClock<T> {
    pub(crate) fn new(held: T) -> Self {
        ReleasingClock {
            held: RefCell::new(Some(held)),
            clock: ManualClock::default(),
        }
    }

    /// Returns the durations of all sleeps so far.
    pub(crate) fn slept(&self) -> Vec<Duration> {
        self.clock.slept()
    }
}

impl<T> Clock for ReleasingClock<T> {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.held.borrow_mut().take();
        self.clock.sleep(duration);
    }

    fn random(&self) -> f64 {
        self.clock.random()
    }
}
