//! The repository, its lock, and changes of its branch.
use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use durable::{clock::Clock, storage::Storage};
use git_push::repository::{self, OpenError};
use gix::{ObjectId, objs::Kind as ObjectKind};

use super::{
    Error, Kind,
    branch::Branch,
    git_files,
    maintenance::Maintenance,
    new_pack::{NewPack, PackError, object_id},
    objects::Objects,
    packs,
    tree_cache::{Edit, Trees},
    work_tree::WorkTree,
};

/// Maximum time that another process may hold the repository.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval between attempts to take the lock.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// Lock file in the Git folder, held while a commit is made.
const LOCK: &str = "stargate/lock";
/// Maximum number of open pack files. Packs are joined long before this limit, except while they are held.
const SLOTS: u16 = 4096;

/// A repository and the branch that commits are added to. Threads share it.
#[derive(Debug)]
pub struct Store<S> {
    storage: S,
    repository: gix::ThreadSafeRepository,
    branch: String,
    /// Path of a file in the work tree that is overwritten regardless of its content.
    unguarded: &'static str,
    caches: Mutex<Caches>,
    /// True while a reader relies on the packs.
    packs_are_held: AtomicBool,
}

/// Caches kept from one commit to the next. The repository is authoritative.
#[derive(Default)]
struct Caches {
    trees: Trees,
    maintenance: Maintenance,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches").finish_non_exhaustive()
    }
}

/// Keeps packs from being joined.
pub struct HeldPacks<'a>(&'a AtomicBool);

impl Drop for HeldPacks<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The repository, locked against changes by other threads and processes.
pub struct Locked<'a, S: Storage> {
    store: &'a Store<S>,
    repository: &'a gix::Repository,
    caches: MutexGuard<'a, Caches>,
    _file: S::File,
}

/// A change of the branch, from a known commit on.
pub struct Transaction<'a, S: Storage> {
    locked: Locked<'a, S>,
    tip: ObjectId,
}

impl<S: Storage> Store<S> {
    /// Opens the repository at `path`. In a work tree, the file `unguarded` is overwritten regardless of its content.
    ///
    /// # Errors
    /// There is no repository, or its format is not supported.
    pub fn open(storage: S, path: &Path, branch: &str, unguarded: &'static str) -> Result<Self, OpenError> {
        let slots = gix::odb::store::init::Slots::Given(SLOTS);
        let options = gix::open::Options::default().object_store_slots(slots);
        Ok(Store {
            storage,
            repository: repository::open_with(path, options)?,
            branch: branch.to_owned(),
            unguarded,
            caches: Mutex::default(),
            packs_are_held: AtomicBool::new(false),
        })
    }

