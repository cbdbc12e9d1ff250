//! Selection of the objects that the remote lacks: everything reachable from the new tips that is not known to be reachable
//! from the remote's refs. Sending too much is allowed, too little never.
//!
//! 1. Commits: those reachable from the new tips without passing a commit that is marked as had (`history`). Marking
//!    may be incomplete; then more is sent.
//! 2. Trees and blobs, commit by commit, *parents first*: each commit's tree is walked beside the trees of all its parents.
//!    Entries that a parent has at the same path are skipped (`walk`, `comparison`). Other threads read and compare trees
//!    ahead of the walk (`ahead`, `tree_reader`); the walk alone lists objects, in the same order with any number of threads.
//!
//! Why nothing is missing: call a tree complete if everything reachable from it is on the remote or in the list. The
//! tree of a marked commit is complete, because the remote has the commit. Take the commits in the order of the list.
//! When a commit's turn comes, its parents' trees are complete, so nothing is lost by skipping objects that a parent
//! has, or that were listed before. So its own tree is complete when its turn ends. (Children first would lose objects.
//! Two folders that swap names would be listed already when the parent's turn comes, but the child's turn skipped their
//! common files because the parent has them.)
//!
//! The same walk names a *base* for each object. For a commit it is the first parent, for anything else the object at the
//! same path in the parent. At a path that no parent has, it is the object at a similar path that the commit deletes
//! (`renames`), or the file before it in its folder. A base is in a parent's tree, which is complete, or had its turn
//! before: if it is not in the list, the remote has it. For the same reason objects that a commit moves unchanged are
//! skipped, and a moved folder is walked beside its old version.
//!
//! For a remote without a history that is known here, and for many new commits, the bitmap of a pack selects the objects
//! instead (`bitmapped`). Both lists have everything that the remote lacks; that of a bitmap has nothing else.
//!
//! Memory: one entry per listed object and per commit that was read, the paths that one commit adds or deletes, and one
//! chain of trees; no blob is read. 5 MiB of caches for each thread. For 64 commits and more, a cache of 64 MiB of trees,
//! and up to 200,000 entries that were compared ahead.
mod ahead;
mod bitmapped;
mod comparison;
mod had;
mod hints;
mod history;
mod id_index;
mod renames;
mod tree_reader;
mod trees;
mod walk;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::atomic::AtomicUsize;
use std::thread;

use bstr::BString;
use gix::{ObjectId, objs::Kind};

use self::{
    ahead::{Ahead, Shared},
    bitmapped::{Bitmapped, Selection},
    had::Had,
    history::{History, NewCommit},
    tree_reader::{TreeCache, TreeReader},
    trees::{Lister, Trees},
    walk::walk,
};
use super::{
    Advertisement, Command, Error, bit_order::BitOrder, list::List, monitor::Monitor, object_files::ObjectFolders,
    objects::Objects, reuse::Packs,
};

/// Bytes of trees and commits that are kept during the walk.
const OBJECT_CACHE: usize = 2 << 20;
/// Bytes of bases of stored deltas that are kept during the walk.
const BASE_CACHE: usize = 3 << 20;
/// Number of new commits at which trees are read ahead of the walk, from packs that are opened for it.
const WORTH_THE_PACKS: usize = 64;
/// Number of new commits at which a bitmap is faster than the walk. A walk names better bases.
const WORTH_A_BITMAP: usize = 1000;

/// Objects to send.
pub(super) enum Counted {
    /// All objects of a local pack and no others: its file, its size in bytes, and the number of objects.
    Pack(File, u64, u32),
    /// These.
    List(List),
}

/// Returns the objects to send for `commands` to a remote that advertised this.
///
/// # Errors
/// [`ErrorKind::NotCloned`](super::ErrorKind::NotCloned) when a shallow or partial clone lacks an object,
/// [`ErrorKind::Broken`](super::ErrorKind::Broken) when an object is missing otherwise or cannot be read, and
/// [`ErrorKind::Misconfigured`](super::ErrorKind::Misconfigured) for more objects than a pack can hold (2^32).
pub fn enumerate(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<List, Error> {
    let push = Enumeration::new(repository, advertisement, commands, Borders::Kept, Monitor::none())?;
    push.walk(push.history()?)
}

/// Does the same as [`enumerate()`] with the bitmap of a pack. Returns `None` if there is none, or it cannot be used.
///
/// # Errors
/// The errors of [`enumerate()`].
pub fn enumerate_bitmapped(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
) -> Result<Option<List>, Error> {
    let push = Enumeration::new(repository, advertisement, commands, Borders::Kept, Monitor::none())?;
    Ok(push.bitmapped(false).map(|counted| match counted {
        Counted::List(list) => list,
        Counted::Pack(..) => List::default(),
    }))
}

/// Rule for the commits of a shallow clone whose parents it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Borders {
    /// The remote must have their parents.
    Kept,
    /// The history that is sent may end there.
    Sent,
}

/// Returns the objects to send, with progress and an interrupt flag. A local pack is returned only if it `may_be_pack`.
pub(super) fn count(
    repository: &gix::Repository,
    advertisement: &Advertisement,
    commands: &[Command],
    (may_be_pack, borders): (bool, Borders),
    monitor: Monitor<'_>,
) -> Result<Counted, Error> {
    let push = Enumeration::new(repository, advertisement, commands, borders, monitor)?;
    let mut history = push.history()?;
    let limit = if push.remote.commits.is_empty() {
        0
    } else {
        WORTH_A_BITMAP
    };
    if !history.walk(limit)?
        && let Some(counted) = push.bitmapped(may_be_pack)
    {
        return Ok(counted);
    }
    push.walk(history).map(Counted::List)
}

