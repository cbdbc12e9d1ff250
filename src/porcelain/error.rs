//! Errors before any ref was pushed.
use bstr::BString;
use git_push::{self, refspec::RefspecError, repository::OpenError};

use crate::{config::Problem, local_repository::UnreadableRefs};

/// Reasons why there was no push.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The repository cannot be opened, or its format is not supported.
    #[error(transparent)]
    Repository(#[from] OpenError),
    /// The local refs cannot be read.
    #[error(transparent)]
    Refs(#[from] UnreadableRefs),
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
    /// The connection to the remote or the push failed.
    #[error(transparent)]
    Remote(#[from] git_push::Error),
}