    /// Creates the folder `stargate` in the Git folder, for locks and notes.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn create_state_folder(&self) -> Result<(), Error> {
        let path = self.repository().git_dir().join(LOCK);
        let folder = path.parent().unwrap_or(&path);
        git_files::create_folders(&self.storage, folder).map_err(|error| Error::failed("create", folder, error))
    }

    /// The storage of the repository's files.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Returns a handle on the repository for this thread.
    pub fn repository(&self) -> gix::Repository {
        self.repository.to_thread_local()
    }

    /// Name of the branch, without `refs/heads/`.
    pub fn branch_name(&self) -> &str {
        &self.branch
    }

    /// The branch, in a handle of this thread.
    pub fn branch<'a>(&'a self, repository: &'a gix::Repository) -> Branch<'a> {
        Branch {
            repository,
            name: &self.branch,
        }
    }

    /// Locks the repository against changes by other threads and processes.
    ///
    /// # Errors
    /// Another process holds it for longer than [`LOCK_TIMEOUT`] ([`Kind::Busy`]); or the lock file cannot be opened.
    pub fn lock<'a>(&'a self, repository: &'a gix::Repository, clock: &dyn Clock) -> Result<Locked<'a, S>, Error> {
        // The caches that a panicked thread left are checked against the repository like any others.
        let caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Locked {
            store: self,
            repository,
            caches,
            _file: self.lock_file(repository, clock)?,
        })
    }

    fn lock_file(&self, repository: &gix::Repository, clock: &dyn Clock) -> Result<S::File, Error> {
        let path = repository.git_dir().join(LOCK);
        let failed = |error| Error::failed("lock", &path, error);
        let file = self.storage.open_append(&path).map_err(failed)?;
        let start = clock.elapsed();
        while !self.storage.try_lock(&file).map_err(failed)? {
            if clock.elapsed() - start > LOCK_TIMEOUT {
                let what = format!("another process has held {} for 10 seconds", path.display());
                return Err(
                    Error::new(Kind::Busy, what).with_hint("the program retries; check for a process that hangs")
                );
            }
            clock.sleep(LOCK_POLL);
        }
        Ok(file)
    }

    /// Keeps packs from being joined, for a reader that runs beside commits. There is one such reader at a time.
    pub fn hold_packs(&self) -> HeldPacks<'_> {
        self.packs_are_held.store(true, Ordering::Relaxed);
        HeldPacks(&self.packs_are_held)
    }

    /// Stores the objects of `pack` durably.
    ///
    /// # Errors
    /// The pack cannot be written.
    pub fn add(&self, repository: &gix::Repository, pack: NewPack) -> Result<(), Error> {
        if pack.is_empty() {
            return Ok(());
        }
        let finished = pack.finish().map_err(|error| self.pack_failed(&error))?;
        packs::store(&self.storage, repository.objects.store_ref().path(), &finished)
    }

    /// Computes the id of a file's content.
    ///
    /// # Errors
    /// The content is part of a collision attack.
    pub fn blob_id(&self, content: &[u8]) -> Result<ObjectId, Error> {
        let hash = self.repository().object_hash();
        object_id(hash, ObjectKind::Blob, content).map_err(|error| self.pack_failed(&error))
    }

    /// Converts an error of a pack for this repository.
    pub fn pack_failed(&self, error: &PackError) -> Error {
        Error::failed("make a pack for", self.repository.path(), error)
    }
}

impl<'a, S: Storage> Locked<'a, S> {
    /// Returns the short name of HEAD if there is a work tree that is not on the branch.
    ///
    /// # Errors
    /// HEAD cannot be read.
    pub fn other_head(&self) -> Result<Option<String>, Error> {
        self.work_tree().map_or(Ok(None), |work_tree| work_tree.other_head())
    }

    /// Completes an interrupted checkout, and begins a change at the tip of the branch; `None` if the branch is missing.
    ///
    /// # Errors
    /// The repository cannot be read, or the checkout cannot be completed.
    pub fn begin(self) -> Result<Option<Transaction<'a, S>>, Error> {
        if let Some(work_tree) = self.work_tree() {
            work_tree.recover()?;
        }
        let tip = self.store.branch(self.repository).tip()?;
        Ok(tip.map(|tip| Transaction { locked: self, tip }))
    }

    fn work_tree(&self) -> Option<WorkTree<'a, S>> {
        Some(WorkTree {
            storage: &self.store.storage,
            folder: self.repository.workdir()?,
            branch: self.store.branch(self.repository),
            unguarded: self.store.unguarded,
        })
    }
}

impl<'a, S: Storage> Transaction<'a, S> {
    /// The commit of the branch.
    pub fn tip(&self) -> ObjectId {
        self.tip
    }

