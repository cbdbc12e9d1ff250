//! Lock that allows one worker at a time for each mirror of a repository. The first mirror has `.stargate/worker.lock`,
//! another one `.stargate/worker.NAME.lock`. The file is locked by the operating system, so a worker that died leaves nothing to clean up.
//!
//! The file is modified when the lock is taken, so its modification time is the time of the last cycle.
use std::{fs, io, path::Path, thread, time::Duration};

use durable::storage::{Disk, DiskFile, LockFiles, ReadFiles, WriteFiles};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Pause before the second attempt to take the lock, because [`WorkerStatus::read()`] holds it for a moment.
const GLANCE: Duration = Duration::from_millis(50);
/// Age of the last cycle above which no worker is assumed to be alive. Cron runs more often, and `watch` every 15 minutes.
pub const LONGEST_SILENCE: SignedDuration = SignedDuration::from_hours(1);

/// The worker's lock, released when dropped.
#[derive(Debug)]
pub struct WorkerLock {
    _locked: DiskFile,
}

impl WorkerLock {
    /// Takes the lock at this path. Returns none if another worker holds it.
    ///
    /// # Errors
    /// The file cannot be created or locked, or is not a regular file.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = Disk.open_append(path)?;
        if !Disk.try_lock(&file)? {
            thread::sleep(GLANCE);
            if !Disk.try_lock(&file)? {
                return Ok(None);
            }
        }
        // A full disk must not stop the cycle: only the time of the last cycle is lost.
        if let Err(error) = mark(&file) {
            tracing::debug!(%error, "the time of this cycle was not recorded");
        }
        Ok(Some(WorkerLock { _locked: file }))
    }
}

/// Sets the modification time to now. Unlike `utimensat(2)` with a time, this needs no ownership of the file.
fn mark(file: &DiskFile) -> io::Result<()> {
    Disk.append(file, b"\n")?;
    Disk.truncate(file, 0)
}

/// Signs of life of the worker of one mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// True if a cycle is running, or the last one is younger than [`LONGEST_SILENCE`].
    pub alive: bool,
    /// True if a cycle is running.
    pub running: bool,
    /// Time at which the last cycle started.
    pub last_run: Option<Timestamp>,
}

impl WorkerStatus {
    /// Reads the signs of life from the lock at this path. Does not create it.
    ///
    /// # Errors
    /// The file cannot be read or locked.
    pub fn read(path: &Path, now: Timestamp) -> io::Result<Self> {
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found?),
        };
        let Some(found) = found else {
            return Ok(WorkerStatus::new(false, None, now));
        };
        let last_run = Timestamp::try_from(found.modified()?).map_err(io::Error::other)?;
        let running = !Disk.try_lock(&Disk.open_read(path)?)?;
        Ok(WorkerStatus::new(running, Some(last_run), now))
    }

    fn new(running: bool, last_run: Option<Timestamp>, now: Timestamp) -> Self {
        let is_recent = |at: Timestamp| now.duration_since(at) < LONGEST_SILENCE;
        WorkerStatus {
            alive: running || last_run.is_some_and(is_recent),
            running,
            last_run,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worker_does_not_get_the_lock_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.lock");
        let first = WorkerLock::take(&path).unwrap();
        assert!(first.is_some());
        assert!(WorkerLock::take(&path).unwrap().is_none());
        drop(first);
        assert!(WorkerLock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_worker_is_alive_during_a_cycle_and_for_an_hour_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.lock");
        let now = Timestamp::now();
        let status = |now| WorkerStatus::read(&path, now).unwrap();
        assert_eq!(status(now), WorkerStatus::new(false, None, now));
        assert!(!path.exists());
        let lock = WorkerLock::take(&path).unwrap();
        let later = now + SignedDuration::from_hours(2);
        assert!(status(later).running && status(later).alive);
        drop(lock);
        let last_run = status(now).last_run.expect("a time");
        assert!(last_run.duration_since(now).abs() < SignedDuration::from_mins(1));
        assert_eq!(
            [status(now), status(later)].map(|status| (status.alive, status.running)),
            [(true, false), (false, false)]
        );
    }
}
