//! Walk of commits from the wanted and the had tips to their ancestors, newest first, until no commit is undecided.
//!
//! A commit is *had* if it is reachable from the remote's refs, and *new* as long as no path from there to it was
//! found. From new commits, the walk always continues to had commits or to roots. From had commits, it continues only
//! while a new commit waits. Commit dates decide the order and nothing else, so a wrong clock can make more commits
//! new, never fewer.
use std::collections::{BinaryHeap, HashMap, HashSet, hash_map::Entry};

use gix::ObjectId;

pub(super) use super::super::commit_graph::Commit;
use super::super::{Error, monitor::Monitor, objects::Objects};

/// A commit that the remote lacks.
pub(super) struct NewCommit {
    pub(super) id: ObjectId,
    pub(super) tree: ObjectId,
    /// Its first parent, which the remote has or which comes before it.
    pub(super) parent: Option<ObjectId>,
    /// Trees of the parents that are in the local repository.
    pub(super) parent_trees: Vec<ObjectId>,
}

/// State of the walk.
pub(super) struct History<'a> {
    monitor: Monitor<'a>,
    objects: &'a Objects,
    nodes: HashMap<ObjectId, Node>,
    /// Commits to follow to their parents: advertised ones first, then the newest.
    queue: BinaryHeap<(bool, i64, ObjectId)>,
    /// Number of nodes that are `undecided`.
    undecided: usize,
    /// Number of new commits that were followed to their parents.
    followed: usize,
    /// Commits that the remote has without their parents.
    shallow: HashSet<ObjectId>,
    /// Commits whose parents are not sent, because a shallow clone lacks them.
    borders: HashSet<ObjectId>,
    wanted: Vec<ObjectId>,
}

struct Node {
    /// `None` when the commit is not in the local repository.
    commit: Option<Commit>,
    had: bool,
    /// True if it is new and waits in the queue, or is not in the local repository. It may still turn out to be had.
    undecided: bool,
    /// The commit from which it was reached first.
    child: Option<ObjectId>,
}

impl<'a> History<'a> {
    /// Creates a walk for a remote whose history ends at `shallow`.
    pub(super) fn new(objects: &'a Objects, shallow: impl Iterator<Item = ObjectId>, monitor: Monitor<'a>) -> Self {
        History {
            monitor,
            objects,
            nodes: HashMap::new(),
            queue: BinaryHeap::new(),
            undecided: 0,
            followed: 0,
            shallow: shallow.collect(),
            borders: HashSet::new(),
            wanted: Vec::new(),
        }
    }

    /// Ends the history to send at these commits of a shallow clone. Call it before commits are added.
    pub(super) fn end_at(&mut self, borders: HashSet<ObjectId>) {
        self.borders = borders;
    }

    /// Adds a commit that the remote has. It need not be in the local repository.
    pub(super) fn had(&mut self, id: ObjectId) -> Result<(), Error> {
        self.paint(id, true, None)
    }

    /// Adds a commit to send.
    pub(super) fn wanted(&mut self, id: ObjectId) -> Result<(), Error> {
        self.wanted.push(id);
        self.paint(id, false, None)
    }

    /// Walks until no commit is undecided, or until it has followed this number of new commits. Returns true in the first
    /// case.
    pub(super) fn walk(&mut self, limit: usize) -> Result<bool, Error> {
        while self.undecided > 0 && !self.queue.is_empty() {
            if self.followed >= limit {
                return Ok(false);
            }
            self.monitor.check()?;
            if let Some((_, _, id)) = self.queue.pop() {
                self.follow(id)?;
            }
        }
        Ok(true)
    }

    /// Returns the commits that the remote is not known to have, parents before children.
    pub(super) fn new_commits(mut self) -> Result<Vec<NewCommit>, Error> {
        self.walk(usize::MAX)?;
        self.parents_first()
    }

    /// Paints a commit, and queues it if its color changes.
    fn paint(&mut self, id: ObjectId, had: bool, child: Option<ObjectId>) -> Result<(), Error> {
        let node = match self.nodes.entry(id) {
            Entry::Occupied(node) if !had || node.get().had => return Ok(()),
            Entry::Occupied(node) => node.into_mut(),
            Entry::Vacant(place) => {
                self.undecided += 1;
                let mut commit = read(self.objects, id)?;
                if let Some(commit) = commit.as_mut().filter(|_| self.borders.contains(&id)) {
                    commit.parents.clear();
                }
                place.insert(Node {
                    commit,
                    had: false,
                    undecided: true,
                    child,
                })
            }
        };
        node.had = had;
        if had && std::mem::take(&mut node.undecided) {
            self.undecided -= 1;
        }
        if let Some(commit) = &node.commit {
            self.queue.push((had && child.is_none(), commit.date, id));
        }
        Ok(())
    }

    /// Paints the parents of a commit in its color.
    fn follow(&mut self, id: ObjectId) -> Result<(), Error> {
        let Some((node, parents)) = self.nodes.get_mut(&id).and_then(|node| {
            let parents = node.commit.as_ref()?.parents.clone();
            Some((node, parents))
        }) else {
            return Ok(());
        };
        if std::mem::take(&mut node.undecided) {
            self.undecided -= 1;
        }
        let had = node.had;
        if !had {
            self.followed += 1;
            self.monitor.observer.objects(self.followed);
        }
        if had && self.shallow.contains(&id) {
            return Ok(());
        }
        parents
            .into_iter()
            .try_for_each(|parent| self.paint(parent, had, Some(id)))
    }

    /// Returns the new commits, each after its new parents.
    fn parents_first(&self) -> Result<Vec<NewCommit>, Error> {
        let mut listed = HashSet::new();
        let mut list = Vec::new();
        let mut stack: Vec<(ObjectId, bool)> = self.wanted.iter().rev().map(|id| (*id, false)).collect();
        while let Some((id, parents_done)) = stack.pop() {
            let node = &self.nodes[&id];
            if node.had || listed.contains(&id) {
                continue;
            }
            let Some(commit) = &node.commit else {
                return Err(match node.child {
                    Some(child) => self.objects.missing_parent(id, child),
                    None => self.objects.missing(id, &"a new tip"),
                });
            };
            if parents_done {
                listed.insert(id);
                list.push(self.new_commit(id, commit));
            } else {
                stack.push((id, true));
                stack.extend(commit.parents.iter().rev().map(|parent| (*parent, false)));
            }
        }
        Ok(list)
    }

    fn new_commit(&self, id: ObjectId, commit: &Commit) -> NewCommit {
        let parents = commit
            .parents
            .iter()
            .filter_map(|parent| self.nodes.get(parent)?.commit.as_ref());
        NewCommit {
            id,
            tree: commit.tree,
            parent: commit.parents.first().copied(),
            parent_trees: parents.map(|parent| parent.tree).collect(),
        }
    }
}

/// Reads the commit, if it is in the local repository.
pub(super) fn read(objects: &Objects, id: ObjectId) -> Result<Option<Commit>, Error> {
    objects.commit(id)
}
