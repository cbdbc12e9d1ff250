use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;
use gix_hash::Kind;

use crate::error::Error;

/// A failure to write a transaction. No ref was changed, unless it is [`NotSynced`](Self::NotSynced).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The stack cannot be read.
    #[error(transparent)]
    Read(#[from] Error),
    /// Another process holds the lock.
    #[error(
        "{} has existed for {waited:?} or longer: another process changes refs; retry, or delete the file if no process runs",
        .path.display()
    )]
    Locked {
        /// The path of the lock.
        path: PathBuf,
        /// The time that was waited.
        waited: Duration,
    },
    /// A ref does not have the value that the update expects.
    #[error("the ref {name} was changed by another process; read it again")]
    Changed {
        /// The name of the ref.
        name: BString,
    },
    /// A ref cannot have the name of a folder of other refs.
    #[error("the ref {name} cannot be created, because {other} exists; delete that ref first")]
    Conflict {
        /// The name of the new ref.
        name: BString,
        /// The ref above or below it.
        other: BString,
    },
    /// Git does not accept the name of the ref, or of the target of a symbolic ref.
    #[error("{name:?} is not a valid ref name")]
    Name {
        /// The name.
        name: BString,
    },
    /// A ref occurs twice in a transaction.
    #[error("the ref {name} is updated twice in one transaction")]
    Repeated {
        /// The name of the ref.
        name: BString,
    },
    /// An id is the null id, or of another hash than those of the repository.
    #[error("the ref {name} cannot have this value: ids of the repository are {expected} and not null")]
    Id {
        /// The name of the ref.
        name: BString,
        /// The hash of the repository.
        expected: Kind,
    },
    /// A record does not fit into a block of a table.
    #[error("the ref {name} cannot be written: its name, target or line of the reflog is too long")]
    TooLarge {
        /// The name of the ref.
        name: BString,
    },
    /// The operating system failed to write.
    #[error("cannot write {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The refs were changed, but the operating system failed to sync the folder. A power cut can undo the change.
    #[error("the refs were changed, but {} cannot be synced to disk", .path.display())]
    NotSynced {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl WriteError {
    /// Returns true if the same call can succeed later, without a repair.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Locked { .. } => true,
            Self::Read(error) => error.is_transient(),
            _ => false,
        }
    }
}
