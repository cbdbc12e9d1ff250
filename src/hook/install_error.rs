//! Errors of installations, and of the configuration that they read.
use std::{
    io,
    path::{Path, PathBuf},
};

use crate::config;

/// Reasons why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A hook of another program has this name already.
    #[error(
        "{} exists and was not installed by stargate-mirror, so nothing was changed. Use --chain to keep it and run it \
         first under its own name",
        .0.display()
    )]
    ForeignHook(PathBuf),
    /// Another hook is chained already.
    #[error(
        "{} cannot be chained, because {kept} exists, so nothing was changed. If the server has rewritten its hook, move \
         {kept} away and retry; otherwise merge the two hooks into one",
        hook.display(),
        kept = chained.display()
    )]
    AlreadyChained {
        /// The hook to chain.
        hook: PathBuf,
        /// The hook that is chained already.
        chained: PathBuf,
    },
    /// Git's configuration cannot be read, so the hooks folder is unknown.
    #[error("cannot read git's configuration of {}: {why}", git_dir.display())]
    Configuration {
        /// The repository.
        git_dir: PathBuf,
        /// The reason.
        why: String,
    },
    /// Another process is changing git's configuration.
    #[error(
        "{} exists, or the configuration has just changed: another process is changing it, or died while doing so. \
         Retry; remove that file if no process is using it",
        .0.display()
    )]
    ConfigLocked(PathBuf),
    /// A file operation failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Reads git's configuration of the repository at `git_dir`.
pub(super) fn configuration(git_dir: &Path) -> Result<gix::config::File, InstallError> {
    config::git_config(git_dir).map_err(|error| unreadable(git_dir, &error))
}

pub(super) fn unreadable(git_dir: &Path, why: &dyn std::fmt::Display) -> InstallError {
    InstallError::Configuration {
        git_dir: git_dir.into(),
        why: why.to_string(),
    }
}

/// Adds the operation and the path to an error.
pub(super) fn on<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, InstallError> {
    result.map_err(|source| InstallError::Io {
        what,
        path: path.into(),
        source,
    })
}
