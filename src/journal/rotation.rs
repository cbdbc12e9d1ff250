//! Rotation: renames the journal to a segment under its lock, and removes settled segments after a while.
//!
//! A writer that waited for the lock finds that the path names another file, and uses that one. A foreign writer that does
//! not check this appends to the segment, which is still scanned, so nothing is lost.
use std::time::Duration;

use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    access::Access,
    backlog::Backlog,
    error::{WriteError, on},
    intent::age,
    locked::LockedJournal,
    scan::Scan,
    segment::file_in,
};

/// Size in bytes at which a journal is rotated: about 25,000 entries.
pub const ROTATE_AT: u64 = 8 << 20;
/// Time without writes after which a segment is quiet.
pub const QUIET: Duration = Duration::from_secs(24 * 60 * 60);

/// Result of the maintenance of a journal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The new segment, if the journal was rotated.
    pub rotated: Option<Ulid>,
    /// The segments that were removed.
    pub removed: Vec<Ulid>,
}

/// Maintains a journal, see [`Writer::maintain`](super::Writer::maintain).
pub(super) fn maintain<S: Storage, C: Clock>(
    access: &Access<S, C>,
    backlog: &Backlog,
    retention: Duration,
) -> Result<Maintained, WriteError> {
    let rotated = rotate_if_due(access)?;
    if rotated.is_some() || backlog.is_worth_remembering() {
        remember(access, &backlog.scan.after(rotated))?;
    }
    Ok(Maintained {
        rotated,
        removed: remove_settled(access, backlog, retention)?,
    })
}

/// Rotates the journal if it has reached [`ROTATE_AT`].
pub(super) fn rotate_if_due<S: Storage, C: Clock>(access: &Access<S, C>) -> Result<Option<Ulid>, WriteError> {
    match on("access", &access.journal, access.storage.look(&access.journal))? {
        Some(look) if look.length >= ROTATE_AT => rotate(access),
        _ => Ok(None),
    }
}

/// Rotates the journal unless it is missing or empty.
pub(super) fn rotate<S: Storage, C: Clock>(access: &Access<S, C>) -> Result<Option<Ulid>, WriteError> {
    let path = &access.journal;
    let looked = on("access", path, access.storage.look(path))?;
    if looked.is_none_or(|look| look.length == 0) {
        return Ok(None);
    }
    let journal = LockedJournal::lock(access)?;
    journal.repair_tail()?;
    let length = journal.length()?;
    if length == 0 {
        return Ok(None);
    }
    // The repair may have added a line feed that is not durable yet.
    on("sync", path, journal.sync())?;
    let last = journal.last_id(length)?;
    on("rotate", path, journal.rotate(last)).map(Some)
}

/// Writes the scan, unless an entry was made pending again since.
fn remember<S: Storage, C: Clock>(access: &Access<S, C>, scan: &Scan) -> Result<(), WriteError> {
    let _locked = LockedJournal::lock(access)?;
    let saved = scan.save(&access.storage, &access.git_dir);
    on("save the scan of", &access.journal, saved)
}

fn remove_settled<S: Storage, C: Clock>(
    access: &Access<S, C>,
    backlog: &Backlog,
    retention: Duration,
) -> Result<Vec<Ulid>, WriteError> {
    let storage = &access.storage;
    let mut removed = Vec::new();
    for scan in &backlog.scan.files {
        let Some(segment) = scan.segment else { continue };
        let path = file_in(&access.git_dir, Some(segment));
        let due = || {
            let look = storage.look(&path)?;
            let settled = |length| scan.is_settled_at(segment, length);
            let due = |modified| age(access.clock.now(), modified).is_some_and(|age| age >= QUIET + retention);
            Ok(look.is_some_and(|look| settled(look.length) && due(look.modified)))
        };
        if !on("access", &path, due())? {
            continue;
        }
        let _locked = access.lock_to_append(&path)?;
        // Check again under the lock: a foreign writer may have appended to it.
        if on("access", &path, due())? {
            on("remove", &path, storage.remove(&path))?;
            removed.push(segment);
        }
    }
    Ok(removed)
}
