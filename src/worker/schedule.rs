//! Schedule of cycles over many repositories. Pure: the caller passes in a monotonic time.
//!
//! A repository is *due* when its journal has grown, its refs have moved or its next time has come. Any number of appends
//! during a cycle, or while the repository waits, cause one more cycle. Two limits apply: concurrent cycles, and a budget of
//! starts for each mirror. The budget allows a burst of one minute's starts, so the first push is never delayed.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use durable::token_bucket::TokenBucket;

/// Repositories with their times, and budgets of their mirrors.
#[derive(Debug)]
pub struct Schedule {
    repositories: BTreeMap<PathBuf, State>,
    budgets: BTreeMap<String, TokenBucket>,
    /// Maximum number of concurrent cycles.
    limit: usize,
}

#[derive(Debug)]
struct State {
    mirror: String,
    running: bool,
    /// Time of the next start; while a cycle runs, of the start after it.
    due: Option<Duration>,
}

impl Schedule {
    /// Creates a schedule with at most `limit` concurrent cycles.
    pub fn new(limit: usize) -> Self {
        Schedule {
            repositories: BTreeMap::new(),
            budgets: BTreeMap::new(),
            limit: limit.max(1),
        }
    }

    /// Adds a repository, which is due at once, or updates its mirror. Also sets the budget of the mirror: starts per
    /// minute, 0 for unlimited. The last call decides.
    pub fn set(&mut self, repository: &Path, mirror: &str, per_minute: u32, now: Duration) {
        let state = self.repositories.entry(repository.to_owned()).or_insert_with(|| State {
            mirror: String::new(),
            running: false,
            due: Some(now),
        });
        mirror.clone_into(&mut state.mirror);
        let budget = self.budgets.entry(mirror.to_owned());
        budget
            .or_insert(TokenBucket::new(per_minute, per_minute))
            .set_rate(per_minute, per_minute);
    }

    /// Removes the repositories that are not in `there`, except those with a running cycle.
    pub fn retain(&mut self, there: &BTreeSet<PathBuf>) {
        self.repositories
            .retain(|path, state| state.running || there.contains(path));
    }

    /// Makes this repository due at `time`, unless it is due earlier. The reason is that its journal has grown or its
    /// refs have moved.
    pub fn wake(&mut self, repository: &Path, time: Duration) {
        if let Some(state) = self.repositories.get_mut(repository) {
            state.due = Some(state.due.map_or(time, |due| due.min(time)));
        }
    }

    /// Makes every repository due.
    pub fn wake_all(&mut self, now: Duration) {
        self.repositories.values_mut().for_each(|state| state.due = Some(now));
    }

    /// Ends the cycle over this repository. Without new entries, the next one starts at `next`.
    pub fn finished(&mut self, repository: &Path, next: Duration) {
        if let Some(state) = self.repositories.get_mut(repository) {
            state.running = false;
            state.due = Some(state.due.map_or(next, |due| due.min(next)));
        }
    }

    /// Puts back the budget token of a cycle that sent nothing to its mirror.
    pub fn give_back(&mut self, repository: &Path) {
        let mirror = self.repositories.get(repository).map(|state| &state.mirror);
        if let Some(budget) = mirror.and_then(|mirror| self.budgets.get_mut(mirror)) {
            budget.give_back();
        }
    }

    /// Returns the repositories that start now, the longest due first. They count as running until
    /// [`finished()`](Self::finished) is called.
    pub fn start(&mut self, now: Duration) -> Vec<PathBuf> {
        let mut due: Vec<(Duration, PathBuf)> = Vec::new();
        for (path, state) in &self.repositories {
            due.extend(
                state
                    .due
                    .filter(|due| !state.running && *due <= now)
                    .map(|due| (due, path.clone())),
            );
        }
        due.sort();
        let mut started = Vec::new();
        for (_, path) in due {
            if self.running() >= self.limit {
                break;
            }
            let Some(state) = self.repositories.get_mut(&path) else {
                continue;
            };
            if self
                .budgets
                .get_mut(&state.mirror)
                .is_none_or(|budget| budget.try_take(now))
            {
                state.running = true;
                state.due = None;
                started.push(path);
            }
        }
        started
    }

    /// Returns the number of running cycles.
    pub fn running(&self) -> usize {
        self.repositories.values().filter(|state| state.running).count()
    }

    /// Returns the number of repositories.
    pub fn len(&self) -> usize {
        self.repositories.len()
    }

    /// Returns true if there are no repositories.
    pub fn is_empty(&self) -> bool {
        self.repositories.is_empty()
    }

