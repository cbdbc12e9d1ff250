//! Repair of damaged lines, under the lock of their file. Each repair copies the bytes to quarantine first.
use std::{io, path::Path};

use durable::{
    clock::Clock,
    storage::{Folders, Names, Storage, WriteFiles},
};
use ulid::Ulid;

use super::{
    BLOCK,
    access::Access,
    decode::is_json,
    error::{WriteError, on},
    locked::repair_locked,
    quarantine::quarantine,
    reader::{FileInput, Item, Problem, ProblemKind, read_exact_at},
    renew::renew,
    repair::Repair,
    segment::file_in,
};

/// Repairs the problems of a journal, see [`Writer::mend`](super::Writer::mend).
///
/// # Errors
/// A file cannot be locked, repaired or synced.
pub(super) fn mend<S: Storage, C: Clock>(
    access: &Access<S, C>,
    problems: &[Problem],
) -> Result<Vec<Repair>, WriteError> {
    let mut repairs = Vec::new();
    for problem in problems {
        repairs.extend(match problem.kind {
            ProblemKind::TornTail => repair_torn_tail(access, problem.segment)?,
            ProblemKind::Nul | ProblemKind::Corrupt(_) => blank_line(access, problem)?,
            ProblemKind::IncredibleId(id) => renew(access, problem, id)?,
            ProblemKind::TooLong | ProblemKind::SameId(_) => None,
        });
    }
    Ok(repairs)
}

/// Repairs a torn tail of a segment, or of the journal for `None`.
///
/// # Errors
/// The file cannot be locked, repaired or synced.
pub(super) fn repair_torn_tail<S: Storage, C: Clock>(
    access: &Access<S, C>,
    segment: Option<Ulid>,
) -> Result<Option<Repair>, WriteError> {
    let path = file_in(&access.git_dir, segment);
    if on("access", &path, access.storage.look(&path))?.is_none() {
        return Ok(None);
    }
    let file = access.lock_to_append(&path)?;
    let repaired = repair_locked(access, &path, &file)?;
    if repaired.is_some() {
        on("sync", &path, access.storage.sync(&file))?;
    }
    Ok(repaired)
}

fn blank_line<S: Storage, C: Clock>(access: &Access<S, C>, problem: &Problem) -> Result<Option<Repair>, WriteError> {
    let path = file_in(&access.git_dir, problem.segment);
    let file = access.lock_to_overwrite(&path)?;
    let name = access.unique();
    let blanked = blank(&access.storage, &file, &access.folder(), name, problem);
    let length = problem.length;
    Ok(on("blank a corrupt line of", &path, blanked)?.then_some(Repair::Blanked { name, length }))
}

/// Blanks the line of `problem` in `file`, and syncs. The caller holds its lock. Returns false if the problem is gone, or
/// if the line must stay.
fn blank<S: Folders + Names + WriteFiles>(
    storage: &S,
    file: &S::File,
    folder: &Path,
    name: Ulid,
    problem: &Problem,
) -> io::Result<bool> {
    let found = FileInput::reader(storage, file, problem.offset, BLOCK as usize)
        .next()
        .transpose()?;
    let Some(Item::Problem(found)) = found else {
        return Ok(false);
    };
    let same = found.length == problem.length && matches!(found.kind, ProblemKind::Nul | ProblemKind::Corrupt(_));
    if !same {
        return Ok(false);
    }
    let mut bytes = vec![0; found.length as usize];
    read_exact_at(storage, file, found.offset, &mut bytes)?;
    if is_json(&bytes) {
        return Ok(false);
    }
    quarantine(storage, folder, name, &bytes)?;
    storage.overwrite_at(file, found.offset, &vec![b' '; bytes.len()])?;
    storage.sync(file)?;
    Ok(true)
}
