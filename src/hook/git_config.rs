//! Changes of git configuration files. Like `git config`, they hold the file's lock and keep everything else.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};
use durable::{
    replace::{NewFile, lock_path},
    storage::{FILE_MODE, Folders, Names},
};

use super::install_error::{InstallError, on, unreadable};

/// Adds these values to the section `[stargate]` of the repository at `git_dir`. Existing values stay.
///
/// # Errors
/// The configuration cannot be read or written, or another process is changing it. The file is then unchanged.
pub fn add<S: Folders + Names>(storage: &S, git_dir: &Path, values: &[(&str, BString)]) -> Result<(), InstallError> {
    edit(storage, git_dir, |config| {
        for (name, value) in values {
            let mut section = config.section_mut_or_create_new("stargate", None::<&BStr>)?;
            section.push(name, Some(value.as_bstr()))?;
        }
        Ok(())
    })
}

/// Gives these names in a section their only values, in the configuration file at `path`.
///
/// # Errors
/// The file cannot be read or written.
pub fn replace<S: Folders + Names>(
    storage: &S,
    path: &Path,
    (section, subsection): (&str, &BStr),
    values: &[(&str, &BStr)],
) -> Result<(), InstallError> {
    edit_file(storage, path, |config| {
        let mut section = config.section_mut_or_create_new(section, Some(subsection))?;
        for (name, value) in values {
            while section.values(name).len() > 1 {
                section.remove(name);
            }
            section.set(name, *value)?;
        }
        Ok(())
    })
}

/// Changes the configuration of the repository at `git_dir`.
///
/// # Errors
/// See [`edit_file()`].
pub(super) fn edit<S: Folders + Names>(
    storage: &S,
    git_dir: &Path,
    change: impl FnOnce(&mut gix::config::File) -> Result<(), gix::Error>,
) -> Result<(), InstallError> {
    edit_file(storage, &git_dir.join("config"), change)
}

/// Changes the configuration file at `path`, which need not exist. An unchanged file is not written.
///
/// # Errors
/// The file is not a regular one, cannot be read or written, or another process is changing it. The file is then
/// unchanged.
pub(super) fn edit_file<S: Folders + Names>(
    storage: &S,
    path: &Path,
    change: impl FnOnce(&mut gix::config::File) -> Result<(), gix::Error>,
) -> Result<(), InstallError> {
    let path = &on("find", path, target(path))?;
    let (text, mode) = on("read", path, content(path))?;
    let metadata = gix::config::file::Metadata::from(gix::config::Source::Local);
    let config = gix::config::File::from_bytes_no_includes(&text, metadata, Default::default());
    let mut config = config.map_err(|error| unreadable(path, &error))?;
    change(&mut config).map_err(|error| unreadable(path, &error))?;
    let changed = config.to_bstring();
    if changed == text {
        return Ok(());
    }
    let new = match NewFile::locked(storage, path, &changed, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(InstallError::ConfigLocked(lock_path(path)));
        }
        written => on("write", &lock_path(path), written)?,
    };
    if on("read", path, content(path))?.0 != text {
        return Err(InstallError::ConfigLocked(lock_path(path)));
    }
    on("replace", path, new.commit())
}

/// Returns the file to edit: the target of a symbolic link, not the link.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.into()),
        found => found.and_then(|_| fs::canonicalize(path)),
    }
}

/// Returns the content and the mode of a file. A file that does not exist is empty.
fn content(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), FILE_MODE)),
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a regular file")),
        found => Ok((fs::read(path)?, mode(&found?))),
    }
}

#[cfg(unix)]
fn mode(file: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    file.permissions().mode() & 0o7777
}

#[cfg(not(unix))]
fn mode(_file: &fs::Metadata) -> u32 {
    FILE_MODE
}
