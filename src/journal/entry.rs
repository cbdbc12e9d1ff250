//! Journal entries, and their ids.
use std::{ops::Range, sync::Arc};

use bstr::BString;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
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

/// What becomes an [`Entry`] when the journal gives it an id and a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Ref, old id, new id.
    pub update: RefUpdate,
    /// From the new commit's `KV-Txn` trailer.
    pub txn_id: Option<BString>,
    /// Where it comes from. A push may have ten thousand updates, and has one origin.
    pub origin: Arc<Origin>,
}

/// What all entries of a push have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Who writes the entries.
    pub source: Source,
    /// Who pushed, if the server says.
    pub pusher: Option<BString>,
    /// The repository's identifier.
    pub repo: Option<BString>,
    /// What the pusher gave with `--push-option`.
    pub push_options: Vec<BString>,
}

/// Who wrote an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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

/// An entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The entry.
    pub entry: Entry,
    /// Where it stands.
    pub place: Place,
    /// Where the same line stands again, as it does when it went to a new segment after a failed fsync.
    pub copies: Vec<Place>,
}

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The segment; none for the journal.
    pub segment: Option<Ulid>,
    /// Offset of the line's first byte in the file, in bytes.
    pub offset: u64,
    /// The status value with its quotes and padding, in bytes from the start of the file.
    pub status: Range<u64>,
}

impl Draft {
    /// The pending entry of this draft.
    pub fn entry(&self, entry_id: Ulid, timestamp: Timestamp) -> Entry {
        let origin = &*self.origin;
        let meta = Meta {
            txn_id: self.txn_id.clone(),
            push_options: origin.push_options.clone(),
        };
        Entry {
            entry_id,
            timestamp,
            update: self.update.clone(),
            pusher: origin.pusher.clone(),
            repo: origin.repo.clone(),
            source: origin.source,
            status: Status::Pending,
            meta: (meta != Meta::default()).then_some(meta),
        }
    }
}

impl Origin {
    /// Of entries that nobody pushed, as far as is known.
    pub fn of(source: Source) -> Self {
        Origin {
            source,
            pusher: None,
            repo: None,
            push_options: Vec::new(),
        }
    }
}

impl Entry {
    /// What is left without id, time and status.
    pub fn into_draft(self) -> Draft {
        let meta = self.meta.unwrap_or_default();
        let origin = Origin {
            source: self.source,
            pusher: self.pusher,
            repo: self.repo,
            push_options: meta.push_options,
        };
        Draft {
            update: self.update,
            txn_id: meta.txn_id,
            origin: Arc::new(origin),
        }
    }
}

/// The id of the entry after the one with the id `last`: of this moment, and greater than `last` also where the clock
/// stands still or goes backwards. `random` fills it where it begins
/// a new millisecond (80 bits of it are used). `None` when `last` is the greatest of all.
pub fn next_id(last: Option<Ulid>, now: Timestamp, random: impl FnOnce() -> u128) -> Option<Ulid> {
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    match last {
        Some(last) if last.timestamp_ms() >= milliseconds => last.0.checked_add(1).map(Ulid),
        _ => Some(Ulid::from_parts(milliseconds, random() & ((1 << 80) - 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_where_the_clock_goes_back_and_end_at_the_greatest() {
        let late: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let early: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let first = next_id(None, late, || 7).unwrap();
        let second = next_id(Some(first), early, || 9).unwrap();
        assert_eq!(second.0, first.0 + 1);
        assert_eq!(next_id(Some(first), late, || 0).unwrap().0, first.0 + 1);
        assert_eq!(next_id(Some(Ulid::max()), late, || 0), None);
    }
}
