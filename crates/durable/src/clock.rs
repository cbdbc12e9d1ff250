//! Time and randomness as values. Code that waits or needs the time takes a [`Clock`], so that tests control both.
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use jiff::Timestamp;

/// Source of time and randomness.
pub trait Clock {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
    /// Returns the monotonic time since a fixed moment. It never goes backwards.
    fn elapsed(&self) -> Duration;
    /// Sleeps for `duration`.
    fn sleep(&self, duration: Duration);
    /// Returns a random number in `0.0..1.0`.
    fn random(&self) -> f64;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn elapsed(&self) -> Duration {
        (**self).elapsed()
    }

    fn sleep(&self, duration: Duration) {
        (**self).sleep(duration);
    }

    fn random(&self) -> f64 {
        (**self).random()
    }
}

/// Clock for tests and simulations, which moves only by sleeping. Its random numbers are 0.
#[derive(Debug, Default)]
pub struct ManualClock {
    elapsed: Cell<Duration>,
    slept: RefCell<Vec<Duration>>,
}

impl ManualClock {
    /// Returns the durations of all sleeps so far.
    pub fn slept(&self) -> Vec<Duration> {
        self.slept.borrow().clone()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    fn sleep(&self, duration: Duration) {
        self.slept.borrow_mut().push(duration);
        self.elapsed.set(self.elapsed.get() + duration);
    }

    fn random(&self) -> f64 {
        0.0
    }
}

/// Clock of the machine.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock {
            started: std::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn random(&self) -> f64 {
        // The low 53 bits of a ULID are random, and fill the mantissa of a double.
        (ulid::Ulid::generate().0 & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }
}
