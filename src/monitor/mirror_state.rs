//! State of one mirror, from the reports of its cycles. Pure: times come from the caller.
use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    mirror::Outcome,
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
/// Limit of pushes that count. A budget of pushes is far below it.
const MOST_RECENT: usize = 10_000;

/// State of one mirror.
#[derive(Debug, Default)]
pub struct MirrorState {
    /// Last status that could be read.
    pub status: Option<RepositoryStatus>,
    /// End of the last cycle.
    pub last_cycle_at: Option<Timestamp>,
    /// End of the last cycle that left nothing undone.
    pub last_success_at: Option<Timestamp>,
    /// Reason why the last cycle could not run.
    pub error: Option<String>,
    /// Reason why the mirror could not be reached at the last try.
    pub unreachable: Option<String>,
    /// Groups that are not mirrored, with the outcome of their last attempt.
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
        self.last_cycle_at = Some(ended.at);
        self.error = ended.result.err().map(ToString::to_string);
        match ended.result {
            Ok(report) => self.reported(report, ended.at),
            Err(error) => self.not_run(error),
        }
        if let Some(status) = status {
            self.status = Some(status.clone());
            self.held
                .retain(|label, _| status.groups.iter().any(|group| group.group == *label));
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
        if matches!(report.outcome, CycleOutcome::Mirrored | CycleOutcome::Idle) {
            self.last_success_at = Some(at);
        }
        if let Some(reached) = reached(report) {
            self.unreachable = reached.err();
        }
        for group in &report.groups {
            let label = group.group.clone();
            match group.outcome {
                GroupOutcome::Settled(Outcome::Mirrored) | GroupOutcome::Planned => self.held.remove(&label),
                GroupOutcome::Settled(outcome) => self.held.insert(label, outcome),
            };
        }
        self.sample(report, at.as_second());
        if report.groups.iter().any(|group| group.attempts > 0) {
            self.pushed(report, at);
        }
    }

    /// Another worker that holds the lock reports on its own cycle.
    fn not_run(&mut self, error: &RunError) {
        match error {
            RunError::Locked(_) => self.error = None,
            RunError::Remote(error) => self.unreachable = Some(error.to_string()),
            _ => {}
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
    }
}
