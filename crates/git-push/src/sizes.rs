//! New objects with their stored sizes, for pushes in parts. A stored size is an estimate of the size in a pack.
//!
//! Each object counts for the first commit that has it, parents first. An object does not count if it is in the tree of
//! a parent of a new commit, and the remote has that parent. An older object that was removed and comes again does
//! count.
//!
//! Memory: one id for each object that is read, and one entry for each new commit.
use std::collections::{HashMap, HashSet};

use gix::{ObjectId, objs::Kind, objs::TreeRefIter};

use super::{
    Advertisement, Command, Error, fast_forward::peeled, monitor::Monitor, object_files::ObjectFolders,
    objects::Objects, parts::SizedCommit, reuse::Packs,
};

/// Bytes of trees and commits that are kept during the walk.
const OBJECT_CACHE: usize = 2 << 20;
/// Bytes of bases of stored deltas that are kept during the walk.
const BASE_CACHE: usize = 3 << 20;
/// Upper bound of the bytes of an entry in a pack besides its content.
const ENTRY: u64 = 24;

/// An object with its estimated bytes in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizedObject {
    pub(super) id: ObjectId,
    pub(super) kind: Kind,
    pub(super) bytes: u64,
}

/// New commits, and other objects that are pushed.
pub(super) struct NewObjects {
    /// Each after its parents.
    pub(super) commits: Vec<SizedCommit>,
    /// Trees and blobs that refs or tags name, and that these commits do not have, with everything that they reach.
    pub(super) roots: Vec<SizedObject>,
    /// The other trees and blobs that refs or tags name.
    pub(super) in_commits: Vec<ObjectId>,
}

impl NewObjects {
    /// Returns the sum of all sizes.
    pub(super) fn bytes(&self) -> u64 {
        let commits = self.commits.iter().map(|commit| commit.bytes);
        let sizes = commits.chain(self.roots.iter().map(|root| root.bytes));
        sizes.fold(0, u64::saturating_add)
    }
}

/// Reader of new objects.
pub(super) struct Sizes<'a> {
    objects: Objects,
    folders: ObjectFolders,
    packs: Packs,
    seen: HashSet<ObjectId>,
    /// Trees and blobs that refs or tags name.
    named: HashSet<ObjectId>,
    monitor: Monitor<'a>,
}

impl<'a> Sizes<'a> {
    pub(super) fn new(repository: &gix::Repository, monitor: Monitor<'a>) -> Self {
        let folders = ObjectFolders::of(repository);
        Sizes {
            objects: Objects::cached(repository, OBJECT_CACHE, BASE_CACHE),
            packs: Packs::new(folders.open_packs(repository.object_hash())),
            folders,
            seen: HashSet::new(),
            named: HashSet::new(),
            monitor,
        }
    }

    /// Returns the objects that `commands` send to a remote with this advertisement.
    ///
    /// # Errors
    /// [`ErrorKind::Broken`](super::ErrorKind::Broken) when an object is missing or cannot be read.
    pub(super) fn new_objects(
        mut self,
        advertisement: &Advertisement,
        commands: &[Command],
    ) -> Result<NewObjects, Error> {
        let mut had = Vec::new();
        for id in advertisement.refs.values().chain(&advertisement.haves) {
            match peeled(&self.objects, *id)? {
                Some((id, Kind::Commit)) => had.push(id),
                Some((id, _)) => drop(self.seen.insert(id)),
                None => {}
            }
        }
        let (mut tips, mut others) = (Vec::new(), Vec::new());
        for command in commands.iter().filter(|command| !command.is_delete()) {
            match peeled(&self.objects, command.new)? {
                Some((id, Kind::Commit)) => tips.push(id),
                Some((id, kind)) => others.push((id, kind)),
                None => return Err(self.objects.missing(command.new, &format!("the ref {}", command.name))),
            }
        }
        self.named = others.iter().map(|(id, _)| *id).collect();
        let commits = self.commits(tips, had)?;
        // What is left was not in these commits.
        let named = std::mem::take(&mut self.named);
        let (roots, in_commits): (Vec<_>, Vec<_>) = others.into_iter().partition(|(id, _)| named.contains(id));
        let roots = roots.into_iter().map(|(id, kind)| self.root(id, kind));
        Ok(NewObjects {
            roots: roots.collect::<Result<_, Error>>()?,
            in_commits: in_commits.into_iter().map(|(id, _)| id).collect(),
            commits,
        })
    }

    /// Returns the objects that the commit, tree or blob `id` adds to the parents of the commit, blobs before trees, each
    /// tree after those in it. The commit itself is left out. The list depends on nothing but `id`.
    pub(super) fn added_by(mut self, id: ObjectId) -> Result<Vec<SizedObject>, Error> {
        let mut added = Vec::new();
        match self.objects.kind(id)? {
            Some(Kind::Commit) => {
                let (tree, parents) = self.commit(id)?;
                for parent in parents {
                    self.pass(parent)?;
                }
                self.walk(tree, |object| added.push(object))?;
            }
            Some(Kind::Tree) => self.walk(id, |object| added.push(object))?,
            Some(kind) => added.push(SizedObject { id, kind, bytes: 0 }),
            None => return Err(self.objects.missing(id, &"a ref to push")),
        }
        for object in &mut added {
            object.bytes = self.bytes(object.id)?;
        }
        added.sort_by_key(|object| object.kind != Kind::Blob);
        Ok(added)
    }

