//! Comparisons of trees that are made ahead, on all cores.
//!
//! Threads take blocks of commits in turn, and walk their trees as if nothing before the block was listed. They list
//! nothing: they only hand over their comparisons. The walk itself goes from commit to commit and decides. It uses a
//! comparison of the trees that it needs if there is one, and otherwise makes its own. So the list does not depend on
//! the threads, and nothing that they cannot read is an error before the walk needs it.
//!
//! Memory: comparisons of at most [`MAX_WAITING`] entries, and those of one commit for each thread.
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope};

use gix::ObjectId;

use super::super::{Error, monitor, objects::Objects, reuse::Packs};
use super::comparison::Comparison;
use super::had::Had;
use super::history::NewCommit;
use super::tree_reader::{TreeCache, TreeReader};
use super::walk::{self, Walker};
use super::{BASE_CACHE, OBJECT_CACHE};

/// Maximum number of threads.
const MAX_THREADS: usize = 8;
/// Number of commits in a row that a thread walks: their trees are likely to be deltas of each other.
const BLOCK: usize = 64;
/// Number of blocks that wait for the walk, per thread.
const QUEUE: usize = 2;
/// Number of entries in waiting comparisons at which the threads skip commits.
const MAX_WAITING: usize = 200_000;

/// Data that the threads share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) commits: &'a [NewCommit],
    pub(super) had: &'a Had<'a>,
    pub(super) packs: &'a Packs,
    pub(super) cache: &'a TreeCache,
    pub(super) interrupt: &'a AtomicBool,
    /// Number of entries in comparisons that wait.
    pub(super) waiting: &'a AtomicUsize,
}

/// Comparisons, block by block.
pub(super) struct Ahead<'a> {
    blocks: Vec<Receiver<Block>>,
    waiting: &'a AtomicUsize,
    block: Block,
}

/// Comparisons of a block of commits.
#[derive(Default)]
struct Block {
    /// Bases and comparison, by tree.
    comparisons: HashMap<ObjectId, (Vec<ObjectId>, Arc<Comparison>)>,
    /// Number of their entries.
    entries: usize,
}

impl<'a> Ahead<'a> {
    /// Starts threads, if there is enough work for them.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        repository: &gix::Repository,
        shared: Shared<'a>,
    ) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(MAX_THREADS).min(shared.commits.len() / BLOCK);
        let blocks = (0..threads).map(|thread| {
            let (sender, receiver) = sync_channel(QUEUE);
            let objects = Objects::cached(repository, OBJECT_CACHE, BASE_CACHE);
            let blocks = shared.commits.chunks(BLOCK).skip(thread).step_by(threads);
            scope.spawn(move || {
                let mut reader = TreeReader::new(&objects, shared.packs, shared.cache);
                for commits in blocks {
                    // The receiver is gone when the walk failed or was interrupted.
                    if sender.send(shared.block(&mut reader, commits)).is_err() {
                        return;
                    }
                }
            });
            receiver
        });
        Ahead {
            blocks: blocks.collect(),
            waiting: shared.waiting,
            block: Block::default(),
        }
    }

    /// Takes the comparisons of the block that begins with the commit of this number, if one does.
    pub(super) fn advance(&mut self, commit: usize) {
        if commit.is_multiple_of(BLOCK) && !self.blocks.is_empty() {
            self.waiting.fetch_sub(self.block.entries, Ordering::Relaxed);
            let thread = commit / BLOCK % self.blocks.len();
            self.block = self.blocks[thread].recv().unwrap_or_default();
        }
    }

    /// Returns the comparison of these trees, if it was made.
    pub(super) fn take(&mut self, tree: ObjectId, bases: &[ObjectId]) -> Option<Arc<Comparison>> {
        let (compared, comparison) = self.block.comparisons.remove(&tree)?;
        (compared == bases).then_some(comparison)
    }
}

impl Shared<'_> {
    /// Walks the trees of these commits.
    fn block(&self, reader: &mut TreeReader<'_>, commits: &[NewCommit]) -> Block {
        let mut scout = Scout {
            shared: *self,
            reader,
            seen: HashSet::new(),
            block: Block::default(),
        };
        for commit in commits {
            if self.waiting.load(Ordering::Relaxed) < MAX_WAITING {
                // The walk comes here again, and reports why.
                let _ = walk::walk(&mut scout, commit.tree, &commit.parent_trees, &commit.id);
            }
        }
        scout.block
    }
}

/// A walker that keeps the comparisons.
struct Scout<'a, 'r, 'o> {
    shared: Shared<'a>,
    reader: &'r mut TreeReader<'o>,
    seen: HashSet<ObjectId>,
    block: Block,
}

impl Walker for Scout<'_, '_, '_> {
    fn check(&self) -> Result<(), Error> {
        monitor::check(self.shared.interrupt)
    }

    fn is_known(&self, id: &ObjectId) -> bool {
        self.seen.contains(id) || self.shared.had.contains(id)
    }

    fn add(&mut self, id: ObjectId, _base: Option<ObjectId>) {
        self.seen.insert(id);
    }

    fn require(&self, _blob: ObjectId, _reached_from: &dyn Display) -> Result<(), Error> {
        Ok(())
    }

    fn compare(
        &mut self,
        tree: ObjectId,
        bases: &[ObjectId],
        reached_from: &dyn Display,
    ) -> Result<Arc<Comparison>, Error> {
        let comparison = Arc::new(self.reader.compare(tree, bases, reached_from)?);
        self.block.entries += comparison.entries();
        self.shared.waiting.fetch_add(comparison.entries(), Ordering::Relaxed);
        let entry = (bases.to_vec(), comparison.clone());
        self.block.comparisons.insert(tree, entry);
        Ok(comparison)
    }
}
