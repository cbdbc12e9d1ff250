//! Walk of a commit's trees beside the parents' trees at the same paths.
use std::iter::Peekable;

use bstr::{BString, ByteVec};
use gix::{
    ObjectId,
    objs::{Kind, TreeRefIter, tree::EntryRef},
};

use super::super::{
    Error, ErrorKind,
    list::{Base, List, Listed},
    monitor::Monitor,
    objects::Objects,
};
use super::{had::Had, id_index::IdIndex, renames::Deleted};

/// Lists objects, each once.
pub(super) struct Trees<'a> {
    objects: &'a Objects,
    monitor: Monitor<'a>,
    had: Had<'a>,
    list: List,
    /// Places in `list.objects` and in `list.remote`.
    listed: IdIndex,
    remote: IdIndex,
}

/// A tree to walk.
struct Step {
    tree: ObjectId,
    /// Complete trees at the same path.
    bases: Vec<ObjectId>,
    /// Path for errors; ends with a slash or is empty.
    path: BString,
}

/// An entry at a path that no parent has.
struct Added {
    /// The path of its folder, like [`Step::path`].
    folder: BString,
    name: BString,
    id: ObjectId,
    is_tree: bool,
    /// The blob before it in its folder.
    sibling: Option<ObjectId>,
}

/// Remaining work of the walk of one commit.
#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    added: Vec<Added>,
    deleted: Deleted,
}

impl<'a> Trees<'a> {
    /// Creates an empty list for a remote that has these objects.
    pub(super) fn new(objects: &'a Objects, had: Had<'a>, monitor: Monitor<'a>) -> Self {
        Trees {
            monitor,
            objects,
            had,
            list: List::default(),
            listed: IdIndex::default(),
            remote: IdIndex::default(),
        }
    }

    /// Returns the number of objects in the list.
    pub(super) fn listed_so_far(&self) -> usize {
        self.list.objects.len()
    }

    /// Adds an object, unless it is known. `base` is in a complete tree. Returns true if the object was added.
    pub(super) fn list(&mut self, id: ObjectId, base: Option<ObjectId>) -> bool {
        let is_new = !self.is_known(&id);
        if is_new {
            self.add(id, base);
        }
        is_new
    }

    /// Adds an object that is not known. `base` is in a complete tree.
    pub(super) fn add(&mut self, id: ObjectId, base: Option<ObjectId>) {
        let base = base.map(|base| match self.place(&base) {
            Some(place) => Base::Listed(place),
            // It is complete and not in the list: the remote has it.
            None => Base::Remote(self.remote_base(base)),
        });
        let objects = &mut self.list.objects;
        let place = objects.len() as u32;
        objects.push(Listed { id, base });
        self.listed.add(&id, place, |place| objects[place as usize].id);
    }

    /// Returns true if the object is listed, or the remote has it with everything reachable from it.
    fn is_known(&self, id: &ObjectId) -> bool {
        self.had.contains(id) || self.place(id).is_some()
    }

    fn place(&self, id: &ObjectId) -> Option<u32> {
        self.listed.find(id, |place| self.list.objects[place as usize].id)
    }

    fn remote_base(&mut self, id: ObjectId) -> u32 {
        let known = &mut self.list.remote;
        if let Some(place) = self.remote.find(&id, |place| known[place as usize]) {
            return place;
        }
        let place = known.len() as u32;
        known.push(id);
        self.remote.add(&id, place, |place| known[place as usize]);
        place
    }

    /// Adds `root` and everything reachable from it, except for entries that one of `bases` has at the same path, or that
    /// the first of them has at a deleted path. `bases` are complete.
    pub(super) fn tree(&mut self, root: ObjectId, bases: &[ObjectId], owner: &str) -> Result<(), Error> {
        let mut walk = Walk::default();
        self.step(&mut walk, root, bases.to_vec(), BString::default());
        while !walk.steps.is_empty() {
            while let Some(step) = walk.steps.pop() {
                self.monitor.check()?;
                self.entries(&step, owner, &mut walk)?;
            }
            // All deletions are known only now.
            walk.deleted.sort();
            for added in std::mem::take(&mut walk.added) {
                self.added(added, owner, &mut walk)?;
            }
        }
        Ok(())
    }

    /// Adds a tree and a step to walk it, unless a base is the same tree.
    fn step(&mut self, walk: &mut Walk, tree: ObjectId, bases: Vec<ObjectId>, path: BString) {
        if !bases.contains(&tree) && self.list(tree, bases.first().copied()) {
            walk.steps.push(Step { tree, bases, path });
        }
    }

