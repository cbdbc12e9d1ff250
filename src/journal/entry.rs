//! Journal entries.
use std::ops::Range;

use bstr::BString;
use jiff::Timestamp;
use ulid::Ulid;

use crate::ref_update::RefUpdate;

/// One ref update with its status: one line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Strictly increasing in file order.
    pub entry_id: Ulid,
    /// When the hook recorded it.
    pub timestamp: Timestamp,
    /// Ref, old id, new id.
    pub update: RefUpdate,
    /// Who pushed, if the server says.
    pub pusher: Option<BString>,
    /// The repository's identifier.
    pub repo: Option<BString>,
    /// Who wrote the entry.
    pub source: Source,
    /// What has become of it.
    pub status: Status,
    /// What else is known.
    pub meta: Option<Meta>,
}

/// Who wrote an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The hook.
    PostReceive,
    /// The worker, from an intent.
    Recovered,
    /// The worker, from the refs.
    Reconcile,
    /// An operator.
    Manual,
}

/// What has become of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// To be mirrored.
    Pending,
    /// Seen on the mirror.
    Done,
    /// Can never be mirrored.
    Failed,
    /// Not to be mirrored, by configuration.
    Skipped,
}

/// What else is known of a ref update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// From the new commit's `KV-Txn` trailer.
    pub txn_id: Option<BString>,
    /// What the pusher gave with `--push-option`.
    pub push_options: Vec<BString>,
}

/// An entry with its place in a journal file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The entry.
    pub entry: Entry,
    /// Offset of the line's first byte in the file, in bytes.
    pub offset: u64,
    /// The status value with its quotes and padding, in bytes from the start of the file.
    pub status: Range<u64>,
}
