//! Trees that are cached and edited in memory from commit to commit.
//!
//! Each folder is cached with its id in the repository, and is used as long as its parent names that id. So it never matters
//! which process moved the branch. A large folder is written as a delta against an earlier state of itself: the previous one,
//! if that is in the same pack, else its *base*. The base is added to each pack, in the form in which it was compressed once,
//! because a pack on disk must contain the bases of its deltas. Each delta repeats everything added since the base. When these
//! deltas have taken as many bytes as the base, the current state becomes the next base.
use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, objs::Kind, objs::tree::EntryKind};

use super::{
    Error,
    new_pack::{NewPack, PackError, object_id},
    objects::Objects,
    tree_buffer::{Leaf, TreeBuffer},
};

/// Minimum size of a folder that is written as a delta, in bytes.
const LARGE: usize = 16 * 1024;
/// A delta is used only if it is smaller than the folder's size divided by this.
const SHARE: usize = 8;
/// Maximum number of deltas from a folder to its base.
const MAX_DEPTH: usize = 10;
/// Maximum size of the cache, in bytes.
const MAX_CACHED: usize = 256 << 20;

/// Cache of the folders of a tree, by path.
#[derive(Default)]
pub struct Trees {
    cached: HashMap<BString, CachedTree>,
}

struct CachedTree {
    /// Id in the repository; `None` while there are unwritten edits.
    id: Option<ObjectId>,
    folder: TreeBuffer,
    base: Option<Base>,
    previous: Option<Previous>,
}

struct Base {
    id: ObjectId,
    folder: TreeBuffer,
    compressed: Vec<u8>,
    /// Bytes of the deltas against this base so far.
    spent: usize,
}

/// The state that was written last.
struct Previous {
    id: ObjectId,
    folder: TreeBuffer,
    /// Number of deltas to the base.
    depth: usize,
}

/// An edit of a tree.
pub struct Edit<'a> {
    trees: &'a mut Trees,
    objects: Objects<'a>,
    root: Option<ObjectId>,
}

/// Error of setting a path.
#[derive(Debug)]
pub enum SetError {
    /// This part of the path is not a folder, or the path itself is one.
    InTheWay(BString),
    /// A tree cannot be read.
    Unreadable(Error),
}

impl SetError {
    /// Converts to an error for callers that need the file.
    pub fn into_error(self) -> Error {
        match self {
            SetError::InTheWay(path) => Error::refused(format!("{path} blocks a file that belongs there")),
            SetError::Unreadable(error) => error,
        }
    }
}

impl From<Error> for SetError {
    fn from(error: Error) -> Self {
        SetError::Unreadable(error)
    }
}

impl Trees {
    /// Starts an edit of the tree `root`, or of an empty one.
    pub fn edit<'a>(&'a mut self, objects: Objects<'a>, root: Option<ObjectId>) -> Edit<'a> {
        let bytes = |cached: &CachedTree| {
            let base = cached.base.as_ref();
            let previous = cached
                .previous
                .as_ref()
                .map_or(0, |previous| previous.folder.raw().len());
            cached.folder.raw().len()
                + previous
                + base.map_or(0, |base| base.folder.raw().len() + base.compressed.len())
        };
        if self.cached.values().map(bytes).sum::<usize>() > MAX_CACHED {
            self.cached.clear();
        }
        self.forget_edits();
        Edit {
            trees: self,
            objects,
            root,
        }
    }

    /// Drops the edits that were not written.
    fn forget_edits(&mut self) {
        self.cached.retain(|_, cached| cached.id.is_some());
    }
}