    /// Walks a tree and its bases side by side. All are in git's order.
    fn entries(&mut self, step: &Step, owner: &str, walk: &mut Walk) -> Result<(), Error> {
        let objects = self.objects;
        let path = &step.path;
        let tree = objects.find(step.tree, &format_args!("/{path} in {owner}"))?;
        // Without a base that cannot be read, more is sent.
        let bases: Vec<_> = step.bases.iter().filter_map(|id| objects.try_find(*id).ok()?).collect();
        let mut bases: Vec<_> = bases.iter().filter_map(|base| Side::new(objects, base).ok()).collect();
        let mut before = Vec::new();
        let mut sibling = None;
        for entry in iterate(objects, &tree)? {
            let entry = entry.map_err(|error| objects.damaged(step.tree, &error))?;
            before.clear();
            for (number, base) in bases.iter_mut().enumerate() {
                let deleted = (number == 0).then_some(&mut walk.deleted);
                before.extend(base.seek(&entry, deleted));
            }
            let id = entry.oid.to_owned();
            if !entry.mode.is_commit() && !before.contains(&id) {
                self.entry(path, &entry, &before, sibling, owner, walk)?;
            }
            if entry.mode.is_blob_or_symlink() {
                sibling = Some(id);
            }
        }
        if let Some(base) = bases.first_mut() {
            base.entries.by_ref().for_each(|entry| walk.deleted.add(&entry));
        }
        Ok(())
    }

    /// Adds an entry that no base has. A tree is walked later; an entry at a new path is compared with deletions later.
    fn entry(
        &mut self,
        folder: &BString,
        entry: &EntryRef<'_>,
        before: &[ObjectId],
        sibling: Option<ObjectId>,
        owner: &str,
        walk: &mut Walk,
    ) -> Result<(), Error> {
        let (id, is_tree) = (entry.oid.to_owned(), entry.mode.is_tree());
        if self.is_known(&id) {
            return Ok(());
        }
        if before.is_empty() {
            walk.added.push(Added {
                folder: folder.clone(),
                name: entry.filename.into(),
                id,
                is_tree,
                sibling,
            });
            return Ok(());
        }
        if is_tree {
            self.step(walk, id, before.to_vec(), below(folder, entry.filename));
            Ok(())
        } else {
            self.blob(id, before.first().copied(), folder, entry.filename, owner)
        }
    }

    fn added(&mut self, added: Added, owner: &str, walk: &mut Walk) -> Result<(), Error> {
        let Added {
            folder,
            name,
            id,
            is_tree,
            sibling,
        } = added;
        if walk.deleted.contains(id) {
            return Ok(());
        }
        let base = walk.deleted.similar(&name, is_tree);
        if is_tree {
            self.step(walk, id, base.into_iter().collect(), below(&folder, &name));
            Ok(())
        } else {
            // The sibling had its turn before: it is listed, or complete.
            self.blob(id, base.or(sibling), &folder, &name, owner)
        }
    }

    fn blob(
        &mut self,
        id: ObjectId,
        base: Option<ObjectId>,
        folder: &BString,
        name: &[u8],
        owner: &str,
    ) -> Result<(), Error> {
        if !self.is_known(&id) {
            let name = bstr::BStr::new(name);
            self.objects.require(id, &format_args!("/{folder}{name} in {owner}"))?;
            self.list(id, base);
        }
        Ok(())
    }

    /// Returns the list. An object that the remote has, but that is sent because it was added again, is no base outside of
    /// the pack: `git index-pack` fails on a delta of such an object if that is a delta itself.
    ///
    /// # Errors
    /// There are more objects than a pack can hold.
    pub(super) fn into_list(mut self) -> Result<List, Error> {
        let too_many = |_| {
            let what = "more objects to push than a pack can hold (2^32)";
            Error::new(ErrorKind::Misconfigured, what)
        };
        let count = u32::try_from(self.list.objects.len()).map_err(too_many)?;
        for place in 0..count {
            if let Some(Base::Remote(base)) = self.list.objects[place as usize].base
                && let Some(sent) = self.place(&self.list.remote[base as usize])
            {
                self.list.objects[place as usize].base = (sent < place).then_some(Base::Listed(sent));
            }
        }
        Ok(self.list)
    }
}

/// Entries of a base beside the tree that is walked.
struct Side<'a, I: Iterator<Item = EntryRef<'a>>> {
    entries: Peekable<I>,
}

impl<'a> Side<'a, std::iter::Flatten<TreeRefIter<'a>>> {
    fn new(objects: &Objects, tree: &'a gix::Object<'_>) -> Result<Self, Error> {
        let entries = iterate(objects, tree)?.flatten().peekable();
        Ok(Side { entries })
    }
}

impl<'a, I: Iterator<Item = EntryRef<'a>>> Side<'a, I> {
    /// Advances to the position of `entry`. Returns the tree or blob with its name; submodules are ignored. Skipped entries
    /// are deletions.
    fn seek(&mut self, entry: &EntryRef<'_>, mut deleted: Option<&mut Deleted>) -> Option<ObjectId> {
        while let Some(gone) = self.entries.next_if(|base| base < entry) {
            if let Some(deleted) = &mut deleted {
                deleted.add(&gone);
            }
        }
        let found = self.entries.next_if(|base| base.cmp(entry).is_eq())?;
        (!found.mode.is_commit()).then(|| found.oid.to_owned())
    }
}

fn iterate<'a>(objects: &Objects, tree: &'a gix::Object<'_>) -> Result<TreeRefIter<'a>, Error> {
    match tree.kind {
        Kind::Tree => Ok(TreeRefIter::from_bytes(&tree.data, tree.id.kind())),
        kind => Err(objects.unusable(tree.id, &format!("expected a tree, found a {kind}"))),
    }
}

/// Returns the path of a folder in a folder.
fn below(folder: &BString, name: &[u8]) -> BString {
    let mut path = folder.clone();
    path.push_str(name);
    path.push(b'/');
    path
}
