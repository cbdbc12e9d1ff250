//! Settling: overwrites the status of entries in place.
use std::{collections::BTreeMap, io, sync::Arc};

use durable::{
    clock::Clock,
    storage::{Storage, WriteFiles},
};
use ulid::Ulid;

use super::{
    BLOCK,
    access::Access,
    entry::{Located, Place, Status},
    error::{Cause, WriteError, on},
    locked::LockedJournal,
    reader::{FileInput, Item},
    scan::{Head, Scan},
    segment::{file_in, segments},
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

/// Sets the status of entries, see [`Writer::settle`](super::Writer::settle).
pub(super) fn settle<S: Storage, C: Clock>(
    access: &Access<S, C>,
    settlements: &[(Located, Status)],
) -> Result<Settled, WriteError> {
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
    let mut settling = Settling {
        access,
        failed: BTreeMap::new(),
    };
    for (segment, changes) in files {
        settling.settle(segment, changes)?;
    }
    Ok(Settled {
        settled: settlements.len() - settling.failed.len(),
        failed: settling.failed.into_iter().collect(),
    })
}

/// Makes settled entries pending again, see [`Writer::retry`](super::Writer::retry).
pub(super) fn retry<S: Storage, C: Clock>(access: &Access<S, C>, entries: &[Located]) -> Result<Settled, WriteError> {
    let journal = LockedJournal::lock(access)?;
    let mut forgotten = Scan::default();
    let old = Head::load(&access.storage, &access.git_dir).generation;
    while forgotten.head.generation == old || forgotten.head.generation == Ulid::default() {
        forgotten.head.generation = access.unique();
    }
    let replaced = forgotten.replace(&access.storage, &access.git_dir);
    on("reset the scan of", &access.journal, replaced)?;
    drop(journal);
    let pending: Vec<_> = entries.iter().map(|entry| (entry.clone(), Status::Pending)).collect();
    settle(access, &pending)
}

/// Settling of entries, with the causes of those that fail, by index.
struct Settling<'a, S, C> {
    access: &'a Access<S, C>,
    failed: BTreeMap<usize, Cause>,
}

impl<S: Storage, C: Clock> Settling<'_, S, C> {
    /// Makes the changes of one file, and finds the entries of the journal that were rotated since.
    fn settle(&mut self, segment: Option<Ulid>, changes: Vec<Change<'_>>) -> Result<(), WriteError> {
        let mut moved = self.settle_in(segment, changes)?;
        if segment.is_none() && !moved.is_empty() {
            let segments = segments(&self.access.storage, &self.access.git_dir);
            for segment in on("list", &self.access.folder(), segments)?.into_iter().rev() {
                moved = self.settle_in(Some(segment), moved)?;
            }
        }
        let cause = |change: Change<'_>| (change.index, Cause::Moved(change.place.offset));
        self.failed.extend(moved.into_iter().map(cause));
        Ok(())
    }

    /// Makes the changes in one file. Returns those whose entries are not there.
    fn settle_in<'a>(
        &mut self,
        segment: Option<Ulid>,
        changes: Vec<Change<'a>>,
    ) -> Result<Vec<Change<'a>>, WriteError> {
        let path = file_in(&self.access.git_dir, segment);
        if changes.is_empty() {
            return Ok(changes);
        }
        let file = match self.access.lock_to_overwrite(&path) {
            Err(WriteError::Storage { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(changes),
            file => file?,
        };
        let mut moved = Vec::new();
        for change in changes {
            match settle_one(&self.access.storage, &file, &change) {
                Ok(true) => {}
                Ok(false) => moved.push(change),
                Err(error) => {
                    self.failed.insert(change.index, Cause::Write(Arc::new(error)));
                }
            }
        }
        on("sync", &path, self.access.storage.sync(&file))?;
        Ok(moved)
    }
}

/// Makes one change. Returns false if the entry is not there, or has another status.
fn settle_one<S: WriteFiles>(storage: &S, file: &S::File, change: &Change<'_>) -> io::Result<bool> {
    let (place, status) = (change.place, change.status);
    let item = FileInput::reader(storage, file, place.offset, BLOCK as usize).next();
    let Some(Item::Entry(found)) = item.transpose()? else {
        return Ok(false);
    };
    let width = status.padded().len() as u64;
    let was = &change.located.entry;
    let same = found.entry.entry_id == was.entry_id && found.place.status == place.status;
    match found.entry.status {
        found if same && found == status => Ok(true),
        found if same && found == was.status && place.status.end - place.status.start == width => {
            storage.overwrite_at(file, place.status.start, status.padded())?;
            Ok(true)
        }
        _ => Ok(false),
    }
}
