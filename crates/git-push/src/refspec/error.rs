//! Errors in refspecs.
use bstr::BString;

/// Errors in refspecs, in git's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefspecError {
    /// The text is not a refspec.
    #[error("invalid refspec '{0}': {1}")]
    Invalid(BString, String),
    /// The source is neither a local ref nor a local object.
    #[error("src refspec {0} does not match any")]
    NoSource(BString),
    /// The source stands for several local refs.
    #[error("src refspec {0} matches more than one")]
    AmbiguousSource(BString),
    /// There is no destination, and the source cannot be one.
    #[error("{0} cannot be resolved to branch")]
    NotABranch(BString),
    /// The ref to delete does not exist on the remote.
    #[error("unable to delete '{0}': remote ref does not exist")]
    NothingToDelete(BString),
    /// The destination stands for several refs of the remote.
    #[error("dst refspec {0} matches more than one")]
    AmbiguousDestination(BString),
    /// The destination stands for no ref of the remote, and the kind of ref to create is unknown.
    #[error("destination {destination} is not a full refname, and {source_name} is neither a branch nor a tag")]
    Unqualified {
        /// The given destination.
        destination: BString,
        /// The given source.
        source_name: BString,
    },
    /// Two refspecs have the same destination.
    #[error("dst ref {0} receives from more than one src")]
    Twice(BString),
}
