//! Data folder of a relay: its lock, and the version of its format.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use durable::{
    replace::replace,
    storage::{Disk, DiskFile, FILE_MODE, Folders, LockFiles, WriteFiles},
};

use crate::journal::WriteError;

/// File whose lock protects the folder.
pub const LOCK: &str = "relay.lock";
/// File that holds the version of the folder's format. Folders of version 1 have none.
pub const VERSION_FILE: &str = "version";
/// Version of the format: version 2 added names and policies of feeds, and the posted order of an event's members; version 3
/// the removal of segments.
const VERSION: u32 = 3;
/// Earlier version that folders have.
const EARLIER: &str = "2";

/// Error of opening a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another relay uses the folder.
    #[error("another relay is using {}", .0.display())]
    Locked(PathBuf),
    /// The log cannot be read or repaired.
    #[error(transparent)]
    Log(#[from] WriteError),
    /// A later version of this program wrote the folder.
    #[error("{} has the version {found}; this program knows versions up to {VERSION}", .folder.display())]
    Version {
        /// The folder.
        folder: PathBuf,
        /// Content of its file [`VERSION_FILE`].
        found: String,
    },
}

/// Checks the version of the folder, and sets the current one. Folders of earlier versions are folders
/// of this one.
pub fn set_version(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(VERSION_FILE);
    let failed = |what, source| WriteError::Storage {
        what,
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(found) if found.trim_end() == VERSION.to_string() => Ok(()),
        Ok(found) if found.trim_end() != EARLIER => Err(OpenError::Version {
            folder: folder.into(),
            found: found.trim_end().chars().take(20).collect(),
        }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("read", error).into()),
        _ => {
            let written = replace(&Disk, &path, format!("{VERSION}\n").as_bytes(), FILE_MODE);
            Ok(written.map_err(|error| failed("write", error))?)
        }
    }
}

/// Locks the folder, and creates it if it is missing, but not its parents.
///
/// # Errors
/// [`OpenError`]
pub fn lock(folder: &Path) -> Result<DiskFile, OpenError> {
    let failed = |what, source| WriteError::Storage {
        what,
        path: folder.into(),
        source,
    };
    if Disk.create_dir(folder).map_err(|error| failed("create", error))? {
        let above = match folder.parent() {
            Some(above) if above != Path::new("") => above,
            _ => Path::new("."),
        };
        Disk.sync_dir(above)
            .map_err(|error| failed("sync the folder of", error))?;
    }
    let file = Disk
        .open_append(&folder.join(LOCK))
        .map_err(|error| failed("open the lock in", error))?;
    if Disk.try_lock(&file).map_err(|error| failed("lock", error))? {
        Ok(file)
    } else {
        Err(OpenError::Locked(folder.into()))
    }
}
