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

    /// Forgets mirrors that are not in `targets`, and returns them.
    pub fn retain(&mut self, targets: &BTreeSet<Target>) -> Vec<Target> {
        let gone: Vec<Target> = self
            .0
            .keys()
            .filter(|target| !self.is_in(targets, target))
            .cloned()
            .collect();
        self.0.retain(|target, _| !gone.contains(target));
        gone
    }

    /// Returns true if a mirror is watched. The target of a mirror that the command line names has no name.
    fn is_in(&self, targets: &BTreeSet<Target>, target: &Target) -> bool {
        let unnamed = Target {
            mirror: None,
            ..target.clone()
        };
        targets.contains(target) || (targets.contains(&unnamed) && !self.0.contains_key(&unnamed))
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
        let (named, all) = ([target("a", None)].into(), [a.clone(), b.clone()].into());
        assert!(state.retain(&all).is_empty());
        assert_eq!(state.retain(&named), [b], "the command line may name the mirror of a");
        state.0.insert(target("a", None), MirrorState::default());
        assert_eq!(state.retain(&named), [a], "it is the only one now");
        assert_eq!(state.mirrors().count(), 1);
    }
}
