//! Body of `/status`: every repository with its mirrors. Pure.
use jiff::Timestamp;
use serde::Serialize;

use super::{
    mirror_state::{MirrorState, Push},
    state::State,
};
use crate::worker::{RepositoryStatus, Target};

#[derive(Serialize)]
struct Body {
    now: Timestamp,
    version: &'static str,
    repositories: Vec<Repository>,
}

#[derive(Serialize)]
struct Repository {
    repository: String,
    mirrors: Vec<Mirror>,
}

#[derive(Serialize)]
struct Mirror {
    /// Name among several, if there is no status, which has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<String>,
    /// As of `status --json`. Missing if it could never be read.
    #[serde(flatten)]
    status: Option<RepositoryStatus>,
    /// Reason why the last cycle could not run.
    error: Option<String>,
    /// Reason why the mirror could not be reached at the last try.
    unreachable: Option<String>,
    /// Time since when no cycle could run because another worker holds the lock.
    locked_since: Option<Timestamp>,
    /// Begin of the cycle that is running.
    cycle_running_since: Option<Timestamp>,
    last_cycle_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    lag_samples: Vec<(i64, f64)>,
    last_pushes: Vec<Push>,
}

/// Returns the body, as JSON.
pub fn status_body(state: &State, now: Timestamp) -> Vec<u8> {
    let mut repositories: Vec<Repository> = Vec::new();
    for (target, state) in state.mirrors() {
        let repository = target.repository.display().to_string();
        let mirror = Mirror::new(target, state, now);
        match repositories.last_mut() {
            Some(last) if last.repository == repository => last.mirrors.push(mirror),
            _ => repositories.push(Repository {
                repository,
                mirrors: vec![mirror],
            }),
        }
    }
    let body = Body {
        now,
        version: env!("CARGO_PKG_VERSION"),
        repositories,
    };
    serde_json::to_vec(&body).expect("a status serializes into memory")
}

impl Mirror {
    fn new(target: &Target, state: &MirrorState, now: Timestamp) -> Self {
        let age = |oldest: Timestamp| now.duration_since(oldest).as_secs().max(0);
        let status = state.status.clone().map(|status| RepositoryStatus {
            mirror: target.mirror.clone(),
            oldest_pending_age_s: status.oldest_pending.map(age),
            ..status
        });
        Mirror {
            mirror: target.mirror.clone().filter(|_| status.is_none()),
            status,
            error: state.error.clone(),
            unreachable: state.unreachable.clone(),
            locked_since: state.locked_since,
            cycle_running_since: state.running_since,
            last_cycle_at: state.last_cycle_at,
            last_success_at: state.last_success_at,
            lag_samples: state.lag_samples().collect(),
            last_pushes: state.pushes.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_mirror_without_a_status_has_its_name_and_its_reason() {
        let mut state = State::default();
        for name in ["a", "b"] {
            state.expect(&Target {
                repository: "/r.git".into(),
                mirror: Some(name.into()),
            });
        }
        let body: Value = serde_json::from_slice(&status_body(&state, Timestamp::UNIX_EPOCH)).expect("JSON");
        let mirrors = &body["repositories"][0]["mirrors"];
        assert_eq!(
            [&mirrors[0]["mirror"], &mirrors[1]["mirror"]],
            [&json!("a"), &json!("b")]
        );
        assert_eq!(mirrors[0]["last_cycle_at"], Value::Null);
        assert!(mirrors[0].get("pending").is_none(), "{body}");
    }
}
