//! The tree walk: a tree beside those of parents at the same path.
use std::collections::HashSet;

use bstr::{BString, ByteVec};
use gix::{
    ObjectId,
    objs::{Kind, TreeRef, tree::EntryRef},
};

use super::super::{Error, objects::Objects};

/// Lists objects, each once.
pub(super) struct Trees<'a> {
    objects: &'a Objects,
    /// What was listed, or is had by the remote with everything that it reaches.
    passed: HashSet<ObjectId>,
    list: Vec<ObjectId>,
}

/// A tree to walk.
struct Step {
    tree: ObjectId,
    /// Complete trees at the same path.
    bases: Vec<ObjectId>,
    /// For errors; ends with a slash or is empty.
    path: BString,
}

impl<'a> Trees<'a> {
    /// A list without what the remote has.
    pub(super) fn new(objects: &'a Objects, had: HashSet<ObjectId>) -> Self {
        Trees {
            objects,
            passed: had,
            list: Vec::new(),
        }
    }

    /// Lists an object.
    pub(super) fn list(&mut self, id: ObjectId) {
        if self.passed.insert(id) {
            self.list.push(id);
        }
    }

    /// Lists `root` and what it reaches, except for what one of `bases` has at the same path: those are complete, that
    /// is, all that they reach is listed or had by the remote.
    pub(super) fn tree(&mut self, root: ObjectId, bases: Vec<ObjectId>, owner: &str) -> Result<(), Error> {
        let mut steps = Vec::new();
        self.step(&mut steps, root, bases, BString::default());
        while let Some(step) = steps.pop() {
            self.entries(&step, owner, &mut steps)?;
        }
        Ok(())
    }

    /// Lists a tree and leaves it to be walked, unless that is not needed.
    fn step(&mut self, steps: &mut Vec<Step>, tree: ObjectId, bases: Vec<ObjectId>, path: BString) {
        if !bases.contains(&tree) && self.passed.insert(tree) {
            self.list.push(tree);
            steps.push(Step { tree, bases, path });
        }
    }

    fn entries(&mut self, step: &Step, owner: &str, steps: &mut Vec<Step>) -> Result<(), Error> {
        let objects = self.objects;
        let path = &step.path;
        let tree = objects.find(step.tree, &format_args!("/{path} in {owner}"))?;
        // A base that cannot be read saves nothing.
        let bases: Vec<_> = step.bases.iter().filter_map(|id| objects.try_find(*id).ok()?).collect();
        let bases: Vec<_> = bases.iter().filter_map(|base| decode(objects, base).ok()).collect();
        for entry in decode(objects, &tree)?.entries {
            let (id, is_tree) = (entry.oid.to_owned(), entry.mode.is_tree());
            let before = bases
                .iter()
                .filter_map(|base| base.bisect_entry(entry.filename, is_tree));
            let before: Vec<_> = before.map(|entry: EntryRef<'_>| entry.oid.to_owned()).collect();
            if entry.mode.is_commit() || before.contains(&id) {
                continue;
            }
            if is_tree {
                let mut path = path.clone();
                path.push_str(entry.filename);
                path.push(b'/');
                self.step(steps, id, before, path);
            } else if !self.passed.contains(&id) {
                objects.require(id, &format_args!("/{path}{} in {owner}", entry.filename))?;
                self.list(id);
            }
        }
        Ok(())
    }

    /// The list.
    pub(super) fn into_list(self) -> Vec<ObjectId> {
        self.list
    }
}

fn decode<'a>(objects: &Objects, tree: &'a gix::Object<'_>) -> Result<TreeRef<'a>, Error> {
    match tree.kind {
        Kind::Tree => TreeRef::from_bytes(&tree.data, tree.id.kind()).map_err(|error| objects.damaged(tree.id, &error)),
        kind => Err(objects.unusable(tree.id, &format!("expected a tree, found a {kind}"))),
    }
}
