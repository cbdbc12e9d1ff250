//! Labels of a mirror in metrics. Their number is limited, whatever is created below a root. Pure.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use prometheus_client::encoding::EncodeLabelSet;

use crate::worker::Target;

/// Maximum number of repositories with labels of their own.
pub const MOST_REPOSITORIES: usize = 1000;
/// Labels of all others.
const OTHER: &str = "other";

/// Labels of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct Labels {
    /// Path of the repository.
    pub repository: String,
    /// Name among several mirrors; empty for a single one.
    pub mirror: String,
}

/// Labels of attempts of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    repository: String,
    mirror: String,
    outcome: &'static str,
}

/// Labels of findings about a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FindingLabels {
    repository: String,
    mirror: String,
    kind: &'static str,
}

impl Labels {
    /// Adds the outcome of attempts.
    pub fn with_outcome(&self, outcome: &'static str) -> AttemptLabels {
        AttemptLabels {
            repository: self.repository.clone(),
            mirror: self.mirror.clone(),
            outcome,
        }
    }

    /// Adds the kind of findings.
    pub fn with_kind(&self, kind: &'static str) -> FindingLabels {
        FindingLabels {
            repository: self.repository.clone(),
            mirror: self.mirror.clone(),
            kind,
        }
    }
}

/// Repositories with labels of their own, with their mirrors.
#[derive(Debug, Default)]
pub struct Labelled(BTreeMap<PathBuf, BTreeSet<Option<String>>>);

impl Labelled {
    /// Returns the labels of a mirror. The first repositories have their own.
    pub fn labels(&mut self, target: &Target) -> Labels {
        if !self.0.contains_key(&target.repository) && self.0.len() >= MOST_REPOSITORIES {
            return Labels {
                repository: OTHER.into(),
                mirror: OTHER.into(),
            };
        }
        let mirrors = self.0.entry(target.repository.clone()).or_default();
        mirrors.insert(target.mirror.clone());
        own(target)
    }

    /// Forgets a mirror. Returns its labels if they were its own.
    pub fn forget(&mut self, target: &Target) -> Option<Labels> {
        let mirrors = self.0.get_mut(&target.repository)?;
        mirrors.remove(&target.mirror);
        if mirrors.is_empty() {
            self.0.remove(&target.repository);
        }
        Some(own(target))
    }
}

fn own(target: &Target) -> Labels {
    Labels {
        repository: target.repository.display().to_string(),
        mirror: target.mirror.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repositories_have_labels_of_their_own() {
        let target = |number: usize| Target {
            repository: format!("/{number}.git").into(),
            mirror: Some("m".into()),
        };
        let mut labelled = Labelled::default();
        for number in 0..MOST_REPOSITORIES {
            assert_eq!(labelled.labels(&target(number)).repository, format!("/{number}.git"));
        }
        assert_eq!(labelled.labels(&target(MOST_REPOSITORIES)).repository, OTHER);
        assert_eq!(labelled.forget(&target(MOST_REPOSITORIES)), None);
        assert!(labelled.forget(&target(0)).is_some());
        assert_eq!(labelled.labels(&target(MOST_REPOSITORIES)).mirror, "m");
    }
}
