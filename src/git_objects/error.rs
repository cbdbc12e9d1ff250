//! Errors of reading objects.
use gix::ObjectId;

/// Reasons why an object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is missing.
    #[error("the {what} {id} is not in the repository")]
    Missing {
        /// The kind of object, in one word.
        what: &'static str,
        /// Its id.
        id: ObjectId,
    },
    /// The object is damaged or ambiguous.
    #[error("the {what} {id} is damaged: {why}")]
    Damaged {
        /// The kind of object, in one word.
        what: &'static str,
        /// Its id.
        id: ObjectId,
        /// The reason.
        why: String,
    },
    /// It is neither a commit nor a tag of one.
    #[error("{0} is not a commit")]
    NotACommit(ObjectId),
    /// A limit is exceeded.
    #[error("there are more than {0} {1} to check")]
    TooMany(usize, &'static str),
}
