//! Schedule of cycles over many repositories and their mirrors. Pure: the caller passes in a monotonic time.
//!
//! A *target* is one mirror of one repository. It is *due* when the journal has grown, refs have moved or its next time has
//! come. Any number of appends during a cycle, or while the target waits, cause one more cycle. Two limits apply: concurrent
//! cycles to one server, and a budget of starts for each mirror. The budget allows a burst of one minute's starts, so the
//! first push is never delayed. A server that does not answer holds up only the targets on it.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use durable::token_bucket::TokenBucket;

/// One mirror of one repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The repository.
    pub repository: PathBuf,
    /// Name of the mirror among several; none for a single one.
    pub mirror: Option<String>,
}

/// Targets with their times, and budgets of the mirrors.
#[derive(Debug)]
pub struct Schedule {
    targets: BTreeMap<Target, State>,
    budgets: BTreeMap<String, TokenBucket>,
    /// Maximum number of concurrent cycles to one server.
    limit: usize,
}

#[derive(Debug)]
struct State {
    remote: String,
    running: bool,
    /// Time of the next start; while a cycle runs, of the start after it.
    due: Option<Duration>,
    /// Time since when only the budget has kept the cycle from its start.
    unaffordable: Option<Duration>,
}

/// A target whose cycle starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The target.
    pub target: Target,
    /// Time that it waited for the budget of its mirror.
    pub budget_delay: Duration,
}

impl Schedule {
    /// Creates a schedule with at most `limit` concurrent cycles to one server.
    pub fn new(limit: usize) -> Self {
        Schedule {
            targets: BTreeMap::new(),
            budgets: BTreeMap::new(),
            limit: limit.max(1),
        }
    }

    /// Adds a target, which is due at once, or updates its remote. Also sets the budget of the remote: starts per minute, 0
    /// for unlimited. The last call decides.
    pub fn set(&mut self, target: &Target, remote: &str, per_minute: u32, now: Duration) {
        let state = self.targets.entry(target.clone()).or_insert_with(|| State {
            remote: String::new(),
            running: false,
            due: Some(now),
            unaffordable: None,
        });
        remote.clone_into(&mut state.remote);
        let budget = self.budgets.entry(remote.to_owned());
        budget
            .or_insert(TokenBucket::new(per_minute, per_minute))
            .set_rate(per_minute, per_minute);
    }

    /// Removes the targets that are not in `there`, except those with a running cycle.
    pub fn retain(&mut self, there: &BTreeSet<Target>) {
        self.targets
            .retain(|target, state| state.running || there.contains(target));
    }

    /// Makes the targets of this repository due at `time`, unless they are due before, because its journal has grown or its
    /// refs have moved.
    pub fn wake(&mut self, repository: &Path, time: Duration) {
        let of_repository = self
            .targets
            .iter_mut()
            .filter(|(target, _)| target.repository == repository);
        for (_, state) in of_repository {
            state.due = Some(state.due.map_or(time, |due| due.min(time)));
        }
    }

    /// Makes every target due.
    pub fn wake_all(&mut self, now: Duration) {
        self.targets.values_mut().for_each(|state| state.due = Some(now));
    }

    /// Ends the cycle of this target. Without new entries, the next one starts at `next`.
    pub fn finished(&mut self, target: &Target, next: Duration) {
        if let Some(state) = self.targets.get_mut(target) {
            state.running = false;
            state.due = Some(state.due.map_or(next, |due| due.min(next)));
        }
    }

    /// Puts back the budget token of a cycle that sent nothing to its mirror.
    pub fn give_back(&mut self, target: &Target) {
        let remote = self.targets.get(target).map(|state| &state.remote);
        if let Some(budget) = remote.and_then(|remote| self.budgets.get_mut(remote)) {
            budget.give_back();
        }
    }

