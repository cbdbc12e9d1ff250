//! Durability of git's own files (git-config, `core.fsync`). By default git fsyncs neither refs nor loose objects, so a
//! power cut can undo a push that was accepted and journaled.
use std::path::Path;

use bstr::ByteSlice;
use durable::storage::{Folders, Names};

use super::{
    git_config::edit,
    install_error::{InstallError, configuration},
};

/// Setting that makes the refs and objects of a push durable.
const KEY: &str = "core.fsync";
const COMMITTED: &str = "committed";

/// Returns true if a component of `core.fsync` covers the refs and objects of a push. Later components may revert that
/// (`none`, `-…`); they are not evaluated.
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

/// Sets `core.fsync` to `committed` in the configuration of the repository at `git_dir`. Returns the value of
/// [`git_is_durable`] afterwards: another configuration file may override the setting.
///
/// # Errors
/// The configuration cannot be read or written, or another process is changing it. The configuration is then unchanged.
pub fn make_durable<S: Folders + Names>(storage: &S, git_dir: &Path) -> Result<bool, InstallError> {
    edit(storage, git_dir, |config| {
        config.set_raw_value(KEY, COMMITTED).map(drop)
    })?;
    git_is_durable(git_dir)
}