/// Both sides of a push.
struct Enumeration<'a> {
    objects: Objects,
    advertisement: &'a Advertisement,
    borders: Borders,
    monitor: Monitor<'a>,
    remote: Remote,
    tips: Tips,
}

impl<'a> Enumeration<'a> {
    fn new(
        repository: &gix::Repository,
        advertisement: &'a Advertisement,
        commands: &[Command],
        borders: Borders,
        monitor: Monitor<'a>,
    ) -> Result<Self, Error> {
        let objects = Objects::cached(repository, OBJECT_CACHE, BASE_CACHE);
        let remote = Remote::new(&objects, advertisement)?;
        let mut tips = Tips::default();
        for command in commands.iter().filter(|command| !command.is_delete()) {
            tips.add(&objects, &remote.had, command)?;
        }
        Ok(Enumeration {
            objects,
            advertisement,
            borders,
            monitor,
            remote,
            tips,
        })
    }

    /// Returns a walk of commits from both sides.
    fn history(&self) -> Result<History<'_>, Error> {
        let shallow = self.advertisement.shallow.iter().copied();
        let mut history = History::new(&self.objects, shallow, self.monitor);
        if self.borders == Borders::Sent {
            history.end_at(self.objects.borders()?.into_iter().collect());
        }
        self.remote.commits.iter().try_for_each(|id| history.had(*id))?;
        self.tips.commits.iter().try_for_each(|id| history.wanted(*id))?;
        Ok(history)
    }

    /// Selects the objects without a bitmap.
    fn walk(&self, history: History<'_>) -> Result<List, Error> {
        let had = Had {
            ids: self.remote.had.clone(),
            packed: None,
        };
        self.list(Trees::new(&self.objects, &had, self.monitor), &history.new_commits()?)
    }

    /// Selects the objects with a bitmap, if there is one that can be used. A pack is returned only if it `may_be_pack`.
    fn bitmapped(&self, may_be_pack: bool) -> Option<Counted> {
        let repository = self.objects.repository();
        // Bits reach behind the borders of shallow histories, and git makes them along grafts.
        let has_grafts = repository.common_dir().join("info/grafts").try_exists().unwrap_or(true);
        if has_grafts || repository.is_shallow().unwrap_or(true) || !self.advertisement.shallow.is_empty() {
            return None;
        }
        let mut found = ObjectFolders::of(repository).open_bitmapped(repository.object_hash());
        found.find_map(|(files, bitmap)| self.bitmapped_by(&BitOrder::of(files)?, &bitmap, may_be_pack))
    }

    /// Selects the objects with this bitmap, if it can be used.
    fn bitmapped_by(&self, pack: &BitOrder, bitmap: &[u8], may_be_pack: bool) -> Option<Counted> {
        let bitmapped = Bitmapped::new(&self.objects, pack, bitmap, self.monitor)?;
        let selection = bitmapped.select(&self.remote, &self.tips)?;
        if may_be_pack
            && selection.has_all_tips
            && let Some((file, bytes)) = pack.open_whole(selection.new.count())
        {
            self.monitor.observer.objects(pack.objects() as usize);
            return Some(Counted::Pack(file, bytes, pack.objects()));
        }
        let hints = bitmapped.hints(&selection);
        self.selected(selection, &hints).ok().map(Counted::List)
    }

    /// Lists the selected objects, those of the pack first. `hints` are places of bases by place.
    fn selected(&self, selection: Selection<'_>, hints: &HashMap<u32, u32>) -> Result<List, Error> {
        let Selection { pack, new, had, .. } = selection;
        let mut trees = Trees::new(&self.objects, &had, self.monitor);
        for place in new.iter() {
            trees.add(pack.id(place), hints.get(&place).map(|base| pack.id(*base)));
        }
        self.monitor.observer.objects(trees.listed_so_far());
        self.list(trees, &selection.commits)
    }

    /// Lists these commits, and the tips.
    fn list(&self, mut trees: Trees<'_>, commits: &[NewCommit]) -> Result<List, Error> {
        for id in &self.tips.tags {
            trees.list(*id, None);
        }
        let repository = self.objects.repository();
        let packs = if commits.len() < WORTH_THE_PACKS {
            Vec::new()
        } else {
            ObjectFolders::of(repository).open_packs(repository.object_hash())
        };
        let (packs, cache, waiting) = (Packs::new(packs), TreeCache::default(), AtomicUsize::new(0));
        let shared = Shared {
            commits,
            had: trees.had,
            packs: &packs,
            cache: &cache,
            interrupt: self.monitor.interrupt,
            waiting: &waiting,
        };
        thread::scope(|scope| {
            let lister = Lister {
                trees: &mut trees,
                reader: TreeReader::new(&self.objects, &packs, &cache),
                ahead: Ahead::start(scope, repository, shared),
            };
            self.walk_trees(lister, commits)
        })?;
        for id in &self.tips.blobs {
            trees.list(*id, None);
        }
        trees.into_list()
    }

    /// Lists these commits with their trees, and the trees of the tips.
    fn walk_trees(&self, mut lister: Lister<'_, '_>, commits: &[NewCommit]) -> Result<(), Error> {
        for (number, commit) in commits.iter().enumerate() {
            lister.ahead.advance(number);
            lister.trees.list(commit.id, commit.parent);
            let NewCommit { tree, parent_trees, .. } = commit;
            walk(&mut lister, *tree, parent_trees, &format_args!("commit {}", commit.id))?;
            let waiting = commits.len() - number - 1;
            self.monitor.observer.objects(lister.trees.listed_so_far() + waiting);
        }
        for (id, name) in &self.tips.trees {
            walk(&mut lister, *id, &[], &format_args!("the ref {name}"))?;
        }
        Ok(())
    }
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
