//! Settling: overwrites the status of entries in place.
use std::{collections::BTreeMap, io, sync::Arc};

use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    BLOCK,
    entry::{Located, Place, Status},
    reader::{FileInput, Item},
    scan::{Head, Scan},
    segment::{file_in, segments},
    writer::{Cause, WriteError, Writer},
};

/// Result of settling entries.
#[derive(Debug, Default)]
pub struct Settled {
    /// Number of entries whose new status is durable.
    pub settled: usize,
    /// Index of each other entry, and the cause.
    pub failed: Vec<(usize, Cause)>,
}

/// New status for a place.
struct Change<'a> {
    index: usize,
    located: &'a Located,
    place: &'a Place,
    status: Status,
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Sets the new status of each entry that still has the status with which it was read, or has the new one already.
    /// Takes one lock and one fsync per file. Finds entries whose file was rotated since.
    ///
    /// # Errors
    /// A file cannot be locked or synced. Failures of single entries are in the result.
    pub fn settle(&self, settlements: &[(Located, Status)]) -> Result<Settled, WriteError> {
        let mut files: BTreeMap<Option<Ulid>, Vec<Change<'_>>> = BTreeMap::new();
        for (index, (located, status)) in settlements.iter().enumerate() {
            for place in [&located.place].into_iter().chain(&located.copies) {
                files.entry(place.segment).or_default().push(Change {
                    index,
                    located,
                    place,
                    status: *status,
                });
            }
        }
        let mut failed = BTreeMap::new();
        for (segment, changes) in files {
            let mut moved = self.settle_in(segment, changes, &mut failed)?;
            if segment.is_none() && !moved.is_empty() {
                let segments = self.on("list", &self.folder(), segments(&self.storage, &self.git_dir))?;
                for segment in segments.into_iter().rev() {
                    moved = self.settle_in(Some(segment), moved, &mut failed)?;
                }
            }
            let cause = |change: Change<'_>| (change.index, Cause::Moved(change.place.offset));
            failed.extend(moved.into_iter().map(cause));
        }
        Ok(Settled {
            settled: settlements.len() - failed.len(),
            failed: failed.into_iter().collect(),
        })
    }

    /// Makes failed or skipped entries pending again. Resets the cache of the last scan first.
    ///
    /// # Errors
    /// As [`settle`](Writer::settle).
    pub fn retry(&self, entries: &[Located]) -> Result<Settled, WriteError> {
        let file = self.lock_journal()?;
        let mut forgotten = Scan::default();
        let old = Head::load(&self.storage, &self.git_dir).generation;
        while forgotten.head.generation == old || forgotten.head.generation == Ulid::default() {
            forgotten.head.generation = self.unique();
        }
        let replaced = forgotten.replace(&self.storage, &self.git_dir);
        self.on("reset the scan of", &self.journal, replaced)?;
        self.on("sync", &self.folder(), self.storage.sync_dir(&self.folder()))?;
        drop(file);
        let pending: Vec<_> = entries.iter().map(|entry| (entry.clone(), Status::Pending)).collect();
        self.settle(&pending)
    }

    /// Makes the changes in one file. Returns those whose entries are not there.
    fn settle_in<'a>(
        &self,
        segment: Option<Ulid>,
        changes: Vec<Change<'a>>,
        failed: &mut BTreeMap<usize, Cause>,
    ) -> Result<Vec<Change<'a>>, WriteError> {
        let path = file_in(&self.git_dir, segment);
        if changes.is_empty() {
            return Ok(changes);
        }
        let file = match self.lock(&path, |path| self.storage.open_overwrite(path)) {
            Err(WriteError::Storage { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(changes),
            file => file?,
        };
        let mut moved = Vec::new();
        for change in changes {
            match self.settle_one(&file, &change) {
                Ok(true) => {}
                Ok(false) => moved.push(change),
                Err(error) => {
                    failed.insert(change.index, Cause::Write(Arc::new(error)));
                }
            }
        }
        self.on("sync", &path, self.storage.sync(&file))?;
        Ok(moved)
    }

    /// Makes one change. Returns false if the entry is not there, or has another status.
    fn settle_one(&self, file: &S::File, change: &Change<'_>) -> io::Result<bool> {
        let (place, status) = (change.place, change.status);
        let item = FileInput::reader(&self.storage, file, place.offset, BLOCK as usize).next();
        let Some(Item::Entry(found)) = item.transpose()? else {
            return Ok(false);
        };
        let width = status.padded().len() as u64;
        let was = &change.located.entry;
        let same = found.entry.entry_id == was.entry_id && found.place.status == place.status;
        match found.entry.status {
            found if same && found == status => Ok(true),
            found if same && found == was.status && place.status.end - place.status.start == width => {
                let bytes = status.padded();
                self.storage.overwrite_at(file, place.status.start, bytes)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
