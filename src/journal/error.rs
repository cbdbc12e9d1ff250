//! Errors of writing to a journal or a log.
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::MAX_LINE;

/// Causes why one entry was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// The write was short, as on a full disk, and was truncated again.
    #[error("only {written} of {length} bytes could be written: check for a full disk, a quota or a file size limit")]
    Short {
        /// Bytes that were written.
        written: usize,
        /// Bytes of the line.
        length: usize,
    },
    /// The write failed.
    #[error("the write failed: {0}")]
    Write(Arc<io::Error>),
    /// The fsync failed, and the entry could not be written to a new segment: the content of the disk is unknown.
    #[error("fsync failed, so the entry may not be on the disk: {0}")]
    Sync(Arc<io::Error>),
    /// An incomplete line before it could not be truncated.
    #[error("not written, because an incomplete line before it cannot be truncated: {0}")]
    NotCutBack(Arc<io::Error>),
    /// The line would exceed the reader's limit.
    #[error("its line would have {0} bytes, more than the limit of {MAX_LINE}")]
    TooLong(usize),
    /// The last id of the journal is the greatest possible one.
    #[error("the journal's last entry_id is the greatest possible: move the journal away")]
    NoIdLeft,
    /// The journal has another entry or status at that place.
    #[error("the journal no longer has this entry with this status at offset {0}")]
    Moved(u64),
}

/// Reasons why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An operation of the [storage](durable::storage::Storage) failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Storage {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another process held the lock until the timeout.
    #[error(
        "{} was locked by another process for {waited:?}: find that process with fuser, or raise stargate.lockTimeout",
        path.display()
    )]
    Locked {
        /// The journal.
        path: PathBuf,
        /// The timeout.
        waited: Duration,
    },
    /// The journal is on a network file system.
    #[error(
        "{} is on {kind}, where file locks are unreliable and concurrent writers could corrupt the journal: move the \
         repository to a local disk, or accept the risk with git config stargate.allowNfs true",
        path.display()
    )]
    Network {
        /// The journal's folder.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
}

/// Adds the operation and the path to an error.
pub(super) fn on<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, WriteError> {
    result.map_err(|source| WriteError::Storage {
        what,
        path: path.into(),
        source,
    })
}
