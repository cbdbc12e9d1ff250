//! Local fast-forward checks. A server may have none: `receive.denyNonFastForwards` covers only `refs/heads/`, and is off by
//! default.
//!
//! Both commits are walked to their ancestors, newest first. The walk ends at `old`, or when every commit that waits is an
//! ancestor of `old`, which cannot reach it. Commit dates decide the order and nothing else. A commit-graph shows earlier that
//! a commit cannot reach `old`: its generation number is too small, or `old` is newer than the graph.
use std::cell::OnceCell;
use std::collections::{BinaryHeap, HashMap};

use gix::{ObjectId, objs::Kind};

use super::{Error, commit_graph::Commit, objects::Objects};

/// Returns true if every commit reachable from `old` is also reachable from `new`.
///
/// Tags stand for their targets. The result is false if `old` is not in the local repository. Objects that are not commits
/// must be equal. The result does not depend on commit dates. Memory grows with the number of commits that are read.
///
/// # Errors
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when `new` is not in the local repository, or something
/// cannot be read.
pub fn fast_forward(repository: &gix::Repository, old: ObjectId, new: ObjectId) -> Result<bool, Error> {
    if old == new {
        return Ok(true);
    }
    let objects = Objects::new(repository);
    let Some((new, new_kind)) = peeled(&objects, new)? else {
        let error = objects.missing(new, &"");
        let what = format!(
            "object {new}, to be compared with {old}, is not in {}",
            repository.git_dir().display()
        );
        return Err(error.reworded(what));
    };
    let Some((old, old_kind)) = peeled(&objects, old)? else {
        return Ok(false);
    };
    if old == new || old_kind != Kind::Commit || new_kind != Kind::Commit {
        return Ok(old == new);
    }
    Walk::new(&objects, old).finds_old_from(new)
}

/// Follows a chain of tags to its end. Returns `None` if a part of it is not in the local repository.
pub(super) fn peeled(objects: &Objects, mut id: ObjectId) -> Result<Option<(ObjectId, Kind)>, Error> {
    while let Some(kind) = objects.kind(id)? {
        if kind != Kind::Tag {
            return Ok(Some((id, kind)));
        }
        id = objects.tag_target(objects.find(id, &"a tag")?)?;
    }
    Ok(None)
}

/// Walk from two commits to their ancestors.
struct Walk<'a> {
    objects: &'a Objects,
    old: ObjectId,
    /// Generation number of `old`, if it is in the graph. Not asked for before the graph is open.
    old_generation: OnceCell<Option<u32>>,
    nodes: HashMap<ObjectId, Node>,
    /// Commits to follow to their parents, with their dates.
    queue: BinaryHeap<(i64, ObjectId)>,
    /// Number of commits in the queue that may reach `old`.
    open: usize,
}

struct Node {
    /// `None` when the commit is not in the local repository: a shallow border.
    commit: Option<Commit>,
    reached: Reached,
    waits: bool,
}

/// The side from which a commit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    FromNew,
    /// It is an ancestor of `old`, and cannot reach it.
    FromOld,
}

impl<'a> Walk<'a> {
    fn new(objects: &'a Objects, old: ObjectId) -> Self {
        Walk {
            objects,
            old,
            old_generation: OnceCell::new(),
            nodes: HashMap::new(),
            queue: BinaryHeap::new(),
            open: 0,
        }
    }

    fn finds_old_from(mut self, new: ObjectId) -> Result<bool, Error> {
        self.reach(new, Reached::FromNew)?;
        self.reach(self.old, Reached::FromOld)?;
        while self.open > 0
            && let Some((_, id)) = self.queue.pop()
        {
            let Some((reached, parents)) = self.take(id) else {
                continue;
            };
            for parent in parents {
                if parent == self.old && reached == Reached::FromNew {
                    return Ok(true);
                }
                self.reach(parent, reached)?;
            }
        }
        Ok(false)
    }

    /// Queues a commit, unless it was reached from this side before.
    fn reach(&mut self, id: ObjectId, from: Reached) -> Result<(), Error> {
        if let Some(node) = self.nodes.get_mut(&id) {
            if from == Reached::FromNew || node.reached == from {
                return Ok(());
            }
            node.reached = from;
            if std::mem::replace(&mut node.waits, true) {
                self.open -= 1;
            } else if let Some(commit) = &node.commit {
                self.queue.push((commit.date, id));
            }
            return Ok(());
        }
        let commit = self.objects.commit(id)?;
        let waits = commit
            .as_ref()
            .is_some_and(|commit| from == Reached::FromOld || self.may_reach_old(commit));
        if let Some(commit) = commit.as_ref().filter(|_| waits) {
            self.queue.push((commit.date, id));
            self.open += usize::from(from == Reached::FromNew);
        }
        let reached = from;
        self.nodes.insert(id, Node { commit, reached, waits });
        Ok(())
    }

    /// Takes a commit out of the queue.
    fn take(&mut self, id: ObjectId) -> Option<(Reached, Vec<ObjectId>)> {
        let node = self.nodes.get_mut(&id)?;
        node.waits = false;
        self.open -= usize::from(node.reached == Reached::FromNew);
        let parents = node.commit.as_ref()?.parents.clone();
        Some((node.reached, parents))
    }

    /// Returns false if the graph shows that `old` is no ancestor of this commit.
    fn may_reach_old(&self, commit: &Commit) -> bool {
        let Some(generation) = commit.generation else {
            return true;
        };
        let of_old = || self.objects.graphed(self.old).and_then(|old| old.generation);
        // All ancestors of a commit in the graph are in it.
        self.old_generation
            .get_or_init(of_old)
            .is_some_and(|old| old <= generation)
    }
}
