//! Commits out of git's commit-graph (gitformat-commit-graph): trees, parents and dates, without the objects.
//!
//! Each file is checked completely before it is used: checksums, the order of the ids, the chain, parents and
//! generation numbers. Because the check takes time, the files are opened late: after as many look-ups of objects as
//! take the same time. Until then, commits are read as objects. Files with an error are not used. If a repository has
//! grafts or replacement refs, is shallow, or has `core.commitGraph` set to false, git does not use the files, and
//! neither does this module. A commit that is newer than the files is read as an object.
//!
//! # Limitations
//! - The graph of the first folder of objects that has one is used. A chain must be in one folder.
//! - Of generation numbers, topological levels are read, and corrected dates are not.
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use gix::{ObjectId, commitgraph::Graph};

/// Bytes of a graph that are checked in the time in which a commit is read as an object.
const CHECKED_PER_COMMIT: u64 = 2048;

/// A commit as walks need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    /// The tree.
    pub(super) tree: ObjectId,
    /// The parents, in order.
    pub(super) parents: Vec<ObjectId>,
    /// Commit date in seconds since 1970.
    pub(super) date: i64,
    /// Topological level, if the commit is in the graph. It is greater than those of all parents, which are in the graph, too.
    pub(super) generation: Option<u32>,
}

/// The commit-graph of a repository, opened after enough look-ups. Threads can share it.
#[derive(Debug, Default)]
pub(super) struct CommitGraph {
    /// Number of look-ups before the files were opened.
    asked: AtomicU64,
    /// Number of look-ups after which the files are opened.
    price: OnceLock<u64>,
    graph: OnceLock<Option<Opened>>,
}

/// A graph whose files are intact.
struct Opened(Graph);

impl CommitGraph {
    /// Returns the commit, if it is in the graph. The repository may lack it. All calls must pass the same `repository`.
    pub(super) fn parents_and_tree(&self, repository: &gix::Repository, id: ObjectId) -> Option<Commit> {
        if self.graph.get().is_none() {
            let price = *self.price.get_or_init(|| price(repository));
            if self.asked.fetch_add(1, Ordering::Relaxed) < price {
                return None;
            }
        }
        self.graph.get_or_init(|| Opened::of(repository)).as_ref()?.commit(id)
    }
}

impl Opened {
    /// Opens the graph of the repository, and checks it.
    fn of(repository: &gix::Repository) -> Option<Self> {
        let config = repository.config_snapshot();
        let is_used = config.boolean("core.commitGraph").unwrap_or(true) && !has_other_history(repository);
        let graphs = info_folders(repository).into_iter().filter(|_| is_used);
        let mut graphs = graphs.filter_map(|folder| Graph::at(&folder, repository.object_hash(), None).ok());
        // The check also fails on files of an old git, which have no generation numbers.
        graphs.find_map(|graph| {
            graph
                .verify_integrity(|_| Ok::<_, Infallible>(()))
                .is_ok()
                .then_some(Opened(graph))
        })
    }

    fn commit(&self, id: ObjectId) -> Option<Commit> {
        let commit = self.0.commit_by_id(id)?;
        let parents = commit.iter_parents().map(|place| {
            let parent = self.0.commit_at(place.ok()?);
            Some(parent.id().to_owned())
        });
        Some(Commit {
            tree: commit.root_tree_id().to_owned(),
            parents: parents.collect::<Option<_>>()?,
            date: i64::try_from(commit.committer_timestamp()).ok()?,
            generation: Some(commit.generation()),
        })
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} commits", self.0.num_commits())
    }
}

/// Returns true if git may see other parents than those of the objects.
fn has_other_history(repository: &gix::Repository) -> bool {
    let grafts = repository.common_dir().join("info/grafts");
    grafts.try_exists().unwrap_or(true)
        || repository.is_shallow().unwrap_or(true)
        || repository.objects.store_ref().replacements().next().is_some()
}

fn info_folders(repository: &gix::Repository) -> Vec<PathBuf> {
    let store = repository.objects.store_ref();
    let alternates = store.alternate_db_paths().unwrap_or_default();
    let folders = std::iter::once(store.path().to_owned()).chain(alternates);
    folders.map(|folder| folder.join("info")).collect()
}

/// Returns the number of commits that can be read in the time in which the files are checked.
fn price(repository: &gix::Repository) -> u64 {
    let in_chain = |folder: &PathBuf| {
        std::fs::read_dir(folder.join("commit-graphs"))
            .into_iter()
            .flatten()
            .flatten()
    };
    let files = info_folders(repository).into_iter().flat_map(|folder| {
        let chain = in_chain(&folder).map(|file| file.path());
        chain.chain([folder.join("commit-graph")]).collect::<Vec<_>>()
    });
    let sizes = files.filter_map(|path| path.metadata().ok()).map(|found| found.len());
    match sizes.sum::<u64>() {
        0 => u64::MAX,
        bytes => bytes / CHECKED_PER_COMMIT,
    }
}
