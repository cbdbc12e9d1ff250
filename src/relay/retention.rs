//! Retention: the log is divided into segments, and the oldest ones are removed when they are old and confirmed.
//!
//! A segment is *old* if all of its events arrived longer ago than `--keep`, or if the log has more than
//! `--keep-bytes`. It is *confirmed* if each feed has mirrors, and all of them have confirmed all of its events in the
//! segment. Before it is removed, the facts about its events that must be kept are recorded in the folder `removed`.
//! The work is done when events arrive, and at the start.
use std::{
    io,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::Duration,
};

use durable::{clock::SystemClock, storage::Disk};
use jiff::{SignedDuration, Timestamp};

use super::{
    confirmed::{Confirmation, Confirmed},
    index::{Bounds, Feed, manifest::Mark},
    indexer::Indexer,
    removed,
    store::Shared,
};
use crate::journal::log::Log;

/// Default size at which a segment is ended, in bytes.
pub const SEGMENT: u64 = 64 << 20;
/// With `--keep`, a segment is ended after this part of the time.
const PARTS: u32 = 8;

/// Settings of the retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size at which a segment is ended, in bytes.
    pub segment: u64,
    /// Age at which events are removed.
    pub keep: Option<Duration>,
    /// Size of the log above which events are removed, in bytes.
    pub keep_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            segment: SEGMENT,
            keep: None,
            keep_bytes: None,
        }
    }
}

impl Limits {
    /// Returns true if the newest file of the log is to be ended, which has this length and began at this time.
    fn is_full(&self, length: u64, begun: Timestamp, now: Timestamp) -> bool {
        let is_old = |keep: Duration| now.duration_since(begun) >= signed(keep / PARTS);
        length >= self.segment || self.keep.is_some_and(is_old)
    }

