//! Replacement of a file as a whole: the new content is written beside it, fsynced and renamed, and the folder is fsynced.
//! At any moment, and after a crash, the file has its old content or its new one.
//!
//! A file that only one process writes is replaced by [`replace()`]. A file that other programs write, too, is replaced by
//! [`NewFile::locked`], which follows git's *lockfile* protocol: whoever creates `<name>.lock` may replace `<name>`.
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use crate::storage::{Folders, Names};

/// Suffix of the temporary file of [`replace()`].
const NEW: &str = ".new";
/// Suffix of the temporary file of [`NewFile::locked`].
const LOCK: &str = ".lock";

/// New content of a file: complete and durable under a temporary name on the same file system. It is removed if it is dropped
/// before [`commit`](NewFile::commit).
#[derive(Debug)]
pub struct NewFile<'a, S: Names> {
    storage: &'a S,
    /// `None` once it is renamed or removed.
    temporary: Option<PathBuf>,
    path: PathBuf,
}

/// Replaces the file at `path` durably, or creates it. The temporary file is `<path>.new`. If a process that died has left
/// one, it is overwritten.
///
/// # Errors
/// The new content cannot be written, synced or renamed: the old file is unchanged, and the temporary file is removed. If
/// only the last fsync fails, the one of the folder, the new content is in place, but a power cut may undo that.
pub fn replace<S: Names + Folders>(storage: &S, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    NewFile::overwrite(storage, with_suffix(path, NEW), path, bytes, mode)?.commit()
}

impl<'a, S: Names> NewFile<'a, S> {
    /// Writes the new content of the file at `path` to `temporary` on the same file system, and fsyncs it.
    ///
    /// # Errors
    /// `temporary` exists ([`AlreadyExists`](io::ErrorKind::AlreadyExists)), or cannot be written and synced.
    pub fn write(storage: &'a S, temporary: PathBuf, path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        storage.write_new(&temporary, bytes, mode)?;
        Ok(NewFile {
            storage,
            temporary: Some(temporary),
            path: path.into(),
        })
    }

    /// Writes like [`write`](NewFile::write), and overwrites a `temporary` file left by a process that died. The caller
    /// is the only process that uses this name.
    ///
    /// # Errors
    /// `temporary` cannot be removed, or written and synced.
    pub fn overwrite(storage: &'a S, temporary: PathBuf, path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        match NewFile::write(storage, temporary.clone(), path, bytes, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                storage.remove(&temporary)?;
                NewFile::write(storage, temporary, path, bytes, mode)
            }
            written => written,
        }
    }

    /// Locks the file at `path` by git's protocol, and writes its new content to `<path>.lock`.
    ///
    /// # Errors
    /// Another process holds the lock ([`AlreadyExists`](io::ErrorKind::AlreadyExists)), or the lock cannot be written and
    /// synced.
    pub fn locked(storage: &'a S, path: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        NewFile::write(storage, lock_path(path), path, bytes, mode)
    }

    /// Renames the new content to its place. Only [`commit`](NewFile::commit) makes that durable.
    ///
    /// # Errors
    /// The errors of [`Names::rename`].
    pub fn rename(&mut self) -> io::Result<()> {
        if let Some(temporary) = &self.temporary {
            self.storage.rename(temporary, &self.path)?;
        }
        self.temporary = None;
        Ok(())
    }

    /// Removes the temporary file, unless it was renamed to its place. The old file is unchanged.
    ///
    /// # Errors
    /// The errors of [`Names::remove`].
    pub fn discard(mut self) -> io::Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> io::Result<()> {
        self.temporary
            .take()
            .map_or(Ok(()), |temporary| self.storage.remove(&temporary))
    }
}

impl<S: Names + Folders> NewFile<'_, S> {
    /// Renames the new content to its place, unless it is there already, and fsyncs the folder.
    ///
    /// # Errors
    /// The errors of [`replace()`].
    pub fn commit(mut self) -> io::Result<()> {
        self.rename()?;
        self.storage.sync_dir(folder_of(&self.path))
    }
}

impl<S: Names> Drop for NewFile<'_, S> {
    fn drop(&mut self) {
        // The error that led here is the one to report.
        let _ = self.remove();
    }
}

/// Returns the path of git's lock of the file at `path`: `<path>.lock`.
pub fn lock_path(path: &Path) -> PathBuf {
    with_suffix(path, LOCK)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OsStr::new(suffix));
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
