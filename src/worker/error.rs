//! Reasons why a cycle could not run.
use std::{io, path::PathBuf};

use git_push::repository::OpenError;

use crate::{advice, config::Problem, journal::WriteError};

/// Instruction for a repository that is missing.
const MISSING: &str =
    "look whether its volume is mounted; if the repository was removed, restart `stargate-mirror watch`";

/// Reasons why a cycle could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The repository cannot be opened, or its format is not understood.
    #[error(transparent)]
    Repository(#[from] OpenError),
    /// Git's configuration of the repository cannot be read.
    #[error("cannot read git's configuration of {0}: {1}")]
    Unreadable(PathBuf, gix::Error),
    /// A value of `[stargate]` is invalid.
    #[error("{1} (in {0})")]
    Config(PathBuf, Problem),
    /// Several mirrors are configured, and none of them was chosen.
    #[error("there are several mirrors: {0}")]
    SeveralMirrors(String),
    /// Several mirrors are configured, and the chosen remote is none of them.
    #[error("{0} is none of the mirrors: {1}")]
    NoSuchMirror(String, String),
    /// Another worker is running.
    #[error("another worker holds the lock {0}")]
    Locked(PathBuf),
    /// The worker's lock cannot be taken.
    #[error("cannot lock {0}: {1}")]
    Lock(PathBuf, io::Error),
    /// The journal cannot be read.
    #[error("cannot read the journal {0}: {1}")]
    Read(PathBuf, io::Error),
    /// The journal cannot be written. Mirrored entries stay pending, and the next cycle finds them on the mirror.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There is no such folder.
    #[error("the repository {0} is missing")]
    Missing(PathBuf),
    /// The cycle panicked, or there is no thread for it.
    #[error("the cycle was aborted by an error in the program, or had no thread")]
    NoEnd,
    /// The mirror cannot be used as it is configured.
    #[error(transparent)]
    Remote(#[from] git_push::Error),
}

impl RunError {
    /// Returns the instruction of the cause, if it has one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            RunError::Repository(error) => Some(advice::on_opening(error)),
            RunError::Remote(error) => error.hint(),
            RunError::Missing(_) => Some(MISSING),
            _ => None,
        }
    }
}
