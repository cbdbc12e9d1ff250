//! Changes of a repository's git configuration. Like `git config`, they hold `config.lock` and keep everything else.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};
use durable::storage::Storage;

use super::install::{InstallError, on, unreadable};

/// Adds these values to the section `[stargate]`. Values that are there stay.
///
/// # Errors
/// See [`edit()`].
pub fn add<S: Storage>(storage: &S, git_dir: &Path, values: &[(&str, BString)]) -> Result<(), InstallError> {
    edit(storage, git_dir, |config| {
        for (name, value) in values {
            let mut section = config.section_mut_or_create_new("stargate", None::<&BStr>)?;
            section.push(name, Some(value.as_bstr()))?;
        }
        Ok(())
    })
}

/// Changes the configuration of the repository at `git_dir`.
///
/// # Errors
/// The configuration cannot be read or written, or another process is changing it. It is unchanged then.
pub(super) fn edit<S: Storage>(
    storage: &S,
    git_dir: &Path,
    change: impl FnOnce(&mut gix::config::File) -> Result<(), gix::Error>,
) -> Result<(), InstallError> {
    // Edit the target of a symbolic link, not the link.
    let path = git_dir.join("config");
    let path = on("find", &path, fs::canonicalize(&path))?;
    let lock = PathBuf::from(format!("{}.lock", path.display()));
    let text = on("read", &path, fs::read(&path))?;
    let metadata = gix::config::file::Metadata::from(gix::config::Source::Local);
    let config = gix::config::File::from_bytes_no_includes(&text, metadata, Default::default());
    let mut config = config.map_err(|error| unreadable(git_dir, &error))?;
    change(&mut config).map_err(|error| unreadable(git_dir, &error))?;
    let mode = on("access", &path, mode_of(&path))?;
    match storage.write_new(&lock, &config.to_bstring(), mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(InstallError::ConfigLocked(lock)),
        written => on("write", &lock, written)?,
    }
    let replaced = replace(storage, &path, &lock, &text);
    if replaced.is_err() {
        // The first error is the one to report.
        let _ = storage.remove(&lock);
    }
    replaced
}

/// Renames `lock` to `path`, unless the file at `path` no longer has the content `text`.
fn replace<S: Storage>(storage: &S, path: &Path, lock: &Path, text: &[u8]) -> Result<(), InstallError> {
    if on("read", path, fs::read(path))? != text {
        return Err(InstallError::ConfigLocked(lock.into()));
    }
    on("replace", path, storage.rename(lock, path))?;
    let folder = path.parent().unwrap_or(path);
    on("sync", folder, storage.sync_dir(folder))
}

#[cfg(unix)]
fn mode_of(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode_of(_path: &Path) -> io::Result<u32> {
    Ok(durable::storage::FILE_MODE)
}
