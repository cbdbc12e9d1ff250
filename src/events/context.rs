//! A context repository: a Git repository that events are committed into.
mod commit;
mod instance;
mod queries;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(super) use commit::message;
pub use commit::{Committed, Refusal};
use durable::{
    clock::Clock,
    storage::{Disk, Storage},
};
use git_push::{
    causes,
    repository::{self, OpenError},
};
use gix::{ObjectId, objs::Kind as ObjectKind};
pub(super) use instance::lock_of;
use jiff::Timestamp;
pub use queries::ResumePoint;

use super::{
    Error,
    branch::Branch,
    difference,
    error::Kind,
    event_ids::EventIds,
    init,
    lock_file::{self, Lock},
    new_pack::{NewPack, PackError, object_id},
    objects::Objects,
    packs,
    refused::RefusedEvents,
    replace::{self, Replacement},
    trees::{Edit, Trees},
    work_tree::WorkTree,
};
use crate::{advice::on_opening, event::Layout};

/// How long another process may hold the repository.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval between attempts to take the lock.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// Lock file in the Git folder, held while a commit is made.
const LOCK: &str = "stargate/lock";
/// Number of commits between checks for packs to join.
const COMMITS_PER_REPACK: u32 = 8;
/// Maximum number of open pack files. Packs are joined long before this limit, except while a push reads them.
const SLOTS: u16 = 4096;
/// Packs are not joined while a push reads them, unless this many commits were made meanwhile.
const MAX_UNJOINED: u32 = 1024;

/// Options for creating and using a context repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The branch that events are committed to, without `refs/heads/`.
    pub branch: String,
    /// Depth of the folders of new events.
    pub layout: Layout,
    /// Author of the commits; `None` for the one in git's configuration, or else this program.
    pub author: Option<Author>,
    /// Create a missing repository without a work tree.
    pub bare: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            branch: "main".into(),
            layout: Layout::Day,
            author: None,
            bare: true,
        }
    }
}

/// A name and an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// As in `A U Thor`.
    pub name: String,
    /// As in `author@example.com`.
    pub email: String,
}

/// A context repository. Clones share it between threads. Threads wait for each other for milliseconds, never for the
/// network.
#[derive(Debug)]
pub struct Context<S: Storage = Disk>(Arc<Shared<S>>);

impl<S: Storage> Clone for Context<S> {
    fn clone(&self) -> Self {
        Context(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Shared<S> {
    storage: S,
    repository: gix::ThreadSafeRepository,
    options: Options,
    own: Lock,
    other: Option<Lock>,
    /// The previous instance, if it has ended: its lock in a commit no longer counts.
    ended: Option<String>,
    state: Mutex<State>,
    /// Held by the thread that publishes.
    publishing: Mutex<()>,
    /// True while a thread publishes and may read packs.
    is_publishing: AtomicBool,
}

/// Guard of the thread that publishes.
pub(super) struct Publishing<'a> {
    is_publishing: &'a AtomicBool,
    _one: MutexGuard<'a, ()>,
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.is_publishing.store(false, Ordering::Relaxed);
    }
}

/// Caches kept from one commit to the next. The repository is authoritative.
pub(super) struct State {
    trees: Trees,
    pub(super) event_ids: EventIds,
    pub(super) refused: RefusedEvents,
    tip: Option<ObjectId>,
    /// No commit up to this one has an [unpushable](super::unpushable) event.
    pub(super) pushable: Option<ObjectId>,
    commits_since_repack: u32,
    /// Instances for which a warning was logged.
    warned_of: HashSet<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("tip", &self.tip).finish_non_exhaustive()
    }
}

impl Context {
    /// Creates a context repository at `path`, which must be missing or empty; opens the repository if one exists there.
    ///
    /// # Errors
    /// `path` holds something else, or cannot be written.
    pub fn init(path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Context::init_on(Disk, path, options, now)
    }

    /// Opens the context repository at `path`.
    ///
    /// # Errors
    /// There is no repository or no such branch, its version is unknown, or it cannot be read.
    pub fn open(path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Context::open_on(Disk, path, options, now)
    }
}

impl<S: Storage> Context<S> {
    /// Like [`init()`](Context::init()), on the given storage.
    ///
    /// # Errors
    /// As [`init()`](Context::init()).
    pub fn init_on(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        if init::is_free(path)? {
            init::make(&storage, path, options, now)?;
        }
        Context::open_on(storage, path, options, now)
    }

