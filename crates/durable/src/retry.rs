//! Number of attempts, and delays between them.
use std::time::Duration;

use backon::BackoffBuilder;

/// Greatest share of a delay that jitter adds.
pub const MAX_JITTER: f64 = 0.1;

/// Policy of attempts with doubling delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Number of attempts, including the first one. At least 1.
    pub attempts: u32,
    /// Delay after the first attempt.
    pub initial_delay: Duration,
    /// Longest delay, before jitter adds up to [`MAX_JITTER`] of it.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 3,
            initial_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// Returns the delays between attempts: one fewer than there are attempts. `random` returns numbers in `0.0..1.0`.
    pub fn delays(self, mut random: impl FnMut() -> f64) -> impl Iterator<Item = Duration> {
        backon::ExponentialBuilder::new()
            .with_min_delay(self.initial_delay)
            .with_max_delay(self.max_delay)
            .with_factor(2.0)
            .with_max_times(self.attempts.saturating_sub(1) as usize)
            .build()
            .map(move |delay| delay.min(self.max_delay).mul_f64(1.0 + MAX_JITTER * random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_attempts_wait_half_a_second_then_one() {
        let delays: Vec<_> = RetryPolicy::default().delays(|| 0.0).collect();
        assert_eq!(delays, [Duration::from_millis(500), Duration::from_secs(1)]);
    }

    #[test]
    fn delays_stop_growing_at_the_cap_and_jitter_adds_a_tenth_at_most() {
        let policy = RetryPolicy {
            attempts: 9,
            ..RetryPolicy::default()
        };
        let delays: Vec<_> = policy.delays(|| 0.999).collect();
        assert_eq!(delays.len(), 8);
        assert!(delays[0] > Duration::from_millis(500) && delays[0] <= Duration::from_millis(550));
        assert!(delays[7] > Duration::from_secs(10) && delays[7] <= Duration::from_secs(11));
    }

    #[test]
    fn one_attempt_never_waits() {
        let policy = RetryPolicy {
            attempts: 1,
            ..RetryPolicy::default()
        };
        assert_eq!(policy.delays(|| 0.5).count(), 0);
    }
}
