//! Rotation: renames the journal to a segment under its lock, and removes settled segments after a while.
//!
//! A writer that waited for the lock finds that the path names another file, and uses that one. A foreign writer that does
//! not check this appends to the segment, which is still scanned, so nothing is lost.
use std::{io, time::Duration};

use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    backlog::Backlog,
    entry::next_id,
    recovery::age,
    scan::Scan,
    segment::file_in,
    writer::{WriteError, Writer},
};

/// Size in bytes at which a journal is rotated: about 25,000 entries.
pub const ROTATE_AT: u64 = 8 << 20;
/// Time without writes after which a segment is quiet.
pub const QUIET: Duration = Duration::from_secs(24 * 60 * 60);

/// Result of the maintenance of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The segment that the journal became.
    pub rotated: Option<Ulid>,
    /// The segments that were removed.
    pub removed: Vec<Ulid>,
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Writes the scan of `backlog` if it is worth it, rotates a journal that has reached [`ROTATE_AT`], and removes settled
    /// segments that were not written to for [`QUIET`] plus `retention`. Must run at the end of a cycle, under the worker's
    /// lock.
    ///
    /// # Errors
    /// A file cannot be locked, written, renamed or removed. No pending entry is lost then.
    pub fn maintain(&self, backlog: &Backlog, retention: Duration) -> Result<Maintained, WriteError> {
        let rotated = self.rotate_if_due()?;
        if rotated.is_some() || backlog.is_worth_remembering() {
            self.remember(backlog.scan.after(rotated))?;
        }
        Ok(Maintained {
            rotated,
            removed: self.remove_settled(backlog, retention)?,
        })
    }

    /// Rotates the journal if it has reached [`ROTATE_AT`].
    ///
    /// # Errors
    /// As [`rotate`](Writer::rotate).
    pub fn rotate_if_due(&self) -> Result<Option<Ulid>, WriteError> {
        match self.on("access", &self.journal, self.storage.look(&self.journal))? {
            Some(look) if look.length >= ROTATE_AT => self.rotate(),
            _ => Ok(None),
        }
    }

    /// Rotates the journal unless it is missing or empty.
    ///
    /// # Errors
    /// The journal cannot be locked, repaired or renamed.
    pub fn rotate(&self) -> Result<Option<Ulid>, WriteError> {
        let looked = self.on("access", &self.journal, self.storage.look(&self.journal))?;
        if looked.is_none_or(|look| look.length == 0) {
            return Ok(None);
        }
        let file = self.lock_journal()?;
        self.repair_locked(&self.journal, &file)?;
        let length = self.on("read", &self.journal, self.storage.length(&file))?;
        if length == 0 {
            return Ok(None);
        }
        // The repair may have added a line feed that is not durable yet.
        self.on("sync", &self.journal, self.storage.sync(&file))?;
        let last = self.last_id(&file, length)?;
        let name = self.on("rotate", &self.journal, self.rotate_locked(last))?;
        Ok(Some(name))
    }

    /// Renames the journal to a segment whose name is greater than `last`, and creates a new journal. The caller holds the
    /// lock.
    pub(super) fn rotate_locked(&self, last: Option<Ulid>) -> io::Result<Ulid> {
        let name = next_id(last, self.clock.now(), || self.random())
            .ok_or_else(|| io::Error::other("its last entry_id is the greatest possible: move it away"))?;
        self.storage
            .rename(&self.journal, &file_in(&self.git_dir, Some(name)))?;
        // Keep a file in place for programs that read it directly.
        self.storage.open_append(&self.journal)?;
        self.storage.sync_dir(&self.folder())?;
        Ok(name)
    }

    /// Writes the scan, unless an entry was made pending again since.
    fn remember(&self, scan: Scan) -> Result<(), WriteError> {
        let _locked = self.lock_journal()?;
        let saved = scan.save(&self.storage, &self.git_dir);
        self.on("save the scan of", &self.journal, saved)
    }

    fn remove_settled(&self, backlog: &Backlog, retention: Duration) -> Result<Vec<Ulid>, WriteError> {
        let mut removed = Vec::new();
        for scan in &backlog.scan.files {
            let Some(segment) = scan.segment else { continue };
            let path = file_in(&self.git_dir, Some(segment));
            let due = || {
                let look = self.storage.look(&path)?;
                let settled = |length| scan.is_settled_at(segment, length);
                let due = |modified| age(self.clock.now(), modified).is_some_and(|age| age >= QUIET + retention);
                Ok(look.is_some_and(|look| settled(look.length) && due(look.modified)))
            };
            if !self.on("access", &path, due())? {
                continue;
            }
            let _locked = self.lock(&path, |path| self.storage.open_append(path))?;
            // Check again under the lock: a foreign writer may have appended to it.
            if self.on("access", &path, due())? {
                self.on("remove", &path, self.storage.remove(&path))?;
                removed.push(segment);
            }
        }
        Ok(removed)
    }
}
