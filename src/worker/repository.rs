//! The Stargate as the worker sees it: its refs and its commits.
use std::{collections::BTreeMap, path::Path};

use bstr::{BStr, BString, ByteSlice};
use gix::ObjectId;

use crate::{
    mirror::Knowledge,
    push,
    ref_pattern::RefPatterns,
    repository::{self, OpenError},
};

/// A repository whose refs are mirrored.
pub struct Stargate {
    repository: gix::Repository,
}

impl Stargate {
    /// Opens the repository at `git_dir`.
    ///
    /// # Errors
    /// There is none, it cannot be read, or its format is not understood.
    pub fn open(git_dir: &Path) -> Result<Self, OpenError> {
        let mut repository = repository::open(git_dir)?;
        repository.object_cache_size_if_unset(4 * 1024 * 1024);
        Ok(Stargate { repository })
    }

    /// Every ref that is mirrored, with what it is. One that cannot be read is passed over: nothing can be said of it.
    pub fn mirrored_refs(&self, patterns: &RefPatterns) -> BTreeMap<BString, ObjectId> {
        let mut refs = BTreeMap::new();
        let Ok(references) = self.repository.references() else {
            return refs;
        };
        for reference in references.all().into_iter().flatten().flatten() {
            let name = BString::from(reference.name().as_bstr());
            if patterns.matches(name.as_bstr())
                && let Some(id) = reference.target().try_id()
            {
                refs.insert(name, id.to_owned());
            }
        }
        refs
    }

    /// The repository itself.
    pub fn repository(&self) -> &gix::Repository {
        &self.repository
    }
}

impl Knowledge for Stargate {
    fn local(&self, name: &BStr) -> Option<ObjectId> {
        // A short name would be looked for in other places, too; only this very ref counts.
        let full = gix::refs::FullName::try_from(BString::from(name)).ok()?;
        let reference = self.repository.try_find_reference(full.as_ref()).ok()??;
        let mut reference = (reference.name() == full.as_ref()).then_some(reference)?;
        Some(reference.follow_to_object().ok()?.detach())
    }

    fn exists(&self, id: ObjectId) -> bool {
        self.repository.has_object(id)
    }

    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> bool {
        push::fast_forward(&self.repository, old, new).unwrap_or_else(|error| {
            tracing::warn!(%old, %new, %error, "ancestry cannot be read; taken as not a fast-forward");
            false
        })
    }
}
