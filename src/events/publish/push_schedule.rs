//! PURE: the time of the next push. New commits are pushed at once, if the budget for the remote allows it. A failed
//! push is retried with the next commit, or without one after growing delays.
use std::time::Duration;

use durable::{retry::RetryPolicy, token_bucket::TokenBucket};

/// Default budget in pushes per minute: with the default batches, an event waits no longer for a push than for its batch.
pub const PUSHES_PER_MINUTE: u32 = 12;

/// Number of pushes that may follow each other at once.
const BURST: u32 = 6;
/// Delays between attempts after failures.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: 16,
    initial_delay: Duration::from_secs(5),
    max_delay: Duration::from_secs(300),
};

/// State of the pushes and time of the next one. Times are those of a monotonic clock.
#[derive(Debug)]
pub struct PushSchedule {
    /// One token for each push.
    budget: TokenBucket,
    /// True if there are commits since the last attempt.
    has_more: bool,
    /// Number of failures in a row, and time of the retry when nothing more is committed.
    failures: usize,
    retry_at: Option<Duration>,
    /// Earliest time that the remote allows.
    not_before: Duration,
}

impl PushSchedule {
    /// Creates a schedule whose first attempt is due at once, for commits of an earlier run. 0 means no budget.
    pub fn new(pushes_per_minute: u32) -> Self {
        PushSchedule {
            budget: TokenBucket::new(pushes_per_minute, BURST),
            has_more: true,
            failures: 0,
            retry_at: None,
            not_before: Duration::ZERO,
        }
    }

    /// Records a commit.
    pub fn committed(&mut self) {
        self.has_more = true;
    }

    /// Returns the time of the next attempt; `None` if there is nothing to push.
    pub fn next(&self) -> Option<Duration> {
        let wanted = if self.has_more { Duration::ZERO } else { self.retry_at? };
        Some(wanted.max(self.budget.next_at()).max(self.not_before))
    }

    /// Returns true if the remote may lack a commit.
    pub fn is_behind(&self) -> bool {
        self.has_more || self.retry_at.is_some()
    }

    /// Records the start of an attempt.
    pub fn begin(&mut self, now: Duration) {
        self.budget.take(now);
        self.has_more = false;
    }

    /// Records a success.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// Records a failure, with the wait that the remote asked for.
    pub fn failed(&mut self, now: Duration, retry_after: Option<Duration>, random: f64) {
        self.failures += 1;
        let mut delays = RETRY.delays(|| random);
        let delay = delays.nth(self.failures - 1).unwrap_or(RETRY.max_delay);
        self.retry_at = Some(now + delay);
        self.not_before = now + retry_after.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_budget_lets_a_burst_go_and_then_one_at_a_time() {
        let mut schedule = PushSchedule::new(12);
        let mut now = seconds(100);
        let mut at = Vec::new();
        for _ in 0..9 {
            schedule.committed();
            now = schedule.next().expect("there is something").max(now);
            at.push(now.as_secs());
            schedule.begin(now);
            schedule.succeeded();
        }
        assert_eq!(at, [100, 100, 100, 100, 100, 100, 105, 110, 115]);
        assert_eq!(schedule.next(), None);
        assert!(!schedule.is_behind());
        let mut free = PushSchedule::new(0);
        for _ in 0..100 {
            assert!(free.next().is_some_and(|next| next <= now));
            free.begin(now);
            free.succeeded();
            free.committed();
        }
    }

    #[test]
    fn failures_are_retried_with_growing_delays_and_with_the_next_commit() {
        let mut schedule = PushSchedule::new(0);
        let mut delays = Vec::new();
        for _ in 0..20 {
            schedule.begin(seconds(100));
            schedule.failed(seconds(100), None, 0.0);
            assert!(schedule.is_behind());
            delays.push(schedule.next().expect("again").as_secs() - 100);
        }
        assert_eq!(delays[..8], [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(delays[19], 300);
        schedule.committed();
        assert_eq!(schedule.next(), Some(seconds(100)));
        schedule.begin(seconds(101));
        schedule.succeeded();
        assert_eq!(schedule.next(), None);
        schedule.begin(seconds(102));
        schedule.failed(seconds(102), None, 0.0);
        assert_eq!(schedule.next(), Some(seconds(107)));
    }

    #[test]
    fn retry_after_is_obeyed() {
        let mut schedule = PushSchedule::new(0);
        schedule.begin(seconds(100));
        schedule.failed(seconds(100), Some(seconds(60)), 0.0);
        schedule.committed();
        assert_eq!(schedule.next(), Some(seconds(160)));
    }
}
