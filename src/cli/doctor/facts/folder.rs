//! Owners and modes of the files below `.stargate`.
use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt, path::Path};

use crate::{
    cli::doctor::checks::folder::{FolderFacts, OwnedFile, User},
    config::shared_folder_mode,
    journal::{self, user_name},
};

/// Maximum number of files that are looked at.
const MAX_FILES: usize = 10_000;
/// Permission of the group to write.
const GROUP_WRITES: u32 = 0o020;
/// Files and folders inherit the group.
const SETGID: u32 = 0o2000;

/// Reads the folder of the repository at `git_dir`, whose configuration is `config`.
///
/// # Errors
/// A file or folder cannot be accessed.
pub fn read(git_dir: &Path, config: &gix::config::File) -> io::Result<FolderFacts> {
    let repository = fs::metadata(git_dir)?;
    let files = files(git_dir)?;
    let mode = files.first().map_or(repository.mode(), |folder| folder.mode);
    let configured = shared_folder_mode(config).is_some_and(|mode| mode & GROUP_WRITES != 0);
    let is_shared = mode & (SETGID | GROUP_WRITES) == SETGID | GROUP_WRITES;
    Ok(FolderFacts {
        owner: user(repository.uid()),
        group: repository.gid(),
        this: user(rustix::process::geteuid().as_raw()),
        is_shared: is_shared || (files.is_empty() && configured),
        files,
    })
}

fn user(id: u32) -> User {
    User {
        id,
        name: user_name(id),
    }
}

/// Returns the folder and the files below it, in this order.
fn files(git_dir: &Path) -> io::Result<Vec<OwnedFile>> {
    let (mut files, mut users) = (Vec::new(), BTreeMap::new());
    let mut open = vec![git_dir.join(journal::FOLDER)];
    while let Some(path) = open.pop().filter(|_| files.len() < MAX_FILES) {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        // A file may be removed meanwhile, such as an intent.
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found.map_err(named)?,
        };
        if found.is_symlink() {
            continue;
        }
        let owner = users.entry(found.uid()).or_insert_with(|| user(found.uid())).clone();
        files.push(owned(git_dir, &path, owner, &found));
        if found.is_dir() {
            let entries = fs::read_dir(&path).map_err(named)?;
            open.extend(
                entries
                    .map(|entry| Ok(entry?.path()))
                    .collect::<io::Result<Vec<_>>>()
                    .map_err(named)?,
            );
        }
    }
    Ok(files)
}

fn owned(git_dir: &Path, path: &Path, user: User, found: &fs::Metadata) -> OwnedFile {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    OwnedFile {
        path: path.strip_prefix(git_dir).unwrap_or(path).display().to_string(),
        user,
        group: found.gid(),
        mode: found.mode() & 0o7777,
        is_of_worker: name.starts_with("worker.") && (name.ends_with(".json") || name.ends_with(".lock")),
    }
}
