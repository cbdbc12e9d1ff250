//! Files of one mirror that alerts need: the worker's memory, and the memory of alerts with its lock.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use durable::{
    clock::{Clock, SystemClock},
    replace::replace,
    storage::{Disk, DiskFile, FILE_MODE, LockFiles, WriteFiles},
};
use serde_json::{Map, Value};

use crate::{mirror::AlertMemory, worker::choice::Chosen};

/// Pause between two attempts to take the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Largest memory of alerts that is read, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// Memories that could not be written, by their files. Only a process that stays can use them.
pub(super) type Unwritten = Arc<Mutex<BTreeMap<PathBuf, AlertMemory>>>;

/// The files of one mirror that alerts need.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The repository, for a person who does not know the worker's folder.
    pub(super) repository: PathBuf,
    /// Name of the mirror among several.
    pub(super) mirror: Option<String>,
    /// The worker's memory, which is only read.
    pub(super) worker_memory: PathBuf,
    memory: PathBuf,
    lock: PathBuf,
    unwritten: Option<Unwritten>,
}

impl Place {
    /// Returns the files of the chosen mirror. With `unwritten`, the memory stays there while the disk is full.
    pub(super) fn new(chosen: &Chosen, repository: &Path, unwritten: Option<Unwritten>) -> Self {
        Place {
            // Fails only for an empty path, or without a current directory.
            repository: std::path::absolute(repository).unwrap_or_else(|_| repository.to_owned()),
            mirror: chosen.name_among_several().map(str::to_owned),
            worker_memory: chosen.memory_path(repository),
            memory: chosen.alerts_path(repository),
            lock: chosen.alerts_lock_path(repository),
            unwritten,
        }
    }

    /// Returns the files of a mirror that is not in the settings any more, or of a repository that is missing.
    pub(super) fn of_removed(
        repository: &Path,
        mirror: Option<String>,
        memory: PathBuf,
        unwritten: Option<Unwritten>,
    ) -> Self {
        Place {
            repository: std::path::absolute(repository).unwrap_or_else(|_| repository.to_owned()),
            mirror,
            // There is none.
            worker_memory: memory.with_extension("worker"),
            lock: memory.with_extension("lock"),
            memory,
            unwritten,
        }
    }

    /// Removes the memory of alerts, once nobody has to hear of them.
    ///
    /// # Errors
    /// The files cannot be removed.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.unwritten().map(|mut unwritten| unwritten.remove(&self.memory));
        [&self.memory, &self.lock]
            .into_iter()
            .try_for_each(|path| match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
    }

    /// Returns the path of the memory of alerts.
    pub(super) fn memory(&self) -> &Path {
        &self.memory
    }

    /// Changes the memory of alerts under its lock. Returns none if another process holds it for `limit`.
    ///
    /// # Errors
    /// The memory cannot be read, or it cannot be written and this process does not stay. One that cannot be read is not
    /// replaced, because alerts would be repeated.
    pub(super) fn change<T>(
        &self,
        limit: Duration,
        change: impl FnOnce(&mut AlertMemory) -> T,
    ) -> io::Result<Option<T>> {
        let _locked = match self.locked(limit) {
            Ok(Some(file)) => Some(file),
            Ok(None) => return Ok(None),
            Err(error) => {
                self.stays_or(error)?;
                None
            }
        };
        let unwritten = self
            .unwritten()
            .and_then(|unwritten| unwritten.get(&self.memory).cloned());
        let was_written = unwritten.is_none();
        let mut memory = unwritten.map_or_else(|| read(&self.memory), Ok)?;
        let before = memory.clone();
        let changed = change(&mut memory);
        if memory != before || !was_written {
            self.write(memory)?;
        }
        Ok(Some(changed))
    }

