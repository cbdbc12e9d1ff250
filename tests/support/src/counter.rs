//! A number that grows, for threads that wait for it.
use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// Maximum wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter {
    count: Mutex<usize>,
    grown: Condvar,
}

impl Counter {
    /// A counter at 0.
    pub const fn new() -> Self {
        Counter {
            count: Mutex::new(0),
            grown: Condvar::new(),
        }
    }

    /// Adds one.
    pub fn add(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.grown.notify_all();
    }

    /// The number.
    pub fn get(&self) -> usize {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the number is greater than `seen`.
    ///
    /// # Panics
    /// The number does not grow in time.
    pub fn wait_beyond(&self, seen: usize) {
        let is_beyond = self.wait_beyond_for(seen, PATIENCE);
        assert!(is_beyond, "it stays at {}, and does not grow beyond {seen}", self.get());
    }

    /// Waits until the number is greater than `seen`, or this time has passed; returns true if it is greater.
    pub fn wait_beyond_for(&self, seen: usize, time: Duration) -> bool {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.grown.wait_timeout_while(count, time, |count| *count <= seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0 > seen
    }
}
