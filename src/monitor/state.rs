//! State of all mirrors. Pure: times come from the caller.
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    mirror_state::MirrorState,
    readiness::{Problem, Readiness},
};
use crate::worker::{EndedCycle, RepositoryStatus, Target};

/// State of all mirrors, in the order of their repositories.
#[derive(Debug, Default)]
pub struct State(BTreeMap<Target, MirrorState>);

impl State {
    /// Takes a cycle that has ended, and the status after it, if it could be read.
    pub fn cycle_ended(&mut self, ended: &EndedCycle<'_>, status: Option<&RepositoryStatus>) {
        self.0.entry(target(ended)).or_default().cycle_ended(ended, status);
    }

    /// Adds a mirror of a watch without any cycle, unless it is known.
    pub fn expect(&mut self, target: &Target) {
        self.0.entry(target.clone()).or_default().is_watched = true;
    }

    /// Takes the begin of a cycle, or that it is over.
    pub fn set_running(&mut self, target: &Target, since: Option<Timestamp>) {
        if let Some(state) = self.0.get_mut(target) {
            state.running_since = since;
        }
    }

    /// Forgets mirrors that are not in `targets`, and returns them.
    pub fn retain(&mut self, targets: &BTreeSet<Target>) -> Vec<Target> {
        let is_gone = |target: &&Target| !targets.contains(target);
        let gone: Vec<Target> = self.0.keys().filter(is_gone).cloned().collect();
        self.0.retain(|target, _| targets.contains(target));
        gone
    }

    /// Returns all mirrors.
    pub fn mirrors(&self) -> impl Iterator<Item = (&Target, &MirrorState)> {
        self.0.iter()
    }

    /// Returns the reasons why the worker does not keep up.
    pub fn readiness(&self, now: Timestamp) -> Readiness {
        let problems = self.mirrors();
        Readiness::new(
            problems
                .flat_map(|(target, state)| Problem::find(target, state, now))
                .collect(),
        )
    }
}

/// Returns the target of a cycle.
pub fn target(ended: &EndedCycle<'_>) -> Target {
    Target {
        repository: ended.repository.to_owned(),
        mirror: ended.mirror.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_that_are_not_watched_are_forgotten() {
        let target = |repository: &str, mirror: Option<&str>| Target {
            repository: repository.into(),
            mirror: mirror.map(str::to_owned),
        };
        let (a, b) = (target("a", Some("m")), target("b", None));
        let mut state = State::default();
        for target in [&a, &b] {
            state.0.insert(target.clone(), MirrorState::default());
        }
        assert!(state.retain(&[a.clone(), b.clone()].into()).is_empty());
        assert_eq!(state.retain(&[target("a", None)].into()), [a, b]);
        assert_eq!(state.mirrors().count(), 0);
    }
}
