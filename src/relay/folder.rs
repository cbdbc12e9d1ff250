//! Data folder of a relay: its lock, and the version of its format.
//!
//! Folders of earlier versions are folders of the current one. Before the first start on one, its events are copied to a folder
//! in it that is named after the earlier version, such as `version-2`. An earlier program can use that one.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use durable::{
    replace::replace,
    storage::{Disk, DiskFile, FILE_MODE, Folders, LockFiles, Names, WriteFiles, sync_file},
};

use super::store::STEM;
use crate::journal::WriteError;

/// File whose lock protects the folder.
pub const LOCK: &str = "relay.lock";
/// File that holds the version of the folder's format. Folders of version 1 have none.
pub const VERSION_FILE: &str = "version";
/// Version of the format: version 2 added names and policies of feeds, and the posted order of an event's members; version 3
/// the removal of segments.
const VERSION: u32 = 3;
/// File with the identity of the stream that the folder is a copy of. Without it, the folder is the store.
pub const STREAM_FILE: &str = "stream";
/// Version of folders without a file [`VERSION_FILE`].
const WITHOUT_FILE: &str = "1";
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
    /// The folder belongs to a stream, to another one, or to none.
    #[error("{} {problem}", .folder.display())]
    OtherStore {
        /// The folder.
        folder: PathBuf,
        /// Description of the difference.
        problem: String,
    },
    /// The stream cannot be opened.
    #[cfg(feature = "nats")]
    #[error(transparent)]
    Stream(#[from] crate::nats::link::LinkError),
    /// The stream cannot be copied.
    #[cfg(feature = "nats")]
    #[error("the stream {0} cannot be read: {1}")]
    Copy(String, String),
}

impl OpenError {
    /// Creates the error of a copy that must be made anew.
    #[cfg(feature = "nats")]
    pub fn damaged_copy(folder: &Path, problem: &str) -> Self {
        OpenError::OtherStore {
            folder: folder.into(),
            problem: format!("{problem}; remove it to copy the stream again"),
        }
    }
}

/// Checks that the folder is the store itself, or a copy of the stream with this identity. A new folder becomes that.
///
/// # Errors
/// [`OpenError`]
pub fn set_stream(folder: &Path, stream: Option<&str>) -> Result<(), OpenError> {
    let path = folder.join(STREAM_FILE);
    let failed = |what, source| WriteError::Storage {
        what,
        path: path.clone(),
        source,
    };
    let found = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.map_err(|error| failed("read", error))?),
    };
    let other = |problem: String| {
        Err(OpenError::OtherStore {
            folder: folder.into(),
            problem,
        })
    };
    match (found.as_deref().map(str::trim_end), stream) {
        (None, None) => Ok(()),
        (Some(found), Some(stream)) if found == stream => Ok(()),
        (Some(found), None) => other(format!("is a copy of the stream {found}")),
        (Some(found), Some(stream)) => other(format!("is a copy of the stream {found}, not of {stream}")),
        (None, Some(stream)) => {
            let log = folder.join(format!("{STEM}.ndjson"));
            if log
                .try_exists()
                .map_err(|error| failed("look for the log beside", error))?
            {
                return other(format!(
                    "contains its own events, and is not a copy of the stream {stream}"
                ));
            }
            let written = replace(&Disk, &path, format!("{stream}\n").as_bytes(), FILE_MODE);
            Ok(written.map_err(|error| failed("write", error))?)
        }
    }
}

/// Checks the version of the folder, and sets the current one. The events of a folder of an earlier version are copied first.
///
/// # Errors
/// [`OpenError`]
pub fn set_version(folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(VERSION_FILE);
    let failed = |what, source| WriteError::Storage {
        what,
        path: path.clone(),
        source,
    };
    let found = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.map_err(|error| failed("read", error))?),
    };
    let version = match found.as_deref().map(str::trim_end) {
        None => WITHOUT_FILE,
        Some(EARLIER) => EARLIER,
        Some(found) if found == VERSION.to_string() => return Ok(()),
        Some(found) => {
            return Err(OpenError::Version {
                folder: folder.into(),
                found: found.chars().take(20).collect(),
            });
        }
    };
    keep_copy(folder, version).map_err(|error| failed("copy the events of an earlier version beside", error))?;
    let written = replace(&Disk, &path, format!("{VERSION}\n").as_bytes(), FILE_MODE);
    Ok(written.map_err(|error| failed("write", error))?)
}

/// Copies the events and the version of a folder to a folder in it. Does nothing if there are no events, or if the copy exists.
fn keep_copy(folder: &Path, version: &str) -> io::Result<()> {
    let copy = folder.join(format!("version-{version}"));
    let is_event_file = |name: &str| name.starts_with(STEM) && name.ends_with(".ndjson");
    let mut files = Vec::new();
    for name in Disk.list(folder)? {
        files.extend(name.to_str().filter(|name| is_event_file(name)).map(str::to_owned));
    }
    if files.is_empty() || copy.try_exists()? {
        return Ok(());
    }
    if version != WITHOUT_FILE {
        files.push(VERSION_FILE.into());
    }
    // A relay that was killed may have left it.
    let incomplete = folder.join(format!("version-{version}.new"));
    if incomplete.try_exists()? {
        fs::remove_dir_all(&incomplete)?;
    }
    Disk.create_dir(&incomplete)?;
    for name in files {
        let to = incomplete.join(&name);
        fs::copy(folder.join(&name), &to)?;
        sync_file(&fs::OpenOptions::new().append(true).open(&to)?)?;
    }
    Disk.sync_dir(&incomplete)?;
    Disk.rename(&incomplete, &copy)?;
    Disk.sync_dir(folder)?;
    tracing::info!(copy = %copy.display(), "copied the events of version {version}");
    Ok(())
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
