//! Errors of the check.
use gix::ObjectId;

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
    /// An object is missing.
    #[error("the {what} {id} is not in the repository")]
    Missing {
        /// The kind of object, in one word.
        what: &'static str,
        /// Its id.
        id: ObjectId,
    },
    /// An object is damaged or ambiguous.
    #[error("the {what} {id} is damaged: {why}")]
    Damaged {
        /// The kind of object, in one word.
        what: &'static str,
        /// Its id.
        id: ObjectId,
        /// The reason.
        why: String,
    },
    /// The object is neither a commit nor a tag of one.
    #[error("{0} is not a commit")]
    NotACommit(ObjectId),
    /// A limit is exceeded.
    #[error("there are more than {0} {1} to check")]
    TooMany(usize, &'static str),
}
