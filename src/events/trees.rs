//! The folders of a tree, edited in memory from commit to commit.
//!
//! What was read stays, each folder with the id that it has in the repository: it is used as long as its parent names that
//! id, so it never matters who else moved the branch. A large folder is written as a delta of an earlier state of itself:
//! of the one before, if that is in the same pack, else of its *base*, that goes along in each pack as it was compressed
//! once, for a pack on disk must hold the bases of its deltas. What is added since the base is in each delta of it; once
//! these deltas have taken as many bytes as the base, what it is now becomes the next one.
use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};
use gix::{ObjectId, objs::Kind, objs::tree::EntryKind};

use super::{
    Error,
    new_pack::{NewPack, PackError, object_id},
    objects::Objects,
    tree_buffer::{Leaf, TreeBuffer},
};

/// A folder is written as a delta from so many bytes on.
const LARGE: usize = 16 * 1024;
/// A delta larger than this share of the folder is none worth having.
const SHARE: usize = 8;
/// The most deltas from a folder to its base.
const MAX_DEPTH: usize = 10;
/// How many bytes of folders and bases are kept from one commit to the next.
const MAX_CACHED: usize = 256 << 20;

/// Folders of the tree that is edited.
#[derive(Default)]
pub(super) struct Trees {
    cached: HashMap<BString, CachedTree>,
}

struct CachedTree {
    /// None while it has edits that are not written.
    id: Option<ObjectId>,
    folder: TreeBuffer,
    base: Option<Base>,
    previous: Option<Previous>,
}

struct Base {
    id: ObjectId,
    folder: TreeBuffer,
    compressed: Vec<u8>,
    /// The bytes of the deltas of it so far.
    spent: usize,
}

/// What was written last.
struct Previous {
    id: ObjectId,
    folder: TreeBuffer,
    /// How many deltas it is from the base.
    depth: usize,
}

/// A tree being edited.
pub(super) struct Edit<'a> {
    trees: &'a mut Trees,
    objects: Objects<'a>,
    root: Option<ObjectId>,
}

/// Why a path cannot be set.
#[derive(Debug)]
pub(super) enum SetError {
    /// A part of it, this one, is no folder; or it is one itself.
    InTheWay(BString),
    /// It cannot be read.
    Unreadable(Error),
}

impl SetError {
    /// For whoever cannot go on without the file.
    pub(super) fn into_error(self) -> Error {
        match self {
            SetError::InTheWay(path) => Error::refused(format!("{path} is in the way of a file that belongs there")),
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
    /// Begins to edit the tree `root`, or an empty one.
    pub(super) fn edit<'a>(&'a mut self, objects: Objects<'a>, root: Option<ObjectId>) -> Edit<'a> {
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

    /// Forgets the edits that were not written.
    fn forget_edits(&mut self) {
        self.cached.retain(|_, cached| cached.id.is_some());
    }
}

impl Edit<'_> {
    /// What is at `path`, if something is there.
    pub(super) fn get(&mut self, path: &BStr) -> Result<Option<Leaf>, Error> {
        let (folder, name) = split(path);
        match self.find(folder)? {
            Some(cached) => Ok(cached.folder.get(name)),
            None => Ok(None),
        }
    }

    /// Puts a file at `path`, which is plain: no part of it is empty.
    pub(super) fn set(&mut self, path: &BStr, leaf: Leaf) -> Result<(), SetError> {
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

    /// Takes the file at `path` away, if it is there.
    pub(super) fn remove(&mut self, path: &BStr) -> Result<(), SetError> {
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

    /// Adds every folder that was edited to `pack`; gives the root.
    pub(super) fn write(&mut self, pack: &mut NewPack) -> Result<ObjectId, PackError> {
        let edited = self.trees.cached.iter().filter(|(_, cached)| cached.id.is_none());
        let mut edited: Vec<BString> = edited.map(|(path, _)| path.clone()).collect();
        // The deepest first: a parent names its children.
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
                match is_empty {
                    true => parent.folder.remove(&name),
                    false => parent.folder.set(&name, Leaf { kind, id }),
                }
            }
        }
        match self.root {
            Some(root) => Ok(root),
            None => pack.add(Kind::Tree, b""),
        }
    }

    /// The folder at this path, with the edits so far.
    fn find(&mut self, path: &BStr) -> Result<Option<&CachedTree>, Error> {
        let is_edited = |cached: &CachedTree| cached.id.is_none();
        if !self.trees.cached.get(path.as_bytes()).is_some_and(is_edited) {
            let id = match path.is_empty() {
                true => self.root,
                false => {
                    let (parent, name) = split(path);
                    let leaf = self.find(parent)?.and_then(|parent| parent.folder.get(name));
                    leaf.filter(|leaf| leaf.kind == EntryKind::Tree).map(|leaf| leaf.id)
                }
            };
            let Some(id) = id else { return Ok(None) };
            self.load(path, id)?;
        }
        Ok(self.trees.cached.get(path.as_bytes()))
    }

    /// Sees to it that the folder of this id is kept.
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

    /// Marks the folder at this path, and those that it is in, as edited; makes what is missing.
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
    /// Adds the folder to `pack`, as a delta if that pays.
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
            None => match self.write_delta_of_base(id, pack)? {
                true => 1,
                false => self.write_base(id, pack)?,
            },
        };
        self.previous = Some(Previous {
            id,
            folder: self.folder.clone(),
            depth,
        });
        Ok(id)
    }

    /// Adds a delta of what was written last, if that is in this pack; gives how far it is from the base.
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

    /// Adds a delta of the base, and the base, if that pays; says whether it did.
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

    /// Adds the folder as it is, which is the base from now on.
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

/// The folder that a path is in, and its name there. The root is the empty path.
fn split(path: &BStr) -> (&BStr, &[u8]) {
    match path.rfind_byte(b'/') {
        Some(slash) => (path[..slash].as_bstr(), &path[slash + 1..]),
        None => (b"".as_bstr(), path),
    }
}

fn depth(path: &BStr) -> usize {
    match path.is_empty() {
        true => 0,
        false => 1 + path.find_iter("/").count(),
    }
}
