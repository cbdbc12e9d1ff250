//! PURE: when what has arrived becomes a commit: when there is enough of it, or when its first piece has waited long enough.
use std::time::Duration;

/// The default of `COMMIT_BATCH_SIZE`.
pub const SIZE: usize = 10;
/// The default of `COMMIT_BATCH_TIMEOUT_MS`.
pub const TIMEOUT: Duration = Duration::from_millis(5000);
/// A batch of so many bytes of JSON is enough, whatever its size.
pub const MAX_BYTES: usize = 16 << 20;

/// How much is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many events; at least 1.
    pub size: usize,
    /// After the first event of a batch.
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

/// What waits for its commit.
#[derive(Debug)]
pub struct Batch<T> {
    limits: Limits,
    items: Vec<T>,
    bytes: usize,
    /// When the timeout of its first item is over.
    due: Option<Duration>,
}

impl<T> Batch<T> {
    /// An empty one. Times are those of a monotonic clock.
    pub fn new(limits: Limits) -> Self {
        Batch {
            limits,
            items: Vec::new(),
            bytes: 0,
            due: None,
        }
    }

    /// Takes one more item, of so many bytes.
    pub fn push(&mut self, item: T, bytes: usize, now: Duration) {
        self.items.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
        self.due.get_or_insert(now.saturating_add(self.limits.timeout));
    }

    /// Whether it is to be committed now.
    pub fn is_due(&self, now: Duration) -> bool {
        self.items.len() >= self.limits.size || self.bytes >= MAX_BYTES || self.due.is_some_and(|due| due <= now)
    }

    /// How long to wait for more at most; without end when it is empty.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        self.due.map(|due| due.saturating_sub(now))
    }

    /// What is in it, in the order of arrival.
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// Begins the next one.
    pub fn clear(&mut self) {
        *self = Batch::new(self.limits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn batch(size: usize) -> Batch<u32> {
        Batch::new(Limits {
            size,
            timeout: 5 * SECOND,
        })
    }

    #[test]
    fn the_timeout_is_that_of_the_first_item() {
        let mut batch = batch(10);
        assert_eq!((batch.wait(SECOND), batch.is_due(9 * SECOND)), (None, false));
        batch.push(1, 1, SECOND);
        batch.push(2, 1, 4 * SECOND);
        assert_eq!(batch.wait(4 * SECOND), Some(2 * SECOND));
        assert!(!batch.is_due(SECOND * 59 / 10) && batch.is_due(6 * SECOND));
        assert_eq!(batch.wait(7 * SECOND), Some(Duration::ZERO));
        batch.clear();
        assert_eq!((batch.wait(7 * SECOND), batch.items()), (None, &[][..]));
    }

    #[test]
    fn enough_is_enough() {
        let mut full = batch(2);
        full.push(1, 1, SECOND);
        assert!(!full.is_due(SECOND));
        full.push(2, 1, SECOND);
        assert!(full.is_due(SECOND) && full.items() == [1, 2]);
        let mut large = batch(1000);
        large.push(1, MAX_BYTES - 1, SECOND);
        assert!(!large.is_due(SECOND));
        large.push(2, 1, SECOND);
        assert!(large.is_due(SECOND));
    }
}
