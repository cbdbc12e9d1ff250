//! State of one mirror, from the reports of its cycles. Pure: times come from the caller.
use std::collections::{BTreeMap, VecDeque};

use bstr::ByteSlice;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    mirror::{Grouping, Outcome},
    worker::{CycleOutcome, CycleReport, EndedCycle, GroupOutcome, GroupReport, RepositoryStatus, RunError},
};

/// Maximum number of samples of the lag.
pub const MOST_SAMPLES: usize = 288;
/// Time that one sample covers, in seconds: all of them are a day.
const SAMPLE: i64 = 24 * 60 * 60 / MOST_SAMPLES as i64;
/// Maximum number of pushes that are kept.
pub const MOST_PUSHES: usize = 20;
/// Time whose pushes count for readiness, in seconds.
const RECENT: i64 = 5 * 60;
/// Time after which a cycle that has not ended, or a lock that is not free, counts as trouble, in seconds. The longest interval
/// between cycles is as long.
const LONGEST_CYCLE: i64 = 15 * 60;
/// Limit of pushes that count. A budget of pushes is far below it.
const MOST_RECENT: usize = 10_000;

/// State of one mirror.
#[derive(Debug, Default)]
pub struct MirrorState {
    /// Last status that could be read.
    pub status: Option<RepositoryStatus>,
    /// Begin of the cycle that is running.
    pub running_since: Option<Timestamp>,
    /// End of the last cycle that ran.
    pub last_cycle_at: Option<Timestamp>,
    /// Last time at which the mirror was known to have everything.
    pub last_success_at: Option<Timestamp>,
    /// Reason why the last cycle could not run.
    pub error: Option<String>,
    /// True if a watch runs the cycles.
    pub is_watched: bool,
    /// Time since when another worker has held the lock, else since when no cycle could run because of that.
    pub locked_since: Option<Timestamp>,
    /// Reason why the mirror could not be reached at the last try.
    pub unreachable: Option<String>,
    /// Groups that are not mirrored, with their last definite outcome, else with the outcome of their last attempt.
    pub held: BTreeMap<String, Outcome>,
    /// Pushes, newest first.
    pub pushes: VecDeque<Push>,
    /// Longest lag, in seconds, by the start of its sample.
    lags: BTreeMap<i64, f64>,
    recent: VecDeque<Recent>,
}

/// A cycle that pushed, in the shape of `/status`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Push {
    /// End of the cycle.
    pub at: Timestamp,
    /// Outcome of the cycle.
    pub outcome: &'static str,
    /// Number of refs.
    pub refs: usize,
    /// Bytes of the request bodies.
    pub bytes: u64,
    /// Duration of the cycle, in milliseconds.
    pub elapsed_ms: u64,
    /// Error of the first group that is not mirrored.
    pub error: Option<String>,
}

/// Pushes of groups in one cycle.
#[derive(Debug, Clone, Copy)]
struct Recent {
    second: i64,
    succeeded: usize,
    tried: usize,
}

impl MirrorState {
    /// Takes a cycle that has ended, and the status after it, if it could be read.
    pub fn cycle_ended(&mut self, ended: &EndedCycle<'_>, status: Option<&RepositoryStatus>) {
        match ended.result {
            Ok(report) => {
                self.last_cycle_at = Some(ended.at);
                (self.error, self.locked_since) = (None, None);
                self.reported(report, ended.at);
            }
            Err(error) => {
                let other = status.and_then(|status| status.worker.running_since());
                self.not_run(error, other, ended.at);
            }
        }
        if let Some(status) = status {
            self.hold(status, ended.result.ok());
            self.last_success_at = self.last_success_at.max(status.last_success);
            self.status = Some(status.clone());
        }
    }

    /// Returns whether the mirror was reachable at the last try; none before the first one.
    pub fn is_reachable(&self) -> Option<bool> {
        let was_tried = self.last_cycle_at.is_some() || self.unreachable.is_some();
        was_tried.then_some(self.unreachable.is_none())
    }

