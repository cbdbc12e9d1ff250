//! Repair of an entry whose id is not credible: its update gets a new id.
use std::{io, path::Path};

use durable::{
    clock::Clock,
    storage::{ReadFiles, Storage, WriteFiles},
};
use ulid::Ulid;

use super::{
    BLOCK,
    access::Access,
    append::append,
    entry::{Entry, Status},
    error::{WriteError, on},
    ids,
    quarantine::quarantine,
    reader::{FileInput, Item, Problem, read_exact_at},
    repair::Repair,
    segment::file_in,
};

/// Copies the line of an entry to quarantine, appends its update again if it is pending, and blanks the line. After a crash
/// in between, the update may be in the journal twice, but is never lost.
///
/// # Errors
/// A file could not be locked, written or synced.
pub(super) fn renew<S: Storage, C: Clock>(
    access: &Access<S, C>,
    problem: &Problem,
    id: Ulid,
) -> Result<Option<Repair>, WriteError> {
    let path = file_in(&access.git_dir, problem.segment);
    let name = access.unique();
    let Some(entry) = keep(access, &path, (problem.offset, id), name)? else {
        return Ok(None);
    };
    let renewed = match entry.status {
        Status::Pending => Some(append_anew(access, entry)?),
        Status::Done | Status::Failed | Status::Skipped => None,
    };
    let file = access.lock_to_overwrite(&path)?;
    let blanked = blank(&access.storage, &file, problem.offset, id);
    on("blank an entry of", &path, blanked)?;
    Ok(Some(Repair::Renewed { name, id, renewed }))
}

/// Copies the line at `offset` to quarantine and returns its entry, if it still has this id.
fn keep<S: Storage, C: Clock>(
    access: &Access<S, C>,
    path: &Path,
    (offset, id): (u64, Ulid),
    name: Ulid,
) -> Result<Option<Entry>, WriteError> {
    let file = access.lock_to_overwrite(path)?;
    let Some((entry, bytes)) = on("read", path, incredible_at(&access.storage, &file, offset, id))? else {
        return Ok(None);
    };
    let kept = quarantine(&access.storage, &access.folder(), name, &bytes);
    on("repair", path, kept)?;
    Ok(Some(entry))
}

fn append_anew<S: Storage, C: Clock>(access: &Access<S, C>, entry: Entry) -> Result<Ulid, WriteError> {
    let appended = append(access, &[entry.into_draft()])?;
    let id = match (appended.written.first(), appended.failed.first()) {
        (Some(id), _) => Ok(*id),
        (None, Some((_, cause))) => Err(io::Error::other(cause.to_string())),
        (None, None) => Err(io::Error::other("nothing was written")),
    };
    on("append to", &access.journal, id)
}

fn blank<S: WriteFiles>(storage: &S, file: &S::File, offset: u64, id: Ulid) -> io::Result<()> {
    if let Some((_, bytes)) = incredible_at(storage, file, offset, id)? {
        storage.overwrite_at(file, offset, &vec![b' '; bytes.len()])?;
        storage.sync(file)?;
    }
    Ok(())
}

/// Returns the entry at `offset` and the bytes of its line, if it has this id and the id is ahead of its timestamp.
fn incredible_at<S: ReadFiles>(
    storage: &S,
    file: &S::File,
    offset: u64,
    id: Ulid,
) -> io::Result<Option<(Entry, Vec<u8>)>> {
    let mut reader = FileInput::reader(storage, file, offset, BLOCK as usize);
    let items = reader.next_line()?.map_or(Vec::new(), |(_, items)| items);
    let Some(Item::Entry(located)) = items.into_iter().next() else {
        return Ok(None);
    };
    if located.entry.entry_id != id || ids::is_of_its_time(&located.entry) {
        return Ok(None);
    }
    let mut bytes = vec![0; (reader.end() - offset - 1) as usize];
    read_exact_at(storage, file, offset, &mut bytes)?;
    Ok(Some((located.entry, bytes)))
}
