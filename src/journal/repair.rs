//! Repair of what is no entry, under the lock of its file. What is taken away is kept first.
use std::{fmt, io, path::Path};

use bstr::ByteSlice;
use ulid::Ulid;

use super::{
    BLOCK, FOLDER, QUARANTINE,
    format::{decode, is_json},
    reader::{FileInput, Item, Problem, ProblemKind},
    segment::file_in,
    writer::{WriteError, Writer},
};
use crate::{
    clock::Clock,
    storage::{FILE_MODE, Storage},
};

/// A longer torn tail is nothing that a writer of ours leaves; it is refused. In bytes.
const MAX_TORN_TAIL: u64 = 64 << 20;
/// Bytes per step on the way back to the last line feed.
const STEP: u64 = 64 << 10;

/// What a repair did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The last line was a complete entry: it got its line feed.
    Completed,
    /// The last line was none: its bytes went to quarantine under this name.
    Quarantined {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// How many bytes.
        length: u64,
    },
    /// A line elsewhere was none: its bytes went to quarantine under this name, and blanks are in their place.
    Blanked {
        /// Name of the file in `.stargate/quarantine`.
        name: Ulid,
        /// How many bytes.
        length: u64,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repair::Completed => write!(f, "the last entry lacked a line feed"),
            Repair::Quarantined { name, length } => {
                write!(
                    f,
                    "{length} bytes of an incomplete entry went to {FOLDER}/{QUARANTINE}/{name}"
                )
            }
            Repair::Blanked { name, length } => write!(
                f,
                "{length} bytes that were no entry went to {FOLDER}/{QUARANTINE}/{name}, and are blank now"
            ),
        }
    }
}

impl<S: Storage, C: Clock> Writer<S, C> {
    /// Repairs the journal's torn tail, if there is a journal that has one.
    ///
    /// # Errors
    /// The journal could not be locked, repaired or synced.
    pub fn repair(&self) -> Result<Option<Repair>, WriteError> {
        self.repair_tail(None)
    }

    /// Repairs what was found by a reader, who had no lock: each is looked at again. A torn tail is repaired; what is not
    /// JSON, and NUL bytes, are blanked, because other readers stumble over them. Anything else is left as it is: JSON
    /// that is no entry, a line that is too long.
    ///
    /// # Errors
    /// A file could not be locked, repaired or synced.
    pub fn mend(&self, problems: &[Problem]) -> Result<Vec<Repair>, WriteError> {
        let mut repairs = Vec::new();
        for problem in problems {
            repairs.extend(match problem.kind {
                ProblemKind::TornTail => self.repair_tail(problem.segment)?,
                ProblemKind::Nul | ProblemKind::Corrupt(_) => self.blank(problem)?,
                ProblemKind::TooLong | ProblemKind::SameId(_) => None,
            });
        }
        Ok(repairs)
    }

    fn repair_tail(&self, segment: Option<Ulid>) -> Result<Option<Repair>, WriteError> {
        let path = file_in(&self.git_dir, segment);
        if self.on("look at", &path, self.storage.look(&path))?.is_none() {
            return Ok(None);
        }
        let file = self.lock(&path, |path| self.storage.open_append(path))?;
        let repaired = self.repair_locked(&path, &file)?;
        if repaired.is_some() {
            self.on("sync", &path, self.storage.sync(&file))?;
        }
        Ok(repaired)
    }

    /// Repairs the tail of the file at `path`, whose lock the caller has.
    pub(super) fn repair_locked(&self, path: &Path, file: &S::File) -> Result<Option<Repair>, WriteError> {
        let repaired = repair(&self.storage, file, &self.folder(), self.unique());
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

/// Repairs the journal `file` in `folder`, whose lock the caller holds, so that it ends with a line feed or is empty.
/// `name` is for the quarantine. The journal itself is not synced, except after a cut.
///
/// # Errors
/// What could not be read, copied or cut off. Then nothing may be appended.
fn repair<S: Storage>(storage: &S, file: &S::File, folder: &Path, name: Ulid) -> io::Result<Option<Repair>> {
    let length = storage.length(file)?;
    let start = tail_start(storage, file, length)?;
    if start == length {
        return Ok(None);
    }
    let mut tail = vec![0; (length - start) as usize];
    read_exact_at(storage, file, start, &mut tail)?;
    if decode(&tail, start).is_ok() {
        return match storage.append(file, b"\n")? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(Some(Repair::Completed)),
        };
    }
    quarantine(storage, folder, name, &tail)?;
    storage.truncate(file, start)?;
    storage.sync(file)?;
    Ok(Some(Repair::Quarantined {
        name,
        length: length - start,
    }))
}

/// Blanks what `problem` is about, in `file`, whose lock the caller has, and syncs. False when it is not there any more, or
/// is to be left.
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

/// Fills `buffer` with what is at `offset`.
///
/// # Errors
/// As a read's, and when the file ends before.
pub(super) fn read_exact_at<S: Storage>(
    storage: &S,
    file: &S::File,
    mut offset: u64,
    mut buffer: &mut [u8],
) -> io::Result<()> {
    while !buffer.is_empty() {
        match storage.read_at(file, offset, buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                offset += read as u64;
                buffer = &mut buffer[read..];
            }
        }
    }
    Ok(())
}

/// Offset after the last line feed; the usual case reads one byte.
fn tail_start<S: Storage>(storage: &S, file: &S::File, length: u64) -> io::Result<u64> {
    let (mut end, mut step) = (length, 1);
    while end > 0 {
        if length - end > MAX_TORN_TAIL {
            let why = format!("its last line is torn and longer than {MAX_TORN_TAIL} bytes; move the file away");
            return Err(io::Error::other(why));
        }
        let start = end.saturating_sub(step);
        let mut chunk = vec![0; (end - start) as usize];
        read_exact_at(storage, file, start, &mut chunk)?;
        if let Some(index) = chunk.rfind_byte(b'\n') {
            return Ok(start + index as u64 + 1);
        }
        (end, step) = (start, STEP);
    }
    Ok(0)
}

fn quarantine<S: Storage>(storage: &S, folder: &Path, name: Ulid, bytes: &[u8]) -> io::Result<()> {
    let quarantine = folder.join(QUARANTINE);
    let kept = if storage.create_dir(&quarantine)? {
        storage.sync_dir(folder)
    } else {
        Ok(())
    };
    kept.and_then(|()| storage.write_new(&quarantine.join(name.to_string()), bytes, FILE_MODE))
        .and_then(|()| storage.sync_dir(&quarantine))
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("what is no entry cannot be put in quarantine: {error}"),
            )
        })
}
