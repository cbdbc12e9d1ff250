//! Removal of the hooks that [`install`](super::install) has put in place.
use std::path::{Path, PathBuf};

use durable::storage::{Folders, Names};

use super::{
    POST_RECEIVE, PRE_RECEIVE, chained,
    install::{InstallError, Standing, exists, standing},
    install_error::{configuration, on},
};

/// A hook after the removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its path.
    pub hook: PathBuf,
    /// The change that was made.
    pub change: Removal,
}

/// Change made by a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Our hook was removed.
    Removed,
    /// Our hook was replaced by the one that was kept at this path.
    Restored(PathBuf),
    /// Another program's hook stays.
    Foreign,
    /// There was no hook.
    Missing,
}

/// Removes our hooks from the repository at `git_dir`, and restores those that they run first. Idempotent.
///
/// # Errors
/// The configuration or a hook cannot be read, or a hook cannot be removed.
pub fn uninstall<S: Folders + Names>(storage: &S, git_dir: &Path) -> Result<Vec<Removed>, InstallError> {
    let config = configuration(git_dir)?;
    let mut all = Vec::new();
    // pre-receive first: it must not promise a record that no hook makes.
    for name in [PRE_RECEIVE, POST_RECEIVE] {
        let (hook, standing) = standing(git_dir, &config, name)?;
        let change = match standing {
            Standing::Missing => Removal::Missing,
            Standing::Foreign => Removal::Foreign,
            Standing::Ours | Standing::NoProgram => remove(storage, &hook)?,
        };
        all.push(Removed { hook, change });
    }
    if let Some(folder) = all.first().and_then(|removed| removed.hook.parent()) {
        on("remove links in", folder, chained::unlink(storage, folder))?;
    }
    Ok(all)
}

fn remove<S: Folders + Names>(storage: &S, hook: &Path) -> Result<Removal, InstallError> {
    let kept = chained::stored_path(hook);
    if exists(&kept)? {
        on("restore", hook, storage.rename(&kept, hook))?;
        return Ok(Removal::Restored(kept));
    }
    on("remove", hook, storage.remove(hook))?;
    Ok(Removal::Removed)
}
