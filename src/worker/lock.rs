//! Lock that allows one worker at a time for each mirror of a repository. The first mirror has `.stargate/worker.lock`,
//! another one `.stargate/worker.NAME.lock`. The file is locked by the operating system, so a worker that died leaves nothing to clean up.
use std::{io, path::Path};

use durable::storage::{Disk, DiskFile, LockFiles, WriteFiles};

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
        Ok(Disk.try_lock(&file)?.then_some(WorkerLock { _locked: file }))
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
}
