//! File systems of a repository.
use std::{io, path::Path};

use durable::storage::{Disk, FileSystems};

use crate::{cli::doctor::checks::disk::DiskFacts, journal};

/// Reads the file systems of the repository at `git_dir`: that of the journal, and that of the objects if it is another one.
///
/// # Errors
/// A folder cannot be accessed.
pub fn read(git_dir: &Path, allows_network: bool) -> io::Result<Vec<DiskFacts>> {
    let journal = git_dir.join(journal::FOLDER);
    let journal = if journal.try_exists()? {
        journal
    } else {
        git_dir.to_owned()
    };
    let mut folders = vec![journal];
    let objects = git_dir.join("objects");
    if !is_same_device(&folders[0], &objects)? {
        folders.push(objects);
    }
    folders.iter().map(|folder| of_folder(folder, allows_network)).collect()
}

fn named(folder: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
}

#[cfg(unix)]
fn is_same_device(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |folder: &Path| match std::fs::metadata(folder) {
        Ok(found) => Ok(found.dev()),
        Err(error) => Err(named(folder, error)),
    };
    Ok(device(one)? == device(other)?)
}

#[cfg(unix)]
fn of_folder(folder: &Path, allows_network: bool) -> io::Result<DiskFacts> {
    let found = rustix::fs::statvfs(folder).map_err(|error| named(folder, error))?;
    Ok(DiskFacts {
        folder: folder.display().to_string(),
        network: Disk.network(folder).map_err(|error| named(folder, error))?,
        allows_network,
        is_read_only: found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        all_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_files: found.f_favail,
        all_files: found.f_files,
    })
}

#[cfg(not(unix))]
fn is_same_device(_one: &Path, _other: &Path) -> io::Result<bool> {
    Ok(true)
}

/// Only the kind of the file system is read on this system.
#[cfg(not(unix))]
fn of_folder(folder: &Path, allows_network: bool) -> io::Result<DiskFacts> {
    Ok(DiskFacts {
        folder: folder.display().to_string(),
        network: Disk.network(folder).map_err(|error| named(folder, error))?,
        allows_network,
        is_read_only: false,
        free_bytes: u64::MAX,
        all_bytes: u64::MAX,
        free_files: 0,
        all_files: 0,
    })
}
