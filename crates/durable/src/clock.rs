//! Time and randomness as values: what waits or stamps takes a [`Clock`], so that a test decides what time it is.
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use jiff::Timestamp;

/// Where time and randomness come from.
pub trait Clock {
    /// The present moment.
    fn now(&self) -> Timestamp;
    /// Monotonic time since some fixed moment; never goes backwards.
    fn elapsed(&self) -> Duration;
    /// Returns after `duration`.
    fn sleep(&self, duration: Duration);
    /// A random number in `0.0..1.0`.
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

/// A clock that only moves when it is slept on, for tests and simulations. Its random numbers are 0.
#[derive(Debug, Default)]
pub struct ManualClock {
    elapsed: Cell<Duration>,
    slept: RefCell<Vec<Duration>>,
}

impl ManualClock {
    /// Every sleep so far.
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

/// The machine's clock.
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
