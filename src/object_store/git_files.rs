//! Durable replacement of a file in a repository.
//!
//! Files that git writes, too, are replaced with git's *lockfile* protocol: the new content goes into `<name>.lock`,
//! which must not exist yet, and is renamed to its place. A lock of git is never removed, however old. A lock that this
//! program left in a crash would block the program permanently. So it is recorded in `stargate/taken` of the Git folder
//! before it is created, and the next process removes it. That is safe because only one process at a time does this.
//!
//! ```text
//! taken   = *( "+" SP <path of a lock> LF / "-" LF )        taken, released; the last line counts
//! ```
use std::{fs, io, path::Path};

use durable::{
    replace::{NewFile, lock_path, replace},
    storage::{FILE_MODE, Storage},
};

use super::{Error, error::Kind};

/// File in the Git folder that records locks.
const TAKEN: &str = "stargate/taken";
/// Size at which the record is truncated, in bytes.
const MAX_NOTES: u64 = 64 * 1024;

/// A pending replacement of a file. If it is dropped before [`commit()`](Replacement::commit()), nothing changes.
pub struct Replacement<'a, S: Storage> {
    storage: &'a S,
    notes: S::File,
    path: &'a Path,
    /// `None` once it is in place.
    new: Option<NewFile<'a, S>>,
}

impl<'a, S: Storage> Replacement<'a, S> {
    /// Writes the new content of the file at `path` and locks the file against others. The caller must hold the exclusive lock
    /// of this repository.
    pub fn begin(storage: &'a S, git_dir: &Path, path: &'a Path, bytes: &[u8]) -> Result<Self, Error> {
        let lock = lock_path(path);
        let failed = |error| Error::failed("write", &lock, error);
        let notes = open_notes(storage, git_dir).map_err(failed)?;
        append(storage, &notes, format!("+ {}\n", lock.display()).as_bytes()).map_err(failed)?;
        let written = NewFile::locked(storage, path, bytes, FILE_MODE);
        let is_taken = matches!(&written, Err(error) if error.kind() == io::ErrorKind::AlreadyExists);
        if written.is_err() {
            append(storage, &notes, b"-\n").map_err(failed)?;
        }
        if is_taken {
            let what = format!("another process is writing {}", path.display());
            return Err(Error::new(Kind::Busy, what).with_hint(format!(
                "the program retries; if no git is running there, remove {}",
                lock.display()
            )));
        }
        Ok(Replacement {
            new: Some(written.map_err(failed)?),
            storage,
            notes,
            path,
        })
    }

    /// Renames the new content to its place, durably.
    pub fn commit(mut self) -> Result<(), Error> {
        let failed = |error| Error::failed("write", self.path, error);
        if let Some(new) = &mut self.new {
            new.rename().map_err(failed)?;
            append(self.storage, &self.notes, b"-\n").map_err(failed)?;
        }
        self.new.take().map_or(Ok(()), NewFile::commit).map_err(failed)
    }
}

impl<S: Storage> Drop for Replacement<'_, S> {
    fn drop(&mut self) {
        if self.new.take().is_some_and(|new| new.discard().is_ok()) {
            // If this fails, the next process removes the lock.
            let _ = append(self.storage, &self.notes, b"-\n");
        }
    }
}

/// Replaces a file that only this program writes.
pub fn overwrite(storage: &impl Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(storage, path, bytes, FILE_MODE)
}

/// Creates a folder and its parents, durably.
pub fn create_folders(storage: &impl Storage, folder: &Path) -> io::Result<()> {
    if storage.look(folder)?.is_some() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folders(storage, parent)?;
    }
    storage.create_dir(folder)?;
    match folder.parent() {
        Some(parent) => storage.sync_dir(parent),
        None => Ok(()),
    }
}

/// Appends all bytes to a file.
pub fn append<S: Storage>(storage: &S, file: &S::File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match storage.append(file, bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// Opens the record, and removes a lock that a crashed process left behind.
fn open_notes<S: Storage>(storage: &S, git_dir: &Path) -> io::Result<S::File> {
    let path = git_dir.join(TAKEN);
    if let Some(folder) = path.parent() {
        create_folders(storage, folder)?;
    }
    let notes = storage.open_append(&path)?;
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let text = String::from_utf8_lossy(&text);
    if let Some(lock) = text.lines().next_back().and_then(|line| line.strip_prefix("+ ")) {
        match storage.remove(Path::new(lock)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
            Ok(()) => tracing::warn!(lock, "removed a lock that a crash left behind"),
        }
        append(storage, &notes, b"-\n")?;
    }
    if storage.length(&notes)? > MAX_NOTES {
        storage.truncate(&notes, 0)?;
    }
    Ok(notes)
}
