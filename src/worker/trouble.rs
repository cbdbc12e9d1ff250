//! Groups that have failed: why, how often, and when they are tried again. The distance grows from half a minute to a
//! quarter of an hour; a new entry for the group ends it at once.
use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The distance after the first failed cycle; it doubles.
const FIRST_DISTANCE: Duration = Duration::from_secs(30);
/// No distance is longer.
const LONGEST_DISTANCE: Duration = Duration::from_secs(15 * 60);

/// Failed groups, by label.
pub type Troubles = BTreeMap<String, Trouble>;

/// A group that has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Why, for a person.
    pub reason: String,
    /// Cycles that failed, without one that succeeded between them.
    pub attempts: u32,
    /// When it is tried again at the latest, in seconds since the epoch.
    pub next_try: i64,
    /// The newest entry that was tried.
    pub newest: String,
}

/// The distance to the next try after this many failures, at least one.
pub fn distance(failures: u32) -> Duration {
    let doubled = FIRST_DISTANCE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST_DISTANCE)
}

impl Trouble {
    /// The trouble of a group that failed once more, now.
    pub fn after(earlier: Option<&Trouble>, reason: &str, newest: &str, now: Timestamp) -> Self {
        // What is new starts anew.
        let attempts = earlier
            .filter(|earlier| earlier.newest == newest)
            .map_or(0, |earlier| earlier.attempts)
            + 1;
        Trouble {
            reason: reason.to_owned(),
            attempts,
            next_try: now.as_second().saturating_add(distance(attempts).as_secs() as i64),
            newest: newest.to_owned(),
        }
    }

    /// Whether the group, with this newest entry, is left alone at this time.
    pub fn rests(&self, newest: &str, now: Timestamp) -> bool {
        let left = self.next_try.saturating_sub(now.as_second());
        // A longer rest than any that is given comes from a clock that was wrong.
        self.newest == newest && left > 0 && left <= LONGEST_DISTANCE.as_secs() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_distance_doubles_up_to_a_quarter_of_an_hour() {
        let mut trouble: Option<Trouble> = None;
        let mut distances = Vec::new();
        for _ in 0..40 {
            let next = Trouble::after(trouble.as_ref(), "no", "a", at(0));
            distances.push(next.next_try);
            trouble = Some(next);
        }
        assert_eq!(distances[..7], [30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(distances[39], 900);
    }

    #[test]
    fn something_new_ends_the_rest_and_starts_the_distance_anew() {
        let trouble = Trouble::after(None, "no", "a", at(100));
        assert!(trouble.rests("a", at(129)) && !trouble.rests("a", at(130)));
        assert!(!trouble.rests("b", at(101)));
        let twice = Trouble::after(Some(&trouble), "no", "a", at(130));
        assert_eq!(Trouble::after(Some(&twice), "no", "b", at(200)).attempts, 1);
    }

    #[test]
    fn a_clock_that_jumped_back_makes_nobody_wait() {
        let trouble = Trouble::after(None, "no", "a", at(1_000_000));
        assert!(!trouble.rests("a", at(0)));
    }
}
