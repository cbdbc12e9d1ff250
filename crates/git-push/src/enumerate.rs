//! Selection of the objects that the remote lacks: everything reachable from the new tips that is not known to be reachable
//! from the remote's refs. Sending too much is allowed, too little never.
//!
//! 1. Commits: those reachable from the new tips without passing a commit that is painted as had (`history`). Painting may
//!    be incomplete; then more is sent.
//! 2. Trees and blobs, commit by commit, *parents first*: each commit's tree is walked beside the trees of all its parents.
//!    Entries that a parent has at the same path are skipped (`trees`).
//!
//! Why nothing is missing: call a tree complete if everything reachable from it is on the remote or in the list. The tree
//! of a painted commit is complete, because the remote has the commit. Take the commits in the order of the list. When a
//! commit's turn comes, its parents' trees are complete, so nothing is lost by skipping what a parent has, or what was
//! listed before. So its own tree is complete when its turn ends. (Children first would lose objects. Two folders that swap
//! names would be listed already when the parent's turn comes, but the child's turn skipped their common files because the
//! parent has them.)
//!
//! The same walk names a *base* for each object. For a commit it is the first parent, for anything else the object at the
//! same path in the parent. At a path that no parent has, it is the object at a similar path that the commit deletes
//! (`renames`), or the file before it in its folder. A base is in a parent's tree, which is complete, or had its turn
//! before: if it is not in the list, the remote has it. For the same reason objects that a commit moves unchanged are
//! skipped, and a moved folder is walked beside its old version.
//!
//! Memory: one entry per listed object and per commit that was read, the paths that one commit adds or deletes, and one
//! chain of trees; no blob is read. 5 MiB of caches.
mod history;
mod id_index;
mod renames;
mod trees;

use std::collections::HashSet;

use bstr::BString;
use gix::{ObjectId, objs::Kind};

use self::{history::History, trees::Trees};
use super::{Advertisement, Command, Error, list::List, monitor::Monitor, objects::Objects};

/// Bytes of trees and commits that are kept during the walk.
const OBJECT_CACHE: usize = 2 << 20;
/// Bytes of bases of stored deltas that are kept during the walk.
const BASE_CACHE: usize = 3 << 20;

/// Returns the objects to send for `commands` to a remote that advertised this.
///
/// # Errors
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when an object is not in the local repository (shallow or partial
/// clones, damage) or cannot be read, and [`ErrorKind::Misconfigured`](super::ErrorKind::Misconfigured) for more objects
/// than a pack can hold (2^32).
pub fn enumerate(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<List, Error> {
    list(repository, advertisement, commands, Monitor::none())
}

/// Does the same as [`enumerate()`], with progress and an interrupt flag.
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

/// Objects that the remote is known to have.
struct Remote {
    /// Ids of objects that it has with everything reachable from them (but see `Advertisement::shallow`). They need not be
    /// in the local repository.
    had: HashSet<ObjectId>,
    /// Ids among them of commits, and of objects that are not in the local repository.
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

    /// Adds the object `id`, and the target if it is a tag.
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

/// Objects that the commands' new ids name, by kind.
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