    /// Returns the reason why cycles cannot run.
    pub fn cannot_run(&self, now: Timestamp) -> Option<String> {
        let locked = self.locked_since.filter(|since| is_long(*since, now));
        let locked =
            locked.map(|since| format!("no cycle could run since {since:.0}, because another worker holds the lock"));
        self.error.clone().or(locked)
    }

    /// Returns the reason why the cycle that is running is suspicious.
    pub fn hangs(&self, now: Timestamp) -> Option<String> {
        let since = self.running_since.filter(|since| is_long(*since, now))?;
        Some(format!("a cycle has been running since {since:.0}, and has not ended"))
    }

    /// Keeps the groups that are still not mirrored: those with pending entries, and those that the comparison left to the
    /// operator or found broken, which need not have any.
    fn hold(&mut self, status: &RepositoryStatus, report: Option<&CycleReport>) {
        let grouping = Grouping::default();
        let differing = status.differing.iter();
        let diverged: Vec<String> = differing
            .filter(|differing| differing.standing.would_be_overwritten())
            .map(|differing| grouping.label(differing.name.as_bytes().as_bstr()).to_string())
            .collect();
        let is_broken = |label: &str| {
            let is_it =
                |group: &GroupReport| group.group == label && group.outcome == GroupOutcome::Settled(Outcome::Broken);
            report.is_none_or(|report| report.groups.iter().any(is_it))
        };
        self.held.retain(|label, outcome| {
            let is_pending = status.groups.iter().any(|group| group.group == *label);
            is_pending || (*outcome == Outcome::Broken && is_broken(label))
        });
        // The worker's memory also knows the cycles of other processes.
        for group in &status.groups {
            if let Some(outcome) = group.held {
                self.held.insert(group.group.clone(), outcome);
            }
        }
        for label in diverged {
            self.held.entry(label).or_insert(Outcome::Diverged);
        }
    }

    /// Returns the samples of the lag, oldest first: the start of each, in seconds since the epoch, and the longest lag.
    pub fn lag_samples(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        self.lags.iter().map(|(start, lag)| (*start, *lag))
    }

    /// Returns the numbers of successful and of all pushes of groups in the last 5 minutes.
    pub fn recent_pushes(&self, now: Timestamp) -> (usize, usize) {
        let since = now.as_second() - RECENT;
        let recent = self.recent.iter().filter(|recent| recent.second >= since);
        recent.fold((0, 0), |(succeeded, tried), recent| {
            (succeeded + recent.succeeded, tried + recent.tried)
        })
    }

    fn reported(&mut self, report: &CycleReport, at: Timestamp) {
        if report.outcome == CycleOutcome::Mirrored {
            self.last_success_at = Some(at);
        }
        if let Some(reached) = reached(report) {
            self.unreachable = reached.err();
        }
        for group in &report.groups {
            let label = group.group.clone();
            match group.outcome {
                GroupOutcome::Settled(Outcome::Mirrored) | GroupOutcome::Planned => self.held.remove(&label),
                GroupOutcome::Settled(outcome) => {
                    let earlier = self.held.get(&label).filter(|_| !outcome.is_definite());
                    let earlier = earlier.copied().filter(|earlier| earlier.is_definite());
                    self.held.insert(label, earlier.unwrap_or(outcome))
                }
            };
        }
        self.sample(report, at.as_second());
        if report.groups.iter().any(|group| group.attempts > 0) {
            self.pushed(report, at);
        }
    }

    /// Another worker that holds the lock reports on its own cycle. This process may be too short to see how long that takes.
    fn not_run(&mut self, error: &RunError, running_since: Option<Timestamp>, at: Timestamp) {
        if let RunError::Locked(_) = error {
            self.error = None;
            self.locked_since = running_since.or(self.locked_since).or(Some(at));
            return;
        }
        self.error = Some(error.to_string());
        self.locked_since = None;
        if let RunError::Remote(error) = error {
            self.unreachable = Some(error.to_string());
        }
    }