impl Edit<'_> {
    /// Returns the entry at `path`.
    pub fn get(&mut self, path: &BStr) -> Result<Option<Leaf>, Error> {
        let (folder, name) = split(path);
        match self.find(folder)? {
            Some(cached) => Ok(cached.folder.get(name)),
            None => Ok(None),
        }
    }

    /// Sets the file at `path`. No part of the path may be empty.
    pub fn set(&mut self, path: &BStr, leaf: Leaf) -> Result<(), SetError> {
        let (folder, name) = split(path);
        self.open(folder)?;
        let cached = self.trees.cached.get_mut(folder.as_bytes());
        let Some(cached) = cached else { return Ok(()) };
        if cached
            .folder
            .get(name)
            .is_some_and(|there| there.kind == EntryKind::Tree)
        {
            return Err(SetError::InTheWay(path.to_owned()));
        }
        cached.folder.set(name, leaf);
        Ok(())
    }

    /// Removes the file at `path`, if it exists.
    pub fn remove(&mut self, path: &BStr) -> Result<(), SetError> {
        if self.get(path)?.is_none() {
            return Ok(());
        }
        let (folder, name) = split(path);
        self.open(folder)?;
        if let Some(cached) = self.trees.cached.get_mut(folder.as_bytes()) {
            cached.folder.remove(name);
        }
        Ok(())
    }

    /// Adds every edited folder to `pack`; returns the id of the root.
    pub fn write(&mut self, pack: &mut NewPack) -> Result<ObjectId, PackError> {
        let edited = self.trees.cached.iter().filter(|(_, cached)| cached.id.is_none());
        let mut edited: Vec<BString> = edited.map(|(path, _)| path.clone()).collect();
        // The deepest first: a parent contains the ids of its children.
        edited.sort_by_key(|path| std::cmp::Reverse(depth(path.as_ref())));
        for path in edited {
            let Some(cached) = self.trees.cached.get_mut(&path) else {
                continue;
            };
            let id = cached.write(pack)?;
            let is_empty = cached.folder.is_empty();
            if path.is_empty() {
                self.root = Some(id);
                continue;
            }
            let (parent, name) = split(path.as_ref());
            let (parent, name) = (parent.to_owned(), name.to_vec());
            if let Some(parent) = self.trees.cached.get_mut(&parent) {
                let kind = EntryKind::Tree;
                if is_empty {
                    parent.folder.remove(&name);
                } else {
                    parent.folder.set(&name, Leaf { kind, id });
                }
            }
        }
        match self.root {
            Some(root) => Ok(root),
            None => pack.add(Kind::Tree, b""),
        }
    }

    /// Returns the folder at this path, with the edits so far.
    fn find(&mut self, path: &BStr) -> Result<Option<&CachedTree>, Error> {
        let is_edited = |cached: &CachedTree| cached.id.is_none();
        if !self.trees.cached.get(path.as_bytes()).is_some_and(is_edited) {
            let id = if path.is_empty() {
                self.root
            } else {
                let (parent, name) = split(path);
                let leaf = self.find(parent)?.and_then(|parent| parent.folder.get(name));
                leaf.filter(|leaf| leaf.kind == EntryKind::Tree).map(|leaf| leaf.id)
            };
            let Some(id) = id else { return Ok(None) };
            self.load(path, id)?;
        }
        Ok(self.trees.cached.get(path.as_bytes()))
    }

    /// Loads the folder with this id into the cache.
    fn load(&mut self, path: &BStr, id: ObjectId) -> Result<(), Error> {
        let known = self.trees.cached.get(path.as_bytes());
        if known.is_some_and(|known| known.id == Some(id)) {
            return Ok(());
        }
        let folder = self.objects.tree(id)?;
        let base = self.trees.cached.remove(path.as_bytes()).and_then(|cached| cached.base);
        let cached = CachedTree {
            id: Some(id),
            folder,
            base,
            previous: None,
        };
        self.trees.cached.insert(path.to_owned(), cached);
        Ok(())
    }

    /// Marks the folder at this path and its parents as edited; creates missing ones.
    fn open(&mut self, path: &BStr) -> Result<(), SetError> {
        if self.find(path)?.is_none() {
            let (parent, name) = split(path);
            if !path.is_empty()
                && let Some(parent) = self.find(parent)?
                && parent.folder.get(name).is_some()
            {
                return Err(SetError::InTheWay(path.to_owned()));
            }
            let cached = CachedTree {
                id: None,
                folder: TreeBuffer::new(self.objects.hash()),
                base: None,
                previous: None,
            };
            if !path.is_empty() {
                self.open(split(path).0)?;
            }
            self.trees.cached.insert(path.to_owned(), cached);
            return Ok(());
        }
        if !path.is_empty() {
            self.open(split(path).0)?;
        }
        if let Some(cached) = self.trees.cached.get_mut(path.as_bytes()) {
            cached.id = None;
        }
        Ok(())
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        self.trees.forget_edits();
    }
}