    fn locked(&self, limit: Duration) -> io::Result<Option<DiskFile>> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.lock.display()));
        let clock = SystemClock::default();
        let file = Disk.open_append(&self.lock).map_err(named)?;
        while !Disk.try_lock(&file).map_err(named)? {
            if clock.elapsed() >= limit {
                return Ok(None);
            }
            clock.sleep(LOCK_PAUSE);
        }
        Ok(Some(file))
    }

    fn write(&self, memory: AlertMemory) -> io::Result<()> {
        let bytes = serde_json::to_vec(&memory)?;
        match replace(&Disk, &self.memory, &bytes, FILE_MODE) {
            Ok(()) => {
                self.unwritten().map(|mut unwritten| unwritten.remove(&self.memory));
            }
            Err(error) => {
                let what = format!("{}: {error}", self.memory.display());
                self.stays_or(io::Error::new(error.kind(), what))?;
                self.unwritten()
                    .map(|mut unwritten| unwritten.insert(self.memory.clone(), memory));
            }
        }
        Ok(())
    }

    /// Logs the error if this process stays, so that it can remember what it has sent. Returns it otherwise.
    fn stays_or(&self, error: io::Error) -> io::Result<()> {
        if self.unwritten.is_none() {
            return Err(error);
        }
        tracing::error!(%error, "the memory of alerts is kept in this process, and lost when it ends");
        Ok(())
    }

    fn unwritten(&self) -> Option<MutexGuard<'_, BTreeMap<PathBuf, AlertMemory>>> {
        let unwritten = self.unwritten.as_ref()?;
        Some(unwritten.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the memory of alerts. Returns an empty one if there is no file.
fn read(path: &Path) -> io::Result<AlertMemory> {
    let named = |error: io::Error| {
        let what = format!("{}: {error}; remove the file to have alerts again", path.display());
        io::Error::new(error.kind(), what)
    };
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(AlertMemory::default()),
        found => found.map_err(named)?,
    };
    if !found.is_file() || found.len() > MAX_SIZE {
        return Err(named(io::Error::other(format!(
            "not a file of at most {MAX_SIZE} bytes"
        ))));
    }
    let bytes = fs::read(path).map_err(named)?;
    let object: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| named(error.into()))?;
    serde_json::from_value(object.into()).map_err(|error| named(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::{AlertChannel, Condition, Fate, Observed};

    fn place(folder: &Path) -> Place {
        Place {
            repository: folder.to_owned(),
            mirror: None,
            worker_memory: folder.join("worker.json"),
            memory: folder.join("alerts.json"),
            lock: folder.join("alerts.lock"),
            unwritten: None,
        }
    }

    #[test]
    fn a_process_that_stays_remembers_what_the_disk_does_not_take() {
        let folder = tempfile::tempdir().expect("a folder");
        let away = folder.path().join("away");
        let mut place = place(&away);
        let due = |place: &Place| {
            let changed = place.change(Duration::ZERO, |memory| {
                memory.observe([(Condition::Stale, Observed::Holds(1))]);
                let due = memory.due(&[AlertChannel::Command], 1);
                let ends: Vec<_> = due.iter().map(|alert| (*alert, Fate::Arrived)).collect();
                memory.release("me", &ends);
                due.len()
            });
            changed.map(|due| due.expect("nobody holds the lock"))
        };
        due(&place).expect_err("a command that ends would repeat the alert");
        place.unwritten = Some(Unwritten::default());
        assert_eq!([due(&place).ok(), due(&place).ok()], [Some(1), Some(0)]);
        fs::create_dir(&away).expect("a folder");
        assert_eq!(due(&place).ok(), Some(0));
        place.unwritten = None;
        assert_eq!(due(&place).ok(), Some(0), "it is written down once that is possible");
    }

    #[test]
    fn a_damaged_memory_is_an_error_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(folder.path());
        for damage in ["", "{", "[]", "{\"told\":1}"] {
            fs::write(&place.memory, damage).expect("a file");
            let error = place
                .change(Duration::ZERO, |memory| memory.claim("me", &[], 1))
                .expect_err(damage);
            assert!(error.to_string().contains("alerts.json: "), "{error}");
            assert_eq!(fs::read_to_string(&place.memory).expect("a file"), damage);
        }
        fs::remove_file(&place.memory).expect("a file");
        fs::create_dir(&place.memory).expect("a folder");
        place.change(Duration::ZERO, |_| ()).expect_err("a folder");
    }

    #[test]
    fn a_process_that_holds_the_lock_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = place(folder.path());
        let changed = place.change(Duration::ZERO, |memory| memory.claim("me", &[], 1));
        assert_eq!(changed.expect("a memory"), Some(()));
        let file = Disk.open_append(&place.lock).expect("a file");
        assert!(Disk.try_lock(&file).expect("a lock"));
        assert_eq!(place.change(Duration::ZERO, |_| ()).expect("no error"), None);
    }
}