    /// Returns the time of the next start if no event arrives before. Returns none if only an event can cause one.
    pub fn next_start(&self, now: Duration) -> Option<Duration> {
        if self.running() >= self.limit {
            return None;
        }
        let waiting = self.repositories.values().filter(|state| !state.running);
        let starts = waiting.filter_map(|state| {
            let affordable = self.budgets.get(&state.mirror).map_or(now, |budget| budget.next_at());
            Some(state.due?.max(affordable))
        });
        starts.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn schedule(names: &[&str], per_minute: u32, limit: usize) -> Schedule {
        let mut schedule = Schedule::new(limit);
        for name in names {
            schedule.set(Path::new(name), "mirror", per_minute, seconds(0));
        }
        schedule
    }

    #[test]
    fn the_first_cycle_starts_at_once_and_appends_during_it_make_one_more() {
        let mut schedule = schedule(&["a"], 6, 4);
        assert_eq!(schedule.start(seconds(0)), [PathBuf::from("a")]);
        for now in 1..5 {
            schedule.wake(Path::new("a"), seconds(now));
            assert!(schedule.start(seconds(now)).is_empty());
        }
        schedule.finished(Path::new("a"), seconds(900));
        assert_eq!(schedule.start(seconds(5)).len(), 1);
        schedule.finished(Path::new("a"), seconds(900));
        assert!(schedule.start(seconds(6)).is_empty());
        assert_eq!(schedule.next_start(seconds(6)), Some(seconds(900)));
    }

    #[test]
    fn a_cycle_before_the_time_of_a_wake_takes_its_place() {
        let mut schedule = schedule(&["a"], 0, 4);
        schedule.wake(Path::new("a"), seconds(3));
        assert_eq!(schedule.start(seconds(0)).len(), 1, "a new repository is due at once");
        schedule.finished(Path::new("a"), seconds(900));
        schedule.wake(Path::new("a"), seconds(4));
        assert!(schedule.start(seconds(3)).is_empty());
        schedule.wake(Path::new("a"), seconds(3));
        assert_eq!(schedule.start(seconds(3)).len(), 1);
        schedule.finished(Path::new("a"), seconds(900));
        assert!(schedule.start(seconds(4)).is_empty());
    }

    #[test]
    fn a_budget_allows_a_burst_and_then_its_rate() {
        let mut schedule = schedule(&["a"], 6, 4);
        let mut starts = Vec::new();
        for now in 0..120 {
            schedule.wake(Path::new("a"), seconds(now));
            if !schedule.start(seconds(now)).is_empty() {
                starts.push(now);
                schedule.finished(Path::new("a"), seconds(9000));
            }
        }
        assert_eq!(starts[..6], [0, 1, 2, 3, 4, 5]);
        assert_eq!(starts.len(), 6 + 11, "{starts:?}");
    }

    #[test]
    fn a_cycle_without_requests_costs_no_token() {
        let mut schedule = schedule(&["a"], 2, 4);
        for now in 0..20 {
            schedule.wake(Path::new("a"), seconds(now));
            assert_eq!(schedule.start(seconds(now)).len(), 1, "{now}");
            schedule.give_back(Path::new("a"));
            schedule.finished(Path::new("a"), seconds(9000));
        }
        let mut starts = 0;
        for _ in 0..9 {
            schedule.wake(Path::new("a"), seconds(20));
            starts += schedule.start(seconds(20)).len();
            schedule.finished(Path::new("a"), seconds(9000));
        }
        assert_eq!(starts, 2, "the budget never grows beyond its size");
    }

    #[test]
    fn the_next_start_is_when_the_budget_allows_it() {
        let mut schedule = schedule(&["a"], 1, 4);
        schedule.start(seconds(0));
        schedule.finished(Path::new("a"), seconds(9000));
        schedule.wake(Path::new("a"), seconds(10));
        assert!(schedule.start(seconds(10)).is_empty());
        assert_eq!(schedule.next_start(seconds(10)), Some(seconds(60)));
        assert_eq!(schedule.start(seconds(60)).len(), 1);
    }

    #[test]
    fn no_more_than_the_limit_run_and_the_longest_due_goes_first() {
        let mut schedule = schedule(&["a", "b", "c"], 0, 2);
        assert_eq!(schedule.start(seconds(0)), [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(schedule.next_start(seconds(0)), None);
        schedule.wake(Path::new("a"), seconds(1));
        schedule.finished(Path::new("a"), seconds(900));
        // `c` has been due for longer than `a`.
        assert_eq!(schedule.start(seconds(2)), [PathBuf::from("c")]);
    }

    #[test]
    fn repositories_share_the_budget_of_their_mirror_only() {
        let mut schedule = schedule(&["a", "b"], 1, 9);
        schedule.set(Path::new("c"), "another", 1, seconds(0));
        assert_eq!(schedule.start(seconds(0)), [PathBuf::from("a"), PathBuf::from("c")]);
    }

    #[test]
    fn a_removed_repository_stays_until_its_cycle_ends() {
        let mut schedule = schedule(&["a", "b"], 0, 1);
        schedule.start(seconds(0));
        schedule.retain(&BTreeSet::new());
        assert_eq!((schedule.len(), schedule.running()), (1, 1));
        schedule.finished(Path::new("a"), seconds(1));
        schedule.retain(&BTreeSet::new());
        assert!(schedule.is_empty());
    }
}