impl CachedTree {
    /// Adds the folder to `pack`, as a delta if that is small enough.
    fn write(&mut self, pack: &mut NewPack) -> Result<ObjectId, PackError> {
        let raw = self.folder.raw();
        if raw.len() < LARGE {
            let id = pack.add(Kind::Tree, raw)?;
            self.id = Some(id);
            return Ok(id);
        }
        let id = object_id(pack.hash(), Kind::Tree, raw)?;
        self.id = Some(id);
        let depth = match self.write_delta_of_previous(id, pack)? {
            Some(depth) => depth,
            None if self.write_delta_of_base(id, pack)? => 1,
            None => self.write_base(id, pack)?,
        };
        self.previous = Some(Previous {
            id,
            folder: self.folder.clone(),
            depth,
        });
        Ok(id)
    }

    /// Adds a delta against the previous state, if that is in this pack; returns its distance from the base.
    fn write_delta_of_previous(&self, id: ObjectId, pack: &mut NewPack) -> Result<Option<usize>, PackError> {
        let previous = self.previous.as_ref();
        let Some(previous) = previous.filter(|previous| previous.depth < MAX_DEPTH && pack.has(&previous.id)) else {
            return Ok(None);
        };
        let Some(delta) = self.folder.delta(&previous.folder, self.folder.raw().len() / SHARE) else {
            return Ok(None);
        };
        pack.add_delta(id, previous.id, &delta)?;
        Ok(Some(previous.depth + 1))
    }

    /// Adds a delta against the base, and the base, if that is small enough; returns true if it did.
    fn write_delta_of_base(&mut self, id: ObjectId, pack: &mut NewPack) -> Result<bool, PackError> {
        let Some(base) = self.base.as_mut().filter(|base| base.spent < base.compressed.len()) else {
            return Ok(false);
        };
        let Some(delta) = self.folder.delta(&base.folder, self.folder.raw().len() / SHARE) else {
            return Ok(false);
        };
        pack.add_compressed(base.id, Kind::Tree, base.folder.raw().len(), &base.compressed)?;
        let previous = pack.length();
        pack.add_delta(id, base.id, &delta)?;
        base.spent += pack.length() - previous;
        Ok(true)
    }

    /// Adds the whole folder and makes it the new base.
    fn write_base(&mut self, id: ObjectId, pack: &mut NewPack) -> Result<usize, PackError> {
        let compressed = pack.compressed(self.folder.raw())?;
        pack.add_compressed(id, Kind::Tree, self.folder.raw().len(), &compressed)?;
        self.base = Some(Base {
            id,
            folder: self.folder.clone(),
            compressed,
            spent: 0,
        });
        Ok(0)
    }
}

/// Returns the content of a file in the tree of a commit, if it exists.
///
/// # Errors
/// The commit, its tree or the file cannot be read.
pub fn file_of(objects: Objects<'_>, commit: ObjectId, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut trees = Trees::default();
    let tree = objects.tree_of(commit)?;
    let leaf = trees.edit(objects, Some(tree)).get(BStr::new(path))?;
    match leaf {
        Some(leaf) if leaf.kind == EntryKind::Blob => objects.blob(leaf.id).map(Some),
        _ => Ok(None),
    }
}

/// Splits a path into its parent and its name. The root is the empty path.
fn split(path: &BStr) -> (&BStr, &[u8]) {
    match path.rfind_byte(b'/') {
        Some(slash) => (path[..slash].as_bstr(), &path[slash + 1..]),
        None => (b"".as_bstr(), path),
    }
}

fn depth(path: &BStr) -> usize {
    if path.is_empty() {
        0
    } else {
        1 + path.find_iter("/").count()
    }
}
