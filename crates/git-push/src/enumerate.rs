//! Which objects the remote lacks: everything that is reachable from new tips, and not known to be reachable from
//! what the remote has. Sending too much is allowed, too little never.
//!
//! 1. Commits: those that are reached from the new tips without passing a commit that is painted as had
//!    (`history`). Painting may be incomplete, then more is sent.
//! 2. Trees and blobs, commit by commit, *parents first*: each commit's tree is walked beside the trees of all its
//!    parents, and what a parent has at the same path is passed over (`trees`).
//!
//! Why nothing is missing: say that a tree is complete when all that is reachable from it is had by the remote or in
//! the list. The tree of a commit that is painted is complete, since the remote has the commit. Take the commits in
//! the order of the list: when it is a commit's turn, its parents' trees are complete, so what is passed over because
//! a parent has it is no loss, and neither is what was listed before. So its own tree is complete when its turn ends.
//! (Children first would lose objects: two folders that swap names are each found listed already when the parent's
//! turn comes, while the children's turn passed over their common files because the parent has them.)
//!
//! The same walk names a *base* for what it lists: of a commit its first parent, of anything else the object at the same path in the parent, or, at a path that no
//! parent has, the one at a similar path that the commit deletes (`renames`), or the file before it in its folder. A base
//! comes out of a parent's tree, which is complete, or had its turn before: when it is not in the list, the remote has
//! it. For the same reason what a commit moves as it was is passed over, and a moved folder is walked beside what it was.
//!
//! Memory: one entry per listed object and per commit that was looked at, the paths that one commit adds or deletes, and
//! one chain of trees; no blob is read. 5 MiB of caches.
mod history;
mod places;
mod renames;
mod trees;

use std::collections::HashSet;

use bstr::BString;
use gix::{ObjectId, objs::Kind};

use self::{history::History, trees::Trees};
use super::{Advertisement, Command, Error, base::Base, monitor::Monitor, objects::Objects};

/// How many bytes of trees and commits, and of bases of deltas, are kept while histories are walked.
const OBJECT_CACHE: usize = 2 << 20;
const BASE_CACHE: usize = 3 << 20;

/// What to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    /// Each object once, parents before children.
    pub objects: Vec<Listed>,
    /// Objects that the remote has, and some of the list are likely to be similar to: what [`Base::Remote`] counts.
    pub remote: Vec<ObjectId>,
}

/// An object to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ObjectId,
    /// What it is likely to be similar to: an earlier one of the list, or one that the remote has, of the same kind.
    pub base: Option<Base>,
}

impl List {
    /// The id of a base.
    pub fn id(&self, base: Base) -> ObjectId {
        match base {
            Base::Listed(place) => self.objects[place as usize].id,
            Base::Remote(place) => self.remote[place as usize],
        }
    }
}

/// The objects to send for `commands` to a remote that advertised this.
///
/// # Errors
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when an object is not in the local repository (shallow or
/// partial clones, damage), or cannot be read, and for more objects than a pack can hold (2^32).
pub fn enumerate(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<List, Error> {
    list(repository, advertisement, commands, Monitor::none())
}

/// The same, watched.
pub(super) fn list(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    monitor: Monitor<'_>,
) -> Result<List, Error> {
    let objects = Objects::cached(repository, OBJECT_CACHE, BASE_CACHE);
    let remote = Remote::new(&objects, advertisement)?;
    let mut tips = Tips::default();
    for command in commands.iter().filter(|command| !command.is_delete()) {
        tips.add(&objects, &remote.had, command)?;
    }

    let mut history = History::new(&objects, advertisement.shallow.iter().copied(), monitor);
    remote.commits.iter().try_for_each(|id| history.had(*id))?;
    tips.commits.iter().try_for_each(|id| history.wanted(*id))?;

    let mut trees = Trees::new(&objects, remote.had, monitor);
    for id in tips.tags {
        trees.list(id, None);
    }
    for commit in history.new_commits()? {
        trees.list(commit.id, commit.parent);
        trees.tree(commit.tree, commit.parent_trees, &format!("commit {}", commit.id))?;
        monitor.observer.objects(trees.listed_so_far());
    }
    for (id, name) in tips.trees {
        trees.tree(id, Vec::new(), &format!("the ref {name}"))?;
    }
    for id in tips.blobs {
        trees.list(id, None);
    }
    trees.into_list()
}

/// What the remote is known to have.
struct Remote {
    /// Ids of objects that it has, with everything that they reach (but see `Advertisement::shallow`). They need not
    /// be in the local repository.
    had: HashSet<ObjectId>,
    /// Those of them that are commits, or not known here.
    commits: Vec<ObjectId>,
}

impl Remote {
    fn new(objects: &Objects, advertisement: &Advertisement) -> Result<Self, Error> {
        let mut remote = Remote {
            had: HashSet::new(),
            commits: Vec::new(),
        };
        for id in advertisement.refs.values().chain(&advertisement.haves) {
            remote.add(objects, *id)?;
        }
        Ok(remote)
    }

    /// Adds what `id` stands for: a chain of tags down to something else.
    fn add(&mut self, objects: &Objects, mut id: ObjectId) -> Result<(), Error> {
        while self.had.insert(id) {
            match objects.kind(id)? {
                Some(Kind::Tag) => id = objects.tag_target(objects.find(id, &"an advertised ref")?)?,
                Some(Kind::Commit) | None => self.commits.push(id),
                Some(Kind::Tree | Kind::Blob) => {}
            }
        }
        Ok(())
    }
}

/// What the commands' new ids stand for.
#[derive(Default)]
struct Tips {
    tags: Vec<ObjectId>,
    commits: Vec<ObjectId>,
    trees: Vec<(ObjectId, BString)>,
    blobs: Vec<ObjectId>,
}

impl Tips {
    fn add(&mut self, objects: &Objects, had: &HashSet<ObjectId>, command: &Command) -> Result<(), Error> {
        let mut id = command.new;
        let mut reached_from = format!("the ref {}", command.name);
        while !had.contains(&id) {
            let object = objects.find(id, &reached_from)?;
            match object.kind {
                Kind::Commit => self.commits.push(id),
                Kind::Tree => self.trees.push((id, command.name.clone())),
                Kind::Blob => self.blobs.push(id),
                Kind::Tag => {
                    self.tags.push(id);
                    reached_from = format!("tag {id}");
                    id = objects.tag_target(object)?;
                    continue;
                }
            }
            return Ok(());
        }
        Ok(())
    }
}
