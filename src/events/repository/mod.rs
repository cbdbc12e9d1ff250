//! An opened context repository: a [`Store`], the known facts about its events, and this instance of the program.
//!
//! [`lock_file`] and [`changes`] are pure.
pub mod lock_file;
pub mod refused;

pub(super) mod changes;
pub(super) mod event_ids;
pub(super) mod instance;
pub(super) mod queries;

mod init;

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use durable::{clock::Clock, storage::Storage};
use event_ids::EventIds;
use git_push::{causes, repository::OpenError};
use gix::ObjectId;
pub use init::GUARD;
pub(super) use init::check_manifest;
use instance::Instance;
use jiff::Timestamp;
use refused::RefusedEvents;

use crate::{
    advice::on_opening,
    event::Layout,
    object_store::{
        Author, Error, HeldPacks, Store, Transaction, difference, git_files::Replacement, new_pack::NewPack,
        objects::Objects, tree_cache::Edit,
    },
};

/// Options for creating and using a context repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The branch that events are committed to, without `refs/heads/`.
    pub branch: String,
    /// Depth of the folders of new events.
    pub layout: Layout,
    /// Write events of type `snapshot` as Markdown below `snapshots/`, too.
    pub snapshots: bool,
    /// Author of the commits; `None` for the one in git's configuration, or else this program.
    pub author: Option<Author>,
    /// Create a missing repository without a work tree.
    pub bare: bool,
    /// Create a missing repository with a GitHub workflow that runs this action, the append-only guard.
    pub guard: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            branch: "main".into(),
            layout: Layout::Day,
            snapshots: false,
            author: None,
            bare: true,
            guard: None,
        }
    }
}

/// An opened context repository.
#[derive(Debug)]
pub(super) struct Repository<S: Storage> {
    pub store: Store<S>,
    pub options: Options,
    pub instance: Instance,
    index: Mutex<Index>,
    /// Held by the thread that publishes.
    publishing: Mutex<()>,
}

/// Cached data about the events of the branch, kept from one commit to the next. The repository is authoritative.
pub(super) struct Index {
    pub event_ids: EventIds,
    pub refused: RefusedEvents,
    /// No commit up to this one has an event in a folder whose name git reserves.
    pub pushable: Option<ObjectId>,
    /// Commit up to which the ids are cached.
    tip: Option<ObjectId>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("tip", &self.tip).finish_non_exhaustive()
    }
}

/// Guard of the thread that publishes. Packs are not joined meanwhile: the push reads them.
pub(super) struct Publishing<'a> {
    _packs: HeldPacks<'a>,
    _one: MutexGuard<'a, ()>,
}

/// A context repository, locked for a change by one thread of one process.
pub(super) struct Session<'a, S: Storage> {
    pub repository: &'a Repository<S>,
    pub index: MutexGuard<'a, Index>,
    pub transaction: Transaction<'a, S>,
    local: &'a gix::Repository,
}

impl<S: Storage> Repository<S> {
    /// Creates a context repository at `path`, which must be missing or empty; opens the repository if one exists there.
    ///
    /// # Errors
    /// `path` has other contents, or cannot be written.
    pub fn init(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        if init::is_free(path)? {
            init::make(&storage, path, options, now)?;
        }
        Repository::open(storage, path, options, now)
    }

    /// Opens the context repository at `path`.
    ///
    /// # Errors
    /// There is no repository or no such branch, its version is unknown, or it cannot be read.
    pub fn open(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        let store =
            Store::open(storage, path, &options.branch, lock_file::PATH).map_err(|error| not_opened(path, error))?;
        let local = store.repository();
        let objects = Objects(&local);
        let tip = store.branch(&local).tip()?.ok_or_else(|| no_branch(&store))?;
        check_manifest(objects, tip)?;
        store.create_state_folder()?;
        let committed = instance::lock_of(objects, tip)?;
        let instance = Instance::begin(local.git_dir(), committed.as_deref(), now)?;
        if let Err(error) = instance.beat(store.storage(), now) {
            tracing::warn!(%error, "the heartbeat file could not be written; other instances do not see this one");
        }
        Ok(Repository {
            index: Mutex::new(Index {
                event_ids: EventIds::default(),
                refused: RefusedEvents::new(local.workdir().unwrap_or(local.git_dir())),
                pushable: None,
                tip: None,
            }),
            publishing: Mutex::new(()),
            instance,
            options: options.clone(),
            store,
        })
    }

    /// Sets the remote `origin` in the repository's configuration, without the secrets of the URL.
    ///
    /// # Errors
    /// The URL is invalid; the configuration cannot be read or written; or another process is writing it.
    pub fn set_origin(&self, url: &str, clock: &dyn Clock) -> Result<(), Error> {
        let local = self.store.repository();
        let _locked = self.store.lock(&local, clock)?;
        let path = local.common_dir().join("config");
        match init::with_origin(&path, url)? {
            Some(config) => Replacement::begin(self.store.storage(), local.git_dir(), &path, &config)?.commit(),
            None => Ok(()),
        }
    }

