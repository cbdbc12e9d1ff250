//! The record of the lock of an index that a push holds while it changes a work tree, so that the next push removes the lock
//! if this one is killed (`incoming`).
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use durable::{
    replace::lock_path,
    storage::{Disk, FILE_MODE, Names, remove_existing},
};

/// Name of the record in the folder of a push.
const RECORD: &str = "index";
/// Limit of the size of a record, in bytes.
const MAX_RECORD: u64 = 4096;

/// The record in the folder of one push.
pub(super) struct IndexLock {
    record: PathBuf,
    git_dir: PathBuf,
}

impl IndexLock {
    /// Returns the record of a push with this folder, to the repository with this common folder.
    pub fn new(folder: &Path, git_dir: &Path) -> Self {
        IndexLock {
            record: folder.join(RECORD),
            git_dir: git_dir.to_owned(),
        }
    }

    /// Records that the push locks this index. An index outside the repository is not recorded.
    ///
    /// # Errors
    /// The folder of the index does not exist, or the record cannot be written.
    pub fn begin(&self, index: &Path) -> io::Result<()> {
        let (folder, name) = (index.parent().unwrap_or(index), index.file_name().unwrap_or_default());
        let index = fs::canonicalize(folder)?.join(name);
        let git_dir = fs::canonicalize(&self.git_dir)?;
        let Ok(below) = index.strip_prefix(&git_dir) else {
            return Ok(());
        };
        Disk.write_new(&self.record, below.as_os_str().as_encoded_bytes(), FILE_MODE)
    }

    /// Removes the record. The push holds no lock any more.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub fn end(&self) -> io::Result<()> {
        remove_existing(&Disk, &self.record)
    }

    /// Returns the path of the recorded lock. Only an index of the repository or of its linked work trees has one.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn recorded(&self) -> io::Result<Option<PathBuf>> {
        let found = match fs::symlink_metadata(&self.record) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        if found.len() > MAX_RECORD {
            return Ok(None);
        }
        let text = fs::read(&self.record)?;
        let Ok(below) = gix::path::from_byte_slice(&text) else {
            return Ok(None);
        };
        let names: Vec<_> = below.components().collect();
        let is_index = match names.as_slice() {
            [Component::Normal(index)] => *index == "index",
            [
                Component::Normal(worktrees),
                Component::Normal(_),
                Component::Normal(index),
            ] => *worktrees == "worktrees" && *index == "index",
            _ => false,
        };
        Ok(is_index.then(|| lock_path(&self.git_dir.join(below))))
    }
}
