//! Walk of a commit's trees beside the parents' trees at the same paths. It reads no object: a [`Walker`] compares the
//! trees on its way, and takes the objects that are found.
use std::fmt::Display;
use std::sync::Arc;

use bstr::{BStr, BString, ByteVec};
use gix::ObjectId;

use super::super::Error;
use super::comparison::{Changed, Comparison};
use super::renames::Deleted;

/// Source of comparisons, and receiver of objects.
pub(super) trait Walker {
    /// Fails if the walk has to stop.
    fn check(&self) -> Result<(), Error>;

    /// Returns true if the object was added before, or the remote has it with everything reachable from it.
    fn is_known(&self, id: &ObjectId) -> bool;

    /// Adds an object that is not known. `base` is in a complete tree.
    fn add(&mut self, id: ObjectId, base: Option<ObjectId>);

    /// Fails if a blob does not exist. `reached_from` completes the error's sentence.
    fn require(&self, blob: ObjectId, reached_from: &dyn Display) -> Result<(), Error>;

    /// Compares a tree with complete trees. `reached_from` completes the error's sentence.
    fn compare(
        &mut self,
        tree: ObjectId,
        bases: &[ObjectId],
        reached_from: &dyn Display,
    ) -> Result<Arc<Comparison>, Error>;
}

/// Adds `root` and everything reachable from it, except for entries that one of `bases` has at the same path, or that the
/// first of them has at a deleted path. `bases` are complete.
pub(super) fn walk(
    walker: &mut impl Walker,
    root: ObjectId,
    bases: &[ObjectId],
    owner: &dyn Display,
) -> Result<(), Error> {
    let mut walk = Walk {
        walker,
        owner,
        steps: Vec::new(),
        added: Vec::new(),
        deleted: Deleted::default(),
    };
    walk.step(root, bases, BString::default());
    walk.run()
}

/// Remaining work of the walk of one commit.
struct Walk<'a, W> {
    walker: &'a mut W,
    owner: &'a dyn Display,
    steps: Vec<Step>,
    added: Vec<Added>,
    deleted: Deleted,
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

impl<W: Walker> Walk<'_, W> {
    fn run(mut self) -> Result<(), Error> {
        while !self.steps.is_empty() {
            while let Some(step) = self.steps.pop() {
                self.walker.check()?;
                self.entries(&step)?;
            }
            // All deletions are known only now.
            self.deleted.sort();
            for added in std::mem::take(&mut self.added) {
                self.added(added)?;
            }
        }
        Ok(())
    }

    /// Adds a tree and a step to walk it, unless a base is the same tree.
    fn step(&mut self, tree: ObjectId, bases: &[ObjectId], path: BString) {
        if !bases.contains(&tree) && !self.walker.is_known(&tree) {
            self.walker.add(tree, bases.first().copied());
            let bases = bases.to_vec();
            self.steps.push(Step { tree, bases, path });
        }
    }

    /// Walks a tree beside its bases.
    fn entries(&mut self, step: &Step) -> Result<(), Error> {
        let (tree, bases, path) = (step.tree, &step.bases, &step.path);
        let comparison = self
            .walker
            .compare(tree, bases, &format_args!("/{path} in {}", self.owner))?;
        comparison
            .deleted
            .iter()
            .for_each(|deletion| self.deleted.add(deletion));
        comparison.changed.iter().try_for_each(|entry| self.entry(path, entry))
    }

    /// Adds an entry that no base has. A tree is walked later; an entry at a new path is compared with deletions later.
    fn entry(&mut self, folder: &BString, entry: &Changed) -> Result<(), Error> {
        let Changed { name, id, .. } = entry;
        if self.walker.is_known(id) {
            return Ok(());
        }
        if entry.before.is_empty() {
            self.added.push(Added {
                folder: folder.clone(),
                name: name.clone(),
                id: *id,
                is_tree: entry.is_tree,
                sibling: entry.sibling,
            });
            return Ok(());
        }
        if entry.is_tree {
            self.step(*id, &entry.before, below(folder, name));
            Ok(())
        } else {
            self.blob(*id, entry.before.first().copied(), folder, name)
        }
    }

    fn added(&mut self, added: Added) -> Result<(), Error> {
        let Added {
            folder,
            name,
            id,
            is_tree,
            sibling,
        } = added;
        if self.deleted.contains(id) {
            return Ok(());
        }
        let base = self.deleted.similar(&name, is_tree);
        if is_tree {
            self.step(id, base.as_slice(), below(&folder, &name));
            Ok(())
        } else {
            // The sibling had its turn before: it is listed, or complete.
            self.blob(id, base.or(sibling), &folder, &name)
        }
    }

    fn blob(&mut self, id: ObjectId, base: Option<ObjectId>, folder: &BString, name: &[u8]) -> Result<(), Error> {
        if !self.walker.is_known(&id) {
            let name = BStr::new(name);
            self.walker
                .require(id, &format_args!("/{folder}{name} in {}", self.owner))?;
            self.walker.add(id, base);
        }
        Ok(())
    }
}

/// Returns the path of a folder in a folder.
fn below(folder: &BString, name: &[u8]) -> BString {
    let mut path = folder.clone();
    path.push_str(name);
    path.push(b'/');
    path
}
