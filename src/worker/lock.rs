//! Lock that allows one worker at a time for each mirror of a repository. The first mirror has `.stargate/worker.lock`,
//! another one `.stargate/worker.NAME.lock`. The file is locked by the operating system, so a worker that died leaves nothing to clean up.
//!
//! The file is modified when the lock is taken, so its modification time is the time of the last cycle.
use std::{fs, io, path::Path, time::Duration};

use durable::{
    clock::{Clock, SystemClock},
    storage::{Disk, DiskFile, LockFiles, ReadFiles, WriteFiles},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// Time for which a cycle tries to take the lock again, because [`WorkerStatus::read()`] holds it for a moment.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// Age of the last cycle above which no worker is assumed to be alive. Cron runs more often, and `watch` every 15 minutes.
pub const LONGEST_SILENCE: SignedDuration = SignedDuration::from_hours(1);

/// The worker's lock, released when dropped.
#[derive(Debug)]
pub struct WorkerLock {
    _locked: DiskFile,
}

impl WorkerLock {
    /// Takes the lock at this path. Returns none if another worker holds it for a second.
    ///
    /// # Errors
    /// The file cannot be created or locked, or is not a regular file.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        WorkerLock::take_by(path, &SystemClock::default())
    }

    fn take_by(path: &Path, clock: &dyn Clock) -> io::Result<Option<Self>> {
        let file = Disk.open_append(path)?;
        while !Disk.try_lock(&file)? {
            if clock.elapsed() >= PATIENCE {
                return Ok(None);
            }
            clock.sleep(PAUSE);
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

/// Signs of life of the worker of one mirror. They are unknown if the lock cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// True if a cycle is running, or the last one is younger than [`LONGEST_SILENCE`].
    pub alive: Option<bool>,
    /// True if a cycle is running.
    pub running: Option<bool>,
    /// Time at which the last cycle started.
    pub last_run: Option<Timestamp>,
    /// Reason why the lock cannot be read. Omitted otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl WorkerStatus {
    /// Reads the signs of life from the lock at this path. Does not create it.
    pub fn read(path: &Path, now: Timestamp) -> Self {
        match look(path) {
            Ok(None) => WorkerStatus::new(false, None, now),
            Ok(Some((running, last_run))) => WorkerStatus::new(running, Some(last_run), now),
            Err(error) => WorkerStatus {
                alive: None,
                running: None,
                last_run: None,
                unreadable: Some(format!("{}: {error}", path.display())),
            },
        }
    }

    /// Returns the start of the running cycle, if one is running.
    pub fn running_since(&self) -> Option<Timestamp> {
        self.last_run.filter(|_| self.running == Some(true))
    }

    fn new(running: bool, last_run: Option<Timestamp>, now: Timestamp) -> Self {
        let is_recent = |at: Timestamp| now.duration_since(at) < LONGEST_SILENCE;
        WorkerStatus {
            alive: Some(running || last_run.is_some_and(is_recent)),
            running: Some(running),
            last_run,
            unreadable: None,
        }
    }
}

/// Returns whether the lock is taken, and its modification time; none if there is no file.
fn look(path: &Path) -> io::Result<Option<(bool, Timestamp)>> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let last_run = Timestamp::try_from(found.modified()?).map_err(io::Error::other)?;
    let running = !Disk.try_lock_shared(&Disk.open_read(path)?)?;
    Ok(Some((running, last_run)))
}

#[cfg(test)]
mod tests {
    use durable::clock::ManualClock;

    use super::*;
    use crate::releasing_clock::ReleasingClock;

    #[test]
    fn a_second_worker_does_not_get_the_lock_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.lock");
        let first = WorkerLock::take(&path).unwrap();
        assert!(first.is_some());
        let clock = ManualClock::default();
        assert!(WorkerLock::take_by(&path, &clock).unwrap().is_none());
        assert_eq!(clock.slept().iter().sum::<Duration>(), PATIENCE);
        drop(first);
        assert!(WorkerLock::take(&path).unwrap().is_some());
    }

    #[test]
    fn a_worker_is_alive_during_a_cycle_and_for_an_hour_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.lock");
        let now = Timestamp::now();
        let status = |now| WorkerStatus::read(&path, now);
        assert_eq!(status(now), WorkerStatus::new(false, None, now));
        assert!(!path.exists());
        let lock = WorkerLock::take(&path).unwrap();
        let later = now + SignedDuration::from_hours(2);
        assert_eq!((status(later).running, status(later).alive), (Some(true), Some(true)));
        drop(lock);
        let last_run = status(now).last_run.expect("a time");
        assert!(last_run.duration_since(now).abs() < SignedDuration::from_mins(1));
        assert_eq!(
            [status(now), status(later)].map(|status| (status.alive, status.running)),
            [(Some(true), Some(false)), (Some(false), Some(false))]
        );
    }

    #[test]
    fn readers_do_not_disturb_each_other_and_a_cycle_waits_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.lock");
        drop(WorkerLock::take(&path).unwrap());
        let reader = Disk.open_read(&path).unwrap();
        assert!(Disk.try_lock_shared(&reader).unwrap());
        let now = Timestamp::now();
        assert_eq!(
            WorkerStatus::read(&path, now).running,
            Some(false),
            "a reader is no cycle"
        );
        let clock = ReleasingClock::new(reader);
        assert!(
            WorkerLock::take_by(&path, &clock).unwrap().is_some(),
            "a cycle tries again"
        );
        assert_eq!(clock.slept(), [PAUSE]);
    }

    #[test]
    fn a_lock_that_cannot_be_read_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.lock");
        fs::create_dir(&path).unwrap();
        let status = WorkerStatus::read(&path, Timestamp::now());
        assert_eq!((status.alive, status.running, status.last_run), (None, None, None));
        let why = status.unreadable.expect("a reason");
        assert!(why.contains("worker.lock: it is a directory"), "{why}");
    }
}
