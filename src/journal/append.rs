//! Appending: entries become durable, or it is said which did not.
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

/// How many bytes of lines are written at once.
const BATCH: usize = 256 << 10;

/// What became of an append.
#[derive(Debug, Default)]
pub struct Appended {
    /// Ids of the entries that are durable, in the order of their drafts.
    pub written: Vec<Ulid>,
    /// Index of each draft that is not, in order, and why.
    pub failed: Vec<(usize, Cause)>,
    /// What was repaired before.
    pub repaired: Option<Repair>,
    /// The segment that the entries went to, because the journal could not be synced.
    pub segment: Option<Ulid>,
}

/// Lines that are written at once. Its memory is used again for the next ones.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Of each line.
    ids: Vec<Ulid>,
    /// Where each line ends in `bytes`.
    ends: Vec<usize>,
}

/// An append that goes on.
struct Append<'a> {
    drafts: &'a [Draft],
    now: Timestamp,
    timestamp: String,
    /// Of the journal, in bytes.
    length: u64,
    last: Option<Ulid>,
    /// Ids of the drafts that are written: of all up to here that have not failed, in order.
    written: Vec<Ulid>,
    failed: Vec<(usize, Cause)>,
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Appends a pending entry per draft, durably: one lock, as few writes as it takes, one fsync. Creates the journal.
    ///
    /// # Errors
    /// Nothing was appended; the reason holds for all drafts. What failed for one draft is in the result.
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
            Err(error) => self.write_elsewhere(&mut append, error),
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
            // What is full may still take a shorter line.
            limit = 1;
            if matches!(cause, Cause::NotCutBack(_)) {
                let rest = next..append.drafts.len();
                append.failed.extend(rest.map(|index| (index, cause.clone())));
                break;
            }
        }
    }

    /// Fills a batch with the lines of the drafts from `first` on, as long as they have fewer than `limit` bytes, at least
    /// one.
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

    /// After a failed fsync: no second try on this file, because the kernel would report success for pages that it has
    /// given up. The journal is put aside, and the entries go, with their ids, to a segment of their own.
    fn write_elsewhere(&self, append: &mut Append<'_>, error: io::Error) -> Option<Ulid> {
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
        let aside = self.put_aside(append.last)?;
        let mut bytes = Vec::new();
        for (draft, id) in append.written() {
            let offset = bytes.len() as u64;
            append.encode(draft, id, offset, &mut bytes);
        }
        let Some(id) = next_id(Some(aside), append.now, || self.random()).filter(|_| !bytes.is_empty()) else {
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

    /// The drafts that are written, with their ids.
    fn written(&self) -> impl Iterator<Item = (&Draft, Ulid)> {
        let mut failed = self.failed.iter().map(|(index, _)| *index).peekable();
        let drafts = self.drafts.iter().enumerate();
        let written = drafts.filter(move |(index, _)| failed.next_if_eq(index).is_none());
        written.map(|(_, draft)| draft).zip(self.written.iter().copied())
    }

    /// Notes that the first `complete` lines of a batch are written.
    fn take(&mut self, batch: &Batch, complete: usize) {
        self.written.extend(&batch.ids[..complete]);
        if let Some(last) = complete.checked_sub(1) {
            self.length += batch.ends[last] as u64;
            self.last = Some(batch.ids[last]);
        }
    }
}
