//! Why there is no verdict.
use gix::ObjectId;

/// Why it cannot be said whether the rule is kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A shallow clone ends at a commit whose parents have to be seen.
    #[error("the clone is shallow: the parents of commit {commit} are missing, and what it changed cannot be seen")]
    Shallow {
        /// The commit.
        commit: ObjectId,
    },
    /// A shallow clone ends before the point where the two histories part.
    #[error("the clone is shallow: it ends at commit {commit}, before base and head meet")]
    Apart {
        /// One of the commits whose parents are missing.
        commit: ObjectId,
    },
    /// An object is not there.
    #[error("the {what} {id} is not in the repository")]
    Missing {
        /// What it is, in one word.
        what: &'static str,
        /// Its id.
        id: ObjectId,
    },
    /// An object is not what it has to be.
    #[error("the {what} {id} cannot be relied on: {why}")]
    Damaged {
        /// What it is, in one word.
        what: &'static str,
        /// Its id.
        id: ObjectId,
        /// Why.
        why: String,
    },
    /// What was named is neither a commit nor a tag of one.
    #[error("{0} is no commit")]
    NotACommit(ObjectId),
    /// There is more than is looked at.
    #[error("there are more than {0} {1} to look at")]
    TooMany(usize, &'static str),
}
