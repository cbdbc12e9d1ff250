//! Share of one mirror in the settlement of the journal's entries.
//!
//! Each mirror of a repository has cycles of its own, in any number of threads and processes. What concerns all of them
//! is done under the lock `.stargate/mirrors.lock`, which is never held during a request: recovery, appends by the worker,
//! and settlement. A single mirror needs no second lock, because its worker's lock admits no other worker.
//!
//! `.stargate/mirrors.json` has the [`Tally`]. New statuses are written before the journal, and removed after it. If a worker
//! dies in between, the next cycle completes the settlement, or asks its mirror once more.
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use durable::{
    clock::Clock,
    replace::replace,
    storage::{Disk, DiskFile, FILE_MODE, LockFiles, WriteFiles},
};

use ulid::Ulid;

use super::error::RunError;
use crate::{
    config::{Config, Mirrors},
    journal,
    mirror::Tally,
};

/// File name of the tally in the `.stargate` folder.
pub const TALLY_FILE: &str = "mirrors.json";
/// File name of the lock of everything that concerns all mirrors.
const SHARED_LOCK: &str = "mirrors.lock";
/// Pause between two attempts to take the lock.
const PAUSE: Duration = Duration::from_millis(10);

/// Share of one mirror.
#[derive(Debug, Clone)]
pub(super) struct Share {
    /// The `.stargate` folder.
    folder: PathBuf,
    mirror: String,
    /// Names of all mirrors.
    mirrors: Vec<String>,
    lock_timeout: Duration,
}

impl Share {
    /// Creates the share of `mirror`, one of `mirrors`.
    pub(super) fn new(folder: &Path, mirrors: &Mirrors, mirror: &Config) -> Self {
        Share {
            folder: folder.to_owned(),
            mirror: mirror.name.clone(),
            mirrors: mirrors.names().map(str::to_owned).collect(),
            lock_timeout: mirror.lock_timeout,
        }
    }

    /// Returns the name of the mirror.
    pub(super) fn mirror(&self) -> &str {
        &self.mirror
    }

    /// Returns the name of the mirror if there are others.
    pub(super) fn name_among_several(&self) -> Option<&str> {
        (self.mirrors.len() > 1).then_some(self.mirror.as_str())
    }

    /// Returns the names of all mirrors.
    pub(super) fn mirrors(&self) -> impl Iterator<Item = &str> + Clone {
        self.mirrors.iter().map(String::as_str)
    }

    /// Returns the names of the other mirrors.
    pub(super) fn others(&self) -> impl Iterator<Item = &str> + Clone {
        self.mirrors().filter(|name| *name != self.mirror)
    }

    /// Takes the lock of everything that concerns all mirrors. Returns none if there is a single mirror.
    pub(super) fn lock(&self, clock: &dyn Clock) -> Result<Option<DiskFile>, RunError> {
        if self.mirrors.len() == 1 {
            return Ok(None);
        }
        let path = self.folder.join(SHARED_LOCK);
        let failed = |error| RunError::Lock(path.clone(), error);
        let file = Disk.open_append(&path).map_err(failed)?;
        let attempts = self.lock_timeout.as_millis() / PAUSE.as_millis() + 1;
        for _ in 0..attempts {
            if Disk.try_lock(&file).map_err(failed)? {
                return Ok(Some(file));
            }
            clock.sleep(PAUSE);
        }
        Err(RunError::Locked(path))
    }

    /// Reads the tally. If it cannot be read, logs the error and returns an empty one: each mirror is asked again.
    pub(super) fn tally(&self) -> Tally {
        read_tally(&self.folder).unwrap_or_else(|error| {
            tracing::warn!(%error, "the tally of the mirrors cannot be read; each mirror is asked again");
            Tally::default()
        })
    }

    /// Writes the tally if it has changed. An error costs one more request to the mirror.
    pub(super) fn save(&self, before: &Tally, tally: &Tally) {
        if before == tally {
            return;
        }
        let written = serde_json::to_vec(tally)
            .map_err(io::Error::from)
            .and_then(|bytes| replace(&Disk, &self.folder.join(TALLY_FILE), &bytes, FILE_MODE));
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write the tally of the mirrors; the next cycle asks this mirror again");
        }
    }
}

/// Forgets which mirrors have settled these entries, so that all of them work on the entries again.
///
/// # Errors
/// The configuration cannot be read, or the lock cannot be taken.
pub fn forget_settled(git_dir: &Path, entries: &[Ulid], clock: &dyn Clock) -> Result<(), RunError> {
    let unreadable = |error| RunError::Unreadable(git_dir.to_owned(), error);
    let mirrors = Mirrors::load(git_dir).map_err(unreadable)?;
    let share = Share::new(&git_dir.join(journal::FOLDER), &mirrors, &mirrors.repository);
    let _locked = share.lock(clock)?;
    let before = share.tally();
    let mut tally = before.clone();
    tally.retain_entries(|entry| !entries.contains(&entry));
    share.save(&before, &tally);
    Ok(())
}

/// Reads the tally in this `.stargate` folder. Returns an empty one if there is no file.
///
/// # Errors
/// The file cannot be read, or is not a tally.
pub(super) fn read_tally(folder: &Path) -> io::Result<Tally> {
    let path = folder.join(TALLY_FILE);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Tally::default()),
        read => serde_json::from_slice(&read.map_err(named)?).map_err(|error| named(error.into())),
    }
}