    /// Returns the targets that start now, the longest due first. They count as running until
    /// [`finished()`](Self::finished) is called.
    pub fn start(&mut self, now: Duration) -> Vec<Start> {
        let mut due: Vec<(Duration, Target)> = Vec::new();
        for (target, state) in &self.targets {
            due.extend(
                state
                    .due
                    .filter(|due| !state.running && *due <= now)
                    .map(|due| (due, target.clone())),
            );
        }
        due.sort();
        let mut running = self.running_by_server();
        let mut started = Vec::new();
        for (_, target) in due {
            let Some(state) = self.targets.get_mut(&target) else {
                continue;
            };
            let of_server = running.entry(server(&state.remote).to_owned()).or_default();
            if *of_server >= self.limit {
                continue;
            }
            let budget = self.budgets.get_mut(&state.remote);
            if budget.is_none_or(|budget| budget.try_take(now)) {
                *of_server += 1;
                state.running = true;
                state.due = None;
                let budget_delay = state.unaffordable.take().map_or(Duration::ZERO, |since| now - since);
                started.push(Start { target, budget_delay });
            } else {
                state.unaffordable.get_or_insert(now);
            }
        }
        started
    }

    /// Returns the number of running cycles.
    pub fn running(&self) -> usize {
        self.targets.values().filter(|state| state.running).count()
    }

    fn running_by_server(&self) -> BTreeMap<String, usize> {
        let mut running = BTreeMap::new();
        for state in self.targets.values().filter(|state| state.running) {
            *running.entry(server(&state.remote).to_owned()).or_default() += 1;
        }
        running
    }

    /// Returns the number of targets.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Returns true if there are no targets.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Returns true if the repository has no other target than this one.
    pub fn is_alone(&self, target: &Target) -> bool {
        let mut of_repository = self
            .targets
            .keys()
            .filter(|other| other.repository == target.repository);
        of_repository.all(|other| other == target)
    }

    /// Returns the time of the next start if no event arrives before. Returns none if only an event can cause one.
    pub fn next_start(&self, now: Duration) -> Option<Duration> {
        let running = self.running_by_server();
        let is_full = |state: &&State| {
            running
                .get(server(&state.remote))
                .is_some_and(|running| *running >= self.limit)
        };
        let waiting = self.targets.values().filter(|state| !state.running);
        let starts = waiting.filter(|state| !is_full(state)).filter_map(|state| {
            let affordable = self.budgets.get(&state.remote).map_or(now, |budget| budget.next_at());
            Some(state.due?.max(affordable))
        });
        starts.min()
    }
}

