//! The worker of one mirror, from its files.
use std::{fs, io, path::Path};

use jiff::Timestamp;

use crate::{
    cli::doctor::checks::worker::WorkerFacts,
    worker::{Chosen, RepositoryStatus},
};

/// Reads the traces of the worker of this mirror.
///
/// # Errors
/// A file cannot be accessed.
pub fn read(git_dir: &Path, chosen: &Chosen, status: &RepositoryStatus, now: Timestamp) -> io::Result<WorkerFacts> {
    let (memory, lock) = (chosen.memory_path(git_dir), chosen.lock_path(git_dir));
    let written = modified(&memory)?.max(modified(&lock)?);
    // A time in the future means that the clock was wrong.
    let since = |then: Timestamp| u64::try_from(now.duration_since(then).as_secs()).unwrap_or_default();
    Ok(WorkerFacts {
        pending: status.pending,
        oldest: status.oldest_pending.map(since),
        last_sign: written.max(status.compared_at).map(since),
        is_running: is_locked(&lock)?,
        missing: status.missing.clone(),
        unreadable: status.forgotten.clone().map(|why| (memory.display().to_string(), why)),
    })
}

/// Returns the time of the last change of a file. `None` if it does not exist.
fn modified(path: &Path) -> io::Result<Option<Timestamp>> {
    match fs::metadata(path) {
        Ok(found) => Timestamp::try_from(found.modified()?)
            .map(Some)
            .map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns true if a process holds the lock of this file. The lock itself is not touched, so that no worker is kept out.
#[cfg(target_os = "linux")]
fn is_locked(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let inode = match fs::metadata(path) {
        Ok(found) => found.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match fs::read_to_string("/proc/locks") {
        // Without the list, only the times count.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        locks => Ok(holds(&locks?, inode)),
    }
}

/// Locks are not listed on this system, so only the times count.
#[cfg(not(target_os = "linux"))]
fn is_locked(_path: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Returns true if this list (proc(5), `/proc/locks`) has a lock on a file with this inode.
#[cfg(target_os = "linux")]
fn holds(locks: &str, inode: u64) -> bool {
    let inode = format!(":{inode}");
    let mut lines = locks.lines();
    lines.any(|line| line.contains(" FLOCK ") && line.split(' ').any(|word| word.ends_with(&inode)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_by_the_inode_of_its_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 812 00:19:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 700 fe:01:4711 0 EOF\n";
        assert!(holds(locks, 4711));
        assert!(!holds(locks, 711) && !holds(locks, 77));
    }
}
