//! Selection with the bitmap of a pack or of a multi-pack-index. The objects that the remote has are one set of bits, those
//! that the new tips reach another, and the difference is sent.
//!
//! ```text
//! tips --- commits outside of the pack --- commits without an entry --- commits with an entry
//!          walked, trees as well           walked, trees as well        bits
//! ```
//!
//! A pack with a bitmap has everything that its commits reach; so have the packs of a multi-pack-index, which are *the
//! pack* here. New commits outside the bitmap are walked as if there were no bitmap, and compared with the trees of
//! their parents. Unlike a walk, the bits are exact: an object that the remote has anywhere in its history is not sent
//! again.
//!
//! Bits end at the borders of a history that was shallow when git wrote them, and git keeps the bitmap when the rest of the
//! history is fetched. So the parents of all new commits are looked up: each must be new, too, or on the remote.
//!
//! The functions return `None` where the bitmap does not lead to a selection: if it is damaged, if an object cannot be
//! read, or if the caller asked to stop. The walk follows, and reports why.
//!
//! Memory: the bitmap, 12 bytes for each object of the pack, 32 bytes for each object that is walked.
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use gix::{ObjectId, objs::Kind, objs::TreeRefIter};

use super::super::{
    bit_order::BitOrder,
    bitmap::{self, Bitmap, Bits},
    monitor::Monitor,
    objects::Objects,
};
use super::history::{self, Commit, NewCommit};
use super::{Remote, Tips, had::Had, hints};

/// A pack with its bitmap, or the packs of a multi-pack-index with theirs.
pub(super) struct Bitmapped<'a> {
    objects: &'a Objects,
    pack: &'a BitOrder,
    bitmap: Bitmap<'a>,
    monitor: Monitor<'a>,
}

/// Objects to send, and those that the remote has.
pub(super) struct Selection<'a> {
    pub(super) pack: &'a BitOrder,
    /// Objects of the pack to send, as places in the order of the bits.
    pub(super) new: Bits,
    /// Commits to send that are not in the pack, parents before children.
    pub(super) commits: Vec<NewCommit>,
    /// True if all of the tips are in the pack.
    pub(super) has_all_tips: bool,
    pub(super) had: Had<'a>,
}

/// Commits that are not in the pack, and where they lead.
#[derive(Default)]
struct Outside {
    /// Parents before children.
    commits: Vec<NewCommit>,
    /// Commits of the pack, as places in the order of the bits.
    inside: Vec<u32>,
    /// True if a commit is not in the local repository.
    lacks: bool,
}

impl<'a> Bitmapped<'a> {
    /// Reads the bitmap `file` of the pack.
    pub(super) fn new(objects: &'a Objects, pack: &'a BitOrder, file: &'a [u8], monitor: Monitor<'a>) -> Option<Self> {
        let bitmap = Bitmap::read(file, &pack.checksum()?, pack.objects())?;
        Some(Bitmapped {
            objects,
            pack,
            bitmap,
            monitor,
        })
    }

