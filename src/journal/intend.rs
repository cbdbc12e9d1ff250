//! Intents of a push, written and removed by the hook.
use std::io;

use durable::{
    clock::Clock,
    storage::{Folders, Names, ReadFiles, Storage},
};
use ulid::Ulid;

use super::{
    access::Access,
    entry::{Draft, next_id},
    error::{WriteError, on},
    folder::create_folder,
    intent::{self, INTENTS, Intent},
    locked::LockedJournal,
};

/// Approximate size of an entry in bytes, without its ref name.
const ENTRY_SIZE: u64 = 512;
/// Least number of bytes to allocate for new entries. Concurrent pushes share them.
const RESERVE: u64 = 64 << 10;

/// Prepares the journal for a push, see [`Writer::intend`](super::Writer::intend).
pub(super) fn intend<S: Storage, C: Clock>(access: &Access<S, C>, drafts: &[Draft]) -> Result<Ulid, WriteError> {
    let journal = LockedJournal::lock(access)?;
    journal.repair_tail()?;
    let length = journal.length()?;
    let sizes = drafts.iter().map(|draft| ENTRY_SIZE + draft.update.name.len() as u64);
    journal.reserve(sizes.sum::<u64>().max(RESERVE))?;
    let last = journal.last_id(length)?;
    create_intents(access)?;
    drop(journal);
    write(access, last, drafts)
}

/// Writes an intent without the journal, see [`Writer::spool`](super::Writer::spool).
pub(super) fn spool<S: Folders + Names, C: Clock>(access: &Access<S, C>, drafts: &[Draft]) -> Result<Ulid, WriteError> {
    let created = create_folder(&access.storage, &access.git_dir);
    on("create", &access.folder(), created)?;
    create_intents(access)?;
    write(access, None, drafts)
}

/// Removes the intent of these drafts. Returns its id, if there was one.
pub(super) fn forget<S: Folders + Names + ReadFiles, C>(
    access: &Access<S, C>,
    drafts: &[Draft],
) -> Result<Option<Ulid>, WriteError> {
    let found = find(access, drafts)?;
    if let Some(id) = found {
        let removed = intent::remove(&access.storage, &access.git_dir, id);
        on("remove from", &access.folder().join(INTENTS), removed)?;
    }
    Ok(found)
}

/// Returns the id of the intent of these drafts, if there is one.
pub(super) fn find<S: Folders + ReadFiles, C>(
    access: &Access<S, C>,
    drafts: &[Draft],
) -> Result<Option<Ulid>, WriteError> {
    let updates: Vec<_> = drafts.iter().map(|draft| &draft.update).collect();
    let found = intent::find(&access.storage, &access.git_dir, &updates);
    on("read", &access.folder().join(INTENTS), found)
}

fn create_intents<S: Folders, C>(access: &Access<S, C>) -> Result<(), WriteError> {
    let (folder, intents) = (access.folder(), access.folder().join(INTENTS));
    if on("create", &intents, access.storage.create_dir(&intents))? {
        on("sync", &folder, access.storage.sync_dir(&folder))
    } else {
        Ok(())
    }
}

fn write<S: Folders + Names, C: Clock>(
    access: &Access<S, C>,
    last: Option<Ulid>,
    drafts: &[Draft],
) -> Result<Ulid, WriteError> {
    let now = access.clock.now();
    let folder = access.folder().join(INTENTS);
    let no_id = || io::Error::other("the journal's last entry_id is the greatest possible: move the journal away");
    let id = next_id(last, now, || access.random()).ok_or_else(no_id);
    let id = match on("write to", &folder, id)? {
        // If the clock has gone back, two concurrent pushes would get the same successor of the last id.
        id if last.is_some_and(|last| id.0 == last.0 + 1) => Ulid(id.0 | access.random() & 0xffff_ffff),
        id => id,
    };
    let intent = Intent {
        id,
        timestamp: now,
        drafts: drafts.to_vec(),
    };
    let written = intent::write(&access.storage, &access.git_dir, &intent);
    on("write to", &folder, written)?;
    Ok(id)
}
