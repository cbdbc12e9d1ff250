//! The tree walk: a tree beside those of parents at the same path.
use std::collections::HashSet;
use std::iter::Peekable;

use bstr::{BString, ByteVec};
use gix::{
    ObjectId,
    objs::{Kind, TreeRefIter, tree::EntryRef},
};

use super::super::{Error, ErrorKind, base::Base, monitor::Monitor, objects::Objects};
use super::{List, Listed, places::Places, renames::Deleted};

/// Lists objects, each once.
pub(super) struct Trees<'a> {
    objects: &'a Objects,
    /// What the remote has with everything that it reaches.
    monitor: Monitor<'a>,
    had: HashSet<ObjectId>,
    list: List,
    /// Places in the list: of what is sent, and of bases that the remote has.
    listed: Places,
    remote: Places,
}

/// A tree to walk.
struct Step {
    tree: ObjectId,
    /// Complete trees at the same path.
    bases: Vec<ObjectId>,
    /// For errors; ends with a slash or is empty.
    path: BString,
}

/// What is at a path that no parent has.
struct Added {
    /// The path of its folder, like [`Step::path`].
    folder: BString,
    name: BString,
    id: ObjectId,
    is_tree: bool,
    /// The blob before it in its folder.
    sibling: Option<ObjectId>,
}

/// What one commit's walk still has to do.
#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    added: Vec<Added>,
    deleted: Deleted,
}

impl<'a> Trees<'a> {
    /// A list without what the remote has.
    pub(super) fn new(objects: &'a Objects, had: HashSet<ObjectId>, monitor: Monitor<'a>) -> Self {
        Trees {
            monitor,
            objects,
            had,
            list: List::default(),
            listed: Places::default(),
            remote: Places::default(),
        }
    }

    /// How many objects are listed.
    pub(super) fn listed_so_far(&self) -> usize {
        self.list.objects.len()
    }

    /// Lists an object, unless it was passed. `base` is in a complete tree. Says whether it is new in the list.
    pub(super) fn list(&mut self, id: ObjectId, base: Option<ObjectId>) -> bool {
        if self.is_passed(&id) {
            return false;
        }
        let base = base.map(|base| match self.place(&base) {
            Some(place) => Base::Listed(place),
            // Complete, and not in the list.
            None => Base::Remote(self.remote_base(base)),
        });
        let objects = &mut self.list.objects;
        let place = objects.len() as u32;
        objects.push(Listed { id, base });
        self.listed.add(&id, place, |place| objects[place as usize].id);
        true
    }

    /// Whether it was listed, or is had by the remote with everything that it reaches.
    fn is_passed(&self, id: &ObjectId) -> bool {
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

    /// Lists `root` and what it reaches, except for what one of `bases` has at the same path, or the first of them at a
    /// path that is gone: those are complete, that is, all that they reach is listed or had by the remote.
    pub(super) fn tree(&mut self, root: ObjectId, bases: Vec<ObjectId>, owner: &str) -> Result<(), Error> {
        let mut walk = Walk::default();
        self.step(&mut walk, root, bases, BString::default());
        while !walk.steps.is_empty() {
            while let Some(step) = walk.steps.pop() {
                self.monitor.check()?;
                self.entries(&step, owner, &mut walk)?;
            }
            // Only now is known what the commit deletes.
            walk.deleted.sort();
            for added in std::mem::take(&mut walk.added) {
                self.added(added, owner, &mut walk)?;
            }
        }
        Ok(())
    }

    /// Lists a tree and leaves it to be walked, unless that is not needed.
    fn step(&mut self, walk: &mut Walk, tree: ObjectId, bases: Vec<ObjectId>, path: BString) {
        if !bases.contains(&tree) && self.list(tree, bases.first().copied()) {
            walk.steps.push(Step { tree, bases, path });
        }
    }

    /// Walks a tree and its bases side by side; all are in git's order.
    fn entries(&mut self, step: &Step, owner: &str, walk: &mut Walk) -> Result<(), Error> {
        let objects = self.objects;
        let path = &step.path;
        let tree = objects.find(step.tree, &format_args!("/{path} in {owner}"))?;
        // A base that cannot be read saves nothing.
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

    /// Lists what no base has; a tree is left to be walked, and what is at a new path to be compared with what is deleted.
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
        if self.is_passed(&id) {
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
        match is_tree {
            true => self.step(walk, id, before.to_vec(), below(folder, entry.filename)),
            false => self.blob(id, before.first().copied(), folder, entry.filename, owner)?,
        }
        Ok(())
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
        match is_tree {
            true => self.step(walk, id, base.into_iter().collect(), below(&folder, &name)),
            // A sibling's turn came before; it is listed now, or was complete.
            false => self.blob(id, base.or(sibling), &folder, &name, owner)?,
        }
        Ok(())
    }

    fn blob(
        &mut self,
        id: ObjectId,
        base: Option<ObjectId>,
        folder: &BString,
        name: &[u8],
        owner: &str,
    ) -> Result<(), Error> {
        if !self.is_passed(&id) {
            let name = bstr::BStr::new(name);
            self.objects.require(id, &format_args!("/{folder}{name} in {owner}"))?;
            self.list(id, base);
        }
        Ok(())
    }

    /// The list. What the remote has and is sent all the same, because it was added again, is no base outside of the
    /// pack: `git index-pack` fails on a delta of such an object when that is a delta itself.
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

/// A base beside the tree that is walked.
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
    /// Goes on to where `entry` is or would be; gives what is there, if that is a tree or blob of this repository. What
    /// was gone past is deleted.
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

/// The path of a folder in a folder.
fn below(folder: &BString, name: &[u8]) -> BString {
    let mut path = folder.clone();
    path.push_str(name);
    path.push(b'/');
    path
}
