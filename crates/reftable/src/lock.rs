use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::write_error::WriteError;

/// The first pause between attempts to create the lock; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);

const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A file that vanishes when this value does, unless it is renamed into place.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    /// True once the file has another name.
    renamed: bool,
}

impl NewFile {
    /// Creates the file, which must not exist, with these permissions.
    pub(crate) fn create(path: PathBuf, permissions: Permissions) -> Result<Self, WriteError> {
        match open_new(&path) {
            Ok(file) => Self::with_permissions(path, file, permissions),
            Err(source) => Err(WriteError::Io { path, source }),
        }
    }

    /// Creates the lock file beside `list`, and waits for at most `wait` while it exists.
    pub(crate) fn lock(list: &Path, permissions: Permissions, wait: Duration) -> Result<Self, WriteError> {
        let mut path = list.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match open_new(&path) {
                Ok(file) => return Self::with_permissions(path, file, permissions),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let left = wait.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Err(WriteError::Locked { path, waited: wait });
                    }
                    thread::sleep(pause.min(left));
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
                Err(source) => return Err(WriteError::Io { path, source }),
            }
        }
    }

    fn with_permissions(path: PathBuf, file: File, permissions: Permissions) -> Result<Self, WriteError> {
        let new = Self {
            path,
            file,
            renamed: false,
        };
        match new.file.set_permissions(permissions) {
            Ok(()) => Ok(new),
            Err(source) => Err(new.failed(source)),
        }
    }

    /// Writes all content, and syncs it to disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_all());
        written.map_err(|source| self.failed(source))
    }

    /// Renames the file, which then stays.
    pub(crate) fn rename(mut self, to: &Path) -> Result<(), WriteError> {
        fs::rename(&self.path, to).map_err(|source| self.failed(source))?;
        self.renamed = true;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing can be done about a file that stays.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Syncs the names in a folder to disk.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        // Elsewhere, a folder cannot be opened as a file.
        Ok(())
    }
}
