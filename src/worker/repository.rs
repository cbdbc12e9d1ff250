//! Refs and commits of the Stargate.
use std::path::Path;

use bstr::{BStr, BString};
use git_push::repository::{self, OpenError, RefStorage};
use gix::ObjectId;

use crate::{
    mirror::{Damaged, LocalView},
    ref_pattern::RefPatterns,
    refs::{LocalRef, LocalRefs, Refs},
};

/// Repository whose refs are mirrored.
pub struct Stargate {
    repository: gix::Repository,
    refs: Refs,
}

impl Stargate {
    /// Opens the repository at `git_dir`.
    ///
    /// # Errors
    /// There is no repository, it cannot be read, or its format is not understood.
    pub fn open(git_dir: &Path) -> Result<Self, OpenError> {
        let (mut repository, storage) = repository::open_any_refs(git_dir)?;
        repository.object_cache_size_if_unset(4 * 1024 * 1024);
        let (folder, format) = (repository.common_dir(), repository.object_hash());
        let refs = match storage {
            RefStorage::Files => Refs::new(folder, format),
            RefStorage::Reftable => Refs::in_tables(folder, format),
        };
        Ok(Stargate { repository, refs })
    }

    /// Returns the current state of every mirrored ref.
    pub fn mirrored_refs(&self, patterns: &RefPatterns) -> LocalRefs {
        self.refs.list(patterns)
    }

    /// Reads HEAD, and also returns the name of the ref that it leads to.
    pub fn head(&self) -> (LocalRef, BString) {
        self.refs.follow(BStr::new("HEAD"))
    }

    /// Returns the repository itself. Read its refs by [`LocalView`] and [`mirrored_refs`](Self::mirrored_refs) only: gix
    /// sees none in reftables.
    pub fn repository(&self) -> &gix::Repository {
        &self.repository
    }
}

impl LocalView for Stargate {
    fn local(&self, name: &BStr) -> LocalRef {
        self.refs.read(name)
    }

    fn list(&self, patterns: &RefPatterns) -> LocalRefs {
        self.refs.list(patterns)
    }

    fn exists(&self, id: ObjectId) -> Result<bool, Damaged> {
        match self.repository.try_find_header(id) {
            Ok(found) => Ok(found.is_some()),
            Err(error) => Err(Damaged(format!(
                "object {id} cannot be read: {}",
                git_push::causes(&error)
            ))),
        }
    }

    fn fast_forward(&self, old: ObjectId, new: ObjectId) -> Result<bool, Damaged> {
        if old == new {
            return Ok(true);
        }
        if !self.exists(old)? || !self.exists(new)? {
            return Ok(false);
        }
        git_push::fast_forward(&self.repository, old, new).map_err(|error| Damaged(error.to_string()))
    }
}
