//! Repair of damaged lines, under the lock of their file. Each repair copies the bytes to quarantine first.
use std::{fmt, io, path::Path};

use durable::{clock::Clock, storage::Storage};
use ulid::Ulid;

use super::{
    BLOCK, FOLDER, QUARANTINE,
    format::{decode, is_json},
    reader::{FileInput, Item, Problem, ProblemKind},
    segment::file_in,
    tail::{quarantine, read_exact_at, repair_tail},
    writer::{WriteError, Writer},
};

/// Repair that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The last line was a complete entry and got its line feed.
    Completed,
    /// The last line was incomplete. It was moved to quarantine.
    Quarantined {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// Number of bytes.
        length: u64,
    },
    /// Another line was corrupt. It was copied to quarantine and overwritten with spaces.
    Blanked {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// Number of bytes.
        length: u64,
    },
    /// An entry's id was not credible. Its line was copied to quarantine and overwritten with spaces.
    Renewed {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// The entry's id.
        id: Ulid,
        /// Id of the new entry with the same update. `None` if the entry was settled.
        renewed: Option<Ulid>,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::Completed => write!(f, "added the missing line feed after the last entry"),
            Repair::Quarantined { name, length } => {
                write!(
                    f,
                    "moved {length} bytes of an incomplete entry to {FOLDER}/{QUARANTINE}/{name}"
                )
            }
            Repair::Blanked { name, length } => {
                write!(f, "moved {length} corrupt bytes to {FOLDER}/{QUARANTINE}/{name}")
            }
            Repair::Renewed { name, id, renewed } => {
                write!(
                    f,
                    "moved the entry {id}, whose id is not credible, to {FOLDER}/{QUARANTINE}/{name}"
                )?;
                match renewed {
                    Some(renewed) => write!(f, "; its update is now the entry {renewed}"),
                    None => write!(f, "; it was settled already"),
                }
            }
        }
    }
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Repairs a torn tail of the journal, if there is one.
    ///
    /// # Errors
    /// The journal cannot be locked, repaired or synced.
    pub fn repair(&self) -> Result<Option<Repair>, WriteError> {
        self.repair_tail(None)
    }

    /// Repairs the problems that a reader has found without a lock. Reads each again under the lock. Repairs a torn tail,
    /// blanks lines that are not JSON and NUL bytes, and gives an entry with an id that is not credible a new id. Leaves
    /// everything else unchanged: JSON that is not an entry, and lines that are too long.
    ///
    /// # Errors
    /// A file cannot be locked, repaired or synced.
    pub fn mend(&self, problems: &[Problem]) -> Result<Vec<Repair>, WriteError> {
        let mut repairs = Vec::new();
        for problem in problems {
            repairs.extend(match problem.kind {
                ProblemKind::TornTail => self.repair_tail(problem.segment)?,
                ProblemKind::Nul | ProblemKind::Corrupt(_) => self.blank(problem)?,
                ProblemKind::IncredibleId(id) => self.renew(problem, id)?,
                ProblemKind::TooLong | ProblemKind::SameId(_) => None,
            });
        }
        Ok(repairs)
    }

    fn repair_tail(&self, segment: Option<Ulid>) -> Result<Option<Repair>, WriteError> {
        let path = file_in(&self.git_dir, segment);
        if self.on("access", &path, self.storage.look(&path))?.is_none() {
            return Ok(None);
        }
        let file = self.lock(&path, |path| self.storage.open_append(path))?;
        let repaired = self.repair_locked(&path, &file)?;
        if repaired.is_some() {
            self.on("sync", &path, self.storage.sync(&file))?;
        }
        Ok(repaired)
    }

    /// Repairs the tail of the file at `path`. The caller holds its lock.
    pub(super) fn repair_locked(&self, path: &Path, file: &S::File) -> Result<Option<Repair>, WriteError> {
        let is_entry = |tail: &[u8], start| decode(tail, start).is_ok();
        let repaired = repair_tail(&self.storage, file, &self.folder(), self.unique(), is_entry);
        self.on("repair", path, repaired)
    }

    fn blank(&self, problem: &Problem) -> Result<Option<Repair>, WriteError> {
        let path = file_in(&self.git_dir, problem.segment);
        let file = self.lock(&path, |path| self.storage.open_overwrite(path))?;
        let name = self.unique();
        let blanked = blank(&self.storage, &file, &self.folder(), name, problem);
        let length = problem.length;
        Ok(self
            .on("blank a corrupt line of", &path, blanked)?
            .then_some(Repair::Blanked { name, length }))
    }
}

/// Blanks the line of `problem` in `file`, and syncs. The caller holds its lock. Returns false if the problem is gone, or
/// if the line must stay.
fn blank<S: Storage>(storage: &S, file: &S::File, folder: &Path, name: Ulid, problem: &Problem) -> io::Result<bool> {
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