    fn sample(&mut self, report: &CycleReport, now: i64) {
        let start = now - now.rem_euclid(SAMPLE);
        let oldest = start - SAMPLE * (MOST_SAMPLES as i64 - 1);
        // A sample of the future is of a clock that was wrong.
        self.lags.retain(|other, _| (oldest..=start).contains(other));
        if let Some(lag) = report.lags.iter().max() {
            let sample = self.lags.entry(start).or_default();
            *sample = sample.max(lag.as_secs_f64());
        }
    }

    fn pushed(&mut self, report: &CycleReport, at: Timestamp) {
        self.pushes.push_front(Push {
            at,
            outcome: report.outcome.word(),
            refs: report.groups.iter().map(|group| group.refs.len()).sum(),
            bytes: report.bytes_sent,
            elapsed_ms: report.elapsed_ms,
            error: report.groups.iter().find_map(|group| group.error.clone()),
        });
        self.pushes.truncate(MOST_PUSHES);
        let is_mirrored = |group: &&GroupReport| group.outcome == GroupOutcome::Settled(Outcome::Mirrored);
        self.recent.push_back(Recent {
            second: at.as_second(),
            succeeded: report.groups.iter().filter(is_mirrored).count(),
            tried: report.groups.len(),
        });
        let since = at.as_second() - RECENT;
        while self
            .recent
            .front()
            .is_some_and(|oldest| oldest.second < since || self.recent.len() > MOST_RECENT)
        {
            self.recent.pop_front();
        }
    }
}

/// Returns true if more time has passed than a cycle takes.
fn is_long(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).as_secs() >= LONGEST_CYCLE
}

