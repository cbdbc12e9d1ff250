//! The commit walk: from wanted and had commits down, newest first, until nothing is undecided.
//!
//! A commit is *had* when it is reachable from what the remote has, *new* as long as no path from there to it was
//! found. New commits are followed down to had ones or to roots, always; had ones only until no new commit waits to be
//! followed. Commit dates decide the order and nothing else, so a skewed clock can make more commits new, never fewer.
use std::collections::{BinaryHeap, HashMap, HashSet, hash_map::Entry};

use gix::ObjectId;

use super::super::{Error, monitor::Monitor, objects::Objects};

/// A commit that the remote lacks.
pub(super) struct NewCommit {
    pub(super) id: ObjectId,
    pub(super) tree: ObjectId,
    /// Its first parent, which the remote has or which comes before it.
    pub(super) parent: Option<ObjectId>,
    /// The trees of those of its parents that are in the local repository.
    pub(super) parent_trees: Vec<ObjectId>,
}

/// The walk.
pub(super) struct History<'a> {
    monitor: Monitor<'a>,
    objects: &'a Objects,
    nodes: HashMap<ObjectId, Node>,
    /// Commits to follow to their parents. What is advertised comes first, then the newest.
    queue: BinaryHeap<(bool, i64, ObjectId)>,
    /// How many nodes are `undecided`.
    undecided: usize,
    /// Commits whose parents the remote lacks though it has them.
    shallow: HashSet<ObjectId>,
    wanted: Vec<ObjectId>,
}

struct Node {
    /// `None` when the commit is not in the local repository.
    commit: Option<Commit>,
    had: bool,
    /// New, and in the queue or not in the local repository: more walking may show that it is had.
    undecided: bool,
    /// Where it was first reached from.
    child: Option<ObjectId>,
}

struct Commit {
    tree: ObjectId,
    parents: Vec<ObjectId>,
    /// Seconds since the epoch, as the committer says.
    date: i64,
}

impl<'a> History<'a> {
    /// A walk to a remote whose history ends at `shallow`.
    pub(super) fn new(objects: &'a Objects, shallow: impl Iterator<Item = ObjectId>, monitor: Monitor<'a>) -> Self {
        History {
            monitor,
            objects,
            nodes: HashMap::new(),
            queue: BinaryHeap::new(),
            undecided: 0,
            shallow: shallow.collect(),
            wanted: Vec::new(),
        }
    }

    /// The remote has this commit. It need not be in the local repository.
    pub(super) fn had(&mut self, id: ObjectId) -> Result<(), Error> {
        self.paint(id, true, None)
    }

    /// The remote shall have this commit.
    pub(super) fn wanted(&mut self, id: ObjectId) -> Result<(), Error> {
        self.wanted.push(id);
        self.paint(id, false, None)
    }

    /// Commits that the remote is not known to have, parents before children.
    pub(super) fn new_commits(mut self) -> Result<Vec<NewCommit>, Error> {
        while self.undecided > 0
            && let Some((_, _, id)) = self.queue.pop()
        {
            self.monitor.check()?;
            self.follow(id)?;
        }
        self.parents_first()
    }

    /// Paints a commit, and queues it when that is news.
    fn paint(&mut self, id: ObjectId, had: bool, child: Option<ObjectId>) -> Result<(), Error> {
        let node = match self.nodes.entry(id) {
            Entry::Occupied(node) if !had || node.get().had => return Ok(()),
            Entry::Occupied(node) => node.into_mut(),
            Entry::Vacant(place) => {
                self.undecided += 1;
                place.insert(Node {
                    commit: read(self.objects, id)?,
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

    /// Paints a commit's parents like itself.
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
        if had && self.shallow.contains(&id) {
            return Ok(());
        }
        parents
            .into_iter()
            .try_for_each(|parent| self.paint(parent, had, Some(id)))
    }

    /// The new commits, each after those of its parents that are new.
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
                let child = node.child.map_or("a new tip".into(), |child| format!("commit {child}"));
                return Err(self.objects.missing(id, &child));
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

/// The commit, if it is in the local repository.
fn read(objects: &Objects, id: ObjectId) -> Result<Option<Commit>, Error> {
    let Some(object) = objects.try_find(id)? else {
        return Ok(None);
    };
    let commit = object.try_into_commit().map_err(|error| objects.damaged(id, &error))?;
    let tree = commit.tree_id().map_err(|error| objects.damaged(id, &error))?.detach();
    Ok(Some(Commit {
        tree,
        parents: commit.parent_ids().map(gix::Id::detach).collect(),
        // Without a readable date it comes late, which costs time and nothing else.
        date: commit.time().map_or(i64::MIN, |time| time.seconds),
    }))
}