    /// Returns true if the oldest segment is to be removed, of a log that ends at these marks.
    fn are_exceeded_by(&self, marks: &[Mark], now: Timestamp) -> bool {
        let Some(ended) = marks.first().and_then(|oldest| oldest.segment) else {
            return false;
        };
        // The name of a segment has the time at which it ended.
        let ended = Timestamp::from_millisecond(ended.timestamp_ms() as i64).unwrap_or(Timestamp::MAX);
        let is_old = |keep: Duration| now.duration_since(ended) >= signed(keep);
        let bytes: u64 = marks.iter().map(|mark| mark.length).sum();
        self.keep.is_some_and(is_old) || self.keep_bytes.is_some_and(|most| bytes > most)
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

/// State of the retention.
#[derive(Debug)]
pub struct Retention {
    data: PathBuf,
    limits: Limits,
    confirmed: Confirmed,
    /// Time at which the newest file of the log began.
    begun: Timestamp,
    /// The recording of the oldest segment.
    recording: Option<JoinHandle<io::Result<()>>>,
    /// True if the oldest segment is not known to be confirmed.
    is_blocked: bool,
    /// True if that was logged.
    is_reported: bool,
}

impl Retention {
    /// Creates the state for a data folder, of a log whose newest file began at this time.
    ///
    /// # Errors
    /// The confirmations cannot be read.
    pub fn open(data: &Path, limits: Limits, begun: Timestamp) -> io::Result<Self> {
        Ok(Retention {
            data: data.into(),
            limits,
            confirmed: Confirmed::read(data)?,
            begun,
            recording: None,
            is_blocked: false,
            is_reported: false,
        })
    }

    /// Returns true if the newest file of the log is to be ended.
    pub fn is_full(&self, length: u64, now: Timestamp) -> bool {
        self.limits.is_full(length, self.begun, now)
    }

    /// Takes note of a new file of the log.
    pub fn began_file(&mut self, now: Timestamp) {
        self.begun = now;
    }

    /// Stores a mirror's confirmation.
    ///
    /// # Errors
    /// The disk fails.
    pub fn confirm(&mut self, confirmation: &Confirmation) -> io::Result<()> {
        self.is_blocked = false;
        self.confirmed.set(confirmation)
    }

    /// Confirmations of mirrors.
    pub fn confirmed(&self) -> &Confirmed {
        &self.confirmed
    }

    /// Removes the oldest segment, or begins with that, if it is old and confirmed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove_old(
        &mut self,
        (log, marks): (&mut Log<Disk, SystemClock>, &mut Vec<Mark>),
        indexer: &mut Indexer,
        shared: &Shared,
        now: Timestamp,
    ) -> io::Result<()> {
        if let Some(recording) = self.recording.take_if(|recording| recording.is_finished()) {
            let recorded = recording.join();
            recorded.unwrap_or_else(|_| Err(io::Error::other("the thread that records removed events panicked")))?;
            remove_oldest(log, marks, shared)?;
        }
        let is_due = self.recording.is_none() && !self.is_blocked && self.limits.are_exceeded_by(marks, now);
        let Some(oldest) = marks.first().copied().filter(|_| is_due) else {
            return Ok(());
        };
        if let Some(feed) = self.unconfirmed(shared, oldest.last)? {
            self.is_blocked = true;
            if !std::mem::replace(&mut self.is_reported, true) {
                tracing::warn!(
                    feed,
                    "old events are kept, because no mirror has confirmed them: PUT /feeds/{{id}}/confirmed"
                );
            }
            return Ok(());
        }
        // An index that ends in the segment could not be used without it.
        if indexer.written_file() <= oldest.file {
            indexer.write_now(marks)?;
        }
        let (data, reader) = (self.data.clone(), log.reader());
        self.recording = Some(thread::spawn(move || removed::record(&data, &reader, oldest)));
        Ok(())
    }

    /// Returns a feed with an event up to this number that is not confirmed.
    fn unconfirmed(&self, shared: &Shared, last: u64) -> io::Result<Option<String>> {
        let index = shared.index();
        for feed in index.feeds() {
            let confirmed = self.confirmed.of(&feed.about().id).unwrap_or(0);
            if feed.last() > confirmed && first_after(&index, feed, confirmed)?.is_some_and(|seq| seq <= last) {
                return Ok(Some(feed.about().id.to_string()));
            }
        }
        Ok(None)
    }
}

/// Number of the first event of a feed after this one.
fn first_after(index: &super::index::Index, feed: &Feed, seq: u64) -> io::Result<Option<u64>> {
    let bounds = Bounds {
        events: 1,
        bytes: usize::MAX,
    };
    let slice = index.arrived_after(feed, seq, bounds).arrived(bounds)?;
    Ok(slice.records.first().map(|(_, record)| record.seq))
}

fn remove_oldest(log: &mut Log<Disk, SystemClock>, marks: &mut Vec<Mark>, shared: &Shared) -> io::Result<()> {
    let oldest = marks[0];
    // Readers do not look for its events any more.
    shared.change_index(|index| index.remove_before(oldest.file + 1, oldest.last));
    log.remove_oldest()?;
    marks.remove(0);
    let segment = oldest.segment.map(|name| name.to_string());
    tracing::info!(segment, last = oldest.last, "removed the oldest segment of the log");
    Ok(())
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn segments_end_by_size_or_age_and_are_removed_by_age_or_size() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let limits = Limits {
            segment: 100,
            keep: Some(Duration::from_secs(80)),
            keep_bytes: None,
        };
        assert!(
            !limits.is_full(99, at(0), at(9)) && limits.is_full(100, at(0), at(0)) && limits.is_full(1, at(0), at(10))
        );
        let mark = |ended: Option<u64>| Mark {
            file: 0,
            segment: ended.map(|ended| Ulid::from_parts(ended * 1000, 0)),
            length: 100,
            last: 0,
            checksum: 0,
        };
        let marks = [mark(Some(20)), mark(Some(30)), mark(None)];
        assert!(!limits.are_exceeded_by(&marks, at(99)) && limits.are_exceeded_by(&marks, at(100)));
        assert!(!limits.are_exceeded_by(&marks[2..], at(999)), "the newest file stays");
        assert!(!Limits::default().are_exceeded_by(&marks, at(999)));
        let by_size = |keep_bytes| Limits {
            keep_bytes: Some(keep_bytes),
            ..Limits::default()
        };
        assert!(by_size(299).are_exceeded_by(&marks, at(30)) && !by_size(300).are_exceeded_by(&marks, at(30)));
    }
}
