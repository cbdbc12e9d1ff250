//! Reasons why a group must not be sent.
use bstr::BString;
use gix::ObjectId;

use super::Damaged;
use crate::{mirror::Outcome, refs::Unreadable};

/// Reasons why a group must not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    /// The remote has commits that would be overwritten or removed.
    #[error("{name} is at {remote} on the mirror, which the Stargate's {target} does not contain")]
    Diverged {
        /// The ref.
        name: BString,
        /// Id on the remote.
        remote: ObjectId,
        /// Target of the Stargate, in words.
        target: String,
    },
    /// The mirror has a ref above or below the one to create, and git allows only one of them.
    #[error(
        "{name} cannot be created: the mirror has {existing}, and git allows no ref below another; delete {existing} on \
         the mirror if the Stargate does not have it"
    )]
    Conflict {
        /// The ref.
        name: BString,
        /// The ref of the mirror.
        existing: BString,
    },
    /// A push to the Stargate has moved some of the group's refs so far.
    #[error("a push is moving the refs of this namespace: {moved} has moved, {waiting} has not yet")]
    Landing {
        /// A ref that is moved.
        moved: BString,
        /// A ref that is not.
        waiting: BString,
    },
    /// The object to push is gone from the Stargate.
    #[error("{name}: object {id} is no longer in the Stargate")]
    Gone {
        /// The ref.
        name: BString,
        /// The object.
        id: ObjectId,
    },
    /// The Stargate's ref may or may not exist.
    #[error("{name} cannot be read: {why}")]
    Unreadable {
        /// The ref.
        name: BString,
        /// File that cannot be read, and why.
        why: Unreadable,
    },
    /// The journal, or an object that decides about the ref, cannot be read.
    #[error("{name}: {why}")]
    Damaged {
        /// The ref.
        name: BString,
        /// The unreadable object or ref, and the reason.
        why: Damaged,
    },
}

impl Hold {
    /// Returns the outcome of a group that is held for this reason.
    pub fn outcome(&self) -> Outcome {
        match self {
            Hold::Diverged { .. } | Hold::Conflict { .. } => Outcome::Diverged,
            Hold::Landing { .. } => Outcome::Transient,
            Hold::Gone { .. } | Hold::Unreadable { .. } | Hold::Damaged { .. } => Outcome::Broken,
        }
    }
}