/// Returns whether the mirror could be reached, with the reason if not; none if it was not tried.
fn reached(report: &CycleReport) -> Option<Result<(), String>> {
    if report.missing.is_some() {
        // There is no mirror to reach.
        return Some(Ok(()));
    }
    if let Some(failed) = &report.comparison {
        return Some(Err(failed.error.clone()));
    }
    let has = |outcomes: &[Outcome]| {
        let is_one =
            |group: &&GroupReport| matches!(group.outcome, GroupOutcome::Settled(one) if outcomes.contains(&one));
        report.groups.iter().find(is_one)
    };
    if has(&[Outcome::Mirrored, Outcome::Rejected, Outcome::Diverged]).is_some() {
        return Some(Ok(()));
    }
    match has(&[Outcome::Transient, Outcome::Uncertain, Outcome::Misconfigured]) {
        Some(group) => Some(Err(group.error.clone().unwrap_or_default())),
        None => report.asked.then_some(Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        mirror::Standing,
        worker::{DifferingRef, GroupStatus},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    /// A report of one group with this outcome.
    fn report(outcome: Outcome) -> CycleReport {
        let is_mirrored = outcome == Outcome::Mirrored;
        let cycle = if is_mirrored {
            CycleOutcome::Mirrored
        } else {
            CycleOutcome::Incomplete
        };
        CycleReport {
            groups: vec![GroupReport {
                group: "main".into(),
                namespace: Some("main".into()),
                outcome: GroupOutcome::Settled(outcome),
                attempts: 1,
                attempted: vec![outcome],
                entries: 1,
                watermark: None,
                refs: Vec::new(),
                error: (!is_mirrored).then(|| "no answer".to_owned()),
                server_words: Vec::new(),
                advice: None,
            }],
            asked: true,
            ..CycleReport::empty(cycle, usize::from(!is_mirrored), 0)
        }
    }

    fn ended<'a>(report: &'a CycleReport, second: i64) -> EndedCycle<'a> {
        EndedCycle::new(Path::new("/r.git"), None, at(second), Ok(report))
    }

    #[test]
    fn a_push_that_fails_makes_the_mirror_unreachable_until_one_succeeds() {
        let mut state = MirrorState::default();
        let failed = report(Outcome::Transient);
        state.cycle_ended(&ended(&failed, 100), None);
        assert_eq!(state.unreachable.as_deref(), Some("no answer"));
        assert_eq!((state.last_cycle_at, state.last_success_at), (Some(at(100)), None));
        assert_eq!(state.held.get("main"), Some(&Outcome::Transient));
        // A cycle that asks nothing does not know.
        let idle = CycleReport::empty(CycleOutcome::Incomplete, 1, 0);
        state.cycle_ended(&ended(&idle, 200), None);
        assert!(state.unreachable.is_some());
        let mirrored = report(Outcome::Mirrored);
        state.cycle_ended(&ended(&mirrored, 300), None);
        assert!(state.unreachable.is_none() && state.held.is_empty());
        assert_eq!(state.last_success_at, Some(at(300)));
        assert_eq!(state.recent_pushes(at(300)), (1, 2));
        assert_eq!(state.recent_pushes(at(401)), (1, 1), "five minutes count");
        let outcomes: Vec<_> = state.pushes.iter().map(|push| push.outcome).collect();
        assert_eq!(outcomes, ["mirrored", "incomplete"]);
        let rejected = report(Outcome::Rejected);
        state.cycle_ended(&ended(&rejected, 400), None);
        assert!(state.unreachable.is_none(), "a server that refuses was reached");
    }

    #[test]
    fn a_rejection_is_held_until_the_server_decides_otherwise() {
        let mut state = MirrorState::default();
        let held = |state: &MirrorState| state.held.get("main").copied();
        for (outcome, expected) in [
            (Outcome::Uncertain, Outcome::Uncertain),
            (Outcome::Transient, Outcome::Transient),
            (Outcome::Rejected, Outcome::Rejected),
            (Outcome::Transient, Outcome::Rejected),
            (Outcome::Uncertain, Outcome::Rejected),
            (Outcome::Misconfigured, Outcome::Misconfigured),
        ] {
            state.cycle_ended(&ended(&report(outcome), 100), None);
            assert_eq!(held(&state), Some(expected), "after {outcome:?}");
        }
        // Another process had the rejection.
        let remembered = RepositoryStatus {
            groups: vec![GroupStatus {
                group: "main".into(),
                pending: 1,
                oldest_pending: at(0),
                attempts: 2,
                reason: Some("no answer".into()),
                next_try: None,
                server_words: Vec::new(),
                advice: None,
                held: Some(Outcome::Rejected),
            }],
            ..status()
        };
        let mut fresh = MirrorState::default();
        fresh.cycle_ended(&ended(&report(Outcome::Transient), 100), Some(&remembered));
        assert_eq!(held(&fresh), Some(Outcome::Rejected));
    }

    #[test]
    fn samples_are_the_longest_lags_of_five_minutes_within_a_day() {
        let mut state = MirrorState::default();
        let lagging = |lags: &[u64]| CycleReport {
            lags: lags.iter().copied().map(Duration::from_secs).collect(),
            ..report(Outcome::Mirrored)
        };
        state.cycle_ended(&ended(&lagging(&[1, 7, 2]), 600), None);
        state.cycle_ended(&ended(&lagging(&[5]), 899), None);
        state.cycle_ended(&ended(&lagging(&[3]), 900), None);
        assert_eq!(state.lag_samples().collect::<Vec<_>>(), [(600, 7.0), (900, 3.0)]);
        for minute in 0..2000 {
            state.cycle_ended(&ended(&lagging(&[1]), 900 + 60 * minute), None);
        }
        assert_eq!(
            (state.lag_samples().count(), state.pushes.len()),
            (MOST_SAMPLES, MOST_PUSHES)
        );
    }

    #[test]
    fn a_cycle_that_cannot_run_gives_its_reason() {
        let mut state = MirrorState::default();
        let locked = RunError::Locked("/r.git/.stargate/worker.lock".into());
        let refused = git_push::Error::new(git_push::ErrorKind::Misconfigured, "no such host");
        let (r, mirror) = (Path::new("/r.git"), None);
        state.cycle_ended(&EndedCycle::new(r, mirror, at(1), Err(&locked)), None);
        assert!(state.error.is_none() && state.unreachable.is_none());
        state.cycle_ended(&EndedCycle::new(r, mirror, at(2), Err(&refused.into())), None);
        assert_eq!(state.unreachable.as_deref(), Some("no such host"));
        assert_eq!((state.error.is_some(), state.last_success_at), (true, None));
        assert_eq!(state.last_cycle_at, None, "no cycle ran");
        state.cycle_ended(&EndedCycle::new(r, mirror, at(3), Err(&locked)), None);
        assert_eq!(
            state.cannot_run(at(2 + LONGEST_CYCLE)),
            None,
            "another worker does the work"
        );
        let held = state.cannot_run(at(3 + LONGEST_CYCLE)).expect("it does not");
        let expected = "no cycle could run since 1970-01-01T00:00:03Z, because another worker holds the lock";
        assert_eq!(held, expected);
        let idle = CycleReport::empty(CycleOutcome::Idle, 0, 0);
        state.cycle_ended(&ended(&idle, 4), None);
        assert_eq!((state.cannot_run(at(10_000)), state.last_cycle_at), (None, Some(at(4))));
        assert_eq!(state.last_success_at, None, "a cycle that does nothing knows nothing");
    }

    #[test]
    fn a_worker_that_holds_the_lock_is_noticed_by_a_process_that_just_started() {
        let locked = RunError::Locked("/r.git/.stargate/worker.lock".into());
        let mut status = status();
        (status.worker.running, status.worker.last_run) = (Some(true), Some(at(100)));
        let now = at(100 + LONGEST_CYCLE);
        let mut state = MirrorState::default();
        state.cycle_ended(
            &EndedCycle::new(Path::new("/r.git"), None, now, Err(&locked)),
            Some(&status),
        );
        assert_eq!(state.locked_since, Some(at(100)));
        assert!(state.cannot_run(now).is_some());
        let mut fresh = MirrorState::default();
        status.worker.last_run = Some(now);
        fresh.cycle_ended(
            &EndedCycle::new(Path::new("/r.git"), None, now, Err(&locked)),
            Some(&status),
        );
        assert_eq!(fresh.cannot_run(now), None, "the other cycle has just begun");
    }

    /// The status of an empty repository.
    fn status() -> RepositoryStatus {
        let folder = tempfile::tempdir().expect("a folder");
        gix::init_bare(folder.path()).expect("a repository");
        let status = crate::worker::status(folder.path(), at(0)).expect("a status");
        status.into_iter().next().expect("one mirror")
    }

    #[test]
    fn what_only_a_comparison_found_is_held_until_it_is_mended() {
        let mut state = MirrorState::default();
        let differing = |name: &str, standing| DifferingRef {
            name: name.into(),
            standing,
        };
        let found = RepositoryStatus {
            differing: vec![
                differing("refs/kv/main", Standing::Behind),
                differing("refs/heads/x", Standing::Extra),
            ],
            ..status()
        };
        let mut broken = report(Outcome::Broken);
        broken.groups[0].group = "refs/heads/b".into();
        state.cycle_ended(&ended(&broken, 100), Some(&found));
        let held: Vec<_> = state
            .held
            .iter()
            .map(|(label, outcome)| (label.as_str(), *outcome))
            .collect();
        assert_eq!(held, [("main", Outcome::Diverged), ("refs/heads/b", Outcome::Broken)]);
        let failed = RunError::SeveralMirrors(String::new());
        let not_run = EndedCycle::new(Path::new("/r.git"), None, at(150), Err(&failed));
        state.cycle_ended(&not_run, Some(&found));
        assert_eq!(state.held.len(), 2, "a cycle that did not run has mended nothing");
        let idle = CycleReport::empty(CycleOutcome::Idle, 0, 0);
        state.cycle_ended(&ended(&idle, 200), Some(&status()));
        assert_eq!(state.held, BTreeMap::new());
    }

    #[test]
    fn the_last_success_is_the_one_that_the_worker_remembers() {
        let mut state = MirrorState::default();
        let idle = CycleReport::empty(CycleOutcome::Idle, 0, 0);
        let remembered = RepositoryStatus {
            last_success: Some(at(50)),
            ..status()
        };
        state.cycle_ended(&ended(&idle, 200), Some(&remembered));
        assert_eq!(
            (state.last_success_at, state.last_cycle_at),
            (Some(at(50)), Some(at(200)))
        );
    }
}
