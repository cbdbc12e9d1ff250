//! State of a repository's mirrored refs.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use bstr::BString;
use gix::ObjectId;

use super::BrokenRef;
use crate::{
    refs::LocalRefs,
    worker::{broken::broken, error::RunError, repository::Stargate, session::opened},
};

/// State of a repository's mirrored refs, independent of the mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefsStanding {
    /// Number of refs that can be read.
    pub known: usize,
    /// Refs that cannot be read, or whose object is missing or damaged.
    pub broken: Vec<BrokenRef>,
    /// Symbolic refs whose target does not exist.
    pub dangling: Vec<BrokenRef>,
}

/// Reads every ref that a mirror of the repository at `git_dir`, and checks that its object exists.
///
/// # Errors
/// The repository cannot be opened, or its configuration cannot be read.
pub fn refs_standing(git_dir: &Path) -> Result<RefsStanding, RunError> {
    let (stargate, mirrors) = opened(git_dir)?;
    let mut all = RefsStanding::default();
    let mut names = BTreeSet::new();
    for mirror in &mirrors.each {
        let local = stargate.mirrored_refs(&mirror.refs);
        names.extend(local.known().keys().cloned());
        all.add(RefsStanding::new(&local, &BTreeMap::new(), &stargate));
    }
    all.known = names.len();
    Ok(all)
}

impl RefsStanding {
    /// Adds the refs of another mirror, each once.
    fn add(&mut self, other: RefsStanding) {
        for (refs, others) in [(&mut self.broken, other.broken), (&mut self.dangling, other.dangling)] {
            for one in others {
                if !refs.contains(&one) {
                    refs.push(one);
                }
            }
        }
    }

    /// Skips the objects of refs that have the same id in `settled`.
    pub(super) fn new(local: &LocalRefs, settled: &BTreeMap<BString, ObjectId>, stargate: &Stargate) -> Self {
        let broken = broken(local, settled, stargate).into_iter().map(|broken| BrokenRef {
            name: broken.name.map(|name| name.to_string()),
            reason: broken.reason,
        });
        let dangling = local.dangling().map(|(name, target)| BrokenRef {
            name: Some(name.to_string()),
            reason: format!("{target} does not exist"),
        });
        RefsStanding {
            known: local.known().len(),
            broken: broken.collect(),
            dangling: dangling.collect(),
        }
    }
}