    /// The objects of the repository.
    pub fn objects(&self) -> Objects<'a> {
        Objects(self.locked.repository)
    }

    /// Starts an edit of the tree of a commit.
    ///
    /// # Errors
    /// The commit cannot be read.
    pub fn edit(&mut self, commit: ObjectId) -> Result<Edit<'_>, Error> {
        let objects = self.objects();
        let tree = objects.tree_of(commit)?;
        Ok(self.locked.caches.trees.edit(objects, Some(tree)))
    }

    /// Adds the objects of `pack` to the repository, and moves the branch to `new`.
    ///
    /// # Errors
    /// The repository cannot be written; another process moved the branch ([`Kind::Busy`]); or the work tree has other files
    /// at paths that change ([`Kind::Refused`]).
    pub fn advance(&mut self, pack: NewPack, new: ObjectId) -> Result<(), Error> {
        let (store, repository) = (self.locked.store, self.locked.repository);
        store.add(repository, pack)?;
        match self.locked.work_tree() {
            Some(work_tree) => work_tree.advance(Some(self.tip), new)?,
            None => store.branch(repository).advance(&store.storage, Some(self.tip), new)?,
        }
        self.tip = new;
        let are_held = store.packs_are_held.load(Ordering::Relaxed);
        let objects = repository.objects.store_ref().path();
        let maintenance = &mut self.locked.caches.maintenance;
        maintenance.after_commit(&store.storage, objects, repository.object_hash(), are_held);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bstr::BStr;
    use durable::{
        clock::{ManualClock, SystemClock},
        storage::Disk,
    };
    use gix::objs::tree::EntryKind;
    use jiff::Timestamp;

    use super::*;
    use crate::object_store::{
        commit_object::commit_object,
        tree_buffer::Leaf,
        tree_cache::{SetError, file_of},
    };

    fn open(path: &Path) -> Store<Disk> {
        let store = Store::open(Disk, path, "main", "unguarded").expect("a repository");
        store.create_state_folder().expect("a folder");
        store
    }

    /// A commit of one file on `parent`, added to `pack`.
    fn commit(edit: &mut Edit<'_>, repository: &gix::Repository, parent: &[ObjectId], pack: &mut NewPack) -> ObjectId {
        let id = pack.add(ObjectKind::Blob, b"content").expect("a file");
        let kind = EntryKind::Blob;
        edit.set(BStr::new("folder/file"), Leaf { kind, id })
            .map_err(SetError::into_error)
            .expect("a place");
        let tree = edit.write(pack).expect("a tree");
        let commit = commit_object(repository, None, tree, parent, "a file\n", Timestamp::UNIX_EPOCH);
        pack.add(ObjectKind::Commit, &commit.expect("a commit"))
            .expect("an object")
    }

    /// A repository with an empty commit.
    fn made(path: &Path) -> Store<Disk> {
        gix::init_bare(path).expect("a repository");
        let store = open(path);
        let repository = store.repository();
        let mut pack = NewPack::new(repository.object_hash());
        let tree = pack.add(ObjectKind::Tree, b"").expect("a tree");
        let commit = commit_object(&repository, None, tree, &[], "empty\n", Timestamp::UNIX_EPOCH);
        let first = pack.add(ObjectKind::Commit, &commit.expect("a commit")).expect("one");
        store.add(&repository, pack).expect("stored");
        store
            .branch(&repository)
            .advance(&Disk, None, first)
            .expect("a new branch");
        store
    }

    #[test]
    fn a_commit_is_there_after_reopening_and_only_on_its_branch() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = made(folder.path());
        let repository = store.repository();
        let clock = SystemClock::default();
        let locked = store.lock(&repository, &clock).expect("free");
        let mut transaction = locked.begin().expect("readable").expect("a branch");
        let (first, mut pack) = (transaction.tip(), NewPack::new(repository.object_hash()));
        let mut edit = transaction.edit(first).expect("readable");
        let new = commit(&mut edit, &repository, &[first], &mut pack);
        drop(edit);
        transaction.advance(pack, new).expect("moved");
        assert_eq!(transaction.tip(), new);
        drop(transaction);

        let again = open(folder.path());
        let repository = again.repository();
        assert_eq!(again.branch(&repository).tip().expect("readable"), Some(new));
        let content = file_of(Objects(&repository), new, "folder/file").expect("readable");
        assert_eq!(content.as_deref(), Some(&b"content"[..]));
        let other = Store::open(Disk, folder.path(), "other", "unguarded").expect("a repository");
        let locked = other.lock(&repository, &clock).expect("free");
        assert!(locked.begin().expect("readable").is_none(), "there is no such branch");
    }

    #[test]
    fn a_held_repository_is_busy_after_the_timeout() {
        let folder = tempfile::tempdir().expect("a folder");
        let (holder, waiter) = (made(folder.path()), open(folder.path()));
        let (held, waiting) = (holder.repository(), waiter.repository());
        let clock = ManualClock::default();
        let lock = holder.lock(&held, &clock).expect("free");
        let error = waiter.lock(&waiting, &clock).err().expect("it is held");
        assert_eq!(error.kind(), Kind::Busy);
        assert!(error.to_string().contains("for 10 seconds"), "{error}");
        assert!(clock.elapsed() >= LOCK_TIMEOUT && clock.elapsed() < 2 * LOCK_TIMEOUT);
        drop(lock);
        assert!(waiter.lock(&waiting, &clock).is_ok());
    }
}
