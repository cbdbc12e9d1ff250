//! The way of new objects from the folder of a push to those of the repository: packs, loose objects, and whatever else a
//! hook has put there (git-receive-pack, *Quarantine environment*).
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use bstr::ByteSlice;
use durable::storage::{Disk, Folders, Look, Names};

use crate::received::settle;

/// Limit of the depth of folders.
const DEPTH: usize = 8;

/// Moves files below the folder `from` to the same place below `to`, durably, but those that `stays` names by their paths below
/// `from`. `shared` is the mode of folders in a shared repository.
///
/// # Errors
/// A file cannot be synced or moved, or another file has its name.
pub(super) fn migrate(from: &Path, to: &Path, shared: Option<u32>, stays: &BTreeSet<PathBuf>) -> io::Result<()> {
    let mut files = Vec::new();
    list(from, Path::new(""), DEPTH, &mut files)?;
    files.retain(|file| !stays.contains(file));
    // A pack counts from the moment when its index is there.
    files.sort_by_key(|file| (order(file), file.clone()));
    let mut changed = BTreeSet::from([to.join("pack")]);
    for file in &files {
        let folder = to.join(file.parent().unwrap_or(Path::new("")));
        make_folders(to, &folder, shared, &mut changed)?;
        let (old, new) = (from.join(file), to.join(file));
        settle(&folder, &old, shared)?;
        if is_to_move(file, &old, &new)? {
            Disk.rename(&old, &new)?;
        }
        changed.insert(folder);
    }
    changed.iter().try_for_each(|folder| Disk.sync_dir(folder))
}

/// Adds the files below a folder, by their paths. Hidden ones are not added, as by git.
fn list(root: &Path, below: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = below.join(name);
        match entry.file_type()? {
            kind if kind.is_file() => files.push(path),
            kind if kind.is_dir() && depth > 0 => list(root, &path, depth - 1, files)?,
            _ => {
                let what = format!("{} is neither a file nor a folder of objects", entry.path().display());
                return Err(io::Error::other(what));
            }
        }
    }
    Ok(())
}

/// Returns the place of a file in the order of moves.
fn order(file: &Path) -> u8 {
    let extension = file.extension().map(|extension| extension.as_encoded_bytes());
    match extension {
        Some(b"keep") => 0,
        Some(b"pack") => 1,
        Some(b"idx") => 3,
        _ if file.starts_with("pack") => 2,
        _ => 0,
    }
}

/// Creates the folders down to `folder`.
fn make_folders(root: &Path, folder: &Path, shared: Option<u32>, changed: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let missing: Vec<_> = folder
        .ancestors()
        .take_while(|ancestor| *ancestor != root)
        .map(Path::to_owned)
        .collect();
    for folder in missing.iter().rev() {
        if Disk.create_dir(folder)? {
            if let Some(mode) = shared {
                Disk.set_dir_mode(folder, mode)?;
            }
            changed.extend(folder.parent().map(Path::to_owned));
        }
    }
    Ok(())
}

/// Returns false if the repository has the object already. A pack replaces the same pack, which may be damaged.
fn is_to_move(file: &Path, old: &Path, new: &Path) -> io::Result<bool> {
    let Some(Look { .. }) = Disk.look(new)? else {
        return Ok(true);
    };
    let is_shard = |name: &Path| {
        let name = name.as_os_str().as_encoded_bytes();
        name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit)
    };
    let extension = file.extension().map(|extension| extension.as_encoded_bytes());
    match extension {
        Some(b"pack" | b"rev" | b"idx") => Ok(true),
        _ if file.parent().is_some_and(is_shard) => Ok(false),
        _ if fs::read(old)?.as_bstr() == fs::read(new)?.as_bstr() => Ok(false),
        _ => Err(io::Error::other(format!(
            "{} exists with another content",
            new.display()
        ))),
    }
}
