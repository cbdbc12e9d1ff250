//! The branch that commits are added to.
use std::path::PathBuf;

use durable::storage::Storage;
use git_push::causes;
use gix::{ObjectId, refs::TargetRef};

use super::{Error, error::Kind, git_files, git_files::Replacement};

/// A branch of a repository.
pub struct Branch<'a> {
    pub repository: &'a gix::Repository,
    /// Name without `refs/heads/`.
    pub name: &'a str,
}

impl Branch<'_> {
    /// Full name of the branch.
    pub fn full_name(&self) -> String {
        format!("refs/heads/{}", self.name)
    }

    /// Returns the newest commit; `None` before the first one.
    pub fn tip(&self) -> Result<Option<ObjectId>, Error> {
        let failed = |why: String| Error::failed("read the branch of", self.repository.git_dir(), why);
        let found = self.repository.try_find_reference(self.full_name().as_str());
        match found.map_err(|error| failed(causes(&error)))? {
            None => Ok(None),
            Some(reference) => match reference.target() {
                TargetRef::Object(id) => Ok(Some(id.to_owned())),
                TargetRef::Symbolic(_) => Err(failed(format!("{} is symbolic", self.full_name()))),
            },
        }
    }

    /// Moves the branch from `old` to `new`, durably.
    pub fn advance(&self, storage: &impl Storage, old: Option<ObjectId>, new: ObjectId) -> Result<(), Error> {
        let path = self.path();
        if let Some(folder) = path.parent() {
            git_files::create_folders(storage, folder).map_err(|error| Error::failed("create", folder, error))?;
        }
        let replacement = Replacement::begin(storage, self.repository.git_dir(), &path, format!("{new}\n").as_bytes())?;
        // The lock keeps other processes from moving it now.
        let there = self.tip()?;
        if there != old {
            let what = format!("another process has moved {}", self.full_name());
            return Err(Error::new(Kind::Busy, what).with_hint("no action needed: the program retries"));
        }
        replacement.commit()
    }

    fn path(&self) -> PathBuf {
        self.repository.common_dir().join(self.full_name())
    }
}
