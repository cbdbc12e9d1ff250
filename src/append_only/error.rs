//! Errors of the check.
use gix::ObjectId;

use crate::git_objects;

/// Reasons why the rule cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A shallow clone ends at a commit whose parents are needed.
    #[error("the clone is shallow: the parents of commit {commit} are missing, so its changes are unknown")]
    Shallow {
        /// The commit.
        commit: ObjectId,
    },
    /// A shallow clone ends before the merge base.
    #[error("the clone is shallow: it ends at commit {commit}, before a common ancestor of base and head")]
    Apart {
        /// One of the commits whose parents are missing.
        commit: ObjectId,
    },
    /// An object cannot be used.
    #[error(transparent)]
    Object(#[from] git_objects::Error),
}
