//! Appending of entries.
use std::{io, sync::Arc};

use durable::{
    clock::Clock,
    storage::{FILE_MODE, ReadFiles, Storage},
};
use jiff::Timestamp;
use ulid::Ulid;

use super::{
    MAX_LINE,
    access::Access,
    encode::{encode_draft, timestamp},
    entry::{Draft, next_id},
    error::{Cause, WriteError},
    locked::LockedJournal,
    repair::Repair,
    segment::file_in,
    tail::write_lines,
};

/// Bytes of lines per write.
const BATCH: usize = 256 << 10;

/// Result of an append.
#[derive(Debug, Default)]
pub struct Appended {
    /// Ids of the entries that are durable, in the order of their drafts.
    pub written: Vec<Ulid>,
    /// Index of each draft that is not durable, in order, and the cause.
    pub failed: Vec<(usize, Cause)>,
    /// Repair that was made before.
    pub repaired: Option<Repair>,
    /// The segment with the entries, if the journal could not be synced.
    pub segment: Option<Ulid>,
}

/// Lines of one write. Its memory is reused.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Id of each line.
    ids: Vec<Ulid>,
    /// End of each line in `bytes`.
    ends: Vec<usize>,
}

/// Appends an entry for each draft, see [`Writer::append`](super::Writer::append).
pub(super) fn append<S: Storage, C: Clock>(access: &Access<S, C>, drafts: &[Draft]) -> Result<Appended, WriteError> {
    let journal = LockedJournal::lock(access)?;
    let repaired = journal.repair_tail()?;
    let length = journal.length()?;
    let now = access.clock.now();
    let mut append = Append {
        access,
        drafts,
        now,
        timestamp: timestamp(now),
        length,
        last: journal.last_id(length)?,
        journal,
        written: Vec::with_capacity(drafts.len()),
        failed: Vec::new(),
    };
    append.write_all();
    let wrote = !append.written.is_empty() || repaired == Some(Repair::Completed);
    let synced = if wrote { append.journal.sync() } else { Ok(()) };
    let segment = match synced {
        Ok(()) => None,
        Err(error) => append.move_to_segment(error),
    };
    Ok(Appended {
        written: append.written,
        failed: append.failed,
        repaired,
        segment,
    })
}

/// State of an append.
struct Append<'a, S: ReadFiles, C> {
    access: &'a Access<S, C>,
    journal: LockedJournal<'a, S, C>,
    drafts: &'a [Draft],
    now: Timestamp,
    timestamp: String,
    /// Length of the journal in bytes.
    length: u64,
    last: Option<Ulid>,
    /// Ids of the drafts that are written so far, in order.
    written: Vec<Ulid>,
    failed: Vec<(usize, Cause)>,
}

impl<S: Storage, C: Clock> Append<'_, S, C> {
    fn write_all(&mut self) {
        let mut next = 0;
        let mut limit = BATCH;
        let mut batch = Batch::default();
        while next < self.drafts.len() {
            if let Err(cause) = self.fill(&mut batch, next, limit) {
                self.failed.push((next, cause));
                next += 1;
                continue;
            }
            let storage = &self.access.storage;
            let (complete, cause) = write_lines(storage, self.journal.file(), self.length, &batch.bytes, &batch.ends);
            self.take(&batch, complete);
            next += complete;
            let Some(cause) = cause else { continue };
            self.failed.push((next, cause.clone()));
            next += 1;
            // A shorter line may still fit on a full disk.
            limit = 1;
            if matches!(cause, Cause::NotCutBack(_)) {
                let rest = next..self.drafts.len();
                self.failed.extend(rest.map(|index| (index, cause.clone())));
                break;
            }
        }
    }

    /// Fills a batch with lines of the drafts from `first` on: at least one, until it has `limit` bytes.
    fn fill(&self, batch: &mut Batch, first: usize, limit: usize) -> Result<(), Cause> {
        batch.bytes.clear();
        batch.ids.clear();
        batch.ends.clear();
        let mut last = self.last;
        for draft in &self.drafts[first..] {
            let start = batch.bytes.len();
            let refused = match next_id(last, self.now, || self.access.random()) {
                None => Some(Cause::NoIdLeft),
                Some(id) => {
                    let offset = self.length + start as u64;
                    self.encode(draft, id, offset, &mut batch.bytes);
                    let length = batch.bytes.len() - start;
                    last = Some(id);
                    batch.ids.push(id);
                    batch.ends.push(batch.bytes.len());
                    (length > MAX_LINE).then_some(Cause::TooLong(length))
                }
            };
            match refused {
                Some(cause) if start == 0 => return Err(cause),
                Some(_) => {
                    batch.bytes.truncate(start);
                    batch.ends.retain(|end| *end <= start);
                    batch.ids.truncate(batch.ends.len());
                    break;
                }
                None if batch.bytes.len() >= limit => break,
                None => {}
            }
        }
        Ok(())
    }

    /// Handles a failed fsync: rotates the journal, and writes the entries with their ids to a segment of their own. A
    /// second fsync would report success for pages that the kernel has dropped.
    fn move_to_segment(&mut self, error: io::Error) -> Option<Ulid> {
        match self.new_segment() {
            Ok(segment) => segment,
            Err(_) => {
                let cause = Cause::Sync(Arc::new(error));
                self.written.clear();
                self.failed = (0..self.drafts.len()).map(|index| (index, cause.clone())).collect();
                None
            }
        }
    }

    fn new_segment(&self) -> io::Result<Option<Ulid>> {
        let rotated = self.journal.rotate(self.last)?;
        let mut bytes = Vec::new();
        for (draft, id) in self.written() {
            let offset = bytes.len() as u64;
            self.encode(draft, id, offset, &mut bytes);
        }
        let Some(id) = next_id(Some(rotated), self.now, || self.access.random()).filter(|_| !bytes.is_empty()) else {
            return Ok(None);
        };
        let path = file_in(&self.access.git_dir, Some(id));
        self.access.storage.write_new(&path, &bytes, FILE_MODE)?;
        self.access.storage.sync_dir(&self.access.folder())?;
        Ok(Some(id))
    }

    fn encode(&self, draft: &Draft, id: Ulid, offset: u64, lines: &mut Vec<u8>) {
        encode_draft(draft, (id, &self.timestamp), draft.origin.source, offset, lines);
    }

    /// Returns the written drafts with their ids.
    fn written(&self) -> impl Iterator<Item = (&Draft, Ulid)> {
        let mut failed = self.failed.iter().map(|(index, _)| *index).peekable();
        let drafts = self.drafts.iter().enumerate();
        let written = drafts.filter(move |(index, _)| failed.next_if_eq(index).is_none());
        written.map(|(_, draft)| draft).zip(self.written.iter().copied())
    }

    /// Records that the first `complete` lines of a batch are written.
    fn take(&mut self, batch: &Batch, complete: usize) {
        self.written.extend(&batch.ids[..complete]);
        if let Some(last) = complete.checked_sub(1) {
            self.length += batch.ends[last] as u64;
            self.last = Some(batch.ids[last]);
        }
    }
}
