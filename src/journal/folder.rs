//! The folder that everything of ours is in, and for whom: hooks and workers, maybe of several users, write to it.
//!
//! What is made in it has its owner, and is shared as it is ([`Storage`]); it has those of the repository.
#[cfg(unix)]
use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};
use std::{io, path::Path};

use super::FOLDER;
#[cfg(unix)]
use durable::storage::Storage;

use super::path_in;
use crate::config::{git_config, shared_folder_mode};

/// Makes the folder of the repository at `git_dir`, if it is not there; true when it was made. Where the repository is shared
/// (`core.sharedRepository`), so is the folder.
///
/// # Errors
/// It cannot be made, or something that is not a directory has the name.
pub fn create_folder<S: Storage>(storage: &S, git_dir: &Path) -> io::Result<bool> {
    let folder = git_dir.join(FOLDER);
    let created = storage.create_dir(&folder)?;
    if created && let Some(mode) = configured_mode(git_dir) {
        storage.set_dir_mode(&folder, mode)?;
    }
    Ok(created)
}

/// What is wrong with the configuration is told by who needs it.
fn configured_mode(git_dir: &Path) -> Option<u32> {
    shared_folder_mode(&git_config(git_dir).ok()?)
}

/// Whom the repository at `git_dir`, or its journal, keeps out because of whose it is and who runs this, and what helps;
/// none when nobody is kept out.
#[cfg(unix)]
pub fn kept_out(git_dir: &Path) -> Option<String> {
    let repository = fs::metadata(git_dir).ok()?;
    let this = rustix::process::geteuid();
    if repository.uid() == 0 {
        // Root may write what anybody makes.
        return None;
    }
    let (shown, owner) = (git_dir.display(), user(repository.uid()));
    if !this.is_root() && this.as_raw() != repository.uid() {
        return (!is_shared(git_dir, &repository)).then(|| {
            format!(
                "this runs as {}, and {shown} belongs to {owner}: what one of them makes, the other cannot write, and pushes \
                 are rejected; run as {owner}, or share the repository (core.sharedRepository)",
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
        "{foreign}, and {shown} to {owner}: pushes of {owner} are rejected; chown -R {owner} {}",
        folder.display()
    ))
}

/// Whether what is made in the folder, be it there or not, is for the group.
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

/// Not known here.
#[cfg(not(unix))]
pub fn kept_out(_git_dir: &Path) -> Option<String> {
    None
}

#[cfg(unix)]
fn user(uid: u32) -> String {
    user_name(uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of a user, where `/etc/passwd` has it.
#[cfg(unix)]
pub fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}
