//! Files and index of a repository with a work tree. They follow the branch. Files that others created or changed are never
//! overwritten: every file is checked before anything is changed. One path is exempt ([`WorkTree::unguarded`]).
//!
//! An interrupted checkout is completed: it is recorded first (`stargate/checkout.json` in the Git folder), and finished
//! when the repository is used next. The branch moves last.
//!
//! # Limitations
//! Files are written unchanged: `core.autocrlf`, filters and `.gitattributes` are ignored.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bstr::{BStr, BString, ByteSlice};
use durable::{
    replace::NewFile,
    storage::{FILE_MODE, PROGRAM_MODE, Storage, remove_existing},
};
use gix::{
    ObjectId, index,
    objs::{Kind, tree::EntryKind},
    validate::path::component,
};

use super::{
    Error, branch::Branch, difference, difference::Change, git_files, git_files::Replacement, new_pack::object_id,
    objects::Objects, tree_buffer::Leaf,
};

/// File in the Git folder that records a checkout in progress.
const CHECKOUT: &str = "stargate/checkout.json";
/// Temporary name of a file that is being written.
const NEW_FILE: &str = "stargate/new-file";
/// Maximum number of paths in a message.
const MAX_LISTED: usize = 20;

/// The work tree of a repository.
pub struct WorkTree<'a, S: Storage> {
    pub storage: &'a S,
    pub folder: &'a Path,
    pub branch: Branch<'a>,
    /// Path of a file that is overwritten regardless of its content.
    pub unguarded: &'a str,
}

/// A checkout in progress.
#[derive(serde::Serialize, serde::Deserialize)]
struct Checkout {
    from: Option<String>,
    to: String,
}

