//! Durability of git's own files (git-config, `core.fsync`). By default git fsyncs neither refs nor loose objects, so a
//! power cut can undo a push that was accepted and journaled.
use std::{fs, io, path::Path};

use bstr::{BString, ByteSlice};
use durable::{
    replace::{NewFile, lock_path},
    storage::{Folders, Names},
};

use super::install_error::{InstallError, configuration, on, unreadable};

/// Setting that makes the refs and objects of a push durable.
const KEY: &str = "core.fsync";
const COMMITTED: &str = "committed";

/// Returns true if a component of `core.fsync` covers the refs and objects of a push. Later components may take that
/// back (`none`, `-…`); they are not evaluated.
pub(super) fn is_durable(config: &gix::config::File) -> bool {
    let value = config.string(KEY).unwrap_or_default();
    let mut components = value.split(|byte| *byte == b',').map(ByteSlice::trim);
    components.any(|component| [COMMITTED.as_bytes(), b"added", b"all"].contains(&component))
}

/// Returns true if `core.fsync` makes git's own refs and objects durable in the repository at `git_dir`.
///
/// # Errors
/// The configuration cannot be read.
pub fn git_is_durable(git_dir: &Path) -> Result<bool, InstallError> {
    configuration(git_dir).map(|config| is_durable(&config))
}

/// Sets `core.fsync` to `committed` in the configuration of the repository at `git_dir`. Like `git config`, it holds
/// `config.lock` and keeps everything else. Returns the value of [`git_is_durable`] afterwards: another configuration
/// file may override the setting.
///
/// # Errors
/// The configuration cannot be read or written, or another process is changing it. It is unchanged then.
pub fn make_durable<S: Folders + Names>(storage: &S, git_dir: &Path) -> Result<bool, InstallError> {
    // Edit the target of a symbolic link, not the link.
    let path = git_dir.join("config");
    let path = on("find", &path, fs::canonicalize(&path))?;
    let lock = lock_path(&path);
    let text = on("read", &path, fs::read(&path))?;
    let mode = on("access", &path, mode_of(&path))?;
    let new = match NewFile::locked(storage, &path, &with_setting(git_dir, &text)?, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(InstallError::ConfigLocked(lock)),
        written => on("write", &lock, written)?,
    };
    if on("read", &path, fs::read(&path))? != text {
        return Err(InstallError::ConfigLocked(lock));
    }
    on("replace", &path, new.commit())?;
    git_is_durable(git_dir)
}

/// Returns a configuration with the setting added to `text`.
fn with_setting(git_dir: &Path, text: &[u8]) -> Result<BString, InstallError> {
    let metadata = gix::config::file::Metadata::from(gix::config::Source::Local);
    let config = gix::config::File::from_bytes_no_includes(text, metadata, Default::default());
    let mut config = config.map_err(|error| unreadable(git_dir, &error))?;
    let set = config.set_raw_value(KEY, COMMITTED);
    set.map_err(|error| unreadable(git_dir, &error))?;
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
