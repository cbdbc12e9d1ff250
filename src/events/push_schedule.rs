//! PURE: when the next push is made. Commits that are there are pushed at once, as far as the budget for the remote goes; what
//! failed is tried again with the next commit, and by itself with growing distance.
use std::time::Duration;

use durable::retry::RetryPolicy;

/// The default budget, in pushes a minute: with the default batches, an event does not wait longer for it than for its batch.
pub const PUSHES_PER_MINUTE: u32 = 12;

/// So many pushes may follow each other at once.
const BURST: u32 = 6;
/// The distances between attempts of what fails.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: 16,
    initial_delay: Duration::from_secs(5),
    max_delay: Duration::from_secs(300),
};

/// What there is to push, and when that may be. Times are those of a monotonic clock.
#[derive(Debug)]
pub struct PushSchedule {
    /// How long it takes until the budget has one more push; zero without a budget.
    refill: Duration,
    /// When the budget is whole again.
    whole: Duration,
    /// Something was committed since the last attempt.
    has_more: bool,
    /// Failures in a row, and when to try again though nothing more is committed.
    failures: usize,
    retry_at: Option<Duration>,
    /// The remote asked not to be asked before.
    not_before: Duration,
}

impl PushSchedule {
    /// Begins with an attempt: there may be commits from before. Without a budget for 0 pushes a minute.
    pub fn new(pushes_per_minute: u32) -> Self {
        PushSchedule {
            refill: match pushes_per_minute {
                0 => Duration::ZERO,
                pushes => Duration::from_secs(60) / pushes,
            },
            whole: Duration::ZERO,
            has_more: true,
            failures: 0,
            retry_at: None,
            not_before: Duration::ZERO,
        }
    }

    /// Something was committed.
    pub fn committed(&mut self) {
        self.has_more = true;
    }

    /// When the next attempt is to be made; never, as things stand, for `None`.
    pub fn next(&self) -> Option<Duration> {
        let wanted = match self.has_more {
            true => Duration::ZERO,
            false => self.retry_at?,
        };
        let budget = self.whole.saturating_sub(self.refill * (BURST - 1));
        Some(wanted.max(budget).max(self.not_before))
    }

    /// Whether something is not known to be on the remote.
    pub fn is_behind(&self) -> bool {
        self.has_more || self.retry_at.is_some()
    }

    /// An attempt is made.
    pub fn begin(&mut self, now: Duration) {
        self.whole = self.whole.max(now) + self.refill;
        self.has_more = false;
    }

    /// It succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// It failed, and the remote asked to wait so long.
    pub fn failed(&mut self, now: Duration, retry_after: Option<Duration>, random: f64) {
        self.failures += 1;
        let mut distances = RETRY.delays(|| random);
        let distance = distances.nth(self.failures - 1).unwrap_or(RETRY.max_delay);
        self.retry_at = Some(now + distance);
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
    fn what_failed_is_tried_again_with_growing_distance_and_with_the_next_commit() {
        let mut schedule = PushSchedule::new(0);
        let mut distances = Vec::new();
        for _ in 0..20 {
            schedule.begin(seconds(100));
            schedule.failed(seconds(100), None, 0.0);
            assert!(schedule.is_behind());
            distances.push(schedule.next().expect("again").as_secs() - 100);
        }
        assert_eq!(distances[..8], [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(distances[19], 300);
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
    fn who_asks_to_be_left_alone_is() {
        let mut schedule = PushSchedule::new(0);
        schedule.begin(seconds(100));
        schedule.failed(seconds(100), Some(seconds(60)), 0.0);
        schedule.committed();
        assert_eq!(schedule.next(), Some(seconds(160)));
    }
}
