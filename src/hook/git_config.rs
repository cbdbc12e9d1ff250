//! Changes of a repository's git configuration. Like `git config`, they hold `config.lock` and keep everything else.
use std::{fs, io, path::Path};

use bstr::{BStr, BString, ByteSlice};
use durable::{
    replace::{NewFile, lock_path},
    storage::{Folders, Names},
};

use super::install_error::{InstallError, on, unreadable};

/// Adds these values to the section `[stargate]`. Values that are there stay.
///
/// # Errors
/// The configuration cannot be read or written, or another process is changing it. It is unchanged then.
pub fn add<S: Folders + Names>(storage: &S, git_dir: &Path, values: &[(&str, BString)]) -> Result<(), InstallError> {
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
/// See [`add()`].
pub(super) fn edit<S: Folders + Names>(
    storage: &S,
    git_dir: &Path,
    change: impl FnOnce(&mut gix::config::File) -> Result<(), gix::Error>,
) -> Result<(), InstallError> {
    // Edit the target of a symbolic link, not the link.
    let path = git_dir.join("config");
    let path = on("find", &path, fs::canonicalize(&path))?;
    let lock = lock_path(&path);
    let text = on("read", &path, fs::read(&path))?;
    let mode = on("access", &path, mode_of(&path))?;
    let changed = changed(git_dir, &text, change)?;
    let new = match NewFile::locked(storage, &path, &changed, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(InstallError::ConfigLocked(lock)),
        written => on("write", &lock, written)?,
    };
    if on("read", &path, fs::read(&path))? != text {
        return Err(InstallError::ConfigLocked(lock));
    }
    on("replace", &path, new.commit())
}

/// Returns the configuration `text` after the change.
fn changed(
    git_dir: &Path,
    text: &[u8],
    change: impl FnOnce(&mut gix::config::File) -> Result<(), gix::Error>,
) -> Result<BString, InstallError> {
    let metadata = gix::config::file::Metadata::from(gix::config::Source::Local);
    let config = gix::config::File::from_bytes_no_includes(text, metadata, Default::default());
    let mut config = config.map_err(|error| unreadable(git_dir, &error))?;
    change(&mut config).map_err(|error| unreadable(git_dir, &error))?;
    Ok(config.to_bstring())
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
