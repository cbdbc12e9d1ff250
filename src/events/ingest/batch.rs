//! PURE: batches of events. A batch is committed when it is full, or when its oldest event has waited for the timeout.
use std::time::Duration;

/// The default of `COMMIT_BATCH_SIZE`.
pub const SIZE: usize = 10;
/// The default of `COMMIT_BATCH_TIMEOUT_MS`.
pub const TIMEOUT: Duration = Duration::from_millis(5000);
/// A batch with this many bytes of JSON is full, regardless of its number of events.
pub const MAX_BYTES: usize = 16 << 20;
/// Maximum number of batches that are committed together.
pub const MOST: usize = 32;

/// Limits of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of events; at least 1.
    pub size: usize,
    /// Maximum wait after the first event of a batch.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            size: SIZE,
            timeout: TIMEOUT,
        }
    }
}

/// Items that wait for their commit: full batches, and one open batch. Several batches are full when events arrive faster
/// than commits are made; they are then committed together.
#[derive(Debug)]
pub struct Batches<T> {
    limits: Limits,
    full: Vec<Vec<T>>,
    open: Vec<T>,
    /// Bytes of the open batch.
    bytes: usize,
    /// Bytes of the full batches.
    full_bytes: usize,
    /// End of the timeout of the first item in the open batch.
    due: Option<Duration>,
}

impl<T> Batches<T> {
    /// Creates an empty set of batches. Times are those of a monotonic clock.
    pub fn new(limits: Limits) -> Self {
        Batches {
            limits,
            full: Vec::new(),
            open: Vec::new(),
            bytes: 0,
            full_bytes: 0,
            due: None,
        }
    }

    /// Adds an item with its size in bytes.
    pub fn push(&mut self, item: T, bytes: usize, now: Duration) {
        self.open.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
        self.due.get_or_insert(now.saturating_add(self.limits.timeout));
        if self.open.len() >= self.limits.size || self.bytes >= MAX_BYTES {
            self.close();
        }
    }

    /// Closes the open batch, unless it is empty.
    pub fn close(&mut self) {
        if !self.open.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
            self.full_bytes = self.full_bytes.saturating_add(self.bytes);
            (self.bytes, self.due) = (0, None);
        }
    }

    /// Closes the open batch if its first item has waited long enough.
    pub fn close_if_due(&mut self, now: Duration) {
        if self.due.is_some_and(|due| due <= now) {
            self.close();
        }
    }

    /// Returns true while more items can be added before the full batches are committed.
    pub fn has_room(&self) -> bool {
        self.full.len() < MOST && self.full_bytes < MAX_BYTES
    }

    /// Returns how long to wait for more items; `None` if nothing is pending.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        if self.full.is_empty() {
            self.due.map(|due| due.saturating_sub(now))
        } else {
            Some(Duration::ZERO)
        }
    }

    /// The full batches, each in the order of arrival.
    pub fn full(&self) -> &[Vec<T>] {
        &self.full
    }

    /// Removes the full batches after their commit.
    pub fn clear(&mut self) {
        self.full.clear();
        self.full_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn batches(size: usize) -> Batches<usize> {
        Batches::new(Limits {
            size,
            timeout: 5 * SECOND,
        })
    }

    #[test]
    fn the_timeout_is_that_of_the_first_item() {
        let mut batches = batches(10);
        assert_eq!(batches.wait(SECOND), None);
        batches.push(1, 1, SECOND);
        batches.push(2, 1, 4 * SECOND);
        assert_eq!(batches.wait(4 * SECOND), Some(2 * SECOND));
        batches.close_if_due(SECOND * 59 / 10);
        assert!(batches.full().is_empty());
        batches.close_if_due(6 * SECOND);
        assert_eq!(batches.full(), [[1, 2]]);
        assert_eq!(batches.wait(7 * SECOND), Some(Duration::ZERO));
        batches.clear();
        assert_eq!((batches.wait(7 * SECOND), batches.full().len()), (None, 0));
        batches.close();
        assert!(batches.full().is_empty(), "nothing is no batch");
    }

    #[test]
    fn enough_is_enough() {
        let mut batches = batches(2);
        (1..=5).for_each(|item| batches.push(item, 1, SECOND));
        assert_eq!(batches.full(), [[1, 2], [3, 4]]);
        batches.clear();
        assert_eq!(
            batches.wait(2 * SECOND),
            Some(4 * SECOND),
            "the rest waits for its own timeout"
        );
        batches.close();
        assert_eq!(batches.full(), [[5]]);
        let mut large = self::batches(1000);
        large.push(1, MAX_BYTES - 1, SECOND);
        assert!(large.full().is_empty());
        large.push(2, 1, SECOND);
        assert_eq!(large.full(), [[1, 2]]);
        assert!(!large.has_room(), "there is a bound in bytes");
    }

    #[test]
    fn only_so_many_wait() {
        let mut batches = batches(1);
        let taken = (0..).take_while(|item| {
            let has_room = batches.has_room();
            batches.push(*item, 1, SECOND);
            has_room
        });
        assert_eq!(taken.count(), MOST);
    }
}