    /// Like [`open()`](Context::open()), on the given storage.
    ///
    /// # Errors
    /// As [`open()`](Context::open()).
    pub fn open_on(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        let slots = gix::odb::store::init::Slots::Given(SLOTS);
        let options_of_gix = gix::open::Options::default().object_store_slots(slots);
        let repository = repository::open_with(path, options_of_gix).map_err(|error| match error {
            OpenError::Unreadable { cause, .. } => Error::refused(format!(
                "{} is not a context repository: {}",
                path.display(),
                causes(&cause)
            ))
            .with_hint("run `stargate-mirror events init` with the path of a new or empty folder"),
            error => Error::misconfigured(&error).with_hint(on_opening(&error)),
        })?;
        let mut context = Context(Arc::new(Shared {
            own: Lock::new(random(), now),
            other: None,
            ended: None,
            state: Mutex::new(State {
                trees: Trees::default(),
                event_ids: EventIds::default(),
                refused: RefusedEvents::new(home(&repository.to_thread_local())),
                tip: None,
                pushable: None,
                commits_since_repack: 0,
                warned_of: HashSet::new(),
            }),
            publishing: Mutex::new(()),
            is_publishing: AtomicBool::new(false),
            storage,
            options: options.clone(),
            repository,
        }));
        context.check()?;
        context.create_state_folder()?;
        let ended = context.last_heartbeat()?.and_then(|file| lock_file::ended(&file));
        if let Some(shared) = Arc::get_mut(&mut context.0) {
            shared.ended = ended;
        }
        let other = context.find_other(now)?;
        if let Some(shared) = Arc::get_mut(&mut context.0) {
            shared.other = other;
        }
        if let Err(error) = context.heartbeat(now) {
            tracing::warn!(%error, "the heartbeat file could not be written; other instances do not see this one");
        }
        Ok(context)
    }

    /// The Git folder; with a work tree, its `.git`.
    pub fn git_dir(&self) -> PathBuf {
        self.repository().git_dir().to_owned()
    }

    /// Sets the remote `origin` in the repository's configuration, without the secrets of the URL.
    ///
    /// # Errors
    /// The URL is invalid; the configuration cannot be read or written; or another process is writing it ([`Kind::Busy`]).
    pub fn set_origin(&self, url: &str, clock: &dyn Clock) -> Result<(), Error> {
        let _state = self.state();
        let repository = self.repository();
        let _lock = self.exclusive(&repository, clock)?;
        let path = repository.common_dir().join("config");
        match init::with_origin(&path, url)? {
            Some(config) => Replacement::begin(&self.0.storage, repository.git_dir(), &path, &config)?.commit(),
            None => Ok(()),
        }
    }

    /// Returns a handle on the repository for this thread.
    pub(super) fn repository(&self) -> gix::Repository {
        self.0.repository.to_thread_local()
    }

    pub(super) fn branch<'a>(&'a self, repository: &'a gix::Repository) -> Branch<'a> {
        Branch {
            repository,
            name: &self.0.options.branch,
        }
    }

    pub(super) fn branch_name(&self) -> &str {
        &self.0.options.branch
    }