    fn commits(&mut self, tips: Vec<ObjectId>, had: Vec<ObjectId>) -> Result<Vec<SizedCommit>, Error> {
        let parents = self.parents(&tips, had)?;
        let order = first_parents_first(&tips, &parents);
        let borders = order
            .iter()
            .flat_map(|id| &parents[id])
            .filter(|id| !parents.contains_key(*id));
        for border in borders.copied().collect::<HashSet<_>>() {
            self.pass(border)?;
        }
        let places: HashMap<_, _> = order.iter().zip(0..).collect();
        let mut sized = Vec::with_capacity(order.len());
        for id in &order {
            self.monitor.check()?;
            let tree = self.commit(*id)?.0;
            let parents = parents[id].iter().filter_map(|parent| places.get(parent).copied());
            sized.push(SizedCommit {
                id: *id,
                parents: parents.collect(),
                bytes: self.bytes(*id)?.saturating_add(self.tree_bytes(tree)?),
            });
            self.monitor.observer.objects(self.seen.len());
        }
        Ok(sized)
    }

    /// Returns the commits that the tips reach and the remote is not known to have, with their parents.
    fn parents(&self, tips: &[ObjectId], had: Vec<ObjectId>) -> Result<HashMap<ObjectId, Vec<ObjectId>>, Error> {
        let Some(tip) = tips.first() else {
            return Ok(HashMap::new());
        };
        let damaged = |error: gix::Error| self.objects.damaged(*tip, &error);
        let walk = self
            .objects
            .repository()
            .rev_walk(tips.iter().copied())
            .with_hidden(had);
        let mut parents = HashMap::new();
        for commit in walk.all().map_err(damaged)? {
            self.monitor.check()?;
            let commit = commit.map_err(damaged)?;
            parents.insert(commit.id, commit.parent_ids.to_vec());
        }
        Ok(parents)
    }

    /// Marks the tree of a commit as seen, if the commit is in the local repository.
    fn pass(&mut self, commit: ObjectId) -> Result<(), Error> {
        if self.objects.kind(commit)?.is_some() {
            let tree = self.commit(commit)?.0;
            self.walk(tree, |_| ())?;
        }
        Ok(())
    }

    fn root(&mut self, id: ObjectId, kind: Kind) -> Result<SizedObject, Error> {
        let is_tree = kind == Kind::Tree;
        let bytes = if is_tree {
            self.tree_bytes(id)?
        } else if self.seen.insert(id) {
            self.bytes(id)?
        } else {
            0
        };
        Ok(SizedObject { id, kind, bytes })
    }

    fn tree_bytes(&mut self, tree: ObjectId) -> Result<u64, Error> {
        let mut added = Vec::new();
        self.walk(tree, |object| added.push(object.id))?;
        let mut bytes = 0_u64;
        for id in added {
            self.named.remove(&id);
            bytes = bytes.saturating_add(self.bytes(id)?);
        }
        Ok(bytes)
    }

    /// Returns the tree and the parents of a commit.
    fn commit(&self, id: ObjectId) -> Result<(ObjectId, Vec<ObjectId>), Error> {
        let object = self.objects.find(id, &"a commit to push")?;
        let commit = object
            .try_into_commit()
            .map_err(|error| self.objects.damaged(id, &error))?;
        let tree = commit.tree_id().map_err(|error| self.objects.damaged(id, &error))?;
        Ok((tree.detach(), commit.parent_ids().map(gix::Id::detach).collect()))
    }

    /// Passes a tree, and everything that it reaches, to `take`, except for what was seen before. Trees come after
    /// the objects in them. Sizes are not set.
    fn walk(&mut self, root: ObjectId, mut take: impl FnMut(SizedObject)) -> Result<(), Error> {
        let mut take = |id, kind| take(SizedObject { id, kind, bytes: 0 });
        // True for a tree whose entries are on the stack above it.
        let mut stack = vec![(root, false)];
        while let Some((id, is_done)) = stack.pop() {
            if is_done {
                take(id, Kind::Tree);
                continue;
            }
            if !self.seen.insert(id) {
                continue;
            }
            self.monitor.check()?;
            let tree = self.objects.find(id, &"a commit to push")?;
            stack.push((id, true));
            for entry in TreeRefIter::from_bytes(&tree.data, id.kind()) {
                let entry = entry.map_err(|error| self.objects.unusable(id, &error.to_string()))?;
                let id = entry.oid.to_owned();
                if entry.mode.is_tree() {
                    stack.push((id, false));
                } else if !entry.mode.is_commit() && self.seen.insert(id) {
                    take(id, Kind::Blob);
                }
            }
        }
        Ok(())
    }

    fn bytes(&self, id: ObjectId) -> Result<u64, Error> {
        let packed = self.packs.locate(id).and_then(|at| self.packs.compressed_size(at));
        let stored = packed.map(|size| size as u64).or_else(|| self.folders.loose_size(id));
        let size = match stored {
            Some(size) => Some(size),
            None => self.objects.size(id)?,
        };
        Ok(size.unwrap_or_default().saturating_add(ENTRY))
    }
}

/// Returns the commits in an order in which each comes after its parents, and first parents come first.
fn first_parents_first(tips: &[ObjectId], parents: &HashMap<ObjectId, Vec<ObjectId>>) -> Vec<ObjectId> {
    let mut order = Vec::with_capacity(parents.len());
    let mut listed = HashSet::new();
    let mut stack: Vec<(ObjectId, bool)> = tips.iter().rev().map(|id| (*id, false)).collect();
    while let Some((id, parents_done)) = stack.pop() {
        let Some(its_parents) = parents.get(&id).filter(|_| !listed.contains(&id)) else {
            continue;
        };
        if parents_done {
            listed.insert(id);
            order.push(id);
        } else {
            stack.push((id, true));
            stack.extend(its_parents.iter().rev().map(|parent| (*parent, false)));
        }
    }
    order
}
