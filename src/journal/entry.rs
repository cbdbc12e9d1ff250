//! Journal entries and their ids.
use std::{ops::Range, sync::Arc};

use bstr::BString;
use durable::clock::Clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::ref_update::RefUpdate;

/// One ref update with its status: one line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id, strictly increasing in file order.
    pub entry_id: Ulid,
    /// Time at which it was recorded.
    pub timestamp: Timestamp,
    /// Ref, old id, new id.
    pub update: RefUpdate,
    /// Name of the pusher, if the server provides it.
    pub pusher: Option<BString>,
    /// The repository's identifier.
    pub repo: Option<BString>,
    /// Writer of the entry.
    pub source: Source,
    /// Mirroring status.
    pub status: Status,
    /// Further metadata.
    pub meta: Option<Meta>,
}

/// An [`Entry`] without id and time, which the journal adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Ref, old id, new id.
    pub update: RefUpdate,
    /// Value of the new commit's `KV-Txn` trailer.
    pub txn_id: Option<BString>,
    /// Its origin, shared because a push may have ten thousand updates.
    pub origin: Arc<Origin>,
}

/// Metadata shared by all entries of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Writer of the entries.
    pub source: Source,
    /// Name of the pusher, if the server provides it.
    pub pusher: Option<BString>,
    /// The repository's identifier.
    pub repo: Option<BString>,
    /// Values of the pusher's `--push-option` flags.
    pub push_options: Vec<BString>,
}

/// Writer of an entry.
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

/// Mirroring status of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not mirrored yet.
    Pending,
    /// Confirmed on the mirror.
    Done,
    /// Can never be mirrored.
    Failed,
    /// Excluded from mirroring by the configuration.
    Skipped,
}

/// Further metadata of a ref update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Value of the new commit's `KV-Txn` trailer.
    pub txn_id: Option<BString>,
    /// Values of the pusher's `--push-option` flags.
    pub push_options: Vec<BString>,
}

/// An entry with its place in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The entry.
    pub entry: Entry,
    /// Its place.
    pub place: Place,
    /// Places of identical lines. They exist if the line was moved to a new segment after a failed fsync.
    pub copies: Vec<Place>,
}

/// Place of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The segment, or `None` for the journal.
    pub segment: Option<Ulid>,
    /// Offset of the line's first byte in the file.
    pub offset: u64,
    /// Range of the status value in the file, with its quotes and padding.
    pub status: Range<u64>,
}

impl Draft {
    /// Returns the pending entry of this draft.
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
    /// Returns the origin of entries without a known push.
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
    /// Drops id, time and status.
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

/// Returns the id for the entry after the one with the id `last`. It has the current time, or is the successor of `last`
/// if the clock stands still or went back. `random` provides 80 random bits for a new millisecond. `None` if `last` is the
/// greatest possible id.
pub fn next_id(last: Option<Ulid>, now: Timestamp, random: impl FnOnce() -> u128) -> Option<Ulid> {
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    match last {
        Some(last) if last.timestamp_ms() >= milliseconds => last.0.checked_add(1).map(Ulid),
        _ => Some(Ulid::from_parts(milliseconds, random() & ((1 << 80) - 1))),
    }
}

/// Returns the 80 random bits of a ULID.
pub(super) fn random_bits(clock: &impl Clock) -> u128 {
    let part = || (clock.random() * (1u64 << 40) as f64) as u128;
    part() << 40 | part()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_increase_although_the_clock_goes_back_until_the_greatest_one() {
        let late: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let early: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let first = next_id(None, late, || 7).unwrap();
        let second = next_id(Some(first), early, || 9).unwrap();
        assert_eq!(second.0, first.0 + 1);
        assert_eq!(next_id(Some(first), late, || 0).unwrap().0, first.0 + 1);
        assert_eq!(next_id(Some(Ulid::max()), late, || 0), None);
    }
}
