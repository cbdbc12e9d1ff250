//! PURE: when what has arrived becomes a commit: when there is enough of it, or when its first piece has waited long enough.
use std::time::Duration;

/// The default of `COMMIT_BATCH_SIZE`.
pub const SIZE: usize = 10;
/// The default of `COMMIT_BATCH_TIMEOUT_MS`.
pub const TIMEOUT: Duration = Duration::from_millis(5000);
/// A batch of so many bytes of JSON is enough, whatever its size.
pub const MAX_BYTES: usize = 16 << 20;
/// The most batches that are landed together.
pub const MOST: usize = 32;

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

/// What waits for its commit: batches that are full, and one that is not yet. More than one is full when events come faster
/// than commits: then they are landed together.
#[derive(Debug)]
pub struct Batches<T> {
    limits: Limits,
    full: Vec<Vec<T>>,
    open: Vec<T>,
    /// Of the open one.
    bytes: usize,
    /// Of the full ones.
    full_bytes: usize,
    /// When the timeout of the first item of the open one is over.
    due: Option<Duration>,
}

impl<T> Batches<T> {
    /// None yet. Times are those of a monotonic clock.
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

    /// Takes one more item, of so many bytes.
    pub fn push(&mut self, item: T, bytes: usize, now: Duration) {
        self.open.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
        self.due.get_or_insert(now.saturating_add(self.limits.timeout));
        if self.open.len() >= self.limits.size || self.bytes >= MAX_BYTES {
            self.close();
        }
    }

    /// The open batch is full, whatever is in it.
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

    /// Whether more can be taken before the full ones are committed.
    pub fn has_room(&self) -> bool {
        self.full.len() < MOST && self.full_bytes < MAX_BYTES
    }

    /// How long to wait for more at most; without end when there is nothing.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        match self.full.is_empty() {
            true => self.due.map(|due| due.saturating_sub(now)),
            false => Some(Duration::ZERO),
        }
    }

    /// The full ones, each in the order of arrival.
    pub fn full(&self) -> &[Vec<T>] {
        &self.full
    }

    /// The full ones are committed.
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
