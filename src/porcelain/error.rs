//! Why a push did not come to the refs.
use bstr::BString;
use git_push::{self, refspec::RefspecError, repository::OpenError};

/// Why there was no push.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The repository cannot be opened, or its format is not understood.
    #[error(transparent)]
    Repository(#[from] OpenError),
    /// The refspecs ask for nothing that can be done.
    #[error(transparent)]
    Refspec(#[from] RefspecError),
    /// What is to be deleted is not given by its name.
    #[error("'{0}' is not a plain name of a ref, which is what --delete takes")]
    DeleteTakesNames(BString),
    /// The id of a lease names no object.
    #[error("cannot parse the expected object name of the lease '{0}'")]
    Lease(BString),
    /// The remote cannot be asked or pushed to.
    #[error(transparent)]
    Remote(#[from] git_push::Error),
}
