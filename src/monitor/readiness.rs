//! Readiness: every mirror was reachable at its last try, and its backlog is short or its pushes succeed. Pure.
use jiff::Timestamp;
use serde::Serialize;

use super::mirror_state::MirrorState;
use crate::worker::Target;

/// Number of pending entries that is no problem.
const SHORT_BACKLOG: u64 = 100;
/// Percentage of the pushes of the last 5 minutes that must succeed if the backlog is longer.
const SUCCEEDING: usize = 95;

/// Reasons why a worker does not keep up; body of `/readyz`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// True if there are none.
    pub ready: bool,
    problems: Vec<Problem>,
}

/// Reason why one mirror is not ready.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    repository: String,
    mirror: Option<String>,
    problem: Kind,
    /// Human-readable reason.
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// Cycles cannot run.
    NoCycle,
    /// A cycle does not end.
    Hanging,
    /// The mirror could not be reached at the last try.
    Unreachable,
    /// Many entries are pending, and pushes fail or do not happen.
    Backlog,
}

impl Readiness {
    /// Creates the readiness of a worker with these problems.
    pub fn new(problems: Vec<Problem>) -> Self {
        Readiness {
            ready: problems.is_empty(),
            problems,
        }
    }
}

impl Problem {
    /// Returns the problems of a mirror.
    pub fn find(target: &Target, state: &MirrorState, now: Timestamp) -> Vec<Self> {
        let problem = |problem, detail| Problem {
            repository: target.repository.display().to_string(),
            mirror: target.mirror.clone(),
            problem,
            detail,
        };
        let unreachable = state.unreachable.clone().map(|why| problem(Kind::Unreachable, why));
        // Both have the same reason if the mirror is the cause.
        let no_cycle = state.cannot_run(now).map(|why| problem(Kind::NoCycle, why));
        let hanging = state.hangs(now).map(|why| problem(Kind::Hanging, why));
        let pending = state.status.as_ref().map_or(0, |status| status.pending);
        let backlog = backlog(pending, state.recent_pushes(now)).map(|why| problem(Kind::Backlog, why));
        let found = unreachable.or(no_cycle).into_iter();
        found.chain(hanging).chain(backlog).collect()
    }
}

fn backlog(pending: u64, (succeeded, tried): (usize, usize)) -> Option<String> {
    let is_succeeding = tried > 0 && succeeded * 100 >= tried * SUCCEEDING;
    (pending > SHORT_BACKLOG && !is_succeeding).then(|| {
        format!("{pending} entries are pending, and {succeeded} of {tried} pushes of the last 5 minutes succeeded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_backlog_is_a_problem_unless_pushes_succeed() {
        for (pending, pushes, expected) in [
            (100, (0, 0), false),
            (101, (0, 0), true),
            (101, (94, 100), true),
            (101, (95, 100), false),
            (5000, (1, 1), false),
            (5000, (0, 3), true),
        ] {
            assert_eq!(backlog(pending, pushes).is_some(), expected, "{pending} {pushes:?}");
        }
    }

    #[test]
    fn each_mirror_that_is_not_ready_is_named() {
        let target = Target {
            repository: "/r.git".into(),
            mirror: Some("m".into()),
        };
        let mut state = MirrorState::default();
        let now = Timestamp::UNIX_EPOCH;
        assert!(Readiness::new(Problem::find(&target, &state, now)).ready);
        state.unreachable = Some("no answer".into());
        state.error = Some("no answer, in other words".into());
        let readiness = serde_json::to_value(Readiness::new(Problem::find(&target, &state, now))).expect("JSON");
        let problem =
            serde_json::json!({"repository": "/r.git", "mirror": "m", "problem": "unreachable", "detail": "no answer"});
        assert_eq!(readiness, serde_json::json!({"ready": false, "problems": [problem]}));
        let (began, later) = (now, Timestamp::from_second(20 * 60).expect("a time"));
        let mut hanging = MirrorState::default();
        hanging.running_since = Some(began);
        assert!(Readiness::new(Problem::find(&target, &hanging, began)).ready);
        let found = serde_json::to_value(Problem::find(&target, &hanging, later)).expect("JSON");
        assert_eq!(
            (&found[0]["problem"], found[0]["mirror"].as_str()),
            (&"hanging".into(), Some("m"))
        );
        hanging.running_since = None;
        assert_eq!(Problem::find(&target, &hanging, later), []);
    }
}