impl<S: Storage> WorkTree<'_, S> {
    /// Moves files, index and branch from one commit to another.
    pub fn advance(&self, old: Option<ObjectId>, new: ObjectId) -> Result<(), Error> {
        let changes = self.changes(old, new)?;
        let mut index = self.index()?;
        self.check(&changes, &index)?;
        let checkout = Checkout {
            from: old.map(|id| id.to_string()),
            to: new.to_string(),
        };
        let bytes = serde_json::to_vec(&checkout).expect("two strings serialize into memory");
        let path = self.checkout_path();
        let failed = |error| Error::failed("write", &path, error);
        git_files::create_folders(self.storage, path.parent().unwrap_or(&path)).map_err(failed)?;
        git_files::overwrite(self.storage, &path, &bytes).map_err(failed)?;
        self.apply(&changes, &mut index, old, new)
    }

    /// Completes a checkout that a crash interrupted.
    pub fn recover(&self) -> Result<(), Error> {
        let path = self.checkout_path();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(|error| Error::failed("read", &path, error))?,
        };
        let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).ok();
        let checkout = serde_json::from_slice::<Checkout>(&bytes)
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "the record of an interrupted checkout is damaged and was dropped; run `git status`");
            })
            .ok();
        let ends = checkout.and_then(|checkout| Some((checkout.from.as_deref().map(id), id(&checkout.to)?)));
        let tip = self.branch.tip()?;
        match ends {
            Some((from, to)) if from.flatten() == tip && from != Some(None) => {
                tracing::info!(commit = %to, "completing an interrupted checkout");
                let changes = self.changes(tip, to)?;
                let mut index = self.index()?;
                self.check(&changes, &index)?;
                self.apply(&changes, &mut index, tip, to)
            }
            // The branch has moved already, or another process has moved it since.
            _ => self.end(),
        }
    }

    /// Returns the short name of HEAD if the work tree is not on the branch.
    pub fn other_head(&self) -> Result<Option<String>, Error> {
        let head = self.branch.repository.head_name();
        let head = head.map_err(|error| Error::failed("read HEAD of", self.folder, git_push::causes(&error)))?;
        let name = self.branch.full_name();
        match head {
            Some(head) if head.as_bstr() == name.as_str() => Ok(None),
            Some(head) => Ok(Some(head.shorten().to_string())),
            None => Ok(Some("no branch (HEAD is detached)".to_owned())),
        }
    }

    fn changes(&self, old: Option<ObjectId>, new: ObjectId) -> Result<Vec<Change>, Error> {
        let objects = self.objects();
        let old = old.map(|old| objects.tree_of(old)).transpose()?;
        difference::between(objects, old, Some(objects.tree_of(new)?))
    }

    fn objects(&self) -> Objects<'_> {
        Objects(self.branch.repository)
    }

    fn checkout_path(&self) -> PathBuf {
        self.branch.repository.git_dir().join(CHECKOUT)
    }

    fn index_path(&self) -> PathBuf {
        self.branch.repository.index_path()
    }

    fn index(&self) -> Result<index::File, Error> {
        let path = self.index_path();
        index::File::at_or_default(&path, self.objects().hash(), false, index::decode::Options::default())
            .map_err(|error| Error::failed("read", &path, git_push::causes(&error)))
    }

    /// Fails if a file to be changed has neither its old nor its new content.
    fn check(&self, changes: &[Change], index: &index::File) -> Result<(), Error> {
        let mut occupied = Vec::new();
        for change in changes {
            if !is_plain(change.path.as_ref()) {
                let what = format!("{} cannot be the name of a file in a work tree", change.path);
                return Err(Error::refused(what));
            }
            let is_free = !self.is_below_a_file(&change.path)
                && (change.path == self.unguarded || self.is_free(change)? && is_free_in_index(change, index));
            if !is_free {
                occupied.push(change.path.to_string());
            }
        }
        if occupied.is_empty() {
            return Ok(());
        }
        let more = occupied.len().saturating_sub(MAX_LISTED);
        occupied.truncate(MAX_LISTED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let what = format!(
            "files in {} were created or changed where new files are to be written: {}{more}",
            self.folder.display(),
            occupied.join(", ")
        );
        Err(Error::refused(what).with_hint("move these files away; run `git status` to see them"))
    }

    fn is_free(&self, change: &Change) -> Result<bool, Error> {
        let there = self.content_id(&change.path)?;
        Ok(match there {
            None => change.old.is_none() || change.new.is_none(),
            Some(there) => [change.old, change.new]
                .into_iter()
                .flatten()
                .any(|leaf| leaf.id == there),
        })
    }

    /// Returns the id of the content at a path; the null id if it is not a file.
    fn content_id(&self, path: &BString) -> Result<Option<ObjectId>, Error> {
        let file = self.file(path)?;
        let failed = |error| Error::failed("read", &file, error);
        let kind = match fs::symlink_metadata(&file) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            metadata => metadata.map_err(failed)?.file_type(),
        };
        let content = match kind {
            kind if kind.is_file() => fs::read(&file).map_err(failed)?,
            kind if kind.is_symlink() => {
                let target = fs::read_link(&file).map_err(failed)?;
                gix::path::into_bstr(target)
                    .map(|target| target.into_owned().into())
                    .unwrap_or_default()
            }
            _ => return Ok(Some(self.objects().hash().null())),
        };
        let id = object_id(self.objects().hash(), Kind::Blob, &content);
        id.map(Some).map_err(|error| Error::failed("read", &file, error))
    }

    /// Returns true if a parent of the path is not a folder: a link would lead elsewhere.
    fn is_below_a_file(&self, path: &BString) -> bool {
        let parents = path
            .find_iter("/")
            .map(|slash| path[..slash].to_str().unwrap_or_default());
        parents
            .into_iter()
            .any(|parent| fs::symlink_metadata(self.folder.join(parent)).is_ok_and(|metadata| !metadata.is_dir()))
    }

    fn file(&self, path: &BString) -> Result<PathBuf, Error> {
        match gix::path::from_bstr(path.as_bstr()) {
            Ok(path) => Ok(self.folder.join(path)),
            Err(_) => Err(Error::refused(format!("{path} cannot be a path on this system"))),
        }
    }

    fn apply(
        &self,
        changes: &[Change],
        index: &mut index::File,
        old: Option<ObjectId>,
        new: ObjectId,
    ) -> Result<(), Error> {
        // Removals first: a removed file may have the name of a new folder.
        let (removed, written): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.new.is_none());
        removed.into_iter().try_for_each(|change| self.remove(&change.path))?;
        written.into_iter().try_for_each(|change| self.write(change))?;
        self.set_index(changes, index)?;
        self.branch.advance(self.storage, old, new)?;
        self.end()
    }

    fn end(&self) -> Result<(), Error> {
        let path = self.checkout_path();
        remove_existing(self.storage, &path).map_err(|error| Error::failed("remove", &path, error))
    }

    fn remove(&self, path: &BString) -> Result<(), Error> {
        let file = self.file(path)?;
        match self.storage.remove(&file) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(Error::failed("remove", &file, error));
            }
            _ => {}
        }
        for folder in file.ancestors().skip(1).take_while(|folder| *folder != self.folder) {
            // A folder that is not empty stays.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, change: &Change) -> Result<(), Error> {
        let Some(leaf) = change.new.filter(|leaf| leaf.kind != EntryKind::Commit) else {
            return Ok(());
        };
        let file = self.file(&change.path)?;
        let content = self.objects().blob(leaf.id)?;
        let written = || {
            git_files::create_folders(self.storage, file.parent().unwrap_or(self.folder))?;
            if leaf.kind == EntryKind::Link {
                return link(&content, &file);
            }
            let mode = match leaf.kind {
                EntryKind::BlobExecutable => PROGRAM_MODE,
                _ => FILE_MODE,
            };
            let new = self.branch.repository.git_dir().join(NEW_FILE);
            NewFile::overwrite(self.storage, new, &file, &content, mode)?.rename()
        };
        written().map_err(|error| Error::failed("write", &file, error))
    }

    fn set_index(&self, changes: &[Change], index: &mut index::File) -> Result<(), Error> {
        index.remove_tree();
        index.remove_resolve_undo();
        let changed: std::collections::HashSet<&BStr> = changes.iter().map(|change| change.path.as_bstr()).collect();
        index.remove_entries(|_, path, _| changed.contains(path));
        for change in changes {
            let Some(leaf) = change.new else { continue };
            let file = self.file(&change.path)?;
            let stat = index::fs::Metadata::from_path_no_follow(&file)
                .ok()
                .and_then(|metadata| index::entry::Stat::from_fs(&metadata).ok())
                .unwrap_or_default();
            let flags = index::entry::Flags::empty();
            index.dangerously_push_entry(stat, leaf.id, flags, mode(leaf), change.path.as_ref());
        }
        index.sort_entries();
        let path = self.index_path();
        let mut bytes = Vec::new();
        index
            .write_to(&mut bytes, index::write::Options::default())
            .map_err(|error| Error::failed("write", &path, git_push::causes(&error)))?;
        Replacement::begin(self.storage, self.branch.repository.git_dir(), &path, &bytes)?.commit()
    }
}

