//! Appending of entries.
use std::{io, sync::Arc};

use durable::{
    clock::Clock,
    storage::{FILE_MODE, Storage},
};
use jiff::Timestamp;
use ulid::Ulid;

use super::{
    MAX_LINE,
    entry::{Draft, next_id},
    format::{encode_draft, timestamp},
    repair::Repair,
    segment::file_in,
    tail::write_lines,
    writer::{Cause, WriteError, Writer},
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

/// State of an append.
struct Append<'a> {
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

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Appends a pending entry for each draft and makes it durable: one lock, as few writes as possible, one fsync. Creates
    /// the journal if necessary.
    ///
    /// # Errors
    /// Nothing was appended, for a reason that concerns all drafts. Failures of single drafts are in the result.
    pub fn append(&self, drafts: &[Draft]) -> Result<Appended, WriteError> {
        let file = self.lock_journal()?;
        let repaired = self.repair_locked(&self.journal, &file)?;
        let length = self.on("read", &self.journal, self.storage.length(&file))?;
        let now = self.clock.now();
        let mut append = Append {
            drafts,
            now,
            timestamp: timestamp(now),
            length,
            last: self.last_id(&file, length)?,
            written: Vec::with_capacity(drafts.len()),
            failed: Vec::new(),
        };
        self.append_locked(&file, &mut append);
        let wrote = !append.written.is_empty() || repaired == Some(Repair::Completed);
        let synced = if wrote { self.storage.sync(&file) } else { Ok(()) };
        let segment = match synced {
            Ok(()) => None,
            Err(error) => self.move_to_segment(&mut append, error),
        };
        Ok(Appended {
            written: append.written,
            failed: append.failed,
            repaired,
            segment,
        })
    }

    fn append_locked(&self, file: &S::File, append: &mut Append<'_>) {
        let mut next = 0;
        let mut limit = BATCH;
        let mut batch = Batch::default();
        while next < append.drafts.len() {
            if let Err(cause) = self.fill(&mut batch, append, next, limit) {
                append.failed.push((next, cause));
                next += 1;
                continue;
            }
            let (complete, cause) = write_lines(&self.storage, file, append.length, &batch.bytes, &batch.ends);
            append.take(&batch, complete);
            next += complete;
            let Some(cause) = cause else { continue };
            append.failed.push((next, cause.clone()));
            next += 1;
            // A shorter line may still fit on a full disk.
            limit = 1;
            if matches!(cause, Cause::NotCutBack(_)) {
                let rest = next..append.drafts.len();
                append.failed.extend(rest.map(|index| (index, cause.clone())));
                break;
            }
        }
    }

    /// Fills a batch with lines of the drafts from `first` on: at least one, and no more once it has `limit` bytes.
    fn fill(&self, batch: &mut Batch, append: &Append<'_>, first: usize, limit: usize) -> Result<(), Cause> {
        batch.bytes.clear();
        batch.ids.clear();
        batch.ends.clear();
        let mut last = append.last;
        for draft in &append.drafts[first..] {
            let start = batch.bytes.len();
            let refused = match next_id(last, append.now, || self.random()) {
                None => Some(Cause::NoIdLeft),
                Some(id) => {
                    let offset = append.length + start as u64;
                    append.encode(draft, id, offset, &mut batch.bytes);
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
    fn move_to_segment(&self, append: &mut Append<'_>, error: io::Error) -> Option<Ulid> {
        match self.new_segment(append) {
            Ok(segment) => segment,
            Err(_) => {
                let cause = Cause::Sync(Arc::new(error));
                append.written.clear();
                append.failed = (0..append.drafts.len()).map(|index| (index, cause.clone())).collect();
                None
            }
        }
    }

    fn new_segment(&self, append: &Append<'_>) -> io::Result<Option<Ulid>> {
        let rotated = self.rotate_locked(append.last)?;
        let mut bytes = Vec::new();
        for (draft, id) in append.written() {
            let offset = bytes.len() as u64;
            append.encode(draft, id, offset, &mut bytes);
        }
        let Some(id) = next_id(Some(rotated), append.now, || self.random()).filter(|_| !bytes.is_empty()) else {
            return Ok(None);
        };
        let path = file_in(&self.git_dir, Some(id));
        self.storage.write_new(&path, &bytes, FILE_MODE)?;
        self.storage.sync_dir(&self.folder())?;
        Ok(Some(id))
    }
}

impl Append<'_> {
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
