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
use crate::event::Layout;

/// How long another process may hold the repository.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether it still does.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// What is locked, in the Git folder, while a commit is made.
const LOCK: &str = "stargate/lock";
/// Packs are looked at after so many commits.
const COMMITS_PER_REPACK: u32 = 8;
/// So many files of packs can be open at a time: they are joined long before, but not while a push reads them.
const SLOTS: u16 = 4096;
/// While a push reads packs they are not joined, unless there were so many commits meanwhile.
const MAX_UNJOINED: u32 = 1024;

/// How a context repository is made and used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The branch that events are committed to, without `refs/heads/`.
    pub branch: String,
    /// How deep the folders of new events are.
    pub layout: Layout,
    /// Who commits. None: whom git's configuration names, else this program.
    pub author: Option<Author>,
    /// A repository that has to be made has no work tree.
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

/// A context repository. Clones are the same one: threads share it, and wait for each other for milliseconds, never for
/// the network.
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
    /// The instance that was here before, where it has ended: its lock in a commit says nothing any more.
    ended: Option<String>,
    state: Mutex<State>,
    /// Held by the one thread that publishes.
    publishing: Mutex<()>,
    /// Whether there is one: then packs are being read.
    is_publishing: AtomicBool,
}

/// The one thread that publishes.
pub(super) struct Publishing<'a> {
    is_publishing: &'a AtomicBool,
    _one: MutexGuard<'a, ()>,
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.is_publishing.store(false, Ordering::Relaxed);
    }
}

/// What is remembered from one commit to the next; the repository decides.
pub(super) struct State {
    trees: Trees,
    pub(super) event_ids: EventIds,
    pub(super) refused: RefusedEvents,
    tip: Option<ObjectId>,
    /// Up to this commit nothing is [unpushable](super::unpushable).
    pub(super) pushable: Option<ObjectId>,
    commits_since_repack: u32,
    /// Instances that were warned of.
    warned_of: HashSet<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("tip", &self.tip).finish_non_exhaustive()
    }
}

impl Context {
    /// Makes a context repository at `path`, where nothing may be but an empty folder; opens it if there is one already.
    ///
    /// # Errors
    /// Something else is there, or it cannot be written.
    pub fn init(path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Context::init_on(Disk, path, options, now)
    }

    /// Opens the context repository at `path`.
    ///
    /// # Errors
    /// There is none, or none with this branch; it is of a version that is not known; it cannot be read.
    pub fn open(path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        Context::open_on(Disk, path, options, now)
    }
}

impl<S: Storage> Context<S> {
    /// [`init()`](Context::init()) on a storage.
    ///
    /// # Errors
    /// As [`init()`](Context::init()).
    pub fn init_on(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        if init::is_free(path)? {
            init::make(&storage, path, options, now)?;
        }
        Context::open_on(storage, path, options, now)
    }

    /// [`open()`](Context::open()) on a storage.
    ///
    /// # Errors
    /// As [`open()`](Context::open()).
    pub fn open_on(storage: S, path: &Path, options: &Options, now: Timestamp) -> Result<Self, Error> {
        let slots = gix::odb::store::init::Slots::Given(SLOTS);
        let options_of_gix = gix::open::Options::default().object_store_slots(slots);
        let repository = repository::open_with(path, options_of_gix).map_err(|error| match error {
            OpenError::Unreadable { cause, .. } => Error::refused(format!(
                "{} is no context repository: {}",
                path.display(),
                causes(&cause)
            ))
            .with_hint("make one with `stargate-mirror events init` where nothing is yet"),
            error => Error::misconfigured(&error).with_hint(error.hint()),
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
            tracing::warn!(%error, "nobody can see that this instance is at work");
        }
        Ok(context)
    }

    /// The Git folder: with a work tree, `.git` in it.
    pub fn git_dir(&self) -> PathBuf {
        self.repository().git_dir().to_owned()
    }

    /// Adds the remote `origin` to the repository's configuration, or sets its URL, without its secrets.
    ///
    /// # Errors
    /// The URL is none; the configuration cannot be read or written, or another process does that ([`Kind::Busy`]).
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

    /// A handle of this thread on the repository.
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

    /// Waits until no other thread changes the repository.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // What a thread that panicked has left is checked against the repository like everything else.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other thread publishes.
    pub(super) fn publishing(&self) -> Publishing<'_> {
        let one = self.0.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_publishing.store(true, Ordering::Relaxed);
        Publishing {
            is_publishing: &self.0.is_publishing,
            _one: one,
        }
    }

