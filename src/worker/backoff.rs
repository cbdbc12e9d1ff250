//! Backoff of groups that failed: the reason, the number of attempts, and the time of the next retry. The delay grows
//! from half a minute to a quarter of an hour. A new entry for the group ends it at once.
use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::mirror::Outcome;

/// Delay after the first failed cycle. It doubles with each further failure.
const FIRST_DELAY: Duration = Duration::from_secs(30);
/// Longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(15 * 60);

/// Failed groups, by label.
pub type Backoffs = BTreeMap<String, Backoff>;

/// State of one group that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Human-readable reason.
    pub reason: String,
    /// Failed cycles in a row.
    pub attempts: u32,
    /// Latest time of the next retry, in seconds since the epoch.
    pub next_try: i64,
    /// Newest entry that was tried.
    pub newest: String,
    /// Outcome of the last attempt. Missing in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Last definite outcome, if the last attempt had none: it neither repeated it nor ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definite: Option<Definite>,
}

/// A definite outcome of an earlier attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definite {
    /// The outcome.
    pub outcome: Outcome,
    /// Human-readable reason.
    pub reason: String,
}

/// Returns the delay before the next retry. `failures` is at least one.
pub fn delay_after(failures: u32) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_DELAY)
}

impl Backoff {
    /// Returns the backoff of a group that has just failed again.
    pub fn after(earlier: Option<&Backoff>, reason: &str, newest: &str, now: Timestamp) -> Self {
        // A new entry starts the count again.
        let attempts = earlier
            .filter(|earlier| earlier.newest == newest)
            .map_or(0, |earlier| earlier.attempts)
            + 1;
        Backoff {
            reason: reason.to_owned(),
            attempts,
            next_try: now.as_second().saturating_add(delay_after(attempts).as_secs() as i64),
            newest: newest.to_owned(),
            outcome: None,
            definite: earlier.and_then(Backoff::definite),
        }
    }

    /// Adds the outcome of the last attempt.
    pub fn with_outcome(self, outcome: Outcome) -> Self {
        Backoff {
            outcome: Some(outcome),
            definite: self.definite.filter(|_| !outcome.is_definite()),
            ..self
        }
    }

    /// Returns the last definite outcome, if there was one since the group failed for the first time.
    pub fn definite(&self) -> Option<Definite> {
        let last = self.outcome.filter(|outcome| outcome.is_definite());
        let last = last.map(|outcome| Definite {
            outcome,
            reason: self.reason.clone(),
        });
        last.or_else(|| self.definite.clone())
    }

    /// Returns true if the last attempt had no definite outcome.
    pub fn is_uncertain(&self) -> bool {
        self.outcome.is_some_and(|outcome| !outcome.is_definite())
    }

    /// Returns true if the group, with this newest entry, must not be retried yet.
    pub fn is_waiting(&self, newest: &str, now: Timestamp) -> bool {
        let left = self.next_try.saturating_sub(now.as_second());
        // A longer wait than the longest delay means that the clock was wrong.
        self.newest == newest && left > 0 && left <= LONGEST_DELAY.as_secs() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_delay_doubles_up_to_a_quarter_of_an_hour() {
        let mut backoff: Option<Backoff> = None;
        let mut distances = Vec::new();
        for _ in 0..40 {
            let next = Backoff::after(backoff.as_ref(), "no", "a", at(0));
            distances.push(next.next_try);
            backoff = Some(next);
        }
        assert_eq!(distances[..7], [30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(distances[39], 900);
    }

    #[test]
    fn a_new_entry_ends_the_wait_and_resets_the_delay() {
        let backoff = Backoff::after(None, "no", "a", at(100));
        assert!(backoff.is_waiting("a", at(129)) && !backoff.is_waiting("a", at(130)));
        assert!(!backoff.is_waiting("b", at(101)));
        let twice = Backoff::after(Some(&backoff), "no", "a", at(130));
        assert_eq!(Backoff::after(Some(&twice), "no", "b", at(200)).attempts, 1);
    }

    #[test]
    fn an_attempt_without_an_answer_keeps_the_last_definite_outcome() {
        let rejected = Backoff::after(None, "no", "a", at(0)).with_outcome(Outcome::Rejected);
        let no = Definite {
            outcome: Outcome::Rejected,
            reason: "no".into(),
        };
        let mut backoff = rejected;
        for outcome in [Outcome::Transient, Outcome::Uncertain] {
            backoff = Backoff::after(Some(&backoff), "503", "b", at(30)).with_outcome(outcome);
            assert_eq!(backoff.definite(), Some(no.clone()), "{outcome:?}");
            assert!(backoff.is_uncertain());
        }
        let diverged = Backoff::after(Some(&backoff), "differs", "b", at(60)).with_outcome(Outcome::Diverged);
        assert_eq!(diverged.definite().map(|last| last.outcome), Some(Outcome::Diverged));
        assert_eq!(diverged.definite, None, "it is the last one");
        let first = Backoff::after(None, "503", "a", at(0)).with_outcome(Outcome::Transient);
        assert_eq!(first.definite(), None);
    }

    #[test]
    fn a_clock_that_jumped_back_causes_no_wait() {
        let backoff = Backoff::after(None, "no", "a", at(1_000_000));
        assert!(!backoff.is_waiting("a", at(0)));
    }
}