    /// Selects the objects that a remote lacks.
    pub(super) fn select(&self, remote: &Remote, tips: &Tips) -> Option<Selection<'a>> {
        let (had, outside) = self.had(remote)?;
        let ours = self.outside(&tips.commits, &outside).filter(|ours| !ours.lacks)?;
        let mut new = had.clone();
        self.reach(&mut new, ours.inside)?;
        let mut has_all_tips = true;
        for id in tips.tags.iter().chain(&tips.blobs) {
            let place = self.pack.place(id);
            has_all_tips &= place.map(|place| new.insert(place)).is_some();
        }
        for (id, _) in &tips.trees {
            match self.pack.place(id) {
                Some(_) => self.reach_tree(&mut new, None, *id)?,
                None => has_all_tips = false,
            }
        }
        new.remove(&had);
        self.check_parents(&new, &had, &outside)?;
        Some(Selection {
            pack: self.pack,
            has_all_tips: has_all_tips && ours.commits.is_empty(),
            commits: ours.commits,
            new,
            had: Had {
                ids: outside,
                packed: Some((self.pack, had)),
            },
        })
    }

    /// Returns the places of similar objects by the places of the objects to send.
    pub(super) fn hints(&self, selection: &Selection<'_>) -> HashMap<u32, u32> {
        let nothing = Bits::new(self.pack.objects());
        let had = selection.had.packed.as_ref().map_or(&nothing, |(_, had)| had);
        hints::hints(self.pack, &self.bitmap, &selection.new, had)
    }

    /// Returns the objects that the remote has: those of the pack, and others.
    fn had(&self, remote: &Remote) -> Option<(Bits, HashSet<ObjectId>)> {
        let mut had = Bits::new(self.pack.objects());
        let mut outside = HashSet::new();
        let theirs = self.outside(&remote.commits, &outside)?;
        self.reach(&mut had, theirs.inside)?;
        for commit in theirs.commits {
            outside.insert(commit.id);
            self.reach_tree(&mut had, Some(&mut outside), commit.tree)?;
        }
        for id in &remote.had {
            match self.pack.place(id) {
                Some(place) => had.insert(place),
                None => outside.insert(*id),
            };
        }
        Some((had, outside))
    }

    /// Adds commits of the pack to `reached`, with everything reachable from them.
    ///
    /// Packs begin with the newest commits. They come first here, too: an entry on the way reaches most of the others.
    fn reach(&self, reached: &mut Bits, commits: Vec<u32>) -> Option<()> {
        let mut waiting: BinaryHeap<_> = commits.into_iter().map(Reverse).collect();
        let mut trees = Vec::new();
        while let Some(Reverse(place)) = waiting.pop() {
            self.monitor.check().ok()?;
            if reached.contains(place) {
                continue;
            }
            let index_place = self.pack.index_place(place);
            if self.bitmap.has_entry(index_place) {
                reached.add(&self.bitmap.reachable(index_place)?);
                continue;
            }
            reached.insert(place);
            let commit = history::read(self.objects, self.pack.id(place)).ok()??;
            trees.push(commit.tree);
            for parent in &commit.parents {
                waiting.push(Reverse(self.pack.place(parent)?));
            }
        }
        let mut trees = trees.into_iter();
        trees.try_for_each(|tree| self.reach_tree(reached, None, tree))
    }

    /// Returns `None` if a parent of a new commit is neither new nor on the remote.
    fn check_parents(&self, new: &Bits, had: &Bits, outside: &HashSet<ObjectId>) -> Option<()> {
        let is_there = |parent: &ObjectId| match self.pack.place(parent) {
            Some(place) => new.contains(place) || had.contains(place),
            None => outside.contains(parent),
        };
        let mut commits = new.clone();
        commits.retain(self.bitmap.of_kind(bitmap::Kind::Commit));
        for place in commits.iter() {
            self.monitor.check().ok()?;
            let commit = history::read(self.objects, self.pack.id(place)).ok()??;
            commit.parents.iter().all(is_there).then_some(())?;
        }
        Some(())
    }

    /// Adds a tree to `reached`, with everything reachable from it. Objects that are not in the pack are added to `outside`;
    /// without it, the tree is in the pack, and all of its objects must be.
    fn reach_tree(
        &self,
        reached: &mut Bits,
        mut outside: Option<&mut HashSet<ObjectId>>,
        root: ObjectId,
    ) -> Option<()> {
        let mut add = |id: ObjectId| match (self.pack.place(&id), &mut outside) {
            (Some(place), _) => Some(reached.insert(place)),
            (None, Some(outside)) => Some(outside.insert(id)),
            (None, None) => None,
        };
        let mut waiting = Vec::new();
        waiting.extend(add(root)?.then_some(root));
        while let Some(id) = waiting.pop() {
            self.monitor.check().ok()?;
            let tree = self.objects.try_find(id).ok()??;
            if tree.kind != Kind::Tree {
                return None;
            }
            for entry in TreeRefIter::from_bytes(&tree.data, id.kind()) {
                let entry = entry.ok()?;
                let id = entry.oid.to_owned();
                if !entry.mode.is_commit() && add(id)? && entry.mode.is_tree() {
                    waiting.push(id);
                }
            }
        }
        Some(())
    }

    /// Walks from `tips` to the commits of the pack, to those that the remote `had`, and to roots.
    fn outside(&self, tips: &[ObjectId], had: &HashSet<ObjectId>) -> Option<Outside> {
        let mut outside = Outside::default();
        let mut read: HashMap<ObjectId, Commit> = HashMap::new();
        let mut listed = HashSet::new();
        let mut stack: Vec<(ObjectId, bool)> = tips.iter().rev().map(|id| (*id, false)).collect();
        while let Some((id, parents_done)) = stack.pop() {
            self.monitor.check().ok()?;
            if had.contains(&id) || listed.contains(&id) {
                continue;
            }
            if let Some(place) = self.pack.place(&id) {
                outside.inside.push(place);
            } else if parents_done {
                listed.insert(id);
                outside.commits.push(self.new_commit(id, &read)?);
            } else if let Some(commit) = history::read(self.objects, id).ok()? {
                stack.push((id, true));
                stack.extend(commit.parents.iter().rev().map(|parent| (*parent, false)));
                read.insert(id, commit);
            } else {
                outside.lacks = true;
            }
        }
        Some(outside)
    }

    fn new_commit(&self, id: ObjectId, read: &HashMap<ObjectId, Commit>) -> Option<NewCommit> {
        let commit = read.get(&id)?;
        let mut parent_trees = Vec::new();
        for parent in &commit.parents {
            let tree = match read.get(parent) {
                Some(parent) => Some(parent.tree),
                None => history::read(self.objects, *parent).ok()?.map(|parent| parent.tree),
            };
            parent_trees.extend(tree);
        }
        Some(NewCommit {
            id,
            tree: commit.tree,
            parent: commit.parents.first().copied(),
            parent_trees,
        })
    }
}
