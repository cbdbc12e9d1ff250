//! Appending: entries become durable, or it is said which did not.
use std::{io, sync::Arc};

use jiff::Timestamp;
use ulid::Ulid;

use super::{
    MAX_LINE,
    entry::{Draft, next_id},
    format::{encode_draft, timestamp},
    repair::Repair,
    segment::file_in,
    writer::{Cause, WriteError, Writer},
};
use crate::{
    clock::Clock,
    storage::{FILE_MODE, Storage},
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
    /// Of each line, its id, and where it ends in `bytes`.
    lines: Vec<(Ulid, usize)>,
}

/// An append that goes on.
struct Append<'a> {
    drafts: &'a [Draft],
    now: Timestamp,
    timestamp: String,
    /// Of the journal, in bytes.
    length: u64,
    last: Option<Ulid>,
    /// Index and id of each draft that is written.
    written: Vec<(usize, Ulid)>,
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
            written: append.written.iter().map(|(_, id)| *id).collect(),
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
            let (complete, cause) = self.write_batch(file, &batch, append.length);
            append.take(next, &batch, complete);
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
        batch.lines.clear();
        let mut last = append.last;
        for draft in &append.drafts[first..] {
            let start = batch.bytes.len();
            let refused = match next_id(last, append.now, || self.random()) {
                None => Some(Cause::NoIdLeft),
                Some(id) => {
                    encode_draft(
                        draft,
                        id,
                        &append.timestamp,
                        append.length + start as u64,
                        &mut batch.bytes,
                    );
                    let length = batch.bytes.len() - start;
                    last = Some(id);
                    batch.lines.push((id, batch.bytes.len()));
                    (length > MAX_LINE).then_some(Cause::TooLong(length))
                }
            };
            match refused {
                Some(cause) if start == 0 => return Err(cause),
                Some(_) => {
                    batch.bytes.truncate(start);
                    batch.lines.retain(|(_, end)| *end <= start);
                    break;
                }
                None if batch.bytes.len() >= limit => break,
                None => {}
            }
        }
        Ok(())
    }

    /// Writes lines at the end, which is at `length`, and leaves complete ones only: how many, and why not all.
    fn write_batch(&self, file: &S::File, batch: &Batch, length: u64) -> (usize, Option<Cause>) {
        let (written, error) = match self.storage.append(file, &batch.bytes) {
            Ok(written) if written == batch.bytes.len() => return (batch.lines.len(), None),
            Ok(written) => (written, None),
            Err(error) => (0, Some(error)),
        };
        let complete = batch.lines.iter().take_while(|(_, end)| *end <= written).count();
        let end = |count: usize| count.checked_sub(1).map_or(0, |last| batch.lines[last].1);
        let cause = match error {
            Some(error) => Cause::Write(Arc::new(error)),
            None => Cause::Short {
                written: written - end(complete),
                length: end(complete + 1) - end(complete),
            },
        };
        match self.storage.truncate(file, length + end(complete) as u64) {
            Ok(()) => (complete, Some(cause)),
            Err(error) => (complete, Some(Cause::NotCutBack(Arc::new(error)))),
        }
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
        for (index, id) in &append.written {
            let (draft, offset) = (&append.drafts[*index], bytes.len() as u64);
            encode_draft(draft, *id, &append.timestamp, offset, &mut bytes);
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
    /// Notes that the first `complete` lines of a batch are written, of the drafts from `first` on.
    fn take(&mut self, first: usize, batch: &Batch, complete: usize) {
        let lines = batch.lines[..complete].iter();
        self.written
            .extend(lines.enumerate().map(|(number, (id, _))| (first + number, *id)));
        if let Some((id, end)) = complete.checked_sub(1).map(|last| batch.lines[last]) {
            self.length += end as u64;
            self.last = Some(id);
        }
    }
}
