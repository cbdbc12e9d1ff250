//! Access to the files of one journal: their paths, their locks, and unique names.
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use durable::{
    clock::Clock,
    storage::{FileSystems, LockFiles, WriteFiles},
};
use ulid::Ulid;

use super::{
    FOLDER,
    entry::{next_id, random_bits},
    error::{WriteError, on},
    path_in,
};

/// First wait for the lock. It doubles.
const FIRST_WAIT: Duration = Duration::from_millis(1);
/// Longest single wait for the lock.
const LONGEST_WAIT: Duration = Duration::from_millis(4);

/// Access to the files of the journal of one repository.
#[derive(Debug)]
pub(super) struct Access<S, C> {
    pub(super) storage: S,
    pub(super) clock: C,
    pub(super) git_dir: PathBuf,
    pub(super) journal: PathBuf,
    lock_timeout: Duration,
    /// True if network file systems are accepted.
    pub(super) allow_network: bool,
}

impl<S, C> Access<S, C> {
    /// Waits at most `lock_timeout` for a lock. Refuses network file systems.
    pub(super) fn new(storage: S, clock: C, git_dir: &Path, lock_timeout: Duration) -> Self {
        Access {
            storage,
            clock,
            git_dir: git_dir.into(),
            journal: path_in(git_dir),
            lock_timeout,
            allow_network: false,
        }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.git_dir.join(FOLDER)
    }
}

impl<S, C: Clock> Access<S, C> {
    /// Returns a unique name.
    pub(super) fn unique(&self) -> Ulid {
        next_id(None, self.clock.now(), || self.random()).unwrap_or_default()
    }

    pub(super) fn random(&self) -> u128 {
        random_bits(&self.clock)
    }
}

impl<S: WriteFiles + LockFiles + FileSystems, C: Clock> Access<S, C> {
    /// Opens a file of the journal for appending, and takes its lock. Creates a missing file.
    pub(super) fn lock_to_append(&self, path: &Path) -> Result<S::File, WriteError> {
        self.lock(path, |path| self.storage.open_append(path))
    }

    /// Opens a file of the journal for overwriting, and takes its lock.
    pub(super) fn lock_to_overwrite(&self, path: &Path) -> Result<S::File, WriteError> {
        self.lock(path, |path| self.storage.open_overwrite(path))
    }

    /// Opens a file of the journal and takes its lock, which is released when the file is closed. If the file was replaced
    /// during the wait, opens the new one.
    fn lock(&self, path: &Path, open: impl Fn(&Path) -> io::Result<S::File>) -> Result<S::File, WriteError> {
        self.refuse_network()?;
        let deadline = self.clock.elapsed() + self.lock_timeout;
        let mut wait = FIRST_WAIT;
        let mut file = on("open", path, open(path))?;
        loop {
            let locked = on("lock", path, self.storage.try_lock(&file))?;
            if locked && on("access", path, self.storage.still_names(path, &file))? {
                return Ok(file);
            }
            let left = deadline.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return Err(WriteError::Locked {
                    path: path.into(),
                    waited: self.lock_timeout,
                });
            }
            if locked {
                file = on("open", path, open(path))?;
            } else {
                self.clock.sleep(wait.min(left));
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }

    fn refuse_network(&self) -> Result<(), WriteError> {
        if self.allow_network {
            return Ok(());
        }
        let path = self.folder();
        match on("access", &path, self.storage.network(&path))? {
            Some(kind) => Err(WriteError::Network { path, kind }),
            None => Ok(()),
        }
    }
}