    /// Locks publishing against other threads.
    pub fn publishing(&self) -> Publishing<'_> {
        let one = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        Publishing {
            _packs: self.store.hold_packs(),
            _one: one,
        }
    }

    /// Locks the repository for a change, completes an interrupted one, and brings the index up to date.
    ///
    /// # Errors
    /// The repository cannot be read; another process holds it; or its work tree is on another branch.
    pub fn begin<'a>(&'a self, local: &'a gix::Repository, clock: &dyn Clock) -> Result<Session<'a, S>, Error> {
        let mut index = self.index();
        let locked = self.store.lock(local, clock)?;
        if let Some(head) = locked.other_head()? {
            return Err(on_other_branch(local, &head, self.store.branch_name()));
        }
        let transaction = locked.begin()?.ok_or_else(|| no_branch(&self.store))?;
        index.follow(transaction.objects(), transaction.tip())?;
        Ok(Session {
            repository: self,
            index,
            transaction,
            local,
        })
    }

    /// Stores input that is not an event in [`FILE`](refused::FILE), without a path.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_unreadable(&self, raw: &[u8], now: Timestamp) -> Result<(), Error> {
        self.keep_refused(&mut self.index(), "", raw, now)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // The index that a panicked thread left is checked against the repository like any other.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_refused(&self, index: &mut Index, path: &str, file: &[u8], now: Timestamp) -> Result<(), Error> {
        let blob = self.store.blob_id(file)?;
        index.refused.keep(self.store.storage(), path, blob, file, now)
    }
}

impl Index {
    /// Adds the events of commits that other processes made.
    fn follow(&mut self, objects: Objects<'_>, tip: ObjectId) -> Result<(), Error> {
        if let Some(known) = self.tip.filter(|known| *known != tip) {
            let trees = (objects.tree_of(known)?, objects.tree_of(tip)?);
            let changes = difference::between(objects, Some(trees.0), Some(trees.1))?;
            self.event_ids.add_all(changes.iter());
        }
        self.tip = Some(tip);
        Ok(())
    }
}

impl<'a, S: Storage> Session<'a, S> {
    /// The commit of the branch.
    pub fn tip(&self) -> ObjectId {
        self.transaction.tip()
    }

    /// The objects of the repository.
    pub fn objects(&self) -> Objects<'a> {
        self.transaction.objects()
    }

    /// Starts an edit of the tree of a commit.
    pub fn edit(&mut self, commit: ObjectId) -> Result<Edit<'_>, Error> {
        self.transaction.edit(commit)
    }

    /// Adds the objects of `pack` to the repository, and moves the branch to `new`.
    pub fn land(&mut self, pack: NewPack, new: ObjectId) -> Result<(), Error> {
        self.transaction.advance(pack, new)?;
        self.index.tip = Some(new);
        Ok(())
    }

    /// Moves the branch to a commit whose objects are stored already.
    pub fn move_to(&mut self, new: ObjectId) -> Result<(), Error> {
        self.land(NewPack::new(self.objects().hash()), new)
    }

    /// Stores the objects of `pack` durably.
    pub fn add(&self, pack: NewPack) -> Result<(), Error> {
        self.repository.store.add(self.local, pack)
    }

    /// Stores an event that was refused.
    pub fn keep_refused(&mut self, path: &str, file: &[u8], now: Timestamp) -> Result<(), Error> {
        self.repository.keep_refused(&mut self.index, path, file, now)
    }
}

fn not_opened(path: &Path, error: OpenError) -> Error {
    match error {
        OpenError::Unreadable { cause, .. } => Error::refused(format!(
            "{} is not a context repository: {}",
            path.display(),
            causes(&cause)
        ))
        .with_hint("run `stargate-mirror events init` with the path of a new or empty folder"),
        error => Error::misconfigured(&error).with_hint(on_opening(&error)),
    }
}

fn no_branch<S: Storage>(store: &Store<S>) -> Error {
    let (local, branch) = (store.repository(), store.branch_name());
    let folder = local.git_dir().display();
    Error::refused(format!("the context repository {folder} has no branch {branch}"))
        .with_hint("set GITHUB_BRANCH to an existing branch")
}

fn on_other_branch(local: &gix::Repository, head: &str, branch: &str) -> Error {
    let folder = local.workdir().unwrap_or(local.git_dir()).display();
    Error::refused(format!("{folder} is on {head}, but events are committed to {branch}"))
        .with_hint(format!("run `git switch {branch}`, or set GITHUB_BRANCH"))
}