    /// Waits until no other process changes the repository.
    pub(super) fn exclusive(&self, repository: &gix::Repository, clock: &dyn Clock) -> Result<S::File, Error> {
        let path = repository.git_dir().join(LOCK);
        let failed = |error| Error::failed("lock", &path, error);
        let file = self.0.storage.open_append(&path).map_err(failed)?;
        let start = clock.elapsed();
        while !self.0.storage.try_lock(&file).map_err(failed)? {
            if clock.elapsed() - start > LOCK_TIMEOUT {
                let what = format!("another process has used {} for 10 seconds", path.display());
                return Err(Error::new(Kind::Busy, what).with_hint("it is tried again; look for a process that hangs"));
            }
            clock.sleep(LOCK_POLL);
        }
        Ok(file)
    }

    /// Sees to it that the repository is whole and that what is remembered is true; gives the tip.
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

    /// Makes what is in `pack` part of the repository, and moves the branch.
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

    /// Begins to edit the tree of a commit.
    pub(super) fn edit<'a>(
        &self,
        state: &'a mut State,
        objects: Objects<'a>,
        commit: ObjectId,
    ) -> Result<Edit<'a>, Error> {
        let tree = objects.tree_of(commit)?;
        Ok(state.trees.edit(objects, Some(tree)))
    }

    /// Keeps what was to be an event and is none, in [`FILE`](super::refused::FILE), without a path.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn keep_unreadable(&self, raw: &[u8], now: Timestamp) -> Result<(), Error> {
        self.keep_refused(&mut self.state(), "", raw, now)
    }

    /// Keeps an event that was refused.
    pub(super) fn keep_refused(&self, state: &mut State, path: &str, file: &[u8], now: Timestamp) -> Result<(), Error> {
        let blob = self.blob_id(file)?;
        state.refused.keep(&self.0.storage, path, blob, file, now)
    }

    /// The bytes of a commit by the author that is configured.
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

    /// Makes what is in `pack` durable.
    pub(super) fn store_new(&self, repository: &gix::Repository, pack: NewPack) -> Result<(), Error> {
        if pack.is_empty() {
            return Ok(());
        }
        let finished = pack.finish().map_err(|error| self.pack_failed(&error))?;
        packs::store(&self.0.storage, repository.objects.store_ref().path(), &finished)
    }

    /// Joins packs from time to time, unless a push reads them. What fails is tried again later: nothing depends on it.
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

    /// Makes the folder for what is beside the commits.
    fn create_state_folder(&self) -> Result<(), Error> {
        let path = self.repository().git_dir().join(LOCK);
        let folder = path.parent().unwrap_or(&path);
        replace::create_folders(&self.0.storage, folder).map_err(|error| Error::failed("create", folder, error))
    }

    fn blob_id(&self, file: &[u8]) -> Result<ObjectId, Error> {
        let hash = self.repository().object_hash();
        object_id(hash, ObjectKind::Blob, file).map_err(|error| self.pack_failed(&error))
    }

    /// Refuses what is no context repository of a version that is known.
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
            .with_hint("set GITHUB_BRANCH to the branch that it has")
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

/// 128 random bits: each ULID has 80.
fn random() -> u128 {
    ulid::Ulid::generate().0 << 64 | ulid::Ulid::generate().0 & u128::from(u64::MAX)
}
