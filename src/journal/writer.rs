//! Writer of a journal: all its operations under one name.
//!
//! Each operation is in a module of its own: [`append`], [`settle`], [`mend`], [`rotation`], [`intend`], [`recovery`]. They
//! share the [`Access`] to the journal's files.
use std::{path::Path, time::Duration};

use bstr::BStr;
use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    access::Access,
    append::{self, Appended},
    backlog::Backlog,
    entry::{Draft, Located, Status},
    error::WriteError,
    intend, mend,
    reader::Problem,
    recovery::{self, Recovered},
    repair::Repair,
    rotation::{self, Maintained},
    settle::{self, Settled},
};
use crate::refs::LocalRef;

/// Writer of the journal of one repository.
#[derive(Debug)]
pub struct Writer<S, C>(Access<S, C>);

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Returns a writer of the journal in the repository at `git_dir`. It waits at most `lock_timeout` for a lock, and
    /// refuses network file systems.
    pub fn new(storage: S, clock: C, git_dir: &Path, lock_timeout: Duration) -> Self {
        Writer(Access::new(storage, clock, git_dir, lock_timeout))
    }

    /// Accepts network file systems if `allow` is true (`stargate.allowNfs`).
    pub fn allow_network(mut self, allow: bool) -> Self {
        self.0.allow_network = allow;
        self
    }

    /// Appends a pending entry for each draft and makes it durable: one lock, as few writes as possible, one fsync. Creates
    /// the journal if necessary.
    ///
    /// # Errors
    /// Nothing was appended, for a reason that concerns all drafts. Failures of single drafts are in the result.
    pub fn append(&self, drafts: &[Draft]) -> Result<Appended, WriteError> {
        append::append(&self.0, drafts)
    }

    /// Sets the new status of each entry that still has the status with which it was read, or has the new one already.
    /// Takes one lock and one fsync per file. Finds entries whose file was rotated since.
    ///
    /// # Errors
    /// A file cannot be locked or synced. Failures of single entries are in the result.
    pub fn settle(&self, settlements: &[(Located, Status)]) -> Result<Settled, WriteError> {
        settle::settle(&self.0, settlements)
    }

    /// Makes failed or skipped entries pending again. Resets the cache of the last scan first.
    ///
    /// # Errors
    /// The errors of [`settle`](Writer::settle).
    pub fn retry(&self, entries: &[Located]) -> Result<Settled, WriteError> {
        settle::retry(&self.0, entries)
    }

    /// Repairs a torn tail of the journal, if there is one.
    ///
    /// # Errors
    /// The journal cannot be locked, repaired or synced.
    pub fn repair(&self) -> Result<Option<Repair>, WriteError> {
        mend::repair_torn_tail(&self.0, None)
    }

    /// Repairs the problems that a reader has found without a lock. Reads each line again under the lock. Repairs a
    /// torn tail, blanks lines that are not JSON and NUL bytes, and gives an entry with an id that is not credible a
    /// new id. Leaves everything else unchanged: JSON that is not an entry, and lines that are too long.
    ///
    /// # Errors
    /// A file cannot be locked, repaired or synced.
    pub fn mend(&self, problems: &[Problem]) -> Result<Vec<Repair>, WriteError> {
        mend::mend(&self.0, problems)
    }

    /// Writes the scan of `backlog` if that saves enough reading, rotates a journal that has reached
    /// [`ROTATE_AT`](super::ROTATE_AT), and removes settled segments that were not written to for
    /// [`QUIET`](super::QUIET) plus `retention`. Must run at the end of a cycle, under the worker's lock.
    ///
    /// # Errors
    /// A file cannot be locked, written, renamed or removed. No pending entry is lost then.
    pub fn maintain(&self, backlog: &Backlog, retention: Duration) -> Result<Maintained, WriteError> {
        rotation::maintain(&self.0, backlog, retention)
    }

    /// Rotates the journal if it has reached [`ROTATE_AT`](super::ROTATE_AT).
    ///
    /// # Errors
    /// The errors of [`rotate`](Writer::rotate).
    pub fn rotate_if_due(&self) -> Result<Option<Ulid>, WriteError> {
        rotation::rotate_if_due(&self.0)
    }

    /// Rotates the journal unless it is missing or empty.
    ///
    /// # Errors
    /// The journal cannot be locked, repaired or renamed.
    pub fn rotate(&self) -> Result<Option<Ulid>, WriteError> {
        rotation::rotate(&self.0)
    }

    /// Prepares the journal for a push before it is accepted. Locks and repairs it, allocates space for these drafts if the
    /// file system supports that, and writes an intent durably.
    ///
    /// # Errors
    /// One of these steps fails. Then there is no intent, and the push must be rejected.
    pub fn intend(&self, drafts: &[Draft]) -> Result<Ulid, WriteError> {
        intend::intend(&self.0, drafts)
    }

    /// Writes an intent of drafts that could not be appended, so that the worker appends them later.
    ///
    /// # Errors
    /// The intent cannot be written either.
    pub fn spool(&self, drafts: &[Draft]) -> Result<Ulid, WriteError> {
        intend::spool(&self.0, drafts)
    }

    /// Removes the intent of a push whose updates are journaled.
    ///
    /// # Errors
    /// The intents cannot be read, or this one cannot be removed. The worker will drop it.
    pub fn forget_intent(&self, drafts: &[Draft]) -> Result<Option<Ulid>, WriteError> {
        intend::forget(&self.0, drafts)
    }

    /// Returns true if an intent contains all of these updates.
    ///
    /// # Errors
    /// The intents cannot be read.
    pub fn is_intended(&self, drafts: &[Draft]) -> Result<bool, WriteError> {
        Ok(intend::find(&self.0, drafts)?.is_some())
    }

    /// Resolves the intents that are older than [`IN_FLIGHT`](super::intent::IN_FLIGHT): appends an entry for each update
    /// that was accepted but not journaled. `ref_now` reads a ref. Must run at the start of a cycle, under the worker's lock.
    ///
    /// # Errors
    /// The intents or the journal cannot be read or written. The next cycle retries unresolved intents.
    pub fn recover_intents(&self, ref_now: &dyn Fn(&BStr) -> LocalRef) -> Result<Recovered, WriteError> {
        recovery::recover_intents(&self.0, ref_now)
    }
}
