//! PURE: budget for something that may happen at a limited rate, in bursts. Times are those of a monotonic clock.
use std::time::Duration;

/// Token bucket. It starts full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBucket {
    /// Time after which one token is added. Zero is an unlimited rate.
    interval: Duration,
    /// Greatest number of tokens.
    size: u32,
    /// Time at which it is full again.
    full_at: Duration,
}

impl TokenBucket {
    /// Returns a full bucket of `size` tokens that regains `per_minute` of them in a minute. 0 per minute is unlimited.
    pub fn new(per_minute: u32, size: u32) -> Self {
        let mut bucket = TokenBucket {
            interval: Duration::ZERO,
            size: 0,
            full_at: Duration::ZERO,
        };
        bucket.set_rate(per_minute, size);
        bucket
    }

    /// Changes rate and size. The time at which the bucket is full stays the same.
    pub fn set_rate(&mut self, per_minute: u32, size: u32) {
        self.interval = Duration::from_secs(60).checked_div(per_minute).unwrap_or_default();
        self.size = size;
    }

    /// Returns the earliest time at which the bucket has a token. It may have passed.
    pub fn next_at(&self) -> Duration {
        self.full_at.saturating_sub(self.interval * self.size.saturating_sub(1))
    }

    /// Takes a token at the time `now`, even if there is none.
    pub fn take(&mut self, now: Duration) {
        self.full_at = self.full_at.max(now) + self.interval;
    }

    /// Takes a token if there is one. Returns false otherwise.
    pub fn try_take(&mut self, now: Duration) -> bool {
        let has_token = self.next_at() <= now;
        if has_token {
            self.take(now);
        }
        has_token
    }

    /// Puts back a token that was taken.
    pub fn give_back(&mut self) {
        self.full_at = self.full_at.saturating_sub(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns the seconds from `from` on in which a token could be taken.
    fn taken(bucket: &mut TokenBucket, from: u64, until: u64) -> Vec<u64> {
        (from..until).filter(|now| bucket.try_take(seconds(*now))).collect()
    }

    #[test]
    fn a_full_bucket_allows_a_burst_and_then_its_rate() {
        let mut bucket = TokenBucket::new(6, 3);
        assert_eq!(taken(&mut bucket, 100, 141), [100, 101, 102, 110, 120, 130, 140]);
        assert_eq!(bucket.next_at(), seconds(150));
        // After a long time it is full, and no more than that.
        assert_eq!(taken(&mut bucket, 1000, 1009), [1000, 1001, 1002]);
    }

    #[test]
    fn a_token_that_is_given_back_can_be_taken_again() {
        let mut bucket = TokenBucket::new(1, 1);
        for now in 0..5 {
            assert!(bucket.try_take(seconds(now)));
            bucket.give_back();
        }
        assert!(bucket.try_take(seconds(5)));
        assert!(!bucket.try_take(seconds(6)));
    }

    #[test]
    fn what_is_taken_without_a_token_delays_the_next_one() {
        let mut bucket = TokenBucket::new(60, 1);
        bucket.take(seconds(10));
        bucket.take(seconds(10));
        assert_eq!(bucket.next_at(), seconds(12));
    }

    #[test]
    fn a_rate_of_zero_is_unlimited_and_a_changed_one_takes_effect() {
        let mut bucket = TokenBucket::new(0, 0);
        assert!((0..100).all(|_| bucket.try_take(seconds(7))));
        bucket.set_rate(1, 1);
        assert!(bucket.try_take(seconds(7)));
        assert!(!bucket.try_take(seconds(8)));
    }
}
