//! Rotation: the journal is put aside as a segment, by renaming it under its lock, and a segment of which everything is
//! settled is removed after a while.
//!
//! A writer of ours that waited for the lock finds that the path names another file, and goes there. One that only locks
//! writes to the segment, which is still scanned: nothing is lost.
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

/// A journal of this size is put aside, in bytes: some 25,000 entries.
pub const ROTATE_AT: u64 = 8 << 20;
/// A segment to which nobody has written for so long is quiet.
pub const QUIET: Duration = Duration::from_secs(24 * 60 * 60);

/// What was done so that the journal costs no more than what is pending.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The segment that the journal became.
    pub rotated: Option<Ulid>,
    /// The segments that were removed.
    pub removed: Vec<Ulid>,
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Remembers what `backlog` has read, where that is worth it, puts a journal of [`ROTATE_AT`] aside, and removes the
    /// segments that were settled and quiet for [`QUIET`] and then for `retention`. For the end of a cycle, under the
    /// worker's lock.
    ///
    /// # Errors
    /// Something could not be locked, written, renamed or removed: nothing that is pending is lost thereby.
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

    /// Puts the journal aside if it has reached [`ROTATE_AT`].
    ///
    /// # Errors
    /// As [`rotate`](Writer::rotate).
    pub fn rotate_if_due(&self) -> Result<Option<Ulid>, WriteError> {
        match self.on("look at", &self.journal, self.storage.look(&self.journal))? {
            Some(look) if look.length >= ROTATE_AT => self.rotate(),
            _ => Ok(None),
        }
    }

    /// Puts the journal aside, if there is one that is not empty, and begins a new one.
    ///
    /// # Errors
    /// The journal cannot be locked, repaired or renamed.
    pub fn rotate(&self) -> Result<Option<Ulid>, WriteError> {
        let looked = self.on("look at", &self.journal, self.storage.look(&self.journal))?;
        if looked.is_none_or(|look| look.length == 0) {
            return Ok(None);
        }
        let file = self.lock_journal()?;
        self.repair_locked(&self.journal, &file)?;
        let length = self.on("read", &self.journal, self.storage.length(&file))?;
        if length == 0 {
            return Ok(None);
        }
        // Its lines are complete; what a repair has added is not durable yet.
        self.on("sync", &self.journal, self.storage.sync(&file))?;
        let last = self.last_id(&file, length)?;
        let name = self.on("rotate", &self.journal, self.rotate_locked(last))?;
        Ok(Some(name))
    }

    /// Renames the journal, whose lock the caller has, to a segment of a name greater than `last`, and begins a new one.
    pub(super) fn rotate_locked(&self, last: Option<Ulid>) -> io::Result<Ulid> {
        let name = next_id(last, self.clock.now(), || self.random())
            .ok_or_else(|| io::Error::other("its last entry_id is the greatest possible: move it away"))?;
        self.storage
            .rename(&self.journal, &file_in(&self.git_dir, Some(name)))?;
        // For those who read it as a file: there always is one.
        self.storage.open_append(&self.journal)?;
        self.storage.sync_dir(&self.folder())?;
        Ok(name)
    }

    /// Writes what was read, so that it need not be read again, unless somebody has made an entry pending again since.
    fn remember(&self, scan: Scan) -> Result<(), WriteError> {
        let _locked = self.lock_journal()?;
        let saved = scan.save(&self.storage, &self.git_dir);
        self.on("remember the scan of", &self.journal, saved)
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
            if !self.on("look at", &path, due())? {
                continue;
            }
            let _locked = self.lock(&path, |path| self.storage.open_append(path))?;
            // Somebody may have written to it until now.
            if self.on("look at", &path, due())? {
                self.on("remove", &path, self.storage.remove(&path))?;
                removed.push(segment);
            }
        }
        Ok(removed)
    }
}
