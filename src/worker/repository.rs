//! The Stargate as the worker sees it: its refs and its commits.
use std::path::{Path, PathBuf};

use bstr::BStr;
use git_push;
use gix::ObjectId;

use crate::{
    mirror::{Damaged, Knowledge},
    ref_pattern::RefPatterns,
    refs::{LocalRef, LocalRefs, Refs},
};

/// How deep below a root repositories are looked for.
const MAX_DEPTH: usize = 16;

/// A repository whose refs are mirrored.
pub struct Stargate {
    repository: gix::Repository,
    refs: Refs,
}

impl Stargate {
    /// Opens the repository at `git_dir`.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn open(git_dir: &Path) -> Result<Self, gix::Error> {
        let mut repository = gix::open(git_dir)?;
        repository.object_cache_size_if_unset(4 * 1024 * 1024);
        let refs = Refs::of(&repository);
        Ok(Stargate { repository, refs })
    }

    /// Every ref that is mirrored, as it is now.
    pub fn mirrored_refs(&self, patterns: &RefPatterns) -> LocalRefs {
        self.refs.list(patterns)
    }

    /// The repository itself.
    pub fn repository(&self) -> &gix::Repository {
        &self.repository
    }
}

impl Knowledge for Stargate {
    fn local(&self, name: &BStr) -> LocalRef {
        self.refs.read(name)
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

/// The git directory that a command works on: `given`, else `GIT_DIR`, else what is found from the current directory.
///
/// # Errors
/// There is no repository there.
pub fn discover(given: Option<&Path>) -> Result<PathBuf, gix::Error> {
    let repository = match given
        .map(Path::to_owned)
        .or_else(|| std::env::var_os("GIT_DIR").map(PathBuf::from))
    {
        Some(path) => gix::open(path)?,
        None => gix::discover(".")?,
    };
    Ok(repository.git_dir().to_owned())
}

/// Repositories below `root` that have a `.stargate` folder, in order of path. Symbolic links are not followed.
///
/// # Errors
/// `root` cannot be read; a folder below it that cannot is logged and passed over.
pub fn find_repositories(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if folder.join("HEAD").is_file() && folder.join("objects").is_dir() {
            found.extend(folder.join(crate::journal::FOLDER).is_dir().then_some(folder));
            continue;
        }
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "passed over");
                continue;
            }
        };
        let below = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        if depth < MAX_DEPTH {
            folders.extend(below.map(|entry| (entry.path(), depth + 1)));
        }
    }
    found.sort();
    Ok(found)
}