fn is_free_in_index(change: &Change, index: &index::File) -> bool {
    let entry = index.entry_by_path(change.path.as_ref());
    match entry {
        None => true,
        Some(entry) => [change.old, change.new]
            .into_iter()
            .flatten()
            .any(|leaf| leaf.id == entry.id),
    }
}

fn is_plain(path: &BStr) -> bool {
    let options = component::Options {
        protect_windows: cfg!(windows),
        protect_hfs: true,
        protect_ntfs: true,
    };
    path.split_str("/")
        .all(|part| component(part.as_bstr(), None, options).is_ok())
}

fn mode(leaf: Leaf) -> index::entry::Mode {
    match leaf.kind {
        EntryKind::BlobExecutable => index::entry::Mode::FILE_EXECUTABLE,
        EntryKind::Link => index::entry::Mode::SYMLINK,
        EntryKind::Commit => index::entry::Mode::COMMIT,
        EntryKind::Blob | EntryKind::Tree => index::entry::Mode::FILE,
    }
}

#[cfg(unix)]
fn link(target: &[u8], file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(gix::path::from_bstr(target.as_bstr()).map_err(io::Error::other)?, file)
}

/// Writes a file with the link's target, as git does without `core.symlinks`.
#[cfg(not(unix))]
fn link(target: &[u8], file: &Path) -> io::Result<()> {
    fs::write(file, target)
}
