//! Errors before any ref was pushed.
use std::path::PathBuf;

use bstr::BString;
use git_push::{self, refspec::RefspecError, repository::OpenError};

use crate::{config::Problem, local_repository::UnreadableRefs};

/// Reasons why there was no push.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The repository cannot be opened, or its format is not supported.
    #[error(transparent)]
    Repository(#[from] OpenError),
    /// The local refs cannot be read.
    #[error(transparent)]
    Refs(#[from] UnreadableRefs),
    /// A local object cannot be read.
    #[error("cannot read an object of the repository: {0}")]
    Objects(String),
    /// The refspecs are invalid.
    #[error(transparent)]
    Refspec(#[from] RefspecError),
    /// The argument for a ref to delete is not a plain name.
    #[error("--delete takes names of refs, and '{0}' is not a plain name")]
    DeleteTakesNames(BString),
    /// The id of a lease does not name an object.
    #[error("cannot parse the expected object name of the lease '{0}'")]
    Lease(BString),
    /// A setting of a push has an invalid value.
    #[error(transparent)]
    Setting(#[from] Problem),
    /// Arguments and git configuration do not say what to push, in git's words.
    #[error("{0}")]
    Fatal(String),
    /// The remote does not support an option of the push, in git's words.
    #[error("the receiving end does not support {0}")]
    Unsupported(&'static str),
    /// The hook `pre-push` failed, and so stopped the push.
    #[error("the hook pre-push declined the push")]
    Declined,
    /// The hook `pre-push` could not be run.
    #[error("cannot run the hook {path}: {why}", path = .0.display(), why = .1)]
    Hook(PathBuf, String),
    /// Submodules have commits that no remote of theirs is known to have.
    #[error("{0}")]
    Submodules(String),
    /// The connection to the remote or the push failed.
    #[error(transparent)]
    Remote(#[from] git_push::Error),
}