    /// Locks the repository against changes by other threads.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The state that a panicked thread left is checked against the repository like any other.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks publishing against other threads.
    pub(super) fn publishing(&self) -> Publishing<'_> {
        let one = self.0.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_publishing.store(true, Ordering::Relaxed);
        Publishing {
            is_publishing: &self.0.is_publishing,
            _one: one,
        }
    }

    /// Locks the repository against changes by other processes.
    pub(super) fn exclusive(&self, repository: &gix::Repository, clock: &dyn Clock) -> Result<S::File, Error> {
        let path = repository.git_dir().join(LOCK);
        let failed = |error| Error::failed("lock", &path, error);
        let file = self.0.storage.open_append(&path).map_err(failed)?;
        let start = clock.elapsed();
        while !self.0.storage.try_lock(&file).map_err(failed)? {
            if clock.elapsed() - start > LOCK_TIMEOUT {
                let what = format!("another process has held {} for 10 seconds", path.display());
                return Err(
                    Error::new(Kind::Busy, what).with_hint("the program retries; look for a process that hangs")
                );
            }
            clock.sleep(LOCK_POLL);
        }
        Ok(file)
    }

    /// Completes an interrupted checkout, brings the caches up to date, and returns the tip.
    pub(super) fn begin(&self, state: &mut State, objects: Objects<'_>) -> Result<ObjectId, Error> {
        if let Some(work_tree) = self.work_tree(objects.0) {
            work_tree.check_head()?;
            work_tree.recover()?;
        }
        let tip = self.branch(objects.0).tip()?.ok_or_else(|| self.no_branch(objects.0))?;
        if let Some(known) = state.tip.filter(|known| *known != tip) {
            let trees = (objects.tree_of(known)?, objects.tree_of(tip)?);
            let changes = difference::between(objects, Some(trees.0), Some(trees.1))?;
            state.event_ids.add_all(changes.iter());
        }
        state.tip = Some(tip);
        Ok(tip)
    }

    /// Adds the objects of `pack` to the repository, and moves the branch.
    pub(super) fn land(
        &self,
        state: &mut State,
        repository: &gix::Repository,
        pack: NewPack,
        old: ObjectId,
        new: ObjectId,
    ) -> Result<(), Error> {
        self.store_new(repository, pack)?;
        match self.work_tree(repository) {
            Some(work_tree) => work_tree.advance(Some(old), new)?,
            None => self.branch(repository).advance(&self.0.storage, Some(old), new)?,
        }
        state.tip = Some(new);
        self.repack_if_due(state, repository);
        Ok(())
    }

    /// Starts an edit of the tree of a commit.
    pub(super) fn edit<'a>(
        &self,
        state: &'a mut State,
        objects: Objects<'a>,
        commit: ObjectId,
    ) -> Result<Edit<'a>, Error> {
        let tree = objects.tree_of(commit)?;
        Ok(state.trees.edit(objects, Some(tree)))
    }

    /// Stores input that is not an event in [`FILE`](super::refused::FILE), without a path.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_unreadable(&self, raw: &[u8], now: Timestamp) -> Result<(), Error> {
        self.keep_refused(&mut self.state(), "", raw, now)
    }

    /// Stores an event that was refused.
    pub(super) fn keep_refused(&self, state: &mut State, path: &str, file: &[u8], now: Timestamp) -> Result<(), Error> {
        let blob = self.blob_id(file)?;
        state.refused.keep(&self.0.storage, path, blob, file, now)
    }

    /// Builds a commit by the configured author, as bytes.
    pub(super) fn commit_object(
        &self,
        repository: &gix::Repository,
        tree: ObjectId,
        parents: &[ObjectId],
        message: &str,
        now: Timestamp,
    ) -> Result<Vec<u8>, Error> {
        init::commit_object(repository, &self.0.options, tree, parents, message, now)
    }

    pub(super) fn pack_failed(&self, error: &PackError) -> Error {
        Error::failed("make a pack for", self.0.repository.path(), error)
    }

    /// Stores the objects of `pack` durably.
    pub(super) fn store_new(&self, repository: &gix::Repository, pack: NewPack) -> Result<(), Error> {
        if pack.is_empty() {
            return Ok(());
        }
        let finished = pack.finish().map_err(|error| self.pack_failed(&error))?;
        packs::store(&self.0.storage, repository.objects.store_ref().path(), &finished)
    }

    /// Joins packs every few commits, unless a push reads them. A failure is logged and retried later.
    fn repack_if_due(&self, state: &mut State, repository: &gix::Repository) {
        state.commits_since_repack += 1;
        let is_read = self.0.is_publishing.load(Ordering::Relaxed);
        if state.commits_since_repack < COMMITS_PER_REPACK || is_read && state.commits_since_repack < MAX_UNJOINED {
            return;
        }
        state.commits_since_repack = 0;
        let objects = repository.objects.store_ref().path();
        if let Err(error) = packs::join(&self.0.storage, objects, repository.object_hash()) {
            tracing::warn!(%error, "the packs could not be joined");
        }
    }

    fn work_tree<'a>(&'a self, repository: &'a gix::Repository) -> Option<WorkTree<'a, S>> {
        Some(WorkTree {
            storage: &self.0.storage,
            folder: repository.workdir()?,
            branch: self.branch(repository),
        })
    }

    /// Creates the folder `stargate` in the Git folder, for locks and notes.
    fn create_state_folder(&self) -> Result<(), Error> {
        let path = self.repository().git_dir().join(LOCK);
        let folder = path.parent().unwrap_or(&path);
        replace::create_folders(&self.0.storage, folder).map_err(|error| Error::failed("create", folder, error))
    }

    fn blob_id(&self, file: &[u8]) -> Result<ObjectId, Error> {
        let hash = self.repository().object_hash();
        object_id(hash, ObjectKind::Blob, file).map_err(|error| self.pack_failed(&error))
    }

    /// Refuses a repository that is not a context repository of a known version.
    fn check(&self) -> Result<(), Error> {
        let repository = self.repository();
        let objects = Objects(&repository);
        let tip = self
            .branch(&repository)
            .tip()?
            .ok_or_else(|| self.no_branch(&repository))?;
        init::check_manifest(objects, tip)
    }

    fn no_branch(&self, repository: &gix::Repository) -> Error {
        let (folder, branch) = (repository.git_dir().display(), &self.0.options.branch);
        Error::refused(format!("the context repository {folder} has no branch {branch}"))
            .with_hint("set GITHUB_BRANCH to an existing branch")
    }
}

fn home(repository: &gix::Repository) -> &Path {
    repository.workdir().unwrap_or(repository.git_dir())
}

fn read_if_there(path: &PathBuf) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(|error| Error::failed("read", path, error)),
    }
}

/// Returns 128 random bits, from two ULIDs with 80 each.
fn random() -> u128 {
    ulid::Ulid::generate().0 << 64 | ulid::Ulid::generate().0 & u128::from(u64::MAX)
}