/// Returns the server of a remote, without which no cycle to it ends: the host of a URL, or the name of a remote. All local
/// paths are one server.
fn server(remote: &str) -> &str {
    if let Some((_, rest)) = remote.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        return authority.rsplit('@').next().unwrap_or_default();
    }
    match remote.split_once(':') {
        // As in `git@host:path`.
        Some((host, _)) if !host.contains('/') => host.rsplit('@').next().unwrap_or_default(),
        _ if remote.contains('/') => "",
        _ => remote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn target(name: &str) -> Target {
        Target {
            repository: name.into(),
            mirror: None,
        }
    }

    /// Targets that start.
    fn started(schedule: &mut Schedule, now: u64) -> Vec<Target> {
        let starts = schedule.start(seconds(now)).into_iter();
        starts.map(|start| start.target).collect()
    }

    fn schedule(names: &[&str], per_minute: u32, limit: usize) -> Schedule {
        let mut schedule = Schedule::new(limit);
        for name in names {
            schedule.set(&target(name), "mirror", per_minute, seconds(0));
        }
        schedule
    }

    #[test]
    fn the_first_cycle_starts_at_once_and_appends_during_it_make_one_more() {
        let mut schedule = schedule(&["a"], 6, 4);
        assert_eq!(started(&mut schedule, 0), [target("a")]);
        for now in 1..5 {
            schedule.wake(Path::new("a"), seconds(now));
            assert!(schedule.start(seconds(now)).is_empty());
        }
        schedule.finished(&target("a"), seconds(900));
        assert_eq!(schedule.start(seconds(5)).len(), 1);
        schedule.finished(&target("a"), seconds(900));
        assert!(schedule.start(seconds(6)).is_empty());
        assert_eq!(schedule.next_start(seconds(6)), Some(seconds(900)));
    }

    #[test]
    fn a_cycle_before_the_time_of_a_wake_takes_its_place() {
        let mut schedule = schedule(&["a"], 0, 4);
        schedule.wake(Path::new("a"), seconds(3));
        assert_eq!(schedule.start(seconds(0)).len(), 1, "a new repository is due at once");
        schedule.finished(&target("a"), seconds(900));
        schedule.wake(Path::new("a"), seconds(4));
        assert!(schedule.start(seconds(3)).is_empty());
        schedule.wake(Path::new("a"), seconds(3));
        assert_eq!(schedule.start(seconds(3)).len(), 1);
        schedule.finished(&target("a"), seconds(900));
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
                schedule.finished(&target("a"), seconds(9000));
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
            schedule.give_back(&target("a"));
            schedule.finished(&target("a"), seconds(9000));
        }
        let mut starts = 0;
        for _ in 0..9 {
            schedule.wake(Path::new("a"), seconds(20));
            starts += schedule.start(seconds(20)).len();
            schedule.finished(&target("a"), seconds(9000));
        }
        assert_eq!(starts, 2, "the budget never grows beyond its size");
    }

    #[test]
    fn the_next_start_is_when_the_budget_allows_it() {
        let mut schedule = schedule(&["a"], 1, 4);
        schedule.start(seconds(0));
        schedule.finished(&target("a"), seconds(9000));
        schedule.wake(Path::new("a"), seconds(10));
        assert!(schedule.start(seconds(10)).is_empty());
        assert_eq!(schedule.next_start(seconds(10)), Some(seconds(60)));
        let start = Start {
            target: target("a"),
            budget_delay: seconds(50),
        };
        assert_eq!(schedule.start(seconds(60)), [start]);
    }

    #[test]
    fn no_more_than_the_limit_run_and_the_longest_due_goes_first() {
        let mut schedule = schedule(&["a", "b", "c"], 0, 2);
        assert_eq!(started(&mut schedule, 0), [target("a"), target("b")]);
        assert_eq!(schedule.next_start(seconds(0)), None);
        schedule.wake(Path::new("a"), seconds(1));
        schedule.finished(&target("a"), seconds(900));
        // `c` has been due for longer than `a`.
        assert_eq!(started(&mut schedule, 2), [target("c")]);
    }

    #[test]
    fn repositories_share_the_budget_of_their_mirror_only() {
        let mut schedule = schedule(&["a", "b"], 1, 9);
        schedule.set(&target("c"), "another", 1, seconds(0));
        assert_eq!(started(&mut schedule, 0), [target("a"), target("c")]);
    }

    #[test]
    fn a_removed_repository_stays_until_its_cycle_ends() {
        let mut schedule = schedule(&["a", "b"], 0, 1);
        schedule.start(seconds(0));
        schedule.retain(&BTreeSet::new());
        assert_eq!((schedule.len(), schedule.running()), (1, 1));
        schedule.finished(&target("a"), seconds(1));
        schedule.retain(&BTreeSet::new());
        assert!(schedule.is_empty());
    }

    #[test]
    fn a_server_that_hangs_holds_up_no_other() {
        let mut schedule = Schedule::new(1);
        let of = |repository: &str, mirror: &str| Target {
            repository: repository.into(),
            mirror: Some(mirror.into()),
        };
        for repository in ["a", "b"] {
            for host in ["slow", "fast"] {
                let remote = format!("https://{host}/{repository}.git");
                schedule.set(&of(repository, host), &remote, 0, seconds(0));
            }
        }
        assert_eq!(started(&mut schedule, 0), [of("a", "fast"), of("a", "slow")]);
        assert_eq!(schedule.next_start(seconds(0)), None);
        schedule.finished(&of("a", "fast"), seconds(900));
        assert_eq!(schedule.next_start(seconds(0)), Some(seconds(0)));
        assert_eq!(started(&mut schedule, 1), [of("b", "fast")], "slow is still running");
        schedule.finished(&of("b", "fast"), seconds(900));
        schedule.wake(Path::new("a"), seconds(2));
        assert_eq!(started(&mut schedule, 2), [of("a", "fast")]);
        assert!(!schedule.is_alone(&of("a", "fast")) && schedule.is_alone(&target("x")));
    }

    #[test]
    fn the_server_of_a_remote_is_its_host() {
        for (remote, expected) in [
            ("https://u:p@h:1/o/r.git", "h:1"),
            ("ssh://git@h/o", "h"),
            ("git@h:o/r.git", "h"),
            ("/srv/r.git", ""),
            ("../r.git", ""),
            ("github", "github"),
            ("", ""),
        ] {
            assert_eq!(server(remote), expected, "{remote}");
        }
    }
}
