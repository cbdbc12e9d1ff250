//! Our folder in the repository, and its ownership. Hooks and workers of several users may write to it.
//!
//! Files in it inherit its owner and group permissions ([`durable::ownership`]), and the folder inherits those of the
//! repository.
#[cfg(unix)]
use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};
use std::{io, path::Path};

use durable::storage::Folders;

use super::FOLDER;
#[cfg(unix)]
use super::path_in;
use crate::config::{git_config, shared_folder_mode};

/// Creates the folder in the repository at `git_dir` if it is missing. Returns true if it was created. In a shared
/// repository (`core.sharedRepository`), the folder is shared, too.
///
/// # Errors
/// The folder cannot be created, or something that is not a folder has its name.
pub fn create_folder<S: Folders>(storage: &S, git_dir: &Path) -> io::Result<bool> {
    let folder = git_dir.join(FOLDER);
    let created = storage.create_dir(&folder)?;
    if created && let Some(mode) = configured_mode(git_dir) {
        storage.set_dir_mode(&folder, mode)?;
    }
    Ok(created)
}

/// Returns the configured mode. Ignores an unreadable configuration, which other code reports.
fn configured_mode(git_dir: &Path) -> Option<u32> {
    shared_folder_mode(&git_config(git_dir).ok()?)
}

/// Returns a warning with a remedy if the ownership of the repository at `git_dir`, or of its journal, locks out the hook
/// or this process.
#[cfg(unix)]
pub fn kept_out(git_dir: &Path) -> Option<String> {
    let repository = fs::metadata(git_dir).ok()?;
    let this = rustix::process::geteuid();
    if repository.uid() == 0 {
        // Root can write to every file.
        return None;
    }
    let (shown, owner) = (git_dir.display(), user(repository.uid()));
    if !this.is_root() && this.as_raw() != repository.uid() {
        return (!is_shared(git_dir, &repository)).then(|| {
            format!(
                "this runs as {}, but {shown} belongs to {owner}: neither can write to files of the other, so pushes will be \
                 rejected; run as {owner}, or share the repository (core.sharedRepository)",
                user(this.as_raw())
            )
        });
    }
    let folder = git_dir.join(FOLDER);
    let foreign = |path: &PathBuf| {
        let found = fs::metadata(path).ok()?;
        let is_foreign = found.uid() != repository.uid() && found.mode() & GROUP_WRITES == 0;
        is_foreign.then(|| format!("{} belongs to {}", path.display(), user(found.uid())))
    };
    let foreign = [folder.clone(), path_in(git_dir)].iter().find_map(foreign)?;
    Some(format!(
        "{foreign}, but {shown} belongs to {owner}: pushes by {owner} are rejected; as root, run `chown -R {} {FOLDER}` there",
        user_name(repository.uid()).unwrap_or_else(|| repository.uid().to_string())
    ))
}

/// Returns true if the group can write to files in the folder, which need not exist yet.
#[cfg(unix)]
fn is_shared(git_dir: &Path, repository: &fs::Metadata) -> bool {
    let says = |found: &fs::Metadata| found.mode() & (SETGID | GROUP_WRITES) == SETGID | GROUP_WRITES;
    match fs::metadata(git_dir.join(FOLDER)) {
        Ok(folder) => says(&folder),
        Err(_) => says(repository) || configured_mode(git_dir).is_some_and(|mode| mode & GROUP_WRITES != 0),
    }
}

#[cfg(unix)]
const GROUP_WRITES: u32 = 0o020;
#[cfg(unix)]
const SETGID: u32 = 0o2000;

/// Ownership is not checked on this system.
#[cfg(not(unix))]
pub fn kept_out(_git_dir: &Path) -> Option<String> {
    None
}

#[cfg(unix)]
fn user(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// Returns the name of a user if `/etc/passwd` has it.
#[cfg(unix)]
pub fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}
